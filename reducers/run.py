"""Owns what is known of open runs: what was asked, what was planned, how its own jobs stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs

from eventlog.events import (
    JobAborted,
    JobCompleted,
    JobFailed,
    JobQueued,
    Record,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
)
from eventlog.ids import JobId


class Run(Struct, frozen=True, kw_only=True):
    """An open run; `planned` is None while its files are being read, `open_jobs` are its own that have not ended.

    Jobs of it that are made again on a person's word are not its own: nobody who waits for the run has asked for them.
    """

    started: RunStarted
    planned: RunPlanned | None
    queued_jobs: int
    open_jobs: int
    retries: tuple[JobId, ...] = ()  # those that are made again and have not ended


HandledEvent = (
    RunStarted | RunPlanned | RunFinished | RunInterrupted | JobQueued | JobCompleted | JobFailed | JobAborted
)


def evolve(run: Run | None, event: HandledEvent) -> Run | None:
    """Return the run after the event, or None when it is over."""
    if type(event) is RunStarted:
        return Run(started=event, planned=None, queued_jobs=0, open_jobs=0)
    # A job may be of a run that was interrupted: it goes on without its run.
    return None if run is None else _STEPS[type(event)](run, event)


def _planned(run: Run, event: RunPlanned) -> Run:
    return structs.replace(run, planned=event)


def _job_queued(run: Run, event: JobQueued) -> Run:
    if event.retry_of is not None:
        return structs.replace(run, retries=(*run.retries, event.job))
    return structs.replace(run, queued_jobs=run.queued_jobs + 1, open_jobs=run.open_jobs + 1)


def _job_ended(run: Run, event: JobCompleted | JobFailed | JobAborted) -> Run:
    if event.job in run.retries:
        return structs.replace(run, retries=tuple(job for job in run.retries if job != event.job))
    return structs.replace(run, open_jobs=run.open_jobs - 1)


def _over(_run: Run, _event: RunFinished | RunInterrupted) -> None:
    return None


# What each event does to a run that is open; a look-up, as in reducers/job.py.
_STEPS: dict[type[Record], Callable[[Run, Any], Run | None]] = {
    RunPlanned: _planned,
    JobQueued: _job_queued,
    JobCompleted: _job_ended,
    JobFailed: _job_ended,
    JobAborted: _job_ended,
    RunFinished: _over,
    RunInterrupted: _over,
}
HANDLES: frozenset[type[Record]] = frozenset({RunStarted, *_STEPS})
