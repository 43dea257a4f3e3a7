"""Tells of what goes wrong while a run is going on: at once, and a target's trouble once, not once for every job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from eventlog.events import CancelAccepted, JobRequeued, OutputsCommitted
from eventlog.frames import Frame
from eventlog.ids import JobId

SETBACKS_MAX = 100  # kept between two looks; the newest of them
SINK_KIND = "sink_unavailable"  # as executors/attempt.py names it

Setback = JobRequeued | CancelAccepted


class Setbacks:
    """Collects failed attempts and cancels from the log, and turns them into sentences."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: list[Setback] = []
        self._reached: set[str] = set()
        self._told: set[str] = set()  # targets whose trouble was told of

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        events = [record.data for frame in frames for record in frame.events]
        new = [e for e in events if isinstance(e, CancelAccepted) or (isinstance(e, JobRequeued) and e.charged)]
        reached = {event.sink_uri for event in events if isinstance(event, OutputsCommitted) and event.outputs}
        if new or reached:
            with self._lock:
                self._new = (self._new + new)[-SETBACKS_MAX:]
                self._reached |= reached

    def tell(self, *, sink_of: Callable[[JobId], str], unreachable: dict[str, str]) -> list[str]:
        """Return sentences about what is new. `unreachable` are targets where nothing can be published, with why."""
        with self._lock:
            new, self._new = self._new, []
            reached, self._reached = self._reached, set()
        self._told -= reached - unreachable.keys()
        sentences = [
            self._target(uri, why, "what is committed is published when it is back")
            for uri, why in list(unreachable.items())
        ]
        return [sentence for sentence in [*sentences, *(self._sentence(each, sink_of) for each in new)] if sentence]

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
