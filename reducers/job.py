r"""Owns the life of a job: the states, the table of moves, and the fold of one job's events.

    Queued -> Dispatched -> Running -> Promoting -> (Completed | Failed)
    Dispatched | Running -> Queued (declined, requeued) | Failed | Aborting -> Aborted ;  Queued -> Aborted

Terminal states are not kept: a finished job leaves the open table and lives on in the read model. Only `decide`
validates; `evolve` accepts every event that was ever appended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct, structs

from eventlog.events import (
    CancelAccepted,
    CommitRefused,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobEvent,
    JobFailed,
    JobPrioritySet,
    JobQueued,
    JobRequeued,
    JobStarted,
    MaterializationRecorded,
    OutputsCommitted,
    PromotionAbandoned,
    QuarantineRecorded,
    Record,
    SchemaMismatchFound,
)
from eventlog.ids import ExecutorId, Instant, JobId, LeaseId, MaterializationKey
from reducers.waiting import WaitingJobs


class Queued(Struct, frozen=True, kw_only=True, tag=True):
    """Waits for an executor, at the earliest at `not_before`. `charged` counts the attempts that used up a retry,
    `puzzled` says that one of them failed for an unknown cause."""

    spec: JobQueued  # with the priority that it has now
    attempts: int
    charged: int
    puzzled: bool = False
    not_before: Instant


class Leased(Struct, frozen=True, kw_only=True):
    """Base of the states in which one executor holds the job by one lease. `attempts` includes this attempt."""

    spec: JobQueued
    attempts: int
    charged: int
    puzzled: bool = False
    executor: ExecutorId
    lease: LeaseId
    dispatched_at: Instant


class Dispatched(Leased, frozen=True, kw_only=True, tag=True):
    """Handed out; the executor has not said yet that it began."""


class Running(Leased, frozen=True, kw_only=True, tag=True):
    """The executor's guest is at work."""


class Aborting(Leased, frozen=True, kw_only=True, tag=True):
    """A cancel was accepted: nothing of this job will be published; the executor has yet to confirm."""

    reason: str


class Promoting(Struct, frozen=True, kw_only=True, tag=True):
    """The commit point is passed; the sentinel publishes the staged outputs, after a crash again."""

    spec: JobQueued
    attempts: int
    charged: int
    puzzled: bool = False
    committed: OutputsCommitted


Job = Queued | Dispatched | Running | Aborting | Promoting
END = None  # the job has left the open table

# state -> event -> next state; the diagram above is this table.
MOVES: dict[type[Job] | None, dict[type[Record], type[Job] | None]] = {
    None: {JobQueued: Queued},
    Queued: {JobDispatched: Dispatched, JobPrioritySet: Queued, CancelAccepted: Queued, JobAborted: END},
    Dispatched: {
        JobStarted: Running,
        JobPrioritySet: Dispatched,
        JobDeclined: Queued,
        JobRequeued: Queued,
        CancelAccepted: Aborting,
        CommitRefused: Dispatched,
        SchemaMismatchFound: Dispatched,
        OutputsCommitted: Promoting,
        JobFailed: END,
    },
    Running: {
        JobPrioritySet: Running,
        JobDeclined: Queued,
        JobRequeued: Queued,
        CancelAccepted: Aborting,
        CommitRefused: Running,
        SchemaMismatchFound: Running,
        OutputsCommitted: Promoting,
        JobFailed: END,
    },
    Aborting: {CommitRefused: Aborting, JobAborted: END},
    Promoting: {
        MaterializationRecorded: Promoting,
        QuarantineRecorded: Promoting,
        PromotionAbandoned: Promoting,
        JobCompleted: END,
        JobFailed: END,
    },
}


def evolve(job: Job | None, event: JobEvent) -> Job | None:
    """Return the job after the event, or None when it has ended (or was never queued)."""
    if type(event) is JobQueued:
        return Queued(spec=event, attempts=0, charged=0, not_before=event.queued_at)
    return None if job is None else _STEPS[type(event)](job, event)


def _dispatched(job: Job, event: JobDispatched) -> Job:
    return Dispatched(
        spec=job.spec,
        attempts=event.attempt,
        charged=job.charged,
        puzzled=job.puzzled,
        executor=event.executor,
        lease=event.lease,
        dispatched_at=event.dispatched_at,
    )


def _started(job: Job, _event: JobStarted) -> Job:
    if not isinstance(job, Leased):
        return job
    return Running(
        spec=job.spec,
        attempts=job.attempts,
        charged=job.charged,
        puzzled=job.puzzled,
        executor=job.executor,
        lease=job.lease,
        dispatched_at=job.dispatched_at,
    )


def _declined(job: Job, event: JobDeclined) -> Job:
    return Queued(
        spec=job.spec,
        attempts=job.attempts,
        charged=job.charged,
        puzzled=job.puzzled,
        not_before=event.declined_at,
    )


