"""Owns what is known of open runs: what was asked, what was planned, how its own jobs stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from eventlog.events import (
    CancelAccepted,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    ExecutorJoined,
    ExecutorLost,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    JobStarted,
    LogForked,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserRevoked,
    ParserTrusted,
    PromotionAbandoned,
    QuarantineDeleted,
    QuarantineRecorded,
    Record,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    SchemaMismatchFound,
    WriterOpened,
)


class Run(Struct, frozen=True, kw_only=True):
    """An open run; `planned` is None while its files are being read, `open_jobs` are its own that have not ended."""

    started: RunStarted
    planned: RunPlanned | None
    queued_jobs: int
    open_jobs: int


HandledEvent = (
    RunStarted | RunPlanned | RunFinished | RunInterrupted | JobQueued | JobCompleted | JobFailed | JobAborted
)
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        LogForked,
        LogRecovered,
        LogRepaired,
        ClockStepped,
        CommandRefused,
        ParserDeployed,
        ParserTrusted,
        ParserRevoked,
        OutputsReused,
        OutputsLost,
        FilesSeen,
        FilesRefused,
        ExecutorJoined,
        ExecutorLost,
        JobDispatched,
        JobStarted,
        JobDeclined,
        JobRequeued,
        CommitRefused,
        OutputsCommitted,
        MaterializationRecorded,
        CancelAccepted,
        PromotionAbandoned,
        QuarantineDeleted,
        QuarantineRecorded,
        SchemaMismatchFound,
    }
)


def evolve(run: Run | None, event: HandledEvent) -> Run | None:
    """Return the run after the event, or None when it is over."""
    if type(event) is RunStarted:
        return Run(started=event, planned=None, queued_jobs=0, open_jobs=0)
    # A job may be of a run that was interrupted: it goes on without its run.
    return None if run is None else _STEPS[type(event)](run, event)


def _planned(run: Run, event: RunPlanned) -> Run:
    return Run(started=run.started, planned=event, queued_jobs=run.queued_jobs, open_jobs=run.open_jobs)


def _job_queued(run: Run, _event: JobQueued) -> Run:
    return Run(started=run.started, planned=run.planned, queued_jobs=run.queued_jobs + 1, open_jobs=run.open_jobs + 1)


def _job_ended(run: Run, _event: JobCompleted | JobFailed | JobAborted) -> Run:
    return Run(started=run.started, planned=run.planned, queued_jobs=run.queued_jobs, open_jobs=run.open_jobs - 1)


def _over(_run: Run, _event: RunFinished | RunInterrupted) -> None:
    return None


# What each event does to a run that is open; a look-up, as in reducers/job.py.
_STEPS: dict[type[Record], Callable[[Run, Any], Run | None]] = {
    RunPlanned: _planned,
    JobQueued: _job_queued,
    JobCompleted: _job_ended,
    JobFailed: _job_ended,
    JobAborted: _job_ended,
    RunFinished: _over,
    RunInterrupted: _over,
}
HANDLES: frozenset[type[Record]] = frozenset({RunStarted, *_STEPS})
