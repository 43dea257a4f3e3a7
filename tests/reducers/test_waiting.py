from __future__ import annotations

from msgspec import structs

from eventlog.ids import JobId
from reducers.job import Queued
from reducers.waiting import FORGOTTEN_ENTRIES_MIN, WaitingJobs
from tests.projections.histories import now, queued


def waiting(job: int, *, priority: int = 0, due: int = 0) -> Queued:
    spec = structs.replace(queued(job), priority=priority)
    return Queued(spec=spec, attempts=0, charged=0, not_before=now(due))


def test_a_job_that_was_dropped_is_not_due() -> None:
    index = WaitingJobs()
    index.put(waiting(1))
    index.put(waiting(2))
    index.drop(JobId(1))
    assert index.due(now(), 2) == [2]


def test_a_job_that_is_put_again_counts_as_it_was_put_last() -> None:
    index = WaitingJobs()
    for job in (1, 2):
        index.put(waiting(job))
    assert index.due(now(), 2) == [1, 2]
    index.put(waiting(2, priority=1))
    index.put(waiting(1, due=5))
    assert index.due(now(), 2) == [2]
    assert index.due(now(5), 2) == [2, 1]


def test_what_is_forgotten_takes_no_room_for_ever() -> None:
    index = WaitingJobs()
    index.put(waiting(1))
    for priority in range(3 * FORGOTTEN_ENTRIES_MIN):
        index.put(waiting(2, priority=priority))
        index.due(now(), 1)
        index.drop(JobId(2))
    entries = len(index._waiting) + sum(map(len, index._ready.values()))
    assert entries <= 2 * (FORGOTTEN_ENTRIES_MIN + 2)
    assert index.due(now(), 5) == [1]


def test_a_hundred_thousand_jobs_that_wait_are_not_gone_through() -> None:
    index = WaitingJobs()
    for job in range(1, 100_001):
        index.put(waiting(1) if job == 1 else _like(job))
    assert index.due(now(), 3) == [1, 2, 3]
    looks = _Counted(index)
    for _ in range(100):
        index.due(now(), 3)
    assert looks.count < 2_000


_PATTERN = waiting(1)


def _like(job: int) -> Queued:
    return structs.replace(_PATTERN, spec=structs.replace(_PATTERN.spec, job=JobId(job)))


class _Counted:
    """Counts how often an index looks up whether an entry still counts."""

    def __init__(self, index: WaitingJobs) -> None:
        self.count = 0
        counted = self

        class Live(dict):  # type: ignore[type-arg]  # of whatever the index keeps
            def get(self, *key: object) -> object:
                counted.count += 1
                return super().get(*key)

        index._live = Live(index._live)