def _requeued(job: Job, event: JobRequeued) -> Job:
    return Queued(
        spec=job.spec,
        attempts=job.attempts,
        charged=job.charged + int(event.charged),
        puzzled=job.puzzled or event.failure == "unknown",
        not_before=event.not_before,
    )


def _prioritised(job: Job, event: JobPrioritySet) -> Job:
    return structs.replace(job, spec=structs.replace(job.spec, priority=event.priority))


def _cancelled(job: Job, event: CancelAccepted) -> Job:
    if not isinstance(job, Leased):
        return job
    return Aborting(
        spec=job.spec,
        attempts=job.attempts,
        charged=job.charged,
        puzzled=job.puzzled,
        executor=job.executor,
        lease=job.lease,
        dispatched_at=job.dispatched_at,
        reason=event.reason,
    )


def _committed(job: Job, event: OutputsCommitted) -> Job:
    return Promoting(spec=job.spec, attempts=job.attempts, charged=job.charged, puzzled=job.puzzled, committed=event)


def _same(job: Job, _event: JobEvent) -> Job:
    return job


def _ended(_job: Job, _event: JobCompleted | JobFailed | JobAborted) -> None:
    return END


# What each event does to a job that is open. A look-up instead of a `match`: half of a replay's folding was the walk
# along its cases. Any: each function takes the event that it stands beside.
_STEPS: dict[type[Record], Callable[[Job, Any], Job | None]] = {
    JobDispatched: _dispatched,
    JobStarted: _started,
    JobDeclined: _declined,
    JobRequeued: _requeued,
    JobPrioritySet: _prioritised,
    CancelAccepted: _cancelled,
    OutputsCommitted: _committed,
    CommitRefused: _same,
    MaterializationRecorded: _same,
    PromotionAbandoned: _same,
    QuarantineRecorded: _same,
    SchemaMismatchFound: _same,
    JobCompleted: _ended,
    JobFailed: _ended,
    JobAborted: _ended,
}
HANDLES: frozenset[type[Record]] = frozenset({JobQueued, *_STEPS})


class JobTable:
    """The open jobs, with the indexes that decisions need: by state and by claimed materialization key."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, Job] = {}
        self.queued: dict[JobId, Queued] = {}
        self.waiting = WaitingJobs()  # those of `queued`, in the order in which they are handed out
        self.leased: dict[JobId, Dispatched | Running | Aborting] = {}
        self.promoting: dict[JobId, Promoting] = {}
        self.rowless: dict[JobId, Promoting] = {}  # those of `promoting` that have nothing to publish
        self.by_key: dict[MaterializationKey, JobId] = {}
        self.next_id = JobId(1)
        # Any: a state is only ever put into the index that it stands beside.
        self._index: dict[type[Job], dict[JobId, Any]] = {
            Queued: self.queued,
            Dispatched: self.leased,
            Running: self.leased,
            Aborting: self.leased,
            Promoting: self.promoting,
        }

    @classmethod
    def of(
        cls, jobs: Iterable[Job], *, indexed: Iterable[JobId], by_key: dict[MaterializationKey, JobId], next_id: JobId
    ) -> JobTable:
        """Return a table of these jobs in their order; `indexed` are their ids in the order that each index has."""
        table = cls()
        table._jobs = {job.spec.job: job for job in jobs}
        for job_id in indexed:
            job = table._jobs[job_id]
            table._enter(job_id, job)
        table.by_key = by_key
        table.next_id = next_id
        return table

    def open_jobs(self) -> Iterator[Job]:
        """Return the open jobs in the order in which they were queued."""
        return iter(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobId]:
        return iter(self._jobs)

    def get(self, job: JobId) -> Job | None:
        """Return an open job; None when it has ended or never was (see `next_id`)."""
        return self._jobs.get(job)

    def put(self, job: JobId, new: Job | None) -> None:
        """Replace one job's state and keep the indexes true."""
        old = self._jobs.get(job)
        if old is not None:
            del self._index[type(old)][job]
            if type(old) is Queued:
                self.waiting.drop(job)
            self.rowless.pop(job, None)
        if new is not None:
            self._jobs[job] = new
            self._enter(job, new)
            if old is None:
                self._begin(job, new)
        elif old is not None:
            self._end(job, old)

    def _enter(self, job: JobId, new: Job) -> None:
        self._index[type(new)][job] = new
        if type(new) is Queued:
            self.waiting.put(new)
        elif type(new) is Promoting and not new.committed.outputs and not new.committed.evidence:
            self.rowless[job] = new

    def _begin(self, job: JobId, new: Job) -> None:
        self.next_id = JobId(max(self.next_id, job + 1))
        for key in new.spec.keys:
            self.by_key[key.materialization_key] = job

    def _end(self, job: JobId, old: Job) -> None:
        del self._jobs[job]
        for key in old.spec.keys:
            self.by_key.pop(key.materialization_key, None)
