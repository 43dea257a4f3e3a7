"""Decides what a person may say of a job's place in the queue: to make it again, to have it made earlier or later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import structs

from commands.attempt import not_open
from commands.job import priority_fault
from commands.outcome import Decision, Refused
from commands.parser import may_run, untrusted
from eventlog.events import JobPrioritySet, JobQueued, RetriedJob, RetryJobs, SetJobPriority
from eventlog.ids import JobId, MaterializationKey
from reducers.fold import State
from reducers.job import Aborting, Dispatched, Promoting, Queued, Running

RETRIED_JOBS_MAX = 500  # in one RetryJobs: it holds each job whole, and so does what it brings about

Command = RetryJobs | SetJobPriority


def decide(command: Command, state: State) -> Decision:
    """Return the events that a command about a job's place in the queue brings about, or why it is refused."""
    match command:
        case RetryJobs():
            return decide_retry(command, state)
        case SetJobPriority():
            return decide_priority(command, state)
        case _:
            assert_never(command)


def decide_retry(command: RetryJobs, state: State) -> Decision:
    """Queue each job again that ended without outputs, under a new number. Refused only if none of them can be.

    What was looked up stands for as long as no job was queued since, and no output of these jobs was recorded: one of
    them may be made by a job that was open when it was looked up.
    """
    if not 0 < len(command.jobs) <= RETRIED_JOBS_MAX:
        return Refused("batch_too_large", f"1 to {RETRIED_JOBS_MAX} jobs are made again at once")
    if command.next_job != state.jobs.next_id:
        return Refused("stale_plan", f"jobs were queued since the ended ones were looked up at {command.at_seq}")
    if _made_meanwhile(command, state):
        return Refused("stale_plan", f"outputs were recorded since the ended jobs were looked up at {command.at_seq}")
    events: list[JobQueued] = []
    refusals: list[Refused] = []
    claimed: set[MaterializationKey] = set()
    for each in command.jobs:
        keys = {key.materialization_key for key in each.spec.keys}
        if (refused := _retry_refused(each, state)) is not None:
            refusals.append(refused)
        elif not keys & claimed:
            claimed |= keys
            events.append(_queued_again(each.spec, JobId(state.jobs.next_id + len(events)), command))
    return refusals[0] if refusals and not events else events


def _made_meanwhile(command: RetryJobs, state: State) -> bool:
    """Return whether an output of these jobs was recorded since they were looked up, or may have been."""
    newer = state.recorded.since(command.at_seq)
    return newer is None or any(key.materialization_key in newer for each in command.jobs for key in each.spec.keys)


def _queued_again(spec: JobQueued, job: JobId, command: RetryJobs) -> JobQueued:
    return structs.replace(spec, job=job, retry_of=spec.job, queued_at=command.now)


def _retry_refused(retried: RetriedJob, state: State) -> Refused | None:
    """Return why a job is not made again: it is open or done, its keys are another's, its parser is not what it was."""
    spec = retried.spec
    holders = (state.jobs.by_key.get(key.materialization_key) for key in spec.keys)
    for job in filter(None, (spec.job, *holders)):
        if (refused := _still_open(job, state)) is not None:
            return refused
    if retried.stood == "open":
        return Refused("stale_plan", f"job {spec.job} has ended since it was looked up")
    if retried.stood == "completed" or retried.recorded:
        return Refused("already_completed", f"the outputs of job {spec.job} exist", f"casparian job show {spec.job}")
    return _parser_refused(spec, state)


def _still_open(job: JobId, state: State) -> Refused | None:
    """Return the answer for a job that has not ended, None for one that has."""
    look = f"casparian job show {job}"
    match state.jobs.get(job):
        case None:
            return None
        case Promoting():
            return Refused("already_committing", f"job {job} has passed its commit point and will be published", look)
        case Aborting():
            return Refused("job_aborting", f"job {job} is being stopped", "once it has ended: " + look)
        case Queued() | Dispatched() | Running():
            return Refused("already_queued", f"job {job} has not ended: it waits, or is being made", look)


def _parser_refused(spec: JobQueued, state: State) -> Refused | None:
    known = state.parsers.get(spec.parser)
    if known is None or known.deployed.artifact_hash != spec.artifact_hash:
        return Refused(
            "parser_changed",
            f"job {spec.job} was made for another artifact of parser {spec.parser} than the one that is here now",
            "run the parser on the file again: casparian run PARSER FILE",
        )
    return None if may_run(spec.parser, spec.artifact_hash, state) else untrusted(spec.parser, spec.parser_version)


def decide_priority(command: SetJobPriority, state: State) -> Decision:
    """Give an open job a priority, for as long as it has not passed its commit point."""
    if (fault := priority_fault(command.priority)) is not None:
        return fault
    job = state.jobs.get(command.job)
    look = f"casparian job show {command.job}"
    match job:
        case None:
            return not_open(command.job, state)
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point", look)
        case Aborting():
            return Refused("job_aborting", f"job {command.job} is being stopped", look)
        case Queued() | Dispatched() | Running():
            return _prioritised(command, job.spec.priority)
        case _:
            assert_never(job)


def _prioritised(command: SetJobPriority, before: int) -> Sequence[JobPrioritySet]:
    if before == command.priority:
        return []
    return [JobPrioritySet(job=command.job, priority=command.priority, by=command.by, set_at=command.now)]
