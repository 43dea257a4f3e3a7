"""Which open jobs concern a run."""

from __future__ import annotations

from commands.epoch import BeginEpoch
from eventlog.events import QuarantinePolicy
from eventlog.ids import RunId
from reducers.run_jobs import claimed, stoppable, waiting_otherwise
from tests.support import J1, NOW, R1, commit, given, planned_run, retried, running_job, start


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


def test_a_job_that_waits_under_another_policy_gives_way_once_its_run_is_over() -> None:
    goes_on = given(*planned_run(1))
    keys = list(goes_on.jobs.by_key)
    over = given(*planned_run(1), BeginEpoch(now=NOW))  # as after a crash
    other, own = QuarantinePolicy(allow=True), goes_on.jobs.queued[J1].spec.quarantine
    assert waiting_otherwise(over, keys, other) == {J1}
    assert waiting_otherwise(over, keys, own) == set()
    assert waiting_otherwise(over, [], other) == set()
    assert waiting_otherwise(goes_on, keys, other) == set()
    assert waiting_otherwise(given(*running_job()), keys, other) == set()
