"""The verbs `schema show` and `schema diff`: what a parser declares, and in what it is not so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from cli.errors import EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, CliError
from cli.home import find_home
from cli.options import HomeOption, JsonOption, complete_parser
from cli.preview import DevOption, SchemaOption, SettingsOption
from cli.render import count, fitted, out, out_json, printable, table

if TYPE_CHECKING:
    from cli.schema_compare import Compared
    from executors.parser_catalog import ParserPackage

ParserArgument = Annotated[
    str,
    typer.Argument(
        metavar="PARSER",
        help="A parser's name, e.g. evtx, or the file or folder of your own, e.g. ./mine.py.",
        autocompletion=complete_parser,
    ),
]


class ShownColumn(Struct, frozen=True, kw_only=True):
    """A declared column: its type in words and as DuckDB calls it; `format` says how text is read as that type."""

    name: str
    type: str
    nullable: bool
    format: str
    duckdb_type: str


class ShownOutput(Struct, frozen=True, kw_only=True):
    """A declared output. `columns_from` is the setting in which a run declares its columns, "" for none."""

    output: str
    mode: str
    schema_hash: str
    columns_from: str
    columns: tuple[ShownColumn, ...]


def show(parser: ParserArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the columns that a parser declares: type, nulls, how text is read, what DuckDB calls it. Runs no code of it.

    Example: `casparian schema show evtx`

    Exit codes: 0 it is shown, 1 there is no such parser.
    """
    from cli.named_parser import named_parser

    package = named_parser(find_home(home), parser)
    outputs = _outputs(package)
    if as_json:
        out_json({"parser": package.name, "version": package.version, "outputs": outputs})
        return
    out(printable(f"parser {package.name} {package.version}"))
    for output in outputs:
        out()
        out(f"output {output.output} ({output.mode})")
        if output.columns_from:
            out(f"  each run declares its columns, in the setting {output.columns_from}: casparian schema infer FILE")
            continue
        rows = [
            (each.name, each.type, "" if each.nullable else "never null", each.format, each.duckdb_type)
            for each in output.columns
        ]
        for line in table(("column", "type", "", "text", "duckdb"), rows):
            out(f"  {line}")


def _outputs(package: ParserPackage) -> tuple[ShownOutput, ...]:
    from eventlog.column_types import duckdb_type, type_words
    from eventlog.schema import schema_hash

    return tuple(
        ShownOutput(
            output=schema.output,
            mode=schema.mode,
            schema_hash=schema_hash(schema) if schema.columns else "",
            columns_from=package.columns_from.get(schema.output, ""),
            columns=tuple(
                ShownColumn(
                    name=column.name,
                    type=type_words(column.type),
                    nullable=column.nullable,
                    format=column.format,
                    duckdb_type=duckdb_type(column.type),
                )
                for column in schema.columns
            ),
        )
        for schema in package.outputs
    )


def diff(
    parser: ParserArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="What the parser gives for these. Default: what is recorded."),
    ] = None,
    settings: SettingsOption = None,
    schema: SchemaOption = None,
    dev: DevOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold what a parser declares against what it gives for files or, without files, against what is recorded of it.

    Recorded are the published tables of its outputs, and the columns for which its jobs were refused. A file is judged
    as `casparian preview` does; nothing is written.

    Example: `casparian schema diff evtx ./case/Security.evtx`

    Exit codes: 0 no difference, 1 it cannot be compared, 2 wrong usage, 3 there are differences, 4 the parser is not
    trusted.
    """
    from cli.inferring import settings_with_schema
    from cli.schema_compare import compare_files, compare_recorded

    place = find_home(home)
    if files:
        compared = compare_files(place, parser, files, settings_with_schema(settings or [], schema), dev=dev)
    elif settings or schema or dev:
        why = (
            "compare with what is recorded: --set, --schema and --dev are for a parser that runs, and no file is named"
        )
        raise CliError("usage", why, f"casparian schema diff {parser} FILE", exit_code=EXIT_USAGE)
    else:
        compared = compare_recorded(place, parser)
    if as_json:
        out_json(compared)
    else:
        _show_compared(compared)
    raise typer.Exit(EXIT_PARTIAL if compared.differences else EXIT_OK)


def _show_compared(compared: Compared) -> None:
    rows = [
        (each.output, each.column, each.kind, each.declared, each.observed, fitted(each.where))
        for each in compared.differences
    ]
    if rows:
        for line in table(("output", "column", "difference", "declared", "observed", "where"), rows):
            out(line)
    with_what = ", ".join(
        count(number, what)
        for what, number in (("file", compared.files), ("table", compared.tables), ("refused job", compared.jobs))
        if number
    )
    found = count(len(rows), "difference") if rows else "no difference"
    parser = printable(f"{compared.parser} {compared.version}")
    out(f"{parser} compared with {with_what}: {found}")
