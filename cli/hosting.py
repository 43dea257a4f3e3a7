"""Owns the runs that go on in a sentinel: each on a thread of its own, watched and halted by its ticket.

The sentinel's own process follows its run by the same questions as another terminal does; there is no second way.
What is kept of a run is how it is going and, once, its report. The log has all that lasts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from cli.errors import EXIT_INTERRUPTED, CliError, as_cli_error
from cli.halt import Halt
from cli.lease_terms import JobLimits
from cli.messages import (
    Asked,
    Planned,
    Refusal,
    ReportPart,
    RunFailed,
    RunSeen,
    RunTaken,
    Scanned,
    StartRun,
    Worked,
)
from cli.report import RunReport
from cli.session import InterruptedRunError, Request, RunSession
from eventlog.frames import Stamp, stamp_once
from eventlog.ids import ParserName, path_bytes

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

RUNS_MAX: Final = 16  # that go on at once
ENDED_RUNS_MAX: Final = 4  # whose reports are kept although nobody waits for them any more
NOTES_MAX: Final = 1000  # of one run
WATCH_SECONDS: Final = 0.4  # how long a question waits for something new
REPORT_PART_BYTES: Final = 2 * 1024 * 1024
AWAITED_SECONDS: Final = 2.0  # who has not asked for so long about a run does not wait for it any more
AWAIT_TICK_SECONDS: Final = 0.01
LEAVE_SECONDS: Final = 30.0  # for runs to be halted when the sentinel leaves

logger = logging.getLogger("casparian.runs")


class HostedRun:
    """One run, how it is going, and what came of it. Speaks to its session as `Talk`, to others by `seen`."""

    def __init__(self, ticket: str, *, digest: str = "") -> None:
        self.ticket = ticket
        self.digest = digest  # of the request that began it
        self.halt = Halt()
        self.name = ""
        self._changed = threading.Condition()
        self._version = 0
        self._scanned: Scanned | None = None
        self._planned: Planned | None = None
        self._worked: Worked | None = None
        self._notes: list[str] = []
        self._failed: RunFailed | None = None
        self._report: bytes | None = None
        self._asked_at = time.monotonic()
        self._is_told = False

    # --- what the session tells -----------------------------------------------------------------------------------

    def scanning(self, files: int, bytes_: int) -> None:
        with self._change():
            self._scanned = Scanned(files=files, bytes=bytes_)

    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None:
        with self._change():
            self._planned = Planned(found=found, reused=reused, to_run=to_run, refused=refused)

    def working(self, *, done: int, total: int, rows: int, seconds_left: int | None) -> None:
        worked = Worked(done=done, total=total, rows=rows, seconds_left=seconds_left)
        if worked != self._worked:
            with self._change():
                self._worked = worked

    def note(self, sentence: str) -> None:
        with self._change():
            if len(self._notes) < NOTES_MAX:
                self._notes.append(sentence)

    def _change(self) -> _Change:
        return _Change(self)

    def fail(self, error: CliError) -> None:
        """End without a report."""
        with self._change():
            self._failed = RunFailed(
                code=error.code, message=error.message, next_step=error.next_step, exit_code=error.exit_code
            )

    def finish(self, report: RunReport) -> None:
        """End with a report."""
        encoded = msgspec.json.encode(report)
        with self._change():
            self._report = encoded

    # --- what others see ------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self._failed is not None or self._report is not None

    def seen(self, version: int, notes: int) -> RunSeen:
        """Return how it is going, when that has changed since `version`, or after a moment."""
        self._asked_at = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._version != version or self.is_over, WATCH_SECONDS)
            self._is_told = self._failed is not None
            return RunSeen(
                version=self._version,
                scanned=self._scanned,
                planned=self._planned,
                worked=self._worked,
                notes=tuple(self._notes[notes:]),
                failed=self._failed,
                report_bytes=None if self._report is None else len(self._report),
            )

    def part(self, offset: int) -> ReportPart:
        """Return a part of the report; empty at its end."""
        self._asked_at = time.monotonic()
        report = self._report or b""
        self._is_told = offset + REPORT_PART_BYTES >= len(report)
        return ReportPart(data=report[offset : offset + REPORT_PART_BYTES])

    @property
    def is_awaited(self) -> bool:
        """Whether somebody who was here a moment ago has still to hear how it ended."""
        return not self._is_told and time.monotonic() - self._asked_at < AWAITED_SECONDS


class _Change:
    """A change of how a run is going: those who wait for one are woken when it is made."""

    def __init__(self, run: HostedRun) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._run._changed.acquire()

    def __exit__(self, *_: object) -> None:
        self._run._version += 1
        self._run._changed.notify_all()
        self._run._changed.release()


class RunHost:
    """The runs of one sentinel."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel = sentinel
        self._lock = threading.Lock()
        self._runs: dict[str, HostedRun] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._leaving = "" if sentinel.workers or sentinel.lasting else "the sentinel is here for another command only"

    @property
    def going_on(self) -> tuple[HostedRun, ...]:
        """The runs that have not ended."""
        with self._lock:
            return tuple(run for run in self._runs.values() if not run.is_over)

    def find(self, ticket: str) -> HostedRun | None:
        """Return the run with this ticket, None if there is none (any more)."""
        with self._lock:
            return self._runs.get(ticket)

    def start(self, asked: Asked) -> RunTaken | Refusal:
        """Begin a run; a request that comes again is answered with the run that it began, another of its id is not."""
        assert isinstance(asked.request, StartRun)
        if asked.id not in self._runs and (lost := self._begun_before(asked)) is not None:
            return lost
        with self._lock:
            if asked.id not in self._runs:
                if (refusal := self._refuse()) is not None:
                    return refusal
                self._begin(asked, asked.request)
            elif self._runs[asked.id].digest != _stamp(asked).digest:
                why = f"begin a run: the request {asked.id} came before with other content"
                return Refusal(code="id_reused", message=why, next_step="send it under a new id")
        return RunTaken(ticket=asked.id, workers=self._sentinel.workers)

    def _refuse(self) -> Refusal | None:
        if self._leaving:
            return Refusal(code="leaving", message=f"begin a run: {self._leaving}", next_step="try again in a moment")
        if sum(not run.is_over for run in self._runs.values()) >= RUNS_MAX:
            why = f"begin a run: {RUNS_MAX} runs go on here already"
            return Refusal(code="too_many_runs", message=why, next_step="wait for one of them: casparian status")
        return None

    def _begun_before(self, asked: Asked) -> Refusal | None:
        """Refuse a request that an earlier sentinel has begun: what became of it stands in the log."""
        if self._sentinel.handler.known(_stamp(asked)) is None:
            return None
        why = "begin a run: this request began one before, which ended with the sentinel that carried it out"
        return Refusal(code="begun_before", message=why, next_step="run the same command again to go on")

    def _begin(self, asked: Asked, wanted: StartRun) -> None:
        run = HostedRun(asked.id, digest=_stamp(asked).digest)
        run.name = f"{wanted.parser} of {asked.actor}"
        done = [ticket for ticket, ended in self._runs.items() if ended.is_over and not ended.is_awaited]
        for ticket in done[:-ENDED_RUNS_MAX]:
            del self._runs[ticket]
        self._runs[run.ticket] = run
        thread = threading.Thread(
            target=self._carry_out, args=(run, asked, wanted), name=f"run {run.name}", daemon=True
        )
        self._threads = {ticket: each for ticket, each in self._threads.items() if each.is_alive()}
        self._threads[run.ticket] = thread
        thread.start()

    def _carry_out(self, run: HostedRun, asked: Asked, wanted: StartRun) -> None:
        try:
            session = RunSession(
                self._sentinel,
                _request(wanted),
                actor=asked.actor,
                stamp=_stamp(asked),
                talk=run,
                halt=run.halt,
                limits=_limits(wanted),
            )
            run.finish(session.execute())
        except InterruptedRunError as interrupted:
            if interrupted.report is not None:
                run.note(f"interrupted: {interrupted}")
                run.finish(interrupted.report)
            else:
                run.fail(_interrupted(str(interrupted)))
        except Exception as error:  # whatever it is concerns this run; the asker is told and the others go on
            told = as_cli_error(error)
            if told is None:
                logger.exception("carry out the run %s", run.ticket)
                told = CliError("failed", f"carry out the run: {type(error).__name__}: {error}"[:1000])
            run.fail(told)

    def halt_all(self, reason: str, *, leaves_jobs: bool) -> None:
        """Begin no more runs, and have those that go on stop; wait LEAVE_SECONDS for them at most."""
        with self._lock:
            self._leaving = reason
        for run in self.going_on:
            run.halt.ask(reason, leaves_jobs=leaves_jobs)
        self._join(time.monotonic() + LEAVE_SECONDS)

    def close_when_done(self, tell: Callable[[str], None]) -> None:
        """Begin no more runs and wait for those of others, however long: they were promised to be carried out."""
        with self._lock:
            self._leaving = "the sentinel is leaving"
        for run in self.going_on:
            tell(f"staying for another terminal's run ({run.name}); `casparian start` has runs go on without this one")
        self._join(None)

    def _join(self, deadline: float | None) -> None:
        for thread in list(self._threads.values()):
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        while any(run.is_awaited for run in list(self._runs.values())):  # ends: nobody asks for ever
            time.sleep(AWAIT_TICK_SECONDS)


def _stamp(asked: Asked) -> Stamp:
    return stamp_once(asked.id, msgspec.json.encode(asked))


def _interrupted(summary: str) -> CliError:
    return CliError("interrupted", summary, "run the same command again to go on", exit_code=EXIT_INTERRUPTED)


def _limits(wanted: StartRun) -> JobLimits:
    default = JobLimits()
    return JobLimits(
        memory_bytes_max=wanted.memory_bytes_max or default.memory_bytes_max,
        seconds_max=wanted.seconds_max or default.seconds_max,
        jobs_per_lease=wanted.jobs_per_lease or default.jobs_per_lease,
    )


def _request(wanted: StartRun) -> Request:
    return Request(
        parser=ParserName(wanted.parser),
        own=wanted.own,
        artifact_hash=wanted.artifact_hash,
        inputs=tuple(path_bytes(text) for text in wanted.inputs),
        sink_uri=wanted.sink_uri,
        settings=wanted.settings,
        quarantine=wanted.quarantine,
        remake_lost=wanted.remake_lost,
        priority=wanted.priority,
    )
