"""The verbs of `schema`: what columns files have, and the schema files that declare them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.options import JsonOption, complete_parser, parse_settings
from cli.plain import PlainCommand, PlainGroup
from cli.render import out, out_json, talk

if TYPE_CHECKING:
    from executors.parser_catalog import ParserPackage

app = typer.Typer(
    cls=PlainGroup, no_args_is_help=True, help="Columns and schemas. Example: `casparian schema infer ./trades.csv`"
)


@app.callback()
def main() -> None:
    """Group the verbs that speak of columns."""


@app.command("infer", cls=PlainCommand)
def infer(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files that have the same columns.")],
    parser: Annotated[
        str | None,
        typer.Option("--parser", autocompletion=complete_parser, help="csv or jsonl. Default: by the files' names."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write the schema there; never over a file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file that --out names.")] = False,
    table: Annotated[str, typer.Option("--table", metavar="NAME", help="What the table is to be called.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the parser.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Infer the types of columns by elimination, and show what speaks against each other type.

    Looks at 100,000 rows at most. What two readings are left for stays text, with the question and its answers.
    Example: `casparian schema infer ./trades.csv --out trades.schema.json`

    Exit codes: 0 inferred, also with questions left, 1 a file cannot be looked at, 2 wrong usage.
    """
    from cli import inferring
    from cli.given_settings import refuse_wrong
    from executors.infer import schema_file

    package = _package(parser, files)
    path = None if target is None else Path.cwd() / target
    if path is not None and path.exists() and not force:
        why = f"write the schema to {path}: it is there already"
        raise CliError("exists", why, "name another file, or add --force", exit_code=EXIT_USAGE)
    given = parse_settings(settings or [])
    _refuse_unknown(package, given)
    refuse_wrong(package, given)
    found = inferring.infer(package, [os.fsencode(name) for name in files], given)
    text = inferring.schema_text(found, output=table)
    _check(text, table)
    if path is not None:
        path.write_text(text, encoding="utf-8")
    if as_json:
        declared = schema_file(found.findings, output=table)
        out_json(inferring.as_json(found, declared, "" if path is None else str(path)))
        return
    for line in inferring.told_of_inference(found):
        out(line)
    if path is None:
        out()
        out(text.removesuffix("\n"))
    else:
        talk(f"written: {path}; to use it: casparian run {package.name} FILE --schema {target}")


def _package(name: str | None, files: list[str]) -> ParserPackage:
    """Return the parser that is named, else the one of those without own columns that claims every file's name."""
    from fnmatch import fnmatch

    from executors.parser_catalog import builtin_parsers

    packages = {str(key): package for key, package in builtin_parsers().items() if package.columns_from}
    if name is not None:
        chosen = [packages[name]] if name in packages else []
    else:
        names = [Path(file).name.lower() for file in files]
        chosen = [
            package
            for package in packages.values()
            if all(any(fnmatch(each, pattern) for pattern in package.patterns) for each in names)
        ]
    if len(chosen) != 1:
        known = " or ".join(packages)
        of_name = f"{name} is not one of {', '.join(packages)}, which leave the columns open"
        of_files = f"its name, or that of another, does not say whether {known} is to read it"
        why = f"infer columns of {files[0]}: {of_files if name is None else of_name}"
        raise CliError("usage", why, f"--parser {next(iter(packages))}", exit_code=EXIT_USAGE)
    return chosen[0]


def _refuse_unknown(package: ParserPackage, given: dict[str, str]) -> None:
    own = sorted(package.settings.keys() - set(package.columns_from.values()))
    unknown = sorted(given.keys() - set(own))
    if unknown:
        why = f"infer columns with {package.name}: it has no setting named {unknown[0]!r} for a look"
        raise CliError("unknown_setting", why, f"it has: {', '.join(own) or 'none'}", exit_code=EXIT_USAGE)


def _check(text: str, table: str) -> None:
    """Raise CliError for a name that no table can have, before anything is written."""
    from executors.declared_schema import SchemaTextError, canonical_text

    try:
        canonical_text(text, doing=f"declare the table {table or 'of these files'}")
    except SchemaTextError as error:
        raise CliError("bad_schema", str(error), "--table trades", exit_code=EXIT_USAGE) from error
