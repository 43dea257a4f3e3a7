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
    """Give each offer the next job that is due, in queue order; fewer commands than offers if few are due."""
    commands: list[DispatchJob] = []
    waiting = iter(state.jobs.queued.items())
    for offer in offers:
        for job_id, job in waiting:
            if job.not_before <= now:
                commands.append(DispatchJob(job=job_id, executor=offer.executor, lease=offer.lease, now=now))
                break
        else:
            break
    return commands


def plan_records(state: State, *, now: Instant) -> list[RecordPromotion]:
    """Complete every commit without rows: no sink has anything to publish for it."""
    return [
        RecordPromotion(job=job_id, commit_key=job.committed.commit_key, now=now)
        for job_id, job in state.jobs.rowless.items()
    ]


def next_due(state: State) -> Instant | None:
    """Return when the first waiting job becomes due; None if none waits."""
    return min((job.not_before for job in state.jobs.queued.values()), default=None)
