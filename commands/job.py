"""Decides a job's way through the queue: enqueue, dispatch, start, cancel, withdraw; and routes all of its commands.

How its attempts end is decided in commands/attempt.py, commands/commit.py and commands/promotion.py, which know nothing
of the queue. Refusals stand in order of precedence.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from commands.attempt import FailJob, ReleaseJob, decide_fail, decide_release, holder, job_aborted, not_open
from commands.commit import CommitJob, decide_commit
from commands.outcome import Decision, Refused
from commands.parser import is_paused, may_run, untrusted
from commands.promotion import (
    AbandonPromotion,
    RecordPromotion,
    decide_abandon,
    decide_abandon_by_person,
    decide_record,
)
from eventlog.events import (
    AbandonJob,
    CancelAccepted,
    CancelJob,
    Event,
    JobDispatched,
    JobKey,
    JobQueued,
    JobStarted,
    SeenFile,
)
from eventlog.ids import ExecutorId, Instant, JobId, LeaseId, RunId
from reducers.fold import State
from reducers.job import Aborting, Dispatched, Promoting, Queued, Running
from reducers.waiting import is_due

JOBS_MAX = 1000  # in one EnqueueJobs, so that a frame stays far below its bounds
PRIORITY_MAX = 1000


class NewJob(Struct, frozen=True, kw_only=True):
    """One file that has no outputs yet, with the keys of the outputs that it will make."""

    file: SeenFile
    keys: tuple[JobKey, ...]


class EnqueueJobs(Struct, frozen=True, kw_only=True):
    """Queue what the run has planned to make, JOBS_MAX at once."""

    run: RunId
    jobs: tuple[NewJob, ...]
    now: Instant
    priority: int = 0


class DispatchJob(Struct, frozen=True, kw_only=True):
    """Hand a job that is due to an executor, under a new lease."""

    job: JobId
    executor: ExecutorId
    lease: LeaseId
    now: Instant


class StartJob(Struct, frozen=True, kw_only=True):
    """The executor says that its guest is up."""

    job: JobId
    lease: LeaseId
    now: Instant


class WithdrawJob(Struct, frozen=True, kw_only=True):
    """End a job that nobody has begun: its run was interrupted, or its parser is not the one it was queued for."""

    job: JobId
    reason: str
    now: Instant


Command = (
    EnqueueJobs
    | DispatchJob
    | StartJob
    | CommitJob
    | FailJob
    | ReleaseJob
    | CancelJob
    | AbandonJob
    | WithdrawJob
    | RecordPromotion
    | AbandonPromotion
)


def decide(command: Command, state: State) -> Decision:
    """Route a job's command to its decision."""
    match command:
        case EnqueueJobs():
            return _enqueue(command, state)
        case DispatchJob():
            return _dispatch(command, state)
        case StartJob():
            return _start(command, state)
        case CommitJob():
            return decide_commit(command, state)
        case FailJob():
            return decide_fail(command, state)
        case ReleaseJob():
            return decide_release(command, state)
        case CancelJob():
            return _cancel(command, state)
        case AbandonJob():
            return decide_abandon_by_person(command, state)
        case WithdrawJob():
            return _withdraw(command, state)
        case RecordPromotion():
            return decide_record(command, state)
        case AbandonPromotion():
            return decide_abandon(command, state)
        case _:
            assert_never(command)


