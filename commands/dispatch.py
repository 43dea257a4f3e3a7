"""The process manager: from (jobs, idle executors, now) to what is handed out and what needs no sink. Pure.

Small files travel together: an executor gets as many jobs as it can do with one guest, under one lease. What one job
does to another one is bounded by who may share: jobs of one run with the same settings, target and policy, and none
that was ever given back, so that a file that brings down its guest or its executor does so alone the next time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from commands.job import DispatchJob, WithdrawJob
from commands.lease import JOBS_MAX, DispatchLease
from commands.parser import may_run
from commands.promotion import RecordPromotion
from eventlog.events import JobQueued
from eventlog.ids import ArtifactHash, ExecutorId, Instant, JobId, LeaseId, ParserName, RunId
from reducers.fold import State
from reducers.job import Queued

SHARED_BYTES_MAX = 256 * 1024  # of a file that shares a lease; where a file is larger, the fork is no cost
LEASE_BYTES_MAX = 16 * 1024 * 1024  # of the files of one lease: 200 event logs of one chunk take 14
# What is told and recorded of a lease is one message and one frame, of 4 MiB each; sheets are bounded by the executor.
LEASE_RECORD_BYTES_MAX = 1536 * 1024
OUTPUT_RECORD_BYTES = 1024  # of what is recorded of one output of a job, without its target's name
LOOKED_AT_JOBS_MAX = 1000  # for one lease
PASSED_OVER_JOBS_MAX = 1000  # at once, of those that may not be made; they are about to end
OUTDATED = "its parser is not the one it was queued for"


class Offer(Struct, frozen=True, kw_only=True):
    """An executor asks for work; the lease that it would get if there is some."""

    executor: ExecutorId
    lease: LeaseId


class Sharing(Struct, frozen=True, kw_only=True):
    """How far jobs may share a lease: `executors` is among how many they are divided, `alone` are the parsers that want
    a process for each file, and the jobs of a run may be bounded by it."""

    jobs_max: int = JOBS_MAX
    executors: int = 1
    alone: frozenset[ParserName] = frozenset()
    jobs_max_of: dict[RunId, int] = {}

    def of(self, run: RunId) -> int:
        """Return how many jobs of a run may share a lease."""
        return min(self.jobs_max_of.get(run, self.jobs_max), JOBS_MAX)


NOT_AT_ALL = Sharing(jobs_max=1)


def plan_dispatch(
    state: State,
    offers: Sequence[Offer],
    *,
    now: Instant,
    sharing: Sharing = NOT_AT_ALL,
    artifacts: Mapping[ParserName, ArtifactHash] | None = None,
) -> list[DispatchJob | DispatchLease | WithdrawJob]:
    """Give each offer the next job that is due, by priority, then by number, and small ones like it.

    Fewer commands than offers if few are due. A paused parser's jobs stay where they are, and so do those of an
    artifact that is not trusted any more: whoever revoked it ends them. `artifacts` are those that an executor would
    get now: a job of another one ends, because rows that its parser did not make may not be recorded under its keys.
    Costs the logarithm of the jobs that wait for each that is looked at, whatever they wait for.
    """
    paused = [name for name, parser in state.parsers.items() if parser.paused is not None]
    commands: list[DispatchJob | DispatchLease | WithdrawJob] = []
    outdated: list[JobId] = []
    with state.jobs.waiting.in_turn(now, paused=paused) as due:
        waiting = _Waiting(_runnable(map(state.jobs.queued.__getitem__, due), state, artifacts, outdated))
        for offer in offers:
            jobs = waiting.take(sharing, fair=_fair(state, sharing))
            if not jobs:
                break
            commands.append(_handing_out(jobs, offer, now))
    return [*commands, *(WithdrawJob(job=job, reason=OUTDATED, now=now) for job in outdated)]


def _runnable(
    due: Iterator[Queued], state: State, artifacts: Mapping[ParserName, ArtifactHash] | None, outdated: list[JobId]
) -> Iterator[Queued]:
    """Yield the jobs whose very artifact is here and trusted; add those of which there is another one to `outdated`."""
    passed_over = 0
    for job in due:
        spec = job.spec
        here = spec.artifact_hash if artifacts is None else artifacts.get(spec.parser)
        if here == spec.artifact_hash and may_run(spec.parser, spec.artifact_hash, state):
            yield job
            continue
        if here is not None and here != spec.artifact_hash:
            outdated.append(spec.job)
        passed_over += 1
        if passed_over == PASSED_OVER_JOBS_MAX:
            return


def _fair(state: State, sharing: Sharing) -> int:
    """Return how many jobs one lease may have without leaving another executor idle."""
    executors = max(sharing.executors, len(state.executors), 1)
    return -(-len(state.jobs.queued) // executors)


def _handing_out(jobs: Sequence[JobId], offer: Offer, now: Instant) -> DispatchJob | DispatchLease:
    if len(jobs) == 1:
        return DispatchJob(job=jobs[0], executor=offer.executor, lease=offer.lease, now=now)
    return DispatchLease(jobs=tuple(jobs), executor=offer.executor, lease=offer.lease, now=now)


class _Waiting:
    """The jobs that are due, in their order, without those that were taken."""

    def __init__(self, due: Iterator[Queued]) -> None:
        self._left = due
        self._passed: deque[Queued] = deque()  # looked at, and left for somebody else

    def take(self, sharing: Sharing, *, fair: int) -> list[JobId]:
        """Return the first job, and those that may share its lease."""
        first = self._passed.popleft() if self._passed else next(self._left, None)
        if first is None:
            return []
        lease = _Lease(first.spec)
        jobs_max = min(fair, sharing.of(first.spec.run))
        if jobs_max > 1 and _may_share(first, sharing):
            self._fill(lease, sharing, jobs_max)
        return lease.jobs

    def _fill(self, lease: _Lease, sharing: Sharing, jobs_max: int) -> None:
        again, self._passed = self._passed, deque()
        for _look in range(LOOKED_AT_JOBS_MAX):
            if len(lease.jobs) == jobs_max or lease.is_full:
                break
            job = again.popleft() if again else next(self._left, None)
            if job is None:
                break
            if not _may_share(job, sharing) or not lease.took(job.spec):
                self._passed.append(job)
        self._passed += again


class _Lease:
    """What one lease has come to hold."""

    def __init__(self, first: JobQueued) -> None:
        self.jobs = [first.job]
        self.is_full = False
        self._first = first
        self._bytes = first.size
        self._record_bytes = _record_bytes(first)

    def took(self, spec: JobQueued) -> bool:
        """Take a job in, if it is like the first one and there is room for it."""
        if _alike(spec) != _alike(self._first):
            return False
        bytes_, record_bytes = self._bytes + spec.size, self._record_bytes + _record_bytes(spec)
        if bytes_ > LEASE_BYTES_MAX or record_bytes > LEASE_RECORD_BYTES_MAX:
            self.is_full = True
            return False
        self._bytes, self._record_bytes = bytes_, record_bytes
        self.jobs.append(spec.job)
        return True


def _may_share(job: Queued, sharing: Sharing) -> bool:
    return job.attempts == 0 and job.spec.size <= SHARED_BYTES_MAX and job.spec.parser not in sharing.alone


def _alike(spec: JobQueued) -> tuple[object, ...]:
    """Return what jobs of one lease have in common: all but their files. One run, because limits are of a run."""
    return (
        spec.run,
        spec.priority,
        spec.parser,
        spec.artifact_hash,
        spec.settings,
        spec.sink_uri,
        spec.sink_mode,
        spec.quarantine,
    )


def _record_bytes(spec: JobQueued) -> int:
    """Return about how many bytes tell of a job; a name may be twice as long when it is written as JSON."""
    return len(spec.keys) * (OUTPUT_RECORD_BYTES + 2 * len(spec.sink_uri)) + 2 * len(spec.path)


def plan_records(state: State, *, now: Instant) -> list[RecordPromotion]:
    """Complete every commit without rows: no sink has anything to publish for it."""
    return [
        RecordPromotion(job=job_id, commit_key=job.committed.commit_key, now=now)
        for job_id, job in state.jobs.rowless.items()
    ]
