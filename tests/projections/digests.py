"""Owns what a log folds to, as digests: `python -m tests.projections.digests LOG FRAMES`, FRAMES to a transaction."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import blake3
import duckdb
import msgspec

from eventlog.frames import Frame
from eventlog.reader import read_frames
from eventlog.recovery import require_genesis
from projections.projector import Projector, create_tables, table_digests
from reducers.fold import State, fold
from reducers.snapshot import freeze


def digests(folder: Path, *, frames_max: int) -> dict[str, str]:
    """Return the digest of the state's bytes and of each table, folded in transactions of so many frames."""
    state = State()
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, require_genesis(folder)[0].log_id)
        projector = Projector(connection)
        for batch in _cut(read_frames(folder), frames_max):
            projector.apply(batch)
            for frame in batch:
                state.receipts.fold(frame)
                fold(state, frame.records)
        return {"state": blake3.blake3(freeze(state)).hexdigest(), **table_digests(connection)}


def _cut(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, size)):
        yield batch


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(digests(Path(sys.argv[1]), frames_max=int(sys.argv[2]))))
