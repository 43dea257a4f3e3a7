"""Tells of what goes wrong while a run is going on: at once, and a target's trouble once, not once for every job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from msgspec import Struct

from eventlog.events import CancelAccepted, JobRequeued, OutputsCommitted
from eventlog.frames import Frame
from eventlog.ids import JobId

SETBACKS_MAX = 100  # kept between two looks; the newest of them
SINK_KIND = "sink_unavailable"  # as executors/attempt.py names it

Setback = JobRequeued | CancelAccepted


class _Reached(Struct, frozen=True):
    """Something was staged whole in a target: what follows of its trouble is to be told again."""

    sink_uri: str


class Setbacks:
    """Collects failed attempts and cancels from the log, and turns them into sentences."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: list[Setback | _Reached] = []  # in the order of the log
        self._told: set[str] = set()  # targets whose trouble was told of

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        for frame in frames:
            for record in frame.events:
                match record.data:
                    case CancelAccepted() as new:
                        self._add(new)
                    case JobRequeued(charged=True) as new:
                        self._add(new)
                    case OutputsCommitted(sink_uri=uri, outputs=outputs) if outputs:
                        self._add(_Reached(uri))
                    case _:
                        pass  # nothing went wrong, and nothing is better than it was

    def _add(self, new: Setback | _Reached) -> None:
        with self._lock:
            if not self._new or self._new[-1] != new:  # commits come in thousands, and the second says no more
                self._new = [*self._new, new][-SETBACKS_MAX:]

    def tell(self, *, sink_of: Callable[[JobId], str], unreachable: dict[str, str]) -> list[str]:
        """Return sentences about what is new. `unreachable` are targets where nothing can be published, with why."""
        with self._lock:
            new, self._new = self._new, []
        sentences = [
            self._target(uri, why, "what is committed is published when it is back")
            for uri, why in list(unreachable.items())
        ]
        for each in new:
            if not isinstance(each, _Reached):
                sentences.append(self._sentence(each, sink_of))
            elif each.sink_uri not in unreachable:
                self._told.discard(each.sink_uri)
        return [sentence for sentence in sentences if sentence]

    def _sentence(self, setback: Setback, sink_of: Callable[[JobId], str]) -> str:
        job = setback.job
        if isinstance(setback, CancelAccepted):
            return f"job {job}: {setback.reason}"
        again = f"tried again at {setback.not_before}"
        if setback.kind == SINK_KIND and (uri := sink_of(job)):
            return self._target(uri, setback.reason, f"its jobs wait; the first is {again}")
        return f"job {job}, attempt {setback.attempt}: {setback.reason}; {again}"

    def _target(self, uri: str, why: str, what: str) -> str:
        """Return the sentence about a target, "" if it was told of already."""
        if uri in self._told:
            return ""
        self._told.add(uri)
        return f"the tables' folder cannot be used: {why}; {what}: put it back, or press Ctrl-C"
