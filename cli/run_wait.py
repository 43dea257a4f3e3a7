"""Owns how a run waits for its jobs, and what is told meanwhile: its pace, what goes wrong, that nobody works here."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from cli.halt import Halt
from cli.pace import Pace, say_stall
from cli.progress import Talk
from cli.watch import JobWatch
from eventlog.ids import JobId
from reducers.fold import State
from reducers.run_jobs import held_back

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

TICK_SECONDS = 0.2


class ExhaustedFleetError(Exception):
    """No executor stays alive, so the open jobs wait for a later start."""


class RunWait:
    """The wait of one run. `held` are those of its jobs that a paused parser holds back, with why, at the last look."""

    def __init__(self, sentinel: Sentinel, watch: JobWatch, *, talk: Talk, halt: Halt) -> None:
        self._sentinel = sentinel
        self._watch = watch
        self._talk = talk
        self._halt = halt
        self._is_idleness_told = False
        self.held: dict[JobId, str] = {}

    def until_done(self, total: int, *, also: Collection[JobId]) -> None:
        """Wait until each of `total` jobs has ended or cannot be published now; `also` are those of earlier runs.

        Raises HaltedError, ExhaustedFleetError.
        """
        pace = Pace(total, now=time.monotonic())
        while True:
            still_open = self._watch.wait(TICK_SECONDS)
            self._tell_setbacks()
            held = self._sentinel.handler.inspect(held_back)
            self.held = {job: held[job] for job in sorted(still_open.difference(also)) if job in held}
            waiting = still_open - self._sentinel.promoter.stuck.keys() - held.keys()
            self._tell_pace(pace, total, still_open, is_waiting=bool(waiting))
            if not waiting:
                self._tell_setbacks()  # what went wrong since we asked may be why nothing is waited for
                return
            self._halt.heed()
            self._sentinel.hire()
            self._tell_idleness()
            if self._sentinel.fleet.exhausted and not self._sentinel.handler.inspect(_executors):
                raise ExhaustedFleetError(self._sentinel.fleet.exhausted)

    def _tell_idleness(self) -> None:
        """Say once that nobody works here, where the sentinel starts no executors itself."""
        if not self._sentinel.workers and not self._is_idleness_told and not self._sentinel.handler.inspect(_executors):
            self._is_idleness_told = True
            step = self._sentinel.home.hint("casparian executor")
            self._talk.note(f"no executor is here, and the sentinel starts none (--workers 0); next: {step}")

    def _tell_pace(self, pace: Pace, total: int, still_open: set[JobId], *, is_waiting: bool) -> None:
        """Publish how far the run is, when it is time; and once, when nothing moves, what it is that does not."""
        rows, bytes_read = self._sentinel.dispatcher.in_flight(still_open)
        done, now = total - len(still_open), time.monotonic()
        # Nobody knows when a target that takes nothing will.
        seconds_left = None if self._sentinel.promoter.unreachable else pace.seconds_left(done, now)
        if pace.is_due(done, now):
            self._talk.working(done=done, total=total, rows=rows, seconds_left=seconds_left)
        if is_waiting and pace.has_stalled((done, rows, bytes_read), now):
            self._talk.note(self._sentinel.handler.inspect(lambda state: say_stall(state, still_open)))

    def _tell_setbacks(self) -> None:
        def sink_of(job: JobId) -> str:
            found = self._sentinel.handler.inspect(lambda state: state.jobs.get(job))
            return found.spec.sink_uri if found else ""

        for sentence in self._watch.setbacks.tell(sink_of=sink_of, unreachable=self._sentinel.promoter.unreachable):
            self._talk.note(sentence)


def _executors(state: State) -> int:
    return len(state.executors)
