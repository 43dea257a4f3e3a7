"""Owns whom a person trusts: the artifacts of parsers that are not built in and may run."""

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


class Trust(Struct, frozen=True, kw_only=True):
    """One artifact that may run, as a person said."""

    trusted: ParserTrusted


TrustEvent = ParserTrusted | ParserRevoked

HANDLES: frozenset[type[Record]] = frozenset({ParserTrusted, ParserRevoked})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        KeyTrusted,
        KeyRevoked,
        ParserDeployed,
        QuarantineDeleted,
        QuarantineRecorded,
        SchemaMismatchFound,
        LogForked,
        LogRecovered,
        LogRepaired,
        ClockStepped,
        CommandRefused,
        OutputsReused,
        OutputsLost,
        RunStarted,
        RunPlanned,
        RunFinished,
        RunInterrupted,
        FilesSeen,
        FilesRefused,
        ExecutorJoined,
        ExecutorDraining,
        ExecutorLost,
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


def evolve(_trust: Trust | None, event: TrustEvent) -> Trust | None:
    """Return the trust in an artifact after the event: what was said last counts."""
    match event:
        case ParserTrusted():
            return Trust(trusted=event)
        case ParserRevoked():
            return None
        case _:
            assert_never(event)
