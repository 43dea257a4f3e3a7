"""Owns what an open run has read so far: counts only, the catalog of files is a cold noun (projections)."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventlog.events import (
    CancelAccepted,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobPrioritySet,
    JobQueued,
    JobRequeued,
    JobStarted,
    KeyRevoked,
    KeyTrusted,
    LogForked,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
    ParserRevoked,
    ParserTrusted,
    PromotionAbandoned,
    QuarantineDeleted,
    QuarantineRecorded,
    Record,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    SchemaMismatchFound,
    WriterOpened,
)


class RunFiles(Struct, frozen=True, kw_only=True):
    """How many files one open run has read, and how many it could not read."""

    seen: int
    refused: int


HandledEvent = FilesSeen | FilesRefused | RunFinished | RunInterrupted
HANDLES: frozenset[type[Record]] = frozenset({FilesSeen, FilesRefused, RunFinished, RunInterrupted})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        KeyTrusted,
        KeyRevoked,
        LogForked,
        LogRecovered,
        LogRepaired,
        ClockStepped,
        CommandRefused,
        ParserDeployed,
        ParserTrusted,
        ParserRevoked,
        OutputsReused,
        OutputsLost,
        RunStarted,
        RunPlanned,
        ExecutorJoined,
        ExecutorDraining,
        ExecutorLost,
        JobQueued,
        JobDispatched,
        JobStarted,
        JobDeclined,
        JobRequeued,
        CommitRefused,
        OutputsCommitted,
        MaterializationRecorded,
        JobCompleted,
        JobFailed,
        CancelAccepted,
        JobAborted,
        PromotionAbandoned,
        QuarantineDeleted,
        QuarantineRecorded,
        SchemaMismatchFound,
        JobPrioritySet,
        ParserPaused,
        ParserResumed,
    }
)

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
