"""Owns which leases are in use, as log and executors tell it: their open jobs, and when each was heard of last."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec
from msgspec import Struct

from cli.question import Question
from eventlog.ids import ExecutorId, JobId, LeaseId
from executors import protocol


class HeldLease(Struct, kw_only=True):
    """A lease in use: its jobs that have not ended, when its executor was heard last, its parked heartbeat, and which
    of its jobs must be stopped, with the reason. Executors call it by the `first` of its jobs."""

    executor: ExecutorId
    lease: LeaseId
    first: JobId
    jobs: set[JobId]
    heard: float  # on the monotonic clock
    rows: int = 0
    bytes_read: int = 0
    stops: dict[JobId, str] = msgspec.field(default_factory=dict)
    parked: Question | None = None

    def unpark(self) -> Question | None:
        """Take away its heartbeat, for the caller to answer; None where none waits."""
        parked, self.parked = self.parked, None
        return parked

    def untold(self, told: Sequence[JobId]) -> tuple[JobId, protocol.Stop] | None:
        """Return a job that must be stopped and whose executor does not know it yet."""
        return next(((job, protocol.Stop(reason=why)) for job, why in self.stops.items() if job not in told), None)


class HeldLeases:
    """The leases in use. Not for two threads at once: whoever asks has the dispatcher's lock."""

    def __init__(self) -> None:
        self._leases: dict[LeaseId, HeldLease] = {}
        self._lease_of: dict[JobId, LeaseId] = {}

    def __iter__(self) -> Iterator[HeldLease]:
        return iter(self._leases.values())

    def get(self, lease: LeaseId) -> HeldLease | None:
        """Return the lease, None where it is over."""
        return self._leases.get(lease)

    def of_job(self, job: JobId) -> HeldLease | None:
        """Return the lease that holds the job, None where none does."""
        lease = self._lease_of.get(job)
        return None if lease is None else self._leases[lease]

    def of_executor(self, executor: ExecutorId) -> list[HeldLease]:
        """Return the leases that it has: the one that it works at, and one that it let go of unsaid."""
        return [held for held in self if held.executor == executor]

    def add(self, held: HeldLease) -> None:
        """Take in a lease that was handed out, with its jobs."""
        self._leases[held.lease] = held
        self._lease_of |= dict.fromkeys(held.jobs, held.lease)

    def end(self, job: JobId) -> HeldLease | None:
        """Forget a job that its lease does not hold any more. Return the lease if that was its last."""
        lease = self._lease_of.pop(job, None)
        if lease is None:
            return None
        held = self._leases[lease]
        held.jobs.discard(job)
        return None if held.jobs else self._leases.pop(lease)

    def in_flight(self, jobs: Collection[JobId]) -> tuple[int, int]:
        """Return how many rows those of the jobs that run have made, and bytes read."""
        leases = {lease for job in jobs if (lease := self._lease_of.get(job)) is not None}
        mine = [self._leases[lease] for lease in leases]
        return sum(held.rows for held in mine), sum(held.bytes_read for held in mine)

    def forgive(self, absent: float, now: float) -> None:
        """Have nobody be silent for the seconds that we were absent ourselves."""
        for held in self:
            held.heard = min(now, held.heard + absent)
