"""Owns what must be so of a run's parser before the run begins: its name, its artifact, its columns.

Whether the parser is trusted, and which ones there are, is decided in the log.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from cli.errors import EXIT_USAGE, CliError
from eventlog.ids import ParserName
from executors.declared_schema import SchemaTextError, resolve_outputs

if TYPE_CHECKING:
    from cli.sentinel import Sentinel


def require_named(sentinel: Sentinel, parser: ParserName) -> None:
    """Raise CliError for the bare name of a parser that is not built in: what lies in its file may be another."""
    known = sentinel.handler.inspect(lambda state: state.parsers.get(parser))
    if known is not None and not known.deployed.builtin:
        raise CliError(
            "parser_needs_path",
            f"run {parser}: it is no built-in parser, so it is named by its file",
            f"casparian run {shlex.quote(known.deployed.file)} FILE",
            exit_code=EXIT_USAGE,
        )


def require_same_artifact(sentinel: Sentinel, parser: ParserName, *, own: str, artifact_hash: str) -> None:
    """Raise CliError if another run has put another artifact in the place of a person's own that was admitted.

    `own` is how the person named it.
    """
    package = sentinel.packages.get(parser)
    if package is None or package.artifact_hash != artifact_hash:
        raise CliError(
            "parser_changed",
            f"run {own}: another run has brought another version of {parser} since",
            "run the same command again",
        )


def require_declared(sentinel: Sentinel, parser: ParserName, settings: dict[str, str]) -> None:
    """Raise CliError if the parser leaves its columns to a setting that does not declare any."""
    package = sentinel.packages.get(parser)
    if package is None:
        return  # which parsers there are is a decision
    try:
        resolve_outputs(package, settings)
    except SchemaTextError as error:
        next_step = f"casparian schema infer FILE --parser {package.name}"
        raise CliError("no_columns", str(error), next_step, exit_code=EXIT_USAGE) from error
