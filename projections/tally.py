"""Owns the counters behind the metrics: how each record changes them. Pure; knows no database and no clock.

A counter belongs to a parser (by its name, PARSERS_MAX of them) or to none (""). They are a table of the read model, so
that a log of any length costs a scrape nothing: a reader that folds the log anew comes to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from eventlog.events import (
    ExecutorJoined,
    ExecutorLost,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    MaterializationRecorded,
    OutputsCommitted,
    QuarantineRecorded,
    Record,
)
from eventlog.ids import Instant, JobId
from projections.rows import Counter, JobRow

PARSERS_MAX: Final = 32  # named one by one; jobs of any further parser are counted together
OTHERS: Final = "(others)"

Tally = dict[tuple[Counter, str], int]


def count(tally: Tally, jobs: Mapping[JobId, JobRow], record: Record) -> None:
    """Count one record; `jobs` holds the row of its job as it was before."""
    counted = _OF_JOBS.get(type(record))
    if counted is not None:
        row = jobs.get(record.job)  # type: ignore[attr-defined]  # _OF_JOBS are those that have a job
        if row is not None:  # one of a job that nobody queued is refused where it is folded
            counted(tally, _label(tally, row.parser), row, record)
    elif type(record) is JobQueued:
        _add(tally, "jobs_queued", _label(tally, record.parser))
    elif type(record) is ExecutorJoined:
        _add(tally, "executors_registered", "")
    elif type(record) is ExecutorLost:
        _add(tally, "executors_lost", "")


def _add(tally: Tally, counter: Counter, parser: str, by: int = 1) -> None:
    tally[counter, parser] = tally.get((counter, parser), 0) + by


def _label(tally: Tally, parser: str) -> str:
    """Return the name that a parser is counted under: its own if it was among the first PARSERS_MAX, and for ever."""
    if ("jobs_queued", parser) in tally:
        return parser
    named = sum(1 for counter, name in tally if counter == "jobs_queued" and name != OTHERS)
    return parser if named < PARSERS_MAX else OTHERS


def _dispatched(tally: Tally, parser: str, row: JobRow, event: JobDispatched) -> None:
    """Count it with how long it was due: since it was queued, or since its next attempt could be made."""
    _add(tally, "jobs_dispatched", parser)
    _add(tally, "dispatch_count", parser)
    _add(tally, "dispatch_microseconds", parser, _microseconds(row.scheduled_at, event.dispatched_at))


def _committed(tally: Tally, parser: str, row: JobRow, event: OutputsCommitted) -> None:
    if row.dispatched_at is not None:
        _add(tally, "conclude_count", parser)
        _add(tally, "conclude_microseconds", parser, _microseconds(row.dispatched_at, event.committed_at))


def _requeued(tally: Tally, parser: str, _row: JobRow, event: JobRequeued) -> None:
    _add(tally, "jobs_retried" if event.charged else "jobs_requeued", parser)


def _failed(tally: Tally, parser: str, _row: JobRow, event: JobFailed) -> None:
    _add(tally, "jobs_failed", parser)
    if event.failure == "policy":
        _add(tally, "jobs_rejected", parser)


def _recorded(tally: Tally, parser: str, _row: JobRow, event: MaterializationRecorded) -> None:
    """Count its rows, and the bytes of its file with the job whose rows come first: jobs of one lease share a file."""
    _add(tally, "output_rows", parser, event.rows)
    _add(tally, "output_bytes", parser, event.bytes if event.row_first == 0 else 0)


def _quarantined(tally: Tally, parser: str, _row: JobRow, event: QuarantineRecorded) -> None:
    _add(tally, "quarantined_rows", parser, event.rows)


def _microseconds(begin: Instant, end: Instant) -> int:
    """Return how long it was between two instants; a clock that was put back makes it no less than nothing."""
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return max(0, passed // timedelta(microseconds=1))


# A function only ever sees the type it is listed under, which the type checker cannot follow through a dictionary.
_OF_JOBS: Final[dict[type[Record], Callable[[Tally, str, JobRow, Any], None]]] = {
    JobDispatched: _dispatched,
    OutputsCommitted: _committed,
    MaterializationRecorded: _recorded,
    QuarantineRecorded: _quarantined,
    JobRequeued: _requeued,
    JobFailed: _failed,
    JobCompleted: lambda tally, parser, _row, _event: _add(tally, "jobs_completed", parser),
    JobAborted: lambda tally, parser, _row, _event: _add(tally, "jobs_aborted", parser),
    JobDeclined: lambda tally, parser, _row, _event: _add(tally, "jobs_declined", parser),
}
