"""Owns whom a person trusts: the artifacts of parsers that are not built in and may run."""

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


class Trust(Struct, frozen=True, kw_only=True):
    """One artifact that may run, as a person said."""

    trusted: ParserTrusted


TrustEvent = ParserTrusted | ParserRevoked

HANDLES: frozenset[type[Record]] = frozenset({ParserTrusted, ParserRevoked})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
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
