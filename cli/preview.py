"""The verb `preview`: what a parser would make of one file, judged as in a run, with nothing written anywhere."""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption, complete_parser
from cli.render import out_json

if TYPE_CHECKING:
    from cli.named_parser import Prepared
    from eventlog.events import QuarantinePolicy
    from executors.parser_catalog import ParserPackage
    from executors.trial import Trial

ROWS_SHOWN_MAX = 1000

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="The file to read.")]
ParserOption = Annotated[
    str,
    typer.Option(
        "--parser",
        metavar="PARSER",
        help="A parser's name, e.g. evtx, or the file or folder of your own, e.g. ./mine.py.",
        autocompletion=complete_parser,
    ),
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the parser.")
]
SchemaOption = Annotated[
    str | None,
    typer.Option("--schema", metavar="FILE", help="Declare the columns, as `schema infer` writes them."),
]
DevOption = Annotated[
    bool, typer.Option("--dev", help="Run a parser of your own that nobody trusts yet. Nothing is recorded.")
]


def preview(
    file: FileArgument,
    parser: ParserOption,
    rows: Annotated[
        int,
        typer.Option("--rows", min=0, max=ROWS_SHOWN_MAX, metavar="N", help="Rows of each output to show."),
    ] = 20,
    settings: SettingsOption = None,
    schema: SchemaOption = None,
    output: Annotated[str | None, typer.Option("--output", metavar="NAME", help="Show only this output.")] = None,
    dev: DevOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a parser would make of one file: columns, first rows, what would be rejected, what is accounted for.

    The file is judged as in a run, up to 100,000 rows of it; nothing is written, not even a home is made.

    Example: `casparian preview ./case/Security.evtx --parser evtx`

    Exit codes: 0 what was looked at is clean, 1 the parser fails, gives other columns than it declares, or its account
    does not add up, 2 wrong usage, 3 rows would be rejected or units could not be read, 4 the parser is not trusted.
    """
    from cli.inferring import settings_with_schema
    from cli.named_parser import parser_to_run, with_columns
    from cli.preview_report import report_of
    from cli.preview_show import show_preview

    place = find_home(home)
    package = parser_to_run(place, parser, dev=dev)
    given = settings_with_schema(settings or [], schema)
    check_file(file)
    prepared = with_columns(package, [file], given)
    _check_output(prepared.package, output)
    trial = tried(prepared, file, rows_shown=rows)
    report = report_of(prepared.package, file, trial, policy=_policy(place, package, dev=dev), output=output)
    if as_json:
        out_json(report)
    else:
        run = shlex.join(["casparian", "run", *(["--dev"] if dev else []), parser, file, *_set_words(settings, schema)])
        show_preview(report, place, run=run, schema=shlex.join(["casparian", "schema", "show", parser]))
    raise typer.Exit(report.exit)


def tried(prepared: Prepared, file: str, *, rows_shown: int) -> Trial:
    """Run a parser on a file and keep nothing. Raises CliError where no process can be had."""
    from cli.guest_errors import not_started
    from executors.guest.errors import GuestStartError
    from executors.trial import try_parser

    package, source = prepared.package, os.fsencode(os.path.abspath(file))  # noqa: PTH100  as a run scans it
    try:
        return try_parser(package, source, prepared.settings, rows_shown=rows_shown)
    except GuestStartError as error:
        raise not_started(error, doing=f"try {package.name} on {file}") from error


def check_file(file: str) -> None:
    """Raise CliError for what is no file that can be read."""
    try:
        found = os.stat(file)  # noqa: PTH116  as the guest opens it
        if stat.S_ISREG(found.st_mode):
            with open(file, "rb"):  # noqa: PTH123
                return
    except OSError as error:
        why = f"read {file}: {error.strerror}"
        raise CliError("no_such_input", why, "name a file that exists and can be read") from error
    raise CliError("no_such_input", f"read {file}: it is no file", "name one file, not a folder")


def _check_output(package: ParserPackage, output: str | None) -> None:
    names = [schema.output for schema in package.outputs]
    if output is not None and output not in names:
        why = f"show the output {output}: {package.name} declares none of that name"
        raise CliError("usage", why, f"it declares: {', '.join(names)}", exit_code=EXIT_USAGE)


def _policy(place: Home, package: ParserPackage, *, dev: bool) -> QuarantinePolicy:
    from cli.config import parser_words, quarantine_words
    from commands.quarantine import cascade, trying

    return cascade((quarantine_words(place), parser_words(package), trying(dev=dev)))[0]


def _set_words(settings: list[str] | None, schema: str | None) -> list[str]:
    declared = ["--schema", schema] if schema is not None else []
    return [*(word for setting in settings or [] for word in ("--set", setting)), *declared]
