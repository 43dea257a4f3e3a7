"""Decides about the jobs of one lease together: handed out in one frame, concluded in one, recorded in one.

What becomes of each job is decided as if it were alone (commands/job.py). Two rules are added. Jobs whose rows lie in
one artifact pass their commit points in one frame or not at all: were one of them left behind, the artifact would
publish rows of a job that may not publish any. And the shares of an artifact are all of its rows, each of them once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct, structs

from commands import job
from commands.attempt import FailJob, ReleaseJob
from commands.commit import CommitJob, StagedReport
from commands.job import DispatchJob, StartJob
from commands.outcome import Decision, Refused
from commands.parser import judged
from commands.promotion import RecordPromotion
from eventlog.events import CommitRefused, Event, JobFailed, JobRequeued, OutputsCommitted, ParserPaused
from eventlog.ids import ExecutorId, Instant, JobId, LeaseId
from reducers.fold import State
from reducers.job import Leased

JOBS_MAX = 200  # of one lease
SHARED = "shared_artifact"


class DispatchLease(Struct, frozen=True, kw_only=True):
    """Hand several jobs to one executor under one lease."""

    jobs: tuple[JobId, ...]
    executor: ExecutorId
    lease: LeaseId
    now: Instant


class ConcludeLease(Struct, frozen=True, kw_only=True):
    """All that an executor says of a lease when it is done with it: each of its jobs is in one of the last three."""

    lease: LeaseId
    starts: tuple[StartJob, ...]
    commits: tuple[CommitJob, ...]
    failures: tuple[FailJob, ...]
    releases: tuple[ReleaseJob, ...]
    now: Instant


class RecordLease(Struct, frozen=True, kw_only=True):
    """Every artifact of these commits has its final name, durably."""

    records: tuple[RecordPromotion, ...]


Command = DispatchLease | ConcludeLease | RecordLease


def decide(command: Command, state: State) -> Decision:
    """Route a command about several jobs to its decision."""
    match command:
        case DispatchLease():
            return _dispatch(command, state)
        case ConcludeLease():
            return _conclude(command, state)
        case RecordLease():
            return [event for each in command.records for event in _events(job.decide(each, state))]
        case _:
            assert_never(command)


def _events(decision: Decision) -> Sequence[Event]:
    """Return the events of a decision; what is refused of one job of several brings nothing about."""
    return [] if isinstance(decision, Refused) else decision


def _dispatch(command: DispatchLease, state: State) -> Decision:
    """Hand out all of them, or none: which inputs an executor gets in one message is what the log says it got."""
    if len(command.jobs) > JOBS_MAX:
        return Refused("lease_too_large", f"at most {JOBS_MAX} jobs are handed out at once")
    events: list[Event] = []
    for each in command.jobs:
        one = DispatchJob(job=each, executor=command.executor, lease=command.lease, now=command.now)
        decision = job.decide(one, state)
        if isinstance(decision, Refused):
            return decision
        events += decision
    return events


def _conclude(command: ConcludeLease, state: State) -> Decision:
    """Start what was begun, then let each job end as it did. A lease that holds nothing any more is refused."""
    ends: list[FailJob | ReleaseJob] = [*command.failures, *command.releases]
    decided = [(commit, job.decide(commit, state)) for commit in command.commits]
    others = [job.decide(each, state) for each in ends]
    everything = [*(decision for _commit, decision in decided), *others]
    if everything and all(isinstance(each, Refused) for each in everything):
        return everything[0]
    begun = [event for each in command.starts for event in _events(job.decide(each, state))]
    ended = [event for each in others for event in _events(each)]
    return _judged_together([*begun, *ended, *_commits(decided, command, state)], state)


def _judged_together(events: Sequence[Event], state: State) -> Sequence[Event]:
    """Have the failures of a lease counted one after the other: each was decided as if it were the first of them.

    Where any job of the lease may publish its outputs, its parser works: then none of them is a reason to pause it.
    """
    may_pause = not any(isinstance(event, OutputsCommitted) for event in events)
    told: list[Event] = []
    before = 0
    for event in events:
        if isinstance(event, ParserPaused):
            continue
        failing = state.jobs.get(event.job) if isinstance(event, JobFailed) else None
        if not isinstance(event, JobFailed) or failing is None:
            told.append(event)
            continue
        for each in judged(failing.spec, structs.replace(event, against_parser=0), state, before=before):
            if isinstance(each, JobFailed):
                before += int(each.against_parser > 0)
                told.append(each)
            elif may_pause:
                may_pause = False
                told.append(each)
    return told


def _commits(decided: Sequence[tuple[CommitJob, Decision]], command: ConcludeLease, state: State) -> Sequence[Event]:
    """Return the commits of a lease, or why none of them may pass."""
    fault = _share_fault(command.commits) or _withheld(decided)
    hindered = [commit for commit, decision in decided if not _passes(decision)]
    if not fault and not hindered:
        return [event for _commit, decision in decided for event in _events(decision)]
    why = fault or f"its rows lie in one artifact with those of job {hindered[0].job}, which may not be published"
    return [
        event
        for commit, decision in decided
        for event in (_put_back(commit, why, state) if _passes(decision) else _events(decision))
    ]


def _withheld(decided: Sequence[tuple[CommitJob, Decision]]) -> str:
    """Return which job's rows may not be published and lie among those of others, "" if none do.

    Such a job has artifacts of its own: what is shared would be removed with its rows, or published with them.
    """
    jobs = Counter(staged.staged for commit, _decision in decided for staged in commit.outputs)
    for commit, decision in decided:
        shares = any(jobs[staged.staged] > 1 or staged.all_rows != staged.rows for staged in commit.outputs)
        rejected = any(isinstance(event, OutputsCommitted) and event.why for event in _events(decision))
        if shares and rejected:
            return f"rows of job {commit.job} may not be published, and lie in one artifact with those of others"
    return ""


def _passes(decision: Decision) -> bool:
    """Say whether a commit passes; one that has passed before, by an earlier copy of the report, has no events."""
    return not isinstance(decision, Refused) and all(isinstance(event, OutputsCommitted) for event in decision)


def _put_back(commit: CommitJob, why: str, state: State) -> Sequence[Event]:
    """Have a job wait again that is not at fault; no retry is charged, but it goes alone (commands/dispatch.py)."""
    held = state.jobs.get(commit.job)
    if not isinstance(held, Leased):
        return []
    refused = CommitRefused(
        job=commit.job, attempt=held.attempts, lease=commit.lease, code=SHARED, why=why, refused_at=commit.now
    )
    requeued = JobRequeued(
        job=commit.job,
        attempt=held.attempts,
        reason=why,
        charged=False,
        not_before=commit.now,
        requeued_at=commit.now,
        kind=SHARED,
    )
    return [refused, requeued]


def _share_fault(commits: Sequence[CommitJob]) -> str:
    """Return what is wrong with the shares of an artifact; "" if they are all of its rows, each of them once."""
    artifacts: dict[str, list[StagedReport]] = {}
    for commit in commits:
        for staged in commit.outputs:
            artifacts.setdefault(staged.staged, []).append(staged)
    for name, shares in artifacts.items():
        if len({(each.output, each.final, each.digest, each.bytes, each.all_rows) for each in shares}) > 1:
            return f"the jobs that share {name} describe it differently"
        row = 0
        for share in sorted(shares, key=lambda share: share.row_first):
            if share.row_first != row:
                return f"the shares of {name} are not its rows: one begins at {share.row_first} where {row} is due"
            row += share.rows
        if row != shares[0].all_rows:
            return f"the shares of {name} are not its rows: they are {row} of {shares[0].all_rows}"
    return ""
