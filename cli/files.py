"""The verb `files`: what was seen in the case."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption, LimitOption
from cli.reading import ask
from cli.render import fitted, out, out_json, printable, size, table, talk

if TYPE_CHECKING:
    from projections.queries import FileState


def files(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="With --passed-over: the folders of the run.")
    ] = None,
    parser: Annotated[
        str | None,
        typer.Option("--passed-over", metavar="PARSER", help="Instead the names in folders that it does not claim."),
    ] = None,
    limit: LimitOption = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the files that runs have met, the last seen first, with the hash of their content.

    With --passed-over, what a run of that parser on these folders would not read, because of its name, as they are now.

    Example: `casparian files --limit 100`

    Exit codes: 0 they are listed, 1 there is no such parser or nothing was run, 2 folders without --passed-over, it
    without folders, or one that does not exist.
    """
    from projections import queries

    if (parser is None) != (not paths):
        why = "list files: --passed-over PARSER and the folders to look at belong together"
        raise CliError("usage", why, "casparian files --passed-over evtx ./case", exit_code=EXIT_USAGE)
    if parser is not None:
        _show_passed_over(find_home(home), parser, paths or [], limit=limit, as_json=as_json)
        return
    rows = ask(find_home(home), queries.files, limit=limit + 1)
    show_files(rows, limit=limit, as_json=as_json)


def _show_passed_over(home: Home, word: str, paths: Sequence[str], *, limit: int, as_json: bool) -> None:
    from itertools import islice

    from cli.named_parser import named_parser
    from executors.scanner import passed_over

    package = named_parser(home, word)
    if missing := [path for path in paths if not os.path.lexists(path)]:
        why = f"look for names that {package.name} passes over: {', '.join(missing)}: no such file or folder"
        raise CliError("no_such_input", why, "name the folders of the run", exit_code=EXIT_USAGE)
    found = passed_over([os.fsencode(path) for path in paths], patterns=package.patterns)
    shown = [each.path for each in islice(found, limit)]
    more = sum(1 for _each in found)
    if as_json:
        out_json({"passed_over": shown, "total": len(shown) + more, "patterns": package.patterns})
        return
    for path in shown:
        out(fitted(printable(path)))
    if more:
        talk(f"only {limit} of {limit + more:,} names are shown; --limit shows more")
    if not shown:
        out(f"none: every file there is named {' or '.join(package.patterns)}")


def show_files(rows: Sequence[FileState], *, limit: int, as_json: bool) -> None:
    """Print files, of which the caller gives one more than `limit` if there are more."""
    truncated, rows = len(rows) > limit, rows[:limit]
    if as_json:
        out_json({"files": rows, "truncated": truncated})
        return
    lines = [
        (
            fitted(row.path),
            "" if row.size is None else size(row.size),
            (row.source_hash or "")[:16],
            row.last_run,
            row.state,
            row.reason or "",
        )
        for row in rows
    ]
    for line in table(("file", "size", "blake3 (first 16)", "run", "state", "why"), lines, right=(1, 3)):
        out(line)
    if truncated:
        talk(f"only {limit} files are shown; --limit shows more")
    if not rows:
        out("no files")
