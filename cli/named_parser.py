"""Owns what a PARSER word of a verb that changes nothing names: a built-in parser, a file, or the home's own.

To look at a parser nobody need trust it. To have its code run somebody must, in this home; or `--dev` says that the
person at the keyboard wants to try out exactly what lies there.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from msgspec import Struct

from cli.errors import EXIT_REFUSED, EXIT_USAGE, CliError
from cli.given_settings import refuse_wrong
from cli.home import Home
from cli.kept_parsers import load_kept
from cli.own_parser import is_path, read_own
from cli.parser_report import has_log, trusted_artifacts
from cli.reading import reading
from cli.render import talk
from executors import parser_catalog
from executors.declared_schema import SchemaTextError, resolve_outputs
from executors.parser_catalog import ParserPackage
from projections import queries


class Prepared(Struct, frozen=True, kw_only=True):
    """A parser with the outputs and settings with which it is to read files."""

    package: ParserPackage
    settings: dict[str, str]


def named_parser(home: Home, word: str) -> ParserPackage:
    """Return the parser that a word names. Runs none of it. Raises CliError."""
    if is_path(word):
        return read_own(word).package
    builtin = {str(name): package for name, package in parser_catalog.builtin_parsers().items()}
    found = builtin.get(word) or _kept(home, word)
    if found is None:
        known = ", ".join(sorted(builtin))
        why = f"find the parser {word}: it is not built in, and this home keeps none of that name"
        raise CliError("unknown_parser", why, f"name one of {known}, or the file of your own: ./mine.py")
    return found


def parser_to_run(home: Home, word: str, *, dev: bool) -> ParserPackage:
    """Return the parser that a word names, if its code may run. Raises CliError; what nobody trusts is refused."""
    if dev and not is_path(word):
        why = f"try out {word}: only a parser that is named by its file can be under development"
        raise CliError("usage", why, "--dev --parser ./my_parser.py", exit_code=EXIT_USAGE)
    if dev:
        return read_own(word, dev=True).package
    package = named_parser(home, word)
    builtin = parser_catalog.builtin_parsers().get(package.name)
    if builtin == package or package.artifact_hash in trusted_artifacts(home) or _signed(home, word, package):
        return package
    raise CliError(
        "untrusted_parser",
        f"run the code of {word} ({package.name} {package.version}, artifact {package.artifact_hash}): nobody has said "
        "in this home that it may",
        f'add --dev to try it out, or: casparian parser trust {shlex.quote(word)} --reason "..."',
        exit_code=EXIT_REFUSED,
    )


def _signed(home: Home, word: str, package: ParserPackage) -> bool:
    """Say whether a run would let this parser in by its signature. Raises CliError for one that is not right."""
    if not is_path(word) or not has_log(home):
        return False
    from cli.parser_signature import read_signature, signer
    from eventlog.note import parse_verifying_key

    own = read_own(word)
    note = read_signature(package, own.path)
    if note is None:
        return False
    with reading(home) as reader:
        keys = [row.key for row in queries.keys_trusted_for(reader.connection, package.name)]
    return signer(note, map(parse_verifying_key, keys), own.path) is not None


def with_columns(package: ParserPackage, files: Sequence[str], given: dict[str, str]) -> Prepared:
    """Return the parser with the outputs that it has under these settings, and all of its settings.

    Columns that it leaves to a run, and that none are declared for, are inferred from the files, as a run does. Raises
    CliError.
    """
    from cli import inferring

    settings = _all_settings(package, given)
    if wanting := [name for name in package.columns_from.values() if not settings[name]]:
        found = inferring.infer(package, [os.fsencode(file) for file in files], settings)
        for line in inferring.told_of_run(found):
            talk(line)
        settings |= dict.fromkeys(wanting, inferring.canonical(found))
    try:
        return Prepared(package=resolve_outputs(package, settings), settings=settings)
    except SchemaTextError as error:
        next_step = f"casparian schema infer FILE --parser {package.name}"
        raise CliError("no_columns", str(error), next_step, exit_code=EXIT_USAGE) from error


def _all_settings(package: ParserPackage, given: dict[str, str]) -> dict[str, str]:
    """Return every setting of the parser with its value. Raises CliError for one that it does not have."""
    refuse_wrong(package, given)
    return {**package.settings, **given}


def _kept(home: Home, name: str) -> ParserPackage | None:
    """Return the current artifact of a person's own parser, as the home keeps it."""
    if not has_log(home):
        return None
    with reading(home) as reader:
        rows = [row for row in queries.parsers(reader.connection) if row.parser == name and not row.builtin]
    return next((kept for row in rows if (kept := load_kept(home, row.parser, row.artifact_hash))), None)
