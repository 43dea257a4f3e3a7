"""Owns whose a target is: which home of a log writes and deletes there, as the target's mark says.

Files are told apart by the id of their log, and a copied home has the id of the one it was copied from. So the home
that uses a target first claims it in the mark, for its log, by the path of the home. Another home of the same log is
told of it before a run, and may delete nothing there unless a person says that it takes the other's place.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from cli.errors import CliError
from cli.home import Home
from cli.render import count, printable
from eventlog.errors import LogError
from eventlog.ids import LogId, PathText, path_bytes, path_text
from projections import queries
from projections.catalog import lost_reason
from sinks.sink import Sink
from sinks.uri import open_sink

if TYPE_CHECKING:
    from cli.sentinel import Sentinel


class Claim(Struct, frozen=True, kw_only=True):
    """Another home's claim. `there`: that home is there now, with the same log; so one is a copy of the other."""

    uri: str
    home: PathText
    there: bool

    def sentence(self) -> str:
        """Return what there is to know before one writes or deletes."""
        if self.there:
            return (
                f"{self.uri} is in use by the home {printable(self.home)}, which has the same log as this one: one of "
                "the two is a copy, and what one of them publishes or deletes there the other does not know of"
            )
        return f"{self.uri} was in use by a home at {printable(self.home)}, which is not there now"


def claim_for_run(sentinel: Sentinel, uri: str, *, remake_lost: bool) -> str:
    """Mark a target that is new to a home, and claim it; return what there is to tell of another home that has it, or
    "". Raises CliError for a target that has lost its mark, unless what is lost is to be made anew.
    """
    sink = open_sink(uri)
    if not sink.is_marked():
        _mark(sentinel, sink, uri, remake_lost=remake_lost)
    other = claim(sink, sentinel.home, sentinel.log.log_id)
    if other is None:
        return ""
    return other.sentence() if other.there else f"{other.sentence()}; it is this home's from now on"


def _mark(sentinel: Sentinel, sink: Sink, uri: str, *, remake_lost: bool) -> None:
    """Mark the target. Raises CliError for one that has lost its mark and all that is known of it: where a disk is
    not mounted, its mount point is an empty folder, and nothing may be written or concluded there.
    """
    known = [each for each in sentinel.projection.ask(queries.recorded_files) if each.sink_uri == uri]
    waiting = sentinel.handler.inspect(
        lambda state: sum(job.spec.sink_uri == uri for job in state.jobs.promoting.values())
    )
    here = any(not lost_reason(each) for each in known)
    if (known or waiting) and not here and not remake_lost:
        raise CliError(
            "target_without_mark",
            f"write tables to {uri}: {count(len(known), 'table')} published there and the mark of the folder are "
            "gone, so its disk may not be mounted",
            "mount it and run again; if they are gone for good, run again with --remake-lost",
        )
    sink.mark()


def other_claim(sink: Sink, home: Home, log_id: LogId) -> Claim | None:
    """Return the claim of another home of this log, None where there is none or it is this home's. Raises OSError."""
    held = sink.claimed_by(log_id)
    if held is None:
        return None
    holder = Home(Path(os.fsdecode(path_bytes(held))))
    if holder.root == home.root or _is_same(holder, home):
        return None
    return Claim(uri=sink.uri, home=held, there=_log_id(holder) == log_id)


def claim(sink: Sink, home: Home, log_id: LogId) -> Claim | None:
    """Claim a target for this home, and return whose it was or is: one whose home is there stays its own.

    Raises OSError.
    """
    other = other_claim(sink, home, log_id)
    if other is None or not other.there:
        take(sink, home, log_id)
    return other


def take(sink: Sink, home: Home, log_id: LogId) -> None:
    """Claim a target for this home, whoever had it. Claimed again it is not written to. Raises OSError."""
    ours = path_text(os.fsencode(home.root))
    if sink.claimed_by(log_id) != ours:
        sink.claim(log_id, ours)


def _is_same(one: Home, other: Home) -> bool:
    """Say whether two paths lead to one home: by a link, or by another mount of its disk.

    The folders are compared and not a file in them: a copy by hard links (`cp -al`) has the same files.
    """
    with suppress(OSError):
        return one.log.samefile(other.log)
    return False


def _log_id(home: Home) -> LogId | None:
    from eventlog.recovery import require_genesis

    try:
        return require_genesis(home.log)[0].log_id
    except (LogError, OSError):
        return None  # gone, or no home any more: whatever is there, it is not one that this log could be shared with