def _enqueue(command: EnqueueJobs, state: State) -> Decision:
    """Queue each file whose keys nobody has claimed, or recorded since the plan: no key is made twice.

    Between a plan and the last of its jobs another run may have planned, made and recorded the same.
    """
    run = state.runs.get(command.run)
    if run is None or run.planned is None:
        return Refused("run_not_planned", f"run {command.run} has no plan to enqueue from")
    if not may_run(run.planned.parser, run.planned.artifact_hash, state):
        return untrusted(run.planned.parser, run.planned.parser_version)
    if len(command.jobs) > JOBS_MAX:
        return Refused("batch_too_large", f"at most {JOBS_MAX} jobs are queued at once")
    if (fault := priority_fault(command.priority)) is not None:
        return fault
    events: list[Event] = []
    claimed: set[str] = set(state.recorded.since(max(run.planned.at_seq, state.recorded.forgotten)) or ())
    for new in command.jobs:
        keys = {key.materialization_key for key in new.keys}
        if claimed & keys or any(key in state.jobs.by_key for key in keys):
            continue
        claimed |= keys
        events.append(
            JobQueued(
                job=JobId(state.jobs.next_id + len(events)),
                run=command.run,
                path=new.file.path,
                source_hash=new.file.source_hash,
                sha256=new.file.sha256,
                size=new.file.size,
                mtime_ns=new.file.mtime_ns,
                file_uid=new.file.file_uid,
                parser=run.planned.parser,
                parser_version=run.planned.parser_version,
                artifact_hash=run.planned.artifact_hash,
                settings=run.started.settings,
                quarantine=run.started.quarantine,
                sink_uri=run.planned.sink_uri,
                sink_mode=run.planned.sink_mode,
                keys=new.keys,
                queued_at=command.now,
                priority=command.priority,
            )
        )
    return events


def priority_fault(priority: int) -> Refused | None:
    """Return why a number is no priority, None if it is one."""
    if abs(priority) <= PRIORITY_MAX:
        return None
    why = f"a priority is a number from {-PRIORITY_MAX} to {PRIORITY_MAX}, not {priority}"
    return Refused("bad_priority", why, "the default is 0, higher ones go first")


def _dispatch(command: DispatchJob, state: State) -> Decision:
    job = state.jobs.get(command.job)
    if not isinstance(job, Queued):
        return Refused("job_not_queued", f"job {command.job} is not waiting")
    if not is_due(job.not_before, command.now):
        return Refused("job_not_due", f"job {command.job} waits until {job.not_before}")
    if is_paused(job.spec.parser, state):
        return Refused("parser_paused", f"job {command.job} waits until its parser {job.spec.parser} is resumed")
    if not may_run(job.spec.parser, job.spec.artifact_hash, state):
        return untrusted(job.spec.parser, job.spec.parser_version)
    if command.executor not in state.executors:
        return Refused("unknown_executor", f"executor {command.executor} is not here")
    return [
        JobDispatched(
            job=command.job,
            attempt=job.attempts + 1,
            executor=command.executor,
            lease=command.lease,
            dispatched_at=command.now,
        )
    ]


def _start(command: StartJob, state: State) -> Decision:
    job = holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Running() | Promoting():
            return []
        case Aborting():
            return Refused("job_aborting", f"job {command.job} was cancelled: {job.reason}")
        case Dispatched():
            return [
                JobStarted(job=command.job, attempt=job.attempts, lease=command.lease, started_at=command.now),
            ]
        case _:
            assert_never(job)


def _cancel(command: CancelJob, state: State) -> Decision:
    """Accept a cancel in any open state before the commit point; afterwards say that it is too late."""
    job = state.jobs.get(command.job)
    match job:
        case None:
            return not_open(command.job, state)
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point and will be published")
        case Aborting():
            return []
        case Queued():
            accepted = _cancelled(command)
            return [accepted, job_aborted(job, accepted.reason, command.now)]
        case Dispatched() | Running():
            return [_cancelled(command)]
        case _:
            assert_never(job)


def _cancelled(command: CancelJob) -> CancelAccepted:
    by_whom = f"cancelled by {command.by}" if command.by else ""
    reason = ": ".join(filter(None, (by_whom, command.reason)))
    return CancelAccepted(job=command.job, reason=reason, accepted_at=command.now)


def _withdraw(command: WithdrawJob, state: State) -> Decision:
    job = state.jobs.get(command.job)
    match job:
        case None:
            return []
        case Queued():
            return [job_aborted(job, command.reason, command.now)]
        case _:
            return Refused("job_not_queued", f"job {command.job} is not waiting any more")
