"""Owns whose a target is: which home of a log writes and deletes there, as the target's mark says.

Files are told apart by the id of their log, and a copied home has the id of the one it was copied from. So the home
that uses a target first claims it in the mark, for its log, by the path of the home. Another home of the same log is
told of it before a run, and may delete nothing there unless a person says that it takes the other's place.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from cli.home import Home
from cli.render import printable
from eventlog.errors import LogError
from eventlog.ids import LogId, PathText, path_bytes, path_text
from sinks.sink import Sink


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
