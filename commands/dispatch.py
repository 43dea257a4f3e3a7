"""The process manager: from (jobs, idle executors, now) to what is handed out and what needs no sink. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from commands.job import DispatchJob, RecordPromotion
from eventlog.ids import ExecutorId, Instant, LeaseId
from reducers.fold import State


class Offer(Struct, frozen=True, kw_only=True):
    """An executor asks for work; the lease that it would get if there is some."""

    executor: ExecutorId
    lease: LeaseId


def plan_dispatch(state: State, offers: Sequence[Offer], *, now: Instant) -> list[DispatchJob]:
    """Give each offer the next job that is due, by priority, then by number; fewer commands than offers if few are due.

    A paused parser's jobs stay where they are. Costs the logarithm of the jobs that wait, whatever they wait for.
    """
    paused = [name for name, parser in state.parsers.items() if parser.paused is not None]
    due = state.jobs.waiting.due(now, len(offers), paused=paused)
    return [
        DispatchJob(job=job, executor=offer.executor, lease=offer.lease, now=now)
        for job, offer in zip(due, offers, strict=False)
    ]


def plan_records(state: State, *, now: Instant) -> list[RecordPromotion]:
    """Complete every commit without rows: no sink has anything to publish for it."""
    return [
        RecordPromotion(job=job_id, commit_key=job.committed.commit_key, now=now)
        for job_id, job in state.jobs.rowless.items()
    ]
