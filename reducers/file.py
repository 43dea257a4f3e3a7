"""Owns what an open run has read so far: counts only, the catalog of files is a cold noun (projections)."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventlog.events import (
    FilesRefused,
    FilesSeen,
    Record,
    RunFinished,
    RunInterrupted,
)


class RunFiles(Struct, frozen=True, kw_only=True):
    """How many files one open run has read, and how many it could not read."""

    seen: int
    refused: int


HandledEvent = FilesSeen | FilesRefused | RunFinished | RunInterrupted
HANDLES: frozenset[type[Record]] = frozenset({FilesSeen, FilesRefused, RunFinished, RunInterrupted})

NOTHING = RunFiles(seen=0, refused=0)


def evolve(files: RunFiles | None, event: HandledEvent) -> RunFiles | None:
    """Return the counts after the event, or None when the run is over."""
    before = files or NOTHING
    match event:
        case FilesSeen():
            return replace(before, seen=before.seen + len(event.files))
        case FilesRefused():
            return replace(before, refused=before.refused + len(event.files))
        case RunFinished() | RunInterrupted():
            return None
        case _:
            assert_never(event)
