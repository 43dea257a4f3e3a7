"""Which open jobs concern a run."""

from __future__ import annotations

from eventlog.ids import RunId
from reducers.run_jobs import claimed, stoppable
from tests.support import J1, R1, commit, given, retried, running_job, start


def test_a_run_may_stop_its_jobs_until_they_are_committed() -> None:
    state = given(*running_job())
    assert stoppable(state, R1, ()) == {J1: state.jobs.leased[J1].executor}
    assert stoppable(state, R1, (), waited_for={J1}) == {}
    assert stoppable(given(*running_job(), commit()), R1, ()) == {}


def test_a_job_that_another_open_run_wants_is_not_stopped_for_the_one_that_shares_it() -> None:
    state = given(*running_job(), start())
    assert stoppable(state, RunId(2), {J1}) == {}


def test_keys_are_claimed_by_open_jobs_only() -> None:
    keys = [key.materialization_key for key in retried().spec.keys]
    assert claimed(given(*running_job()), keys) == {J1}
    assert claimed(given(), keys) == set()
