"""Owns what is known of the executors that are alive. Who holds which lease is the job's to say."""

from __future__ import annotations

from typing import assert_never

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


class Executor(Struct, frozen=True, kw_only=True):
    """An executor that has joined and has not been lost."""

    joined: ExecutorJoined


HandledEvent = ExecutorJoined | ExecutorLost
HANDLES: frozenset[type[Record]] = frozenset({ExecutorJoined, ExecutorLost})
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
        RunStarted,
        RunPlanned,
        RunFinished,
        RunInterrupted,
        FilesSeen,
        FilesRefused,
        JobQueued,
        JobDispatched,
        JobStarted,
        JobDeclined,
        JobRequeued,
        CommitRefused,
        OutputsCommitted,
        MaterializationRecorded,
        JobCompleted,
        JobFailed,
        CancelAccepted,
        JobAborted,
        PromotionAbandoned,
        QuarantineDeleted,
        QuarantineRecorded,
        SchemaMismatchFound,
    }
)


def evolve(executor: Executor | None, event: HandledEvent) -> Executor | None:
    """Return the executor after the event, or None when it is gone."""
    match event:
        case ExecutorJoined():
            return Executor(joined=event)
        case ExecutorLost():
            return None
        case _:
            assert_never(event)
