"""Owns what is known of parsers: the artifact that is current for each name, and whether its jobs go well.

Which failures speak against a parser is a decision (commands/parser.py): JobFailed has it, and it is only counted here.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct, structs

from eventlog.events import (
    JobCompleted,
    JobFailed,
    OutputsCommitted,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
    Record,
)
from eventlog.ids import SourceHash, canonical_hash

DEVELOPMENT = "development"  # among the components of what runs under development


class Parser(Struct, frozen=True, kw_only=True):
    """The current deployment of one parser name; earlier ones live on in the log and the read model.

    `codes` says for each version of a parser that is not built in what its source was: a version means one source.
    Runs under development are not among them, their version says their hash. `failures` are those of the current
    artifact that speak against it, since its last success, `failed` the contents that ever did; while it is `paused`,
    none of its jobs is handed out.
    """

    deployed: ParserDeployed
    codes: dict[str, str] = {}
    failures: int = 0
    failed: tuple[SourceHash, ...] = ()
    paused: ParserPaused | None = None


FAILED_KEPT_MAX = 1000  # contents of one artifact; a thousand failures back, one is told of anew

JobEnd = OutputsCommitted | JobCompleted | JobFailed
HandledEvent = ParserDeployed | ParserPaused | ParserResumed
HANDLES: frozenset[type[Record]] = frozenset(
    {ParserDeployed, ParserPaused, ParserResumed, OutputsCommitted, JobCompleted, JobFailed}
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


def after_job(parser: Parser, event: JobEnd, source: SourceHash) -> Parser:
    """Return the parser after a job of its current artifact has ended, or may publish what the parser made of `source`.

    The latter counts already: what is yet to happen speaks of the target, and others of its lease may fail meanwhile.
    """
    match event:
        case OutputsCommitted() if event.status == "rejected":
            return parser
        case OutputsCommitted() | JobCompleted():
            return structs.replace(parser, failures=0) if parser.failures else parser
        case JobFailed():
            if not event.against_parser:
                return parser
            failed = (*parser.failed[-FAILED_KEPT_MAX + 1 :], source)
            return structs.replace(parser, failures=event.against_parser, failed=failed)
        case _:
            assert_never(event)


def code_of(components: dict[str, str]) -> str:
    """Return the identity of a parser's source alone: another Python or pyarrow here makes no other version of it."""
    return canonical_hash({name: value for name, value in sorted(components.items()) if name.startswith("file ")})
