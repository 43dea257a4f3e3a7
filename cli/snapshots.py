"""Keeps the snapshots of a home: which one an opening goes on from, and when a new one is left.

The code that a snapshot is of is told from the sources of the two packages that make a state from bytes, all of them:
whatever is changed there makes the snapshots that were left before unfit, and nobody has to remember to say so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

import eventlog
import reducers
from cli.home import Home
from eventlog.chain import Segment, list_segments
from eventlog.ids import LogId
from eventlog.log import Log
from eventlog.recovery import genesis_waypoint
from eventlog.snapshot import FORMAT, Header, Snapshot, UnfitError, choose, examine, write
from reducers.fold import State
from reducers.snapshot import freeze, thaw

BYTES_MIN: Final = 4 * 1024 * 1024  # of the log since the last one: less is walked and folded in some 0.03 s

logger = logging.getLogger("casparian.snapshots")


class Snapshots:
    """The snapshots of one home, for the process that holds its log."""

    def __init__(self, home: Home) -> None:
        self.doubts: tuple[str, ...] = ()  # why newer ones than the one that was chosen were ignored
        self.state: State | None = None
        self._home = home
        self._chosen: Header | None = None

    def choose(self, log_id: LogId) -> Header | None:
        """Find the newest snapshot that fits the log, and take its state; None where there is none.

        Raises LogCorruptError for a log that is not made of plain files, as its opening does.
        """
        segments = list_segments(self._home.log)
        found, self.doubts = choose(self._home.snapshots, log_id=log_id, code=code_digest(), segments=segments)
        if found is None:
            return None
        try:
            self.state = thaw(found.state)
        except msgspec.DecodeError as error:
            self.doubts += (f"snapshot of record {found.header.seq} was ignored: its state cannot be read ({error})",)
            return None
        self._chosen = found.header
        return self._chosen

    def leave(self, log: Log, state: State) -> None:
        """Write a snapshot of the state at the log's head, if enough has happened; a failure is told, no more."""
        if _bytes_after(self._chosen, log.segments()) < BYTES_MIN:
            return
        try:
            write(self._home.snapshots, self._made(log, state))
        except (UnfitError, OSError) as error:
            logger.warning("leave a snapshot at record %s: %s; the next start folds the log", state.seq, error)

    def _made(self, log: Log, state: State) -> Snapshot:
        start = self._chosen.at if self._chosen is not None else genesis_waypoint(self._home.log)
        at, told, prefix = examine(lineage=log.lineage, segments=log.segments(), start=start, last=self._chosen)
        assert at.link.seq == state.seq, f"the state is that of record {state.seq}, the log ends at {at.link.seq}"
        body = freeze(state)
        header = Header(
            format=FORMAT, log_id=log.log_id, at=at, told=told, prefix=prefix, code=code_digest(),
            state=blake3(body).hexdigest(),
        )  # fmt: skip
        return Snapshot(header=header, state=body)


def _bytes_after(header: Header | None, segments: Sequence[Segment]) -> int:
    """Return how many bytes of the log are not behind the snapshot yet."""
    if header is None:
        return sum(segment.size for segment in segments)
    return sum(segment.size for segment in segments[header.at.index :]) - header.at.offset


def code_digest() -> str:
    """Return the BLAKE3 of the sources of `eventlog` and `reducers`, and of the version of what decodes for them."""
    digest = blake3(msgspec.__version__.encode())
    for package in (eventlog, reducers):
        (folder,) = package.__path__
        for path in sorted(Path(folder).glob("*.py")):
            source = path.read_bytes()
            digest.update(f"\n{package.__name__}/{path.name} {len(source)}\n".encode())
            digest.update(source)
    return digest.hexdigest()
