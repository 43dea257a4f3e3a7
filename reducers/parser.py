"""Owns what is known of parsers: the artifact that is current for each name."""

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
from eventlog.ids import canonical_hash

DEVELOPMENT = "development"  # among the components of what runs under development


class Parser(Struct, frozen=True, kw_only=True):
    """The current deployment of one parser name; earlier ones live on in the log and the read model.

    `codes` says for each version of a parser that is not built in what its source was: a version means one source.
    Runs under development are not among them, their version says their hash.
    """

    deployed: ParserDeployed
    codes: dict[str, str] = {}


HANDLES: frozenset[type[Record]] = frozenset({ParserDeployed})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        ParserTrusted,
        ParserRevoked,
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


def evolve(parser: Parser | None, event: ParserDeployed) -> Parser:
    """Return the parser after the event: the newest deployment is the current one."""
    match event:
        case ParserDeployed():
            codes = parser.codes if parser is not None else {}
            if not event.builtin and DEVELOPMENT not in event.components:
                codes = {**codes, event.version: code_of(event.components)}
            return Parser(deployed=event, codes=codes)
        case _:
            assert_never(event)


def code_of(components: dict[str, str]) -> str:
    """Return the identity of a parser's source alone: another Python or pyarrow here makes no other version of it."""
    return canonical_hash({name: value for name, value in sorted(components.items()) if name.startswith("file ")})
