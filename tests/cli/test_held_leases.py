from __future__ import annotations

import pytest

from cli.held_leases import HeldLease, HeldLeases
from eventlog.ids import ExecutorId, JobId, LeaseId

E = ExecutorId("executor-9")


def lease(name: str, *jobs: int) -> HeldLease:
    held = {JobId(job) for job in jobs}
    return HeldLease(executor=E, lease=LeaseId(name), first=JobId(jobs[0]), jobs=held, heard=0.0)


@pytest.fixture
def leases() -> HeldLeases:
    held = HeldLeases()
    held.add(lease("a", 1, 2))
    held.add(lease("b", 3))
    return held


def test_a_lease_is_over_with_the_last_of_its_jobs(leases: HeldLeases) -> None:
    assert leases.end(JobId(1)) is None
    assert leases.of_job(JobId(1)) is None
    assert leases.get(LeaseId("a")) is leases.of_job(JobId(2))
    ended = leases.end(JobId(2))
    assert ended is not None
    assert ended.lease == "a"
    assert [held.lease for held in leases] == ["b"]


def test_a_job_that_no_lease_holds_ends_nothing(leases: HeldLeases) -> None:
    assert leases.end(JobId(4)) is None
    assert len(leases.of_executor(E)) == 2


def test_the_rows_of_a_lease_count_once_for_all_of_its_jobs(leases: HeldLeases) -> None:
    for held in leases:
        held.rows, held.bytes_read = 5, 70
    assert leases.in_flight([JobId(1), JobId(2), JobId(4)]) == (5, 70)
    assert leases.in_flight([JobId(1), JobId(3)]) == (10, 140)


def test_a_stop_is_told_until_the_executor_knows_it(leases: HeldLeases) -> None:
    held = leases.of_job(JobId(2))
    assert held is not None
    held.stops[JobId(2)] = "cancelled"
    told = held.untold([])
    assert told is not None
    assert (told[0], told[1].reason) == (2, "cancelled")
    assert held.untold([JobId(2)]) is None


def test_our_own_absence_is_nobody_s_silence_and_makes_nobody_heard_in_the_future(leases: HeldLeases) -> None:
    leases.forgive(30.0, 20.0)
    assert [held.heard for held in leases] == [20.0, 20.0]
