"""`casparian log repair`: what is damaged or missing in the log is taken from a copy of it, if the chain then fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.home import Home, find_home, newest_witness
from cli.log_keys import verifying_key
from cli.options import HomeOption, JsonOption
from cli.reading import require_folder
from cli.render import count, out, out_json, printable, size

if TYPE_CHECKING:
    from eventlog.repair import Repair


def repair(
    copy: Annotated[
        Path, typer.Option("--from", metavar="DIR", help="A copy of this log, as `casparian log backup` makes it.")
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace what is damaged or missing in the log by what a copy has, if the whole chain then fits.

    What was there is kept in log/quarantine/; the log tells of it. Example: `casparian log repair --from /media/log`
    """
    from cli import clock
    from eventlog.errors import LogMissingError
    from eventlog.lock import this_process
    from eventlog.repair import repair_log

    place = find_home(home)
    require_folder(place)
    source = Path.cwd() / copy
    if not place.log.is_dir():
        raise CliError("no_log", f"repair the log of {place.root}: it has no folder log/", "copy the backup there")
    if source.exists() and source.samefile(place.log):
        raise CliError("usage", f"repair {source} from itself", "name a copy of it", exit_code=EXIT_USAGE)
    now = clock.now()
    try:
        done = repair_log(
            place.log, source, holder=this_process(since=now, purpose="repair the log"), now=now,
            witness_of=lambda log_id: newest_witness(place, log_id), key=verifying_key(place, None),
        )  # fmt: skip
    except LogMissingError as error:
        raise CliError("no_log", error.message, "name a folder that `casparian log backup` has made") from error
    if done.repairs:
        _tell_in_log(place)
    if as_json:
        out_json({"repairs": done.repairs, "verification": done.verification})
    else:
        _show(done)


def _tell_in_log(place: Home) -> None:
    """Open the log, which proves it once more and tells of the repair in its first frame, and close it."""
    from casparian import __version__
    from cli import clock
    from eventlog.log import Log

    Log.open(
        place.log, clock=clock.now, new_log_id=clock.new_log_id, version=__version__, purpose="repair the log",
        witness_of=lambda log_id: newest_witness(place, log_id),
    ).close()  # fmt: skip


def _show(done: Repair) -> None:
    for each in done.repairs:
        kept = f", what was there is log/quarantine/{each.kept_as}" if each.kept_as else ""
        parts = f"{size(each.copied_bytes)} of the copy, {size(each.own_bytes)} of ours"
        what = parts if each.copied_bytes or each.own_bytes else "put away"
        out(f"{printable(each.segment)}: {printable(each.reason)} {what}{kept}")
    head = f"records 1 to {done.verification.head_seq}"
    said = f"repaired: {count(len(done.repairs), 'file')}" if done.repairs else "nothing to repair"
    out(f"{said}; {head} fit each other, and every witness")
