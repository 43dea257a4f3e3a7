"""Owns the order in which queued jobs are handed out: priority, then the number of the job; none before it is due.

An index, no state of its own: it can be made anew from the queued jobs, and what it answers depends on them, the time
and the paused parsers alone. No job waits longer than WAIT_SECONDS_MAX: one that is due later than that was put in
before the clock was set back, and is due. Jobs that may not be due yet lie in one heap, by when they are; those that
are due in a heap for each parser, so that a paused one costs nothing however many of its jobs wait. A job that leaves
is only forgotten: its entry goes when it comes to the top, or when half of a heap is such entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from eventlog.ids import Instant, JobId, ParserName, instant_plus

if TYPE_CHECKING:
    from reducers.job import Queued

WAIT_SECONDS_MAX = 64  # the longest that a job is told to wait
FORGOTTEN_ENTRIES_MIN = 1000  # in one heap, before it is made anew without them

_Waiting = tuple[Instant, JobId, int, ParserName]  # not before, job, minus its priority
_Ready = tuple[int, JobId, Instant, ParserName]
E = TypeVar("E", _Waiting, _Ready)


def is_due(not_before: Instant, now: Instant) -> bool:
    """Say whether a job may be handed out: its time has come, or is so far off that the clock was set back since."""
    return not_before <= now or not_before > instant_plus(now, seconds=WAIT_SECONDS_MAX)


class WaitingJobs:
    """The queued jobs, ordered. Each operation costs the logarithm of their number, however many wait."""

    def __init__(self) -> None:
        self._live: dict[JobId, _Waiting | _Ready] = {}  # the one entry of each job that counts
        self._waiting: list[_Waiting] = []
        self._latest = Instant("")  # none of those that wait is due later
        self._ready: dict[ParserName, list[_Ready]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def put(self, job: Queued) -> None:
        """Take in a job that waits, or its new priority or time."""
        spec = job.spec
        self._wait((job.not_before, spec.job, -spec.priority, spec.parser))

    def drop(self, job: JobId) -> None:
        """Forget a job that waits no more."""
        self._live.pop(job, None)

    def due(self, now: Instant, count: int, *, paused: Collection[ParserName] = ()) -> list[JobId]:
        """Return up to `count` jobs that are due, in the order in which they are handed out; nothing is taken out."""
        with self.in_turn(now, paused=paused) as jobs:
            return list(islice(jobs, count))

    @contextmanager
    def in_turn(self, now: Instant, *, paused: Collection[ParserName] = ()) -> Iterator[Iterator[JobId]]:
        """Have the jobs that are due one after the other, in that order; only who is looked at costs something.

        Nothing is taken out, and nothing may be put in before the block ends.
        """
        self._ripen(now)
        taken: list[_Ready] = []
        try:
            yield self._popped(now, paused, taken)
        finally:
            for entry in taken:
                heappush(self._ready[entry[3]], entry)

    def _popped(self, now: Instant, paused: Collection[ParserName], taken: list[_Ready]) -> Iterator[JobId]:
        while (heap := self._first(paused)) is not None:
            entry = heappop(heap)
            if not is_due(entry[2], now):  # the clock was set back since it was
                self._wait((entry[2], entry[1], entry[0], entry[3]))
            else:
                taken.append(entry)
                yield entry[1]

    def _wait(self, entry: _Waiting) -> None:
        self._live[entry[1]] = entry
        self._latest = max(self._latest, entry[0])
        heappush(self._waiting, entry)
        if len(self._waiting) > self._entries_max():
            self._waiting = self._swept(self._waiting)

    def _ripen(self, now: Instant) -> None:
        """Move what is due to its parser's heap."""
        while self._waiting and self._waiting[0][0] <= now:
            self._make_ready(heappop(self._waiting))
        if self._waiting and self._latest > now and is_due(self._latest, now):
            self._ripen_all(now)

    def _ripen_all(self, now: Instant) -> None:
        """Look at all that wait, once after the clock was set back."""
        waiting, self._waiting = self._waiting, []
        self._latest = Instant("")
        for entry in waiting:
            if is_due(entry[0], now):
                self._make_ready(entry)
            elif self._live.get(entry[1]) is entry:
                self._wait(entry)

    def _make_ready(self, entry: _Waiting) -> None:
        if self._live.get(entry[1]) is not entry:
            return
        not_before, job, rank, parser = entry
        ready = (rank, job, not_before, parser)
        self._live[job] = ready
        heap = self._ready.setdefault(parser, [])
        heappush(heap, ready)
        if len(heap) > self._entries_max():
            self._ready[parser] = self._swept(heap)

    def _first(self, paused: Collection[ParserName]) -> list[_Ready] | None:
        """Return the heap on whose top the next job is, of the parsers that are not paused; None if none is due."""
        return min(self._tops(paused), key=lambda heap: heap[0], default=None)

    def _tops(self, paused: Collection[ParserName]) -> Iterator[list[_Ready]]:
        for parser, heap in self._ready.items():
            if parser in paused:
                continue
            while heap and self._live.get(heap[0][1]) is not heap[0]:
                heappop(heap)
            if heap:
                yield heap

    def _entries_max(self) -> int:
        """Return how many entries a heap may have before it is made anew without those that are forgotten."""
        return 2 * len(self._live) + FORGOTTEN_ENTRIES_MIN

    def _swept(self, heap: list[E]) -> list[E]:
        kept = [entry for entry in heap if self._live.get(entry[1]) is entry]
        heapify(kept)
        return kept
