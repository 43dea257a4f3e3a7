"""Owns what is known of parsers: the artifact that is current for each name."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

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
    LogForked,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
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


class Parser(Struct, frozen=True, kw_only=True):
    """The current deployment of one parser name; earlier ones live on in the log and the read model."""

    deployed: ParserDeployed


HANDLES: frozenset[type[Record]] = frozenset({ParserDeployed})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        LogForked,
        LogRecovered,
        LogRepaired,
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


def evolve(parser: Parser | None, event: ParserDeployed) -> Parser:
    """Return the parser after the event: the newest deployment is the current one."""
    match event:
        case ParserDeployed():
            return Parser(deployed=event)
        case _:
            assert_never(event)
