"""`casparian log export`: a part of the log for somebody who has nothing of ours, with what checks it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.home import find_home, refuse_own_folder
from cli.log_keys import verifying_key
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder
from cli.render import count, out, out_json, printable

if TYPE_CHECKING:
    from eventlog.slices import Slice


def export(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    first: Annotated[int, typer.Option("--from", min=1, help="The first position that must be in it.")] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last one. Default: the log's.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy whole commits of the log to a folder that also holds verify.py, which checks them with Python alone.

    Example: `casparian log export ./slice --from 100 --to 200`
    """
    from eventlog.errors import LogMissingError
    from eventlog.recovery import require_genesis
    from eventlog.slices import export_slice

    if last is not None and last < first:
        raise CliError(
            "usage", f"export the log from {first} to {last}: it ends before it begins", exit_code=EXIT_USAGE
        )
    place = find_home(home)
    require_folder(place)
    folder = Path.cwd() / target
    refuse_own_folder(place, folder, what="export the log to")
    try:
        require_genesis(place.log)
    except LogMissingError as error:
        raise nothing_here(place) from error
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CliError("not_empty", f"export the log to {folder}: it is there and not empty", "name a new folder")
    try:
        made = export_slice(place.log, folder, first=first, last=last)
    except LogMissingError as error:
        raise CliError("not_found", error.message.removesuffix("."), error.next_step) from error
    key = verifying_key(place, None)
    _show(made, folder, None if key is None else key.text, as_json=as_json)


def _show(made: Slice, folder: Path, key: str | None, *, as_json: bool) -> None:
    if as_json:
        out_json({"folder": str(folder), "public_key": key, "slice": made})
        return
    commits = count(made.last_commit - made.first_commit + 1, "commit")
    out(f"records {made.first} to {made.last} in {commits}, in {printable(str(folder))}")
    out(f"the first of them continues {made.prev}")
    out("check it there: python verify.py ." + (f" --key {key}" if key is not None else ""))
