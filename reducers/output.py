"""Owns what is known of targets: how much has been recorded there. Which materializations exist is a cold noun."""

from __future__ import annotations

from msgspec import Struct

from eventlog.events import (
    CancelAccepted,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    ExecutorJoined,
    ExecutorLost,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    JobStarted,
    LogForked,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
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


class Output(Struct, frozen=True, kw_only=True):
    """The sum of what was recorded for one target key."""

    materializations: int
    rows: int
    bytes: int


NOTHING = Output(materializations=0, rows=0, bytes=0)

HANDLES: frozenset[type[Record]] = frozenset({MaterializationRecorded})
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
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
        RunFinished,
        RunInterrupted,
        FilesSeen,
        FilesRefused,
        ExecutorJoined,
        ExecutorLost,
        JobQueued,
        JobDispatched,
        JobStarted,
        JobDeclined,
        JobRequeued,
        CommitRefused,
        OutputsCommitted,
        JobCompleted,
        JobFailed,
        CancelAccepted,
        JobAborted,
        PromotionAbandoned,
        QuarantineDeleted,
        QuarantineRecorded,
        SchemaMismatchFound,
    }
)


def evolve(output: Output | None, event: MaterializationRecorded) -> Output:
    """Return the target's sums after the event."""
    before = output or NOTHING
    return Output(
        materializations=before.materializations + 1,
        rows=before.rows + event.rows,
        bytes=before.bytes + event.bytes,
    )
