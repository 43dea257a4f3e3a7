"""The verb `files`: what was seen in the case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.home import find_home
from cli.options import HomeOption, JsonOption, LimitOption
from cli.reading import ask
from cli.render import fitted, out, out_json, size, table, talk

if TYPE_CHECKING:
    from projections.queries import FileState


def files(limit: LimitOption = 50, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the files that runs have met, the last seen first, with the hash of their content.

    Example: `casparian files --limit 100`
    """
    from projections import queries

    rows = ask(find_home(home), queries.files, limit=limit + 1)
    show_files(rows, limit=limit, as_json=as_json)


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
