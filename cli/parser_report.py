"""Owns what is told of parsers: those of the distribution as they are now, a person's own as the home knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from cli.errors import CliError
from cli.home import Home
from cli.own_parser import is_path, read_own
from cli.reading import ask
from eventlog.column_types import type_words
from eventlog.ids import ArtifactHash
from eventlog.schema import OutputSchema
from executors.parser_catalog import ParserPackage, builtin_parsers
from projections import queries
from projections.rows import ParserRow, TrustRow


class ColumnReport(Struct, frozen=True, kw_only=True):
    """One declared column, its type in words; `format` says how text is read as that type, "" for not at all."""

    name: str
    type: str
    nullable: bool
    format: str


class OutputDeclared(Struct, frozen=True, kw_only=True):
    output: str
    mode: str
    columns: tuple[ColumnReport, ...]


class ParserReport(Struct, frozen=True, kw_only=True):
    """One artifact of a parser. `trusted` is null where nobody trusts it; what is not known of it is left empty."""

    parser: str
    version: str
    artifact_hash: str
    builtin: bool
    trusted: Literal["builtin", "asked", "command", "dev", "signed"] | None
    signed_by: str | None = None  # the key by whose signature it runs
    trusted_by: str | None = None
    trusted_at: str | None = None
    reason: str | None = None
    description: str = ""
    file: str = ""
    patterns: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    outputs: tuple[OutputDeclared, ...] = ()

    def trust_words(self) -> str:
        """Return who trusts it, in words."""
        if self.builtin:
            return "built in"
        if self.trusted is None:
            return "not trusted"
        word: str = "for runs with --dev" if self.trusted == "dev" else self.trusted
        if self.signed_by is not None:
            word = f"signed by {self.signed_by}"
        return f"{word}, {self.trusted_by}, {self.trusted_at}"


def known_parsers(home: Home) -> list[ParserReport]:
    """Return the built-in parsers and a person's own that are current or trusted, by name. A new home has none."""
    builtin = [_of_package(package, builtin=True, trust=None) for package in builtin_parsers().values()]
    return sorted([*builtin, *_own_parsers(home)], key=lambda each: (each.parser, each.version))


def find_parser(home: Home, word: str) -> ParserReport:
    """Return the parser that a word names: a built-in one, one that lies there, or the home's own. Raises CliError."""
    if is_path(word):
        own = read_own(word)
        return _of_package(own.package, builtin=False, trust=trusted_artifacts(home).get(own.package.artifact_hash))
    found = [each for each in known_parsers(home) if each.parser == word]
    if not found:
        why = f"show parser {word}: it is neither built in nor known in this home"
        raise CliError("not_found", why, "casparian parser ls, or name its file: casparian parser show ./mine.py")
    return next((each for each in found if each.outputs), found[-1])  # of several, the one that is current


def _own_parsers(home: Home) -> list[ParserReport]:
    if not has_log(home):
        return []
    rows = [row for row in ask(home, queries.parsers) if not row.builtin]
    trusts = trusted_artifacts(home)
    current = [_of_row(row, trusts.pop(row.artifact_hash, None)) for row in rows]
    return [*current, *(_of_trust(trust) for trust in trusts.values() if trust.how != "dev")]


def trusted_artifacts(home: Home) -> dict[ArtifactHash, TrustRow]:
    """Return who trusts which artifact in this home. A new home has nobody."""
    if not has_log(home):
        return {}
    return {row.artifact_hash: row for row in ask(home, queries.trusted_parsers)}


def has_log(home: Home) -> bool:
    return (home.log / "GENESIS.json").exists()


def _of_package(package: ParserPackage, *, builtin: bool, trust: TrustRow | None) -> ParserReport:
    report = ParserReport(
        parser=package.name,
        version=package.version,
        artifact_hash=package.artifact_hash,
        builtin=builtin,
        trusted="builtin" if builtin else None,
        description=package.description,
        file="" if builtin else str(Path(package.file)),
        patterns=package.patterns,
        settings=package.settings,
        outputs=_declared(package.outputs),
    )
    return report if trust is None else _trusted(report, trust)


def _of_row(row: ParserRow, trust: TrustRow | None) -> ParserReport:
    report = ParserReport(
        parser=row.parser,
        version=row.version,
        artifact_hash=row.artifact_hash,
        builtin=False,
        trusted=None,
        file=row.file,
        settings=msgspec.json.decode(row.settings, type=dict[str, str]),
        outputs=_declared(msgspec.json.decode(row.outputs, type=tuple[OutputSchema, ...])),
    )
    return report if trust is None else _trusted(report, trust)


def _of_trust(trust: TrustRow) -> ParserReport:
    report = ParserReport(
        parser=trust.parser, version=trust.version, artifact_hash=trust.artifact_hash, builtin=False, trusted=None
    )
    return _trusted(report, trust)


def _trusted(report: ParserReport, trust: TrustRow) -> ParserReport:
    return msgspec.structs.replace(
        report,
        trusted=trust.how,
        signed_by=_signer(trust),
        trusted_by=trust.trusted_by,
        trusted_at=trust.trusted_at,
        reason=trust.reason,
    )


def _signer(trust: TrustRow) -> str | None:
    from cli.parser_signature import key_word
    from eventlog.note import parse_verifying_key

    return key_word(parse_verifying_key(trust.key)) if trust.key else None


def _declared(outputs: tuple[OutputSchema, ...]) -> tuple[OutputDeclared, ...]:
    return tuple(
        OutputDeclared(
            output=output.output,
            mode=output.mode,
            columns=tuple(
                ColumnReport(
                    name=column.name, type=type_words(column.type), nullable=column.nullable, format=column.format
                )
                for column in output.columns
            ),
        )
        for output in outputs
    )
