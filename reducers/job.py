r"""Owns the life of a job: the states, the table of moves, and the fold of one job's events.

    Queued -> Dispatched -> Running -> Promoting -> (Completed | Failed)
    Dispatched | Running -> Queued (declined, requeued) | Failed | Aborting -> Aborted ;  Queued -> Aborted

Terminal states are not kept: a finished job leaves the open table and lives on in the read model. Only `decide`
validates; `evolve` accepts every event that was ever appended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from msgspec import Struct

from eventlog.events import (
    CancelAccepted,
    CommandRefused,
    CommitRefused,
    ExecutorJoined,
    ExecutorLost,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobEvent,
    JobFailed,
    JobQueued,
    JobRequeued,
    JobStarted,
    LogRecovered,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    PromotionAbandoned,
    Record,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    WriterOpened,
)
from eventlog.ids import ExecutorId, Instant, JobId, LeaseId, MaterializationKey


class Queued(Struct, frozen=True, kw_only=True):
    """Waits for an executor, at the earliest at `not_before`. `charged` counts the attempts that used up a retry."""

    spec: JobQueued
    attempts: int
    charged: int
    not_before: Instant


class Leased(Struct, frozen=True, kw_only=True):
    """Base of the states in which one executor holds the job by one lease. `attempts` includes this attempt."""

    spec: JobQueued
    attempts: int
    charged: int
    executor: ExecutorId
    lease: LeaseId
    dispatched_at: Instant


class Dispatched(Leased, frozen=True, kw_only=True):
    """Handed out; the executor has not said yet that it began."""


class Running(Leased, frozen=True, kw_only=True):
    """The executor's guest is at work."""


class Aborting(Leased, frozen=True, kw_only=True):
    """A cancel was accepted: nothing of this job will be published; the executor has yet to confirm."""

    reason: str


class Promoting(Struct, frozen=True, kw_only=True):
    """The commit point is passed; the sentinel publishes the staged outputs, after a crash again."""

    spec: JobQueued
    attempts: int
    charged: int
    committed: OutputsCommitted


Job = Queued | Dispatched | Running | Aborting | Promoting
END = None  # the job has left the open table

# state -> event -> next state; the diagram above is this table.
MOVES: dict[type[Job] | None, dict[type[Record], type[Job] | None]] = {
    None: {JobQueued: Queued},
    Queued: {JobDispatched: Dispatched, CancelAccepted: Queued, JobAborted: END},
    Dispatched: {
        JobStarted: Running,
        JobDeclined: Queued,
        JobRequeued: Queued,
        CancelAccepted: Aborting,
        CommitRefused: Dispatched,
        OutputsCommitted: Promoting,
        JobFailed: END,
    },
    Running: {
        JobDeclined: Queued,
        JobRequeued: Queued,
        CancelAccepted: Aborting,
        CommitRefused: Running,
        OutputsCommitted: Promoting,
        JobFailed: END,
    },
    Aborting: {CommitRefused: Aborting, JobAborted: END},
    Promoting: {MaterializationRecorded: Promoting, PromotionAbandoned: Promoting, JobCompleted: END, JobFailed: END},
}


def job_of(event: JobEvent) -> JobId:
    """Return the job that an event of this noun speaks of."""
    return event.job


HANDLES: frozenset[type[Record]] = frozenset(
    {
        JobQueued,
        JobDispatched,
        JobStarted,
        JobDeclined,
        JobRequeued,
        CommitRefused,
        OutputsCommitted,
        MaterializationRecorded,
        JobCompleted,
        JobFailed,
        CancelAccepted,
        JobAborted,
        PromotionAbandoned,
    }
)
IGNORES: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        LogRecovered,
        CommandRefused,
        ParserDeployed,
        OutputsReused,
        OutputsLost,
        RunStarted,
        RunPlanned,
        RunFinished,
        RunInterrupted,
        FilesSeen,
        FilesRefused,
        ExecutorJoined,
        ExecutorLost,
    }
)


def evolve(job: Job | None, event: JobEvent) -> Job | None:
    """Return the job after the event, or None when it has ended (or was never queued)."""
    match event:
        case JobQueued():
            return Queued(spec=event, attempts=0, charged=0, not_before=event.queued_at)
        case JobCompleted() | JobFailed() | JobAborted():
            return None
    if job is None:
        return None
    match event:
        case JobDispatched(executor=executor, lease=lease, dispatched_at=dispatched_at, attempt=attempt):
            return Dispatched(
                spec=job.spec,
                attempts=attempt,
                charged=job.charged,
                executor=executor,
                lease=lease,
                dispatched_at=dispatched_at,
            )
        case JobStarted():
            return _holding(Running, job)
        case JobDeclined(declined_at=declined_at):
            return Queued(spec=job.spec, attempts=job.attempts, charged=job.charged, not_before=declined_at)
        case JobRequeued(charged=charged, not_before=not_before):
            return Queued(
                spec=job.spec, attempts=job.attempts, charged=job.charged + int(charged), not_before=not_before
            )
        case CancelAccepted(reason=reason):
            return _aborting(job, reason)
        case OutputsCommitted():
            return Promoting(spec=job.spec, attempts=job.attempts, charged=job.charged, committed=event)
        case CommitRefused() | MaterializationRecorded() | PromotionAbandoned():
            return job
        case _:
            assert_never(event)


def _holding(state: type[Running], job: Job) -> Job:
    if not isinstance(job, Leased):
        return job
    return state(
        spec=job.spec,
        attempts=job.attempts,
        charged=job.charged,
        executor=job.executor,
        lease=job.lease,
        dispatched_at=job.dispatched_at,
    )


def _aborting(job: Job, reason: str) -> Job:
    if not isinstance(job, Leased):
        return job
    return Aborting(
        spec=job.spec,
        attempts=job.attempts,
        charged=job.charged,
        executor=job.executor,
        lease=job.lease,
        dispatched_at=job.dispatched_at,
        reason=reason,
    )


class JobTable:
    """The open jobs, with the indexes that decisions need: by state and by claimed materialization key."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, Job] = {}
        self.queued: dict[JobId, Queued] = {}
        self.leased: dict[JobId, Dispatched | Running | Aborting] = {}
        self.promoting: dict[JobId, Promoting] = {}
        self.by_key: dict[MaterializationKey, JobId] = {}
        self.next_id = JobId(1)

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
            self._unindex(job, old)
        if new is None:
            self._jobs.pop(job, None)
            for key in old.spec.keys if old else ():
                self.by_key.pop(key.materialization_key, None)
            return
        self._jobs[job] = new
        self._index(job, new)
        if old is None:
            self.next_id = JobId(max(self.next_id, job + 1))
            for key in new.spec.keys:
                self.by_key[key.materialization_key] = job

    def _unindex(self, job: JobId, old: Job) -> None:
        match old:
            case Queued():
                del self.queued[job]
            case Dispatched() | Running() | Aborting():
                del self.leased[job]
            case Promoting():
                del self.promoting[job]
            case _:
                assert_never(old)

    def _index(self, job: JobId, new: Job) -> None:
        match new:
            case Queued():
                self.queued[job] = new
            case Dispatched() | Running() | Aborting():
                self.leased[job] = new
            case Promoting():
                self.promoting[job] = new
            case _:
                assert_never(new)
