"""What a job may do in the queue and until it is cancelled, told as given / when / then."""

from __future__ import annotations

import pytest
from msgspec import structs

from commands.decide import Command
from commands.job import WithdrawJob
from eventlog.events import CancelAccepted, JobAborted
from eventlog.ids import JobId
from reducers.job import Aborting, Running
from tests.support import (
    J1,
    L2,
    LATER,
    NOW,
    cancel,
    code,
    commit,
    decide,
    deploy,
    dispatch,
    enqueue,
    events_of,
    fail,
    given,
    join,
    plan,
    planned_run,
    promoted,
    record,
    release,
    running_job,
    start,
    started,
    types,
)


def test_enqueue_gives_out_job_ids_in_log_order() -> None:
    state = given(*planned_run(1, 2, 3))
    assert list(state.jobs) == [1, 2, 3]


def test_a_file_whose_keys_are_claimed_is_not_queued_twice() -> None:
    state = given(*planned_run(1))
    assert decide(enqueue(1), state) == []


def test_a_file_that_was_recorded_since_the_plan_is_not_queued() -> None:
    """Two runs plan the same file; one makes and records it before the other has queued all of its jobs."""
    both: list[Command] = [deploy(), start(), record(1, 2), plan(2, 2, at_seq=1), start(), record(1, 2, run=2)]
    made: list[Command] = [enqueue(1), join(), dispatch(), started(), commit(), promoted()]
    late = given(*both, plan(2, 2, run=2, at_seq=1), *made)
    assert [event.path for event in decide(enqueue(1, 2, run=2), late)] == ["/case/2.evtx"]  # type: ignore[union-attr]  # all are JobQueued
    anew = given(*both, *made, plan(2, 2, run=2, at_seq=10_000))
    assert types(decide(enqueue(1, 2, run=2), anew)) == ["JobQueued", "JobQueued"]  # its plan knew, and wants it anew


def test_the_same_file_twice_in_one_batch_is_queued_once() -> None:
    state = given(deploy(), start(), record(1), plan(1, 1))
    assert types(decide(enqueue(1, 1), state)) == ["JobQueued"]


def test_enqueue_before_the_plan_is_refused() -> None:
    assert code(decide(enqueue(1), given(deploy(), start()))) == "run_not_planned"


def test_a_key_is_free_again_when_its_job_has_ended() -> None:
    state = given(*running_job(), fail())
    assert types(decide(enqueue(1), state)) == ["JobQueued"]
    assert given(*running_job(), fail(), enqueue(1)).jobs.next_id == 3


def test_dispatch_counts_attempts_from_one() -> None:
    state = given(*planned_run(1), join(), dispatch(), release(), dispatch(lease=L2))
    job = state.jobs.get(J1)
    assert job is not None
    assert job.attempts == 2


def test_dispatch_to_an_unknown_executor_is_refused() -> None:
    assert code(decide(dispatch(), given(*planned_run(1)))) == "unknown_executor"


def test_dispatch_of_a_running_job_is_refused() -> None:
    assert code(decide(dispatch(lease=L2), given(*running_job()))) == "job_not_queued"


def test_dispatch_before_the_job_is_due_is_refused() -> None:
    state = given(*running_job(), fail(failure="transient"))
    assert code(decide(dispatch(lease=L2, now=NOW), state)) == "job_not_due"
    assert types(decide(dispatch(lease=L2, now=LATER), state)) == ["JobDispatched"]


def test_a_running_job_is_running() -> None:
    assert isinstance(given(*running_job()).jobs.get(J1), Running)


def test_a_start_told_twice_is_one_start() -> None:
    assert decide(started(), given(*running_job())) == []


def test_a_start_by_a_dead_lease_is_refused() -> None:
    assert code(decide(started(lease=L2), given(*running_job()))) == "stale_lease"


def test_a_cancel_of_a_waiting_job_ends_it() -> None:
    assert types(decide(cancel(), given(*planned_run(1)))) == ["CancelAccepted", "JobAborted"]


def test_a_cancel_of_a_running_job_is_accepted_and_then_confirmed() -> None:
    state = given(*running_job(), cancel())
    assert isinstance(state.jobs.get(J1), Aborting)
    assert types(decide(release(), state)) == ["JobAborted"]


@pytest.mark.parametrize("report", [commit(), fail(), fail(failure="transient"), release()])
def test_nothing_of_a_cancelled_job_is_published(report: Command) -> None:
    state = given(*running_job(), cancel())
    assert types(decide(report, state))[-1] == "JobAborted"
    assert "OutputsCommitted" not in types(decide(report, state))


def test_a_second_cancel_changes_nothing() -> None:
    assert decide(cancel(), given(*running_job(), cancel())) == []


def test_a_cancel_after_the_commit_point_is_refused() -> None:
    assert code(decide(cancel(), given(*running_job(), commit()))) == "already_committing"


def test_a_cancel_of_a_finished_job_says_so() -> None:
    assert code(decide(cancel(), given(*running_job(), commit(), promoted()))) == "already_completed"


def test_a_cancel_of_a_job_that_never_was_says_so() -> None:
    assert code(decide(cancel(99), given(*running_job()))) == "not_found"


@pytest.mark.parametrize(
    ("by", "why", "said"),
    [
        ("cli:ada", "wrong folder", "cancelled by cli:ada: wrong folder"),
        ("cli:ada", "", "cancelled by cli:ada"),
        ("", "the run was interrupted", "the run was interrupted"),
    ],
)
def test_a_cancel_says_who_asked_wherever_its_reason_is_shown(by: str, why: str, said: str) -> None:
    wish = structs.replace(cancel(), by=by, reason=why)
    accepted, aborted = events_of(decide(wish, given(*planned_run(1))))
    assert isinstance(accepted, CancelAccepted)
    assert isinstance(aborted, JobAborted)
    assert accepted.reason == aborted.reason == said


def test_only_a_waiting_job_can_be_withdrawn() -> None:
    withdraw = WithdrawJob(job=JobId(1), reason="its parser changed", now=NOW)
    assert types(decide(withdraw, given(*planned_run(1)))) == ["JobAborted"]
    assert code(decide(withdraw, given(*running_job()))) == "job_not_queued"
