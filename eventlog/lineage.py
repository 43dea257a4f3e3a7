"""Owns the lives of a log: which id, and which first hash, the commits of each part of its chain have.

A log that was never forked has one life. A fork begins another one behind the last commit that was kept, in a segment
of its own: from there on frames are hashed with the new id, and the first one names the SHA-256 of the new
GENESIS.json as `prev`, which names in turn where each earlier life ended. So (log id, seq) never repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from eventlog.errors import LogCorruptError
from eventlog.files import SMALL_FILE_BYTES_MAX, exists, read_small
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import LogId
from eventlog.sealed import FORKING_NAME, Ancestor, Genesis, read_genesis

if TYPE_CHECKING:
    from eventlog.chain import Link, Segment


class Life(Struct, frozen=True, kw_only=True):
    """One life of a log: its id, the SHA-256 of its GENESIS.json, and where it ended; None if it goes on."""

    log_id: LogId
    genesis: str
    end: Ancestor | None = None


class Lineage(Struct, frozen=True):
    """The lives of a log, the first one first. `unfinished`: a fork is under way, or the next start goes on with it."""

    lives: tuple[Life, ...]
    unfinished: bool = False

    @property
    def log_id(self) -> LogId:
        return self.lives[-1].log_id

    @property
    def begin(self) -> Link:
        """Return where the chain begins."""
        from eventlog.chain import genesis_link

        return genesis_link(self.lives[0].genesis)

    def life_of(self, commit: int) -> Life:
        """Return the life that a commit is of."""
        return next(life for life in self.lives if life.end is None or commit <= life.end.commit)

    def entered(self, link: Link) -> tuple[Life, Link] | None:
        """Return the life of what follows `link` in a new segment, and the link that it must continue.

        None if another life must follow, and the one before it did not end at `link`.
        """
        before, life = self.life_of(link.commit), self.life_of(link.commit + 1)
        if before is life or before.end is None:
            return life, link
        if link.seq != before.end.seq or link.hash not in (before.end.hash, life.genesis):
            return None
        return life, replace(link, hash=life.genesis)


def alone(log_id: LogId, genesis_hash: str = "") -> Lineage:
    """Return the lineage of a log, or of a part of one, that has a single life."""
    return Lineage((Life(log_id=log_id, genesis=genesis_hash),))


def lineage_of(genesis: Genesis, genesis_hash: str, *, unfinished: bool = False) -> Lineage:
    """Return the lives that a genesis tells of."""
    earlier = (Life(log_id=each.log_id, genesis=each.genesis, end=each) for each in genesis.ancestors)
    return Lineage((*earlier, Life(log_id=genesis.log_id, genesis=genesis_hash)), unfinished)


def forked_from(folder: Path, genesis: Genesis, genesis_hash: str, *, fs: FsPort = OS_FS) -> LogId | None:
    """Return the id of the log that the fork of this genesis is still leaving, None if no such fork is under way.

    A fork that has a frame of its own was settled before that was written: FORKING came back from somewhere.
    """
    if not genesis.ancestors or not exists(folder / FORKING_NAME, fs=fs):
        return None
    said = read_small(folder / FORKING_NAME, fs=fs)[:SMALL_FILE_BYTES_MAX].decode("ascii", "replace")
    new, _, old = said.partition(" ")
    if new != genesis.log_id or len(old) != len(new) or not old.isalnum():
        return None
    return None if _first_prev(folder, genesis.ancestors[-1].seq + 1, fs) == genesis_hash else LogId(old)


def _first_prev(folder: Path, first: int, fs: FsPort) -> str:
    """Return the hash that the first commit of a segment names, "" if there is none that can be read."""
    from eventlog.chain import find_segment, opened_segment
    from eventlog.frames import FRAME_SPAN_BYTES_MAX, find_commit_line, read_commit_line

    try:
        segment = find_segment(folder, first=first, fs=fs)
        if segment.problem:
            return ""
        with opened_segment(segment, fs=fs) as read:
            match = find_commit_line(read(FRAME_SPAN_BYTES_MAX, 0), 0)
    except (FileNotFoundError, LogCorruptError):
        return ""
    return read_commit_line(match).prev if match is not None else ""


def aside_folder(folder: Path, old: LogId) -> Path:
    """Return where what a fork leaves behind is kept whole."""
    return folder / "quarantine" / f"fork-{old}"


def kept_segments(folder: Path, segments: Sequence[Segment], *, fs: FsPort = OS_FS) -> list[Segment]:
    """Return what of the segments belongs to the log while its fork is under way: all, if that fork never came."""
    try:
        genesis, genesis_hash = read_genesis(folder, fs=fs)
    except (LogCorruptError, FileNotFoundError):
        return list(segments)
    if forked_from(folder, genesis, genesis_hash, fs=fs) is None:
        return list(segments)
    end = genesis.ancestors[-1]
    kept = [segment for segment in segments if segment.first <= end.seq]
    return [*kept[:-1], replace(kept[-1], size=min(kept[-1].size, end.bytes), ahead=0)] if kept else []
