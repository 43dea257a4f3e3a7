"""Decides how an attempt ends that commits nothing: its job fails, waits again, or is done with being cancelled.

Owns the words that all decisions about a job share: who holds it, that it failed, that it was aborted.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct, structs

from commands.outcome import Decision, Refused
from commands.parser import judged
from eventlog.events import (
    BalanceSheet,
    Event,
    FailureClass,
    JobAborted,
    JobDeclined,
    JobFailed,
    JobRequeued,
    SchemaMismatch,
    SchemaMismatchFound,
)
from eventlog.ids import Instant, JobId, LeaseId, instant_plus
from reducers.fold import State
from reducers.job import Aborting, Dispatched, Job, Promoting, Running
from reducers.waiting import WAIT_SECONDS_MAX

RETRIES_MAX = 3
RETRY_BASE_SECONDS = 4  # the n-th retry waits 4^n seconds: 4, 16, 64
assert RETRY_BASE_SECONDS**RETRIES_MAX == WAIT_SECONDS_MAX


class FailJob(Struct, frozen=True, kw_only=True):
    """The attempt failed; nothing of it is staged any more."""

    job: JobId
    lease: LeaseId
    failure: FailureClass
    kind: str
    reason: str
    hint: str
    log_tail: str
    sheet: BalanceSheet | None
    mismatch: SchemaMismatch | None = None
    now: Instant


class ReleaseJob(Struct, frozen=True, kw_only=True):
    """The executor gives the job back: it was told to stop, or had no capacity. No attempt is charged."""

    job: JobId
    lease: LeaseId
    declined: bool
    reason: str
    now: Instant


def decide_fail(command: FailJob, state: State) -> Decision:
    """Retry a transient failure while the budget lasts, one of unknown cause once; any other is final at once."""
    job = holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point")
        case Aborting():
            return [job_aborted(job, job.reason, command.now)]
        case Dispatched() | Running():
            if (again := _attempt_again(job, command)) is not None:
                return [again]
            failed = job_failed(
                job,
                command.failure,
                kind=command.kind,
                reason=command.reason,
                hint=command.hint,
                now=command.now,
                log_tail=command.log_tail,
                sheet=command.sheet,
            )
            mismatch = [] if command.mismatch is None else [_mismatch(job, command.mismatch)]
            return [*mismatch, *judged(job.spec, failed, state)]
        case _:
            assert_never(job)


def _attempt_again(job: Dispatched | Running, command: FailJob) -> JobRequeued | None:
    """Return the retry of a failed attempt, None if it is final.

    One of unknown cause is tried again at once: time would not help, what is asked is whether it repeats.
    """
    if job.charged >= RETRIES_MAX:
        return None
    if command.failure == "transient":
        return _retried(job, command.reason, command.now, kind=command.kind)
    if command.failure == "unknown" and not job.puzzled:
        again = _requeued(job, command.reason, charged=True, wait_seconds=0, now=command.now, kind=command.kind)
        return structs.replace(again, failure="unknown")
    return None


def _mismatch(job: Job, mismatch: SchemaMismatch) -> SchemaMismatchFound:
    return SchemaMismatchFound(job=job.spec.job, attempt=job.attempts, mismatch=mismatch)


def decide_release(command: ReleaseJob, state: State) -> Decision:
    """Have the job wait again, at no cost; one that was being cancelled is done with."""
    job = holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point")
        case Aborting():
            return [job_aborted(job, job.reason, command.now)]
        case Dispatched() | Running() if command.declined:
            return [
                JobDeclined(
                    job=command.job,
                    attempt=job.attempts,
                    lease=command.lease,
                    reason=command.reason,
                    declined_at=command.now,
                )
            ]
        case Dispatched() | Running():
            return [_requeued(job, command.reason, charged=False, wait_seconds=0, now=command.now)]
        case _:
            assert_never(job)


def lost_lease(job: Dispatched | Running | Aborting, reason: str, charged: bool, now: Instant) -> Event:
    """Return what becomes of a job whose executor is gone: its cancel is complete, it waits again, or it has failed.

    A charged loss uses up a retry, so that a file that brings down its executor cannot do so for ever.
    """
    if isinstance(job, Aborting):
        return job_aborted(job, job.reason, now)
    if not charged:
        return _requeued(job, reason, charged=False, wait_seconds=0, now=now)
    if job.charged < RETRIES_MAX:
        return _retried(job, reason, now, kind="executor_lost")
    hint = f"casparian job show {job.spec.job}; the file may be what brings the executor down"
    return job_failed(job, "transient", kind="executor_lost", reason=reason, hint=hint, now=now)


def _retried(job: Job, reason: str, now: Instant, *, kind: str) -> JobRequeued:
    wait_seconds = RETRY_BASE_SECONDS ** (job.charged + 1)
    again = _requeued(job, reason, charged=True, wait_seconds=wait_seconds, now=now, kind=kind)
    return structs.replace(again, failure="transient")


def _requeued(job: Job, reason: str, *, charged: bool, wait_seconds: int, now: Instant, kind: str = "") -> JobRequeued:
    return JobRequeued(
        job=job.spec.job,
        attempt=job.attempts,
        reason=reason,
        charged=charged,
        not_before=instant_plus(now, seconds=wait_seconds),
        requeued_at=now,
        kind=kind,
    )


def holder(state: State, job: JobId, lease: LeaseId) -> Dispatched | Running | Aborting | Promoting | Refused:
    """Return the job if this lease holds (or, in Promoting, held) it; a dead lease is refused and not logged."""
    match state.jobs.get(job):
        case Dispatched() | Running() | Aborting() as held if held.lease == lease:
            return held
        case Promoting() as promoting if promoting.committed.lease == lease:
            return promoting
        case _:
            return Refused("stale_lease", f"lease {lease} does not hold job {job} any more")


def job_failed(
    job: Job,
    failure: FailureClass,
    *,
    kind: str,
    reason: str,
    hint: str,
    now: Instant,
    log_tail: str = "",
    sheet: BalanceSheet | None = None,
) -> JobFailed:
    """Return that the job has failed for good, in the attempt that it is in."""
    return JobFailed(
        job=job.spec.job,
        run=job.spec.run,
        attempt=job.attempts,
        failure=failure,
        kind=kind,
        reason=reason,
        hint=hint,
        log_tail=log_tail,
        sheet=sheet,
        failed_at=now,
    )


def job_aborted(job: Job, reason: str, now: Instant) -> JobAborted:
    """Return that the job has ended on somebody's wish."""
    return JobAborted(job=job.spec.job, run=job.spec.run, reason=reason, aborted_at=now)


def not_open(job: JobId, state: State) -> Refused:
    """Return the refusal of what is asked of a job that has ended, or never was."""
    if 0 < job < state.jobs.next_id:
        return Refused("already_completed", f"job {job} has already ended", f"casparian job show {job}")
    return Refused("not_found", f"there is no job {job}", "casparian jobs")
