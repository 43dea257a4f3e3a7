"""What becomes of a job whose attempt failed, was given back or was lost, told as given / when / then."""

from __future__ import annotations

from hypothesis import given as given_
from hypothesis import strategies as st
from msgspec import structs

from commands.attempt import RETRIES_MAX
from commands.decide import Command
from commands.executor import LoseExecutor
from commands.outcome import Refused
from eventlog.events import JobFailed, JobRequeued
from eventlog.ids import Instant, LeaseId
from reducers.job import Promoting, Queued
from tests.projections.histories import mismatch_found
from tests.support import (
    E1,
    J1,
    L2,
    LATER,
    NOW,
    commit,
    decide,
    dispatch,
    events_of,
    fail,
    given,
    join,
    release,
    running_job,
    take,
    types,
)


def test_other_columns_are_told_whole_before_the_failure() -> None:
    mismatch = mismatch_found(1).mismatch
    decision = decide(structs.replace(fail(), mismatch=mismatch), given(*running_job()))
    assert types(decision) == ["SchemaMismatchFound", "JobFailed"]
    again = decide(structs.replace(fail(failure="transient"), mismatch=mismatch), given(*running_job()))
    assert types(again) == ["JobRequeued"]


def test_a_permanent_failure_is_final_at_once() -> None:
    assert types(decide(fail(), given(*running_job()))) == ["JobFailed"]


def test_transient_failures_wait_longer_each_time_and_end_with_the_budget() -> None:
    state = given(*running_job())
    waits: list[str] = []
    for attempt in range(1, RETRIES_MAX + 2):
        (event,) = decide(fail(lease=LeaseId(f"lease-{attempt}"), failure="transient"), state)  # type: ignore[misc]
        take(state, [event])
        if isinstance(event, JobFailed):
            break
        assert isinstance(event, JobRequeued)
        waits.append(event.not_before)
        take(state, decide(dispatch(lease=LeaseId(f"lease-{attempt + 1}"), now=LATER), state))  # type: ignore[arg-type]
    assert waits == [
        "2026-01-22T10:11:16.123456Z",
        "2026-01-22T10:11:28.123456Z",
        "2026-01-22T10:12:16.123456Z",
    ]
    assert state.jobs.get(J1) is None


def test_a_failed_attempt_says_its_kind_when_it_is_put_back() -> None:
    (requeued,) = events_of(decide(fail(failure="transient"), given(*running_job())))
    assert isinstance(requeued, JobRequeued)
    assert requeued.kind == "parser_error"


def test_a_failure_of_unknown_cause_is_tried_once_more_at_once_and_then_final() -> None:
    state = given(*running_job())
    (again,) = decide(fail(failure="unknown"), state)  # type: ignore[misc]
    assert isinstance(again, JobRequeued)
    assert (again.charged, again.failure, again.kind, again.not_before) == (True, "unknown", "parser_error", NOW)
    take(state, [again])
    take(state, decide(dispatch(lease=L2), state))  # type: ignore[arg-type]
    (failed,) = decide(fail(lease=L2, failure="unknown"), state)  # type: ignore[misc]
    assert isinstance(failed, JobFailed)
    assert (failed.failure, failed.attempt) == ("unknown", 2)


@given_(st.lists(st.sampled_from(["transient", "unknown", "lost", "declined", "released"]), max_size=12))
def test_a_job_is_charged_for_failures_alone_and_never_beyond_its_budget(ends: list[str]) -> None:
    state = given(*running_job())
    charged = unknown = 0
    for number, end in enumerate(ends, 2):
        lease = state.jobs.leased[J1].lease
        events = decide(_ending(end, lease), state)
        assert not isinstance(events, Refused)
        take(state, events)
        charged += end in ("transient", "unknown", "lost")
        unknown += end == "unknown"
        final = charged > RETRIES_MAX or unknown > 1
        assert (state.jobs.get(J1) is None) == final
        if final:
            return
        waiting = state.jobs.queued[J1]
        assert (waiting.charged, waiting.attempts) == (charged, number - 1)
        if end == "lost":
            take(state, decide(join(), state))  # type: ignore[arg-type]
        take(state, decide(dispatch(lease=LeaseId(f"lease-{number}"), now=LATER), state))  # type: ignore[arg-type]


def _ending(end: str, lease: LeaseId) -> Command:
    match end:
        case "lost":
            return LoseExecutor(executor=E1, reason="killed by signal 9", charged=True, now=NOW)
        case "declined" | "released":
            return release(lease=lease, declined=end == "declined")
        case _:
            return fail(lease=lease, failure=end)


def test_a_declined_job_waits_again_without_cost() -> None:
    state = given(*running_job(), release(declined=True))
    job = state.jobs.get(J1)
    assert isinstance(job, Queued)
    assert job.charged == 0


def test_a_lost_executor_gives_its_jobs_back_and_each_pays_an_attempt() -> None:
    lose = LoseExecutor(executor=E1, reason="killed by signal 9", charged=True, now=NOW)
    state = given(*running_job(), lose)
    job = state.jobs.get(J1)
    assert isinstance(job, Queued)
    assert (job.charged, job.not_before) == (1, Instant("2026-01-22T10:11:16.123456Z"))


def test_a_file_that_brings_down_every_executor_is_given_up() -> None:
    state = given(*running_job())
    for attempt in range(2, RETRIES_MAX + 3):
        lost = decide(LoseExecutor(executor=E1, reason="killed", charged=True, now=NOW), state)
        assert not isinstance(lost, Refused)
        take(state, lost)
        if state.jobs.get(J1) is None:
            assert isinstance(lost[-1], JobFailed)
            break
        take(state, decide(join(), state))  # type: ignore[arg-type]
        take(state, decide(dispatch(lease=LeaseId(f"lease-{attempt}"), now=LATER), state))  # type: ignore[arg-type]
    assert state.jobs.get(J1) is None


def test_losing_an_executor_changes_nothing_for_a_promoting_job() -> None:
    lose = LoseExecutor(executor=E1, reason="killed", charged=True, now=NOW)
    assert isinstance(given(*running_job(), commit(), lose).jobs.get(J1), Promoting)
