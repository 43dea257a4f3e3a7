"""Owns what is known of the executors that are alive. Who holds which lease is the job's to say."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from eventlog.events import (
    CancelAccepted,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobPrioritySet,
    JobQueued,
    JobRequeued,
    JobStarted,
    KeyRevoked,
    KeyTrusted,
    LogForked,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
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
    """An executor that has joined and has not been lost. `draining`: it gets nothing more."""

    joined: ExecutorJoined
    draining: bool = False


HandledEvent = ExecutorJoined | ExecutorDraining | ExecutorLost
HANDLES: frozenset[type[Record]] = frozenset({ExecutorJoined, ExecutorDraining, ExecutorLost})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        KeyTrusted,
        KeyRevoked,
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
        JobPrioritySet,
        ParserPaused,
        ParserResumed,
    }
)


def evolve(executor: Executor | None, event: HandledEvent) -> Executor | None:
    """Return the executor after the event, or None when it is gone."""
    match event:
        case ExecutorJoined():
            return Executor(joined=event)
        case ExecutorDraining():
            return None if executor is None else Executor(joined=executor.joined, draining=True)
        case ExecutorLost():
            return None
        case _:
            assert_never(event)
