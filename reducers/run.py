"""Owns what is known of open runs: what was asked, what was planned, how its own jobs stand."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventlog.events import (
    CancelAccepted,
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
    LogRecovered,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    PromotionAbandoned,
    Record,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    WriterOpened,
)
from eventlog.ids import RunId


class Run(Struct, frozen=True, kw_only=True):
    """An open run; `planned` is None while its files are being read, `open_jobs` are its own that have not ended."""

    started: RunStarted
    planned: RunPlanned | None
    queued_jobs: int
    open_jobs: int


HandledEvent = (
    RunStarted | RunPlanned | RunFinished | RunInterrupted | JobQueued | JobCompleted | JobFailed | JobAborted
)
HANDLES: frozenset[type[Record]] = frozenset(
    {RunStarted, RunPlanned, RunFinished, RunInterrupted, JobQueued, JobCompleted, JobFailed, JobAborted}
)
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        LogRecovered,
        CommandRefused,
        ParserDeployed,
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
    }
)


def run_of(event: HandledEvent) -> RunId:
    """Return the run that an event of this noun speaks of."""
    return event.run


def evolve(run: Run | None, event: HandledEvent) -> Run | None:
    """Return the run after the event, or None when it is over."""
    match event:
        case RunStarted():
            return Run(started=event, planned=None, queued_jobs=0, open_jobs=0)
        case RunFinished() | RunInterrupted():
            return None
    if run is None:  # the job of a run that was interrupted: it goes on without its run
        return None
    match event:
        case RunPlanned():
            return replace(run, planned=event)
        case JobQueued():
            return replace(run, queued_jobs=run.queued_jobs + 1, open_jobs=run.open_jobs + 1)
        case JobCompleted() | JobFailed() | JobAborted():
            return replace(run, open_jobs=run.open_jobs - 1)
        case _:
            assert_never(event)
