"""`casparian log fork`: a new history from a record on, the way out when no copy repairs the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.home import Home, find_home, newest_witness
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder
from cli.render import count, out, out_json, printable

if TYPE_CHECKING:
    from eventlog.fork import Forked


def fork(
    from_seq: Annotated[
        int, typer.Option("--from", metavar="SEQ", help="The last record that is kept; it must end a commit.")
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who read the log later.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a new log that goes on from a record of this one; what was behind it is kept aside, and nothing is removed.

    For a log that is CORRUPT or REGRESSED and that no copy repairs.
    Example: `casparian log fork --from 119 --reason "no copy holds the records from 120 on"`

    Exit codes: 0 done; 1 a writer is at work; 4 no fork can begin there, and nothing was changed.
    """
    from cli import clock
    from eventlog.errors import LogMissingError
    from eventlog.fork import fork_log
    from eventlog.recovery import require_genesis

    place = find_home(home)
    require_folder(place)
    try:
        require_genesis(place.log)
    except LogMissingError as error:
        raise nothing_here(place) from error
    forked = fork_log(
        place.log, from_seq=from_seq, reason=reason, actor=clock.actor(), log_id=clock.new_log_id(), now=clock.now()
    )
    _begin(place)
    _show(forked, place, as_json=as_json)


def _begin(place: Home) -> None:
    """Open the new log once: its first commit tells of the fork."""
    from casparian import __version__
    from cli import clock
    from eventlog.log import Log

    Log.open(
        place.log, clock=clock.now, new_log_id=clock.new_log_id, version=__version__, purpose="fork the log",
        witness_of=lambda log_id: newest_witness(place, log_id),
    ).close()  # fmt: skip


def _show(forked: Forked, place: Home, *, as_json: bool) -> None:
    if as_json:
        out_json(forked)
        return
    out(f"log {forked.log_id} goes on from record {forked.seq} of log {forked.old_log_id}")
    left = max(forked.abandoned_seq - forked.seq, 0)
    out(f"left behind: {count(left, 'record')} that could be proven, and all bytes after them")
    aside = printable(str(place.log / "quarantine" / f"fork-{forked.old_log_id}"))
    out(f"kept aside: {count(len(forked.kept_aside), 'file')} in {aside}")
    if place.public_key.exists():
        out("The case's key signs for the old log only: move its files away, then `casparian log keygen`.")
