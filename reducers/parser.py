"""Owns what is known of parsers: the artifact that is current for each name, and whether its jobs go well.

Which failures speak against a parser is here, because the same rule counts them and decides on the pause. A case may
hold hundreds of damaged files in a row, each of which fails, rightly, because of its own bytes; pausing a parser for
those would keep the sound ones from being read. So a failure counts that is a fault of the parser whatever the file is
like: a cause that neither it nor the host knows, twice (it crashed, or raised what it does not declare); other columns,
frames or outputs than declared; a sheet that does not add up. What it says of a file on purpose (PermanentError) does
not count, nor a file of which it says nothing, nor what is the doing of the machine (memory, time, disks, executors),
of a policy, a target or a person. Such a failure does not end a series either: that takes a success, another artifact,
or a person's word.
"""

from __future__ import annotations

from typing import Final, assert_never

from msgspec import Struct, structs

from eventlog.events import (
    CancelAccepted,
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
from eventlog.ids import canonical_hash

DEVELOPMENT = "development"  # among the components of what runs under development


class Parser(Struct, frozen=True, kw_only=True):
    """The current deployment of one parser name; earlier ones live on in the log and the read model.

    `codes` says for each version of a parser that is not built in what its source was: a version means one source.
    Runs under development are not among them, their version says their hash. `failures` are those of the current
    artifact that speak against it, since its last success; while it is `paused`, none of its jobs is handed out.
    """

    deployed: ParserDeployed
    codes: dict[str, str] = {}
    failures: int = 0
    paused: ParserPaused | None = None


# What a parser does wrong whatever the file is like, by the words of executors/ and commands/job.py.
BROKEN_PROMISES: Final = frozenset(
    {
        "bad_frame",
        "bad_output",
        "bad_statement",
        "outputs_differ",
        "reserved_column",
        "schema_mismatch",
        "unknown_output",
    }
)

JobEnd = JobCompleted | JobFailed
HandledEvent = ParserDeployed | ParserPaused | ParserResumed
HANDLES: frozenset[type[Record]] = frozenset({ParserDeployed, ParserPaused, ParserResumed, JobCompleted, JobFailed})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        KeyTrusted,
        KeyRevoked,
        ParserTrusted,
        ParserRevoked,
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
        JobPrioritySet,
        CancelAccepted,
        JobAborted,
        PromotionAbandoned,
        QuarantineDeleted,
        QuarantineRecorded,
        SchemaMismatchFound,
    }
)


def evolve(parser: Parser | None, event: HandledEvent) -> Parser | None:
    """Return the parser after the event: the newest deployment is the current one, and its jobs are counted anew."""
    match event:
        case ParserDeployed():
            codes = parser.codes if parser is not None else {}
            if not event.builtin and DEVELOPMENT not in event.components:
                codes = {**codes, event.version: code_of(event.components)}
            return Parser(deployed=event, codes=codes)
        case ParserPaused() | ParserResumed():
            if parser is None or parser.deployed.artifact_hash != event.artifact_hash:
                return parser
            paused = event if isinstance(event, ParserPaused) else None
            return structs.replace(parser, failures=paused.failures if paused is not None else 0, paused=paused)
        case _:
            assert_never(event)


def after_job(parser: Parser, event: JobEnd) -> Parser:
    """Return the parser after a job of its current artifact has ended."""
    match event:
        case JobCompleted():
            return structs.replace(parser, failures=0) if parser.failures else parser
        case JobFailed():
            return structs.replace(parser, failures=parser.failures + 1) if speaks_against(event) else parser
        case _:
            assert_never(event)


def speaks_against(failed: JobFailed) -> bool:
    """Say whether a job failed in a way that speaks against its parser, and not of its file or of the machine."""
    if failed.failure == "accounting":
        return failed.kind != "nothing_said"  # the file may be empty
    return failed.failure == "unknown" or failed.kind in BROKEN_PROMISES


def code_of(components: dict[str, str]) -> str:
    """Return the identity of a parser's source alone: another Python or pyarrow here makes no other version of it."""
    return canonical_hash({name: value for name, value in sorted(components.items()) if name.startswith("file ")})
