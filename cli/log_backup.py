"""`casparian log backup`: a second copy of the log, which is what damage to the first one is mended from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_VERIFICATION
from cli.home import Home, find_home, refuse_own_folder
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder
from cli.render import count, out, out_json, printable, size

if TYPE_CHECKING:
    from eventlog.backup import Backup


def backup(
    target: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder, or one with an older copy of this log.")
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the log to another folder, also during a run, and verify the copy; again, only what is new is copied.

    Exit code 0 if the copy is whole, 5 if not. Example: `casparian log backup /media/second/log`
    """
    from cli import clock
    from eventlog.backup import back_up
    from eventlog.errors import LogMissingError
    from eventlog.lock import this_process

    place = find_home(home)
    require_folder(place)
    folder = Path.cwd() / target
    refuse_own_folder(place, folder, what="copy the log to")
    holder = this_process(since=clock.now(), purpose="back up another log to it")
    try:
        made = back_up(place.log, folder, holder=holder, public_key=place.public_key)
    except LogMissingError as error:
        raise nothing_here(place) from error
    if as_json:
        out_json({"folder": str(folder), "backup": made})
    else:
        _show(made, folder, place)
    raise typer.Exit(0 if made.verification.verdict == "OK" else EXIT_VERIFICATION)


def _show(made: Backup, folder: Path, place: Home) -> None:
    verification, where = made.verification, printable(str(folder))
    out(f"copied: {count(made.copied_files, 'file')}, {size(made.copied_bytes)}; {made.kept_files} were there already")
    out(f"verdict of the copy: {verification.verdict}, records 1 to {verification.head_seq}, in {where}")
    for finding in verification.findings:
        out(f"finding: {finding.check} in {finding.segment}: {printable(finding.actual)}")
    again = place.hint(shlex.join(["casparian", "log", "repair", "--from", str(folder)]))
    out(f"to mend the log from it: {printable(again)}; to restore it: copy it to log/ of an empty home")
