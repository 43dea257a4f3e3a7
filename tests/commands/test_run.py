"""What a run may do, and what its exit code says."""

from __future__ import annotations

from typing import Any

import pytest

from commands.epoch import BeginEpoch
from commands.outcome import Refused
from commands.run import exit_code
from eventlog.events import OutputsLost, OutputsReused, RunFinished, RunPlanned
from eventlog.ids import JobId, MaterializationKey, RunId, Seq
from reducers.output import RECORDED_KEYS_MAX
from tests.support import (
    NOW,
    code,
    commit,
    decide,
    deploy,
    fail,
    finish,
    given,
    keys,
    lose,
    plan,
    planned_run,
    promoted,
    record,
    reuse,
    running_job,
    start,
    tally,
    types,
)


def test_a_run_of_a_known_parser_starts() -> None:
    assert types(decide(start(), given(deploy()))) == ["RunStarted"]


def test_a_run_of_an_unknown_parser_names_the_known_ones() -> None:
    for named in ("evxt", "EVTX"):
        refused = decide(start(named), given(deploy()))
        assert code(refused) == "unknown_parser"
        assert isinstance(refused, Refused)
        assert refused.why.endswith("did you mean evtx?")
        assert "evtx" in refused.next_step


@pytest.mark.parametrize("mode", ["replace", "error"])
def test_a_sink_mode_that_is_not_built_is_refused_and_never_ignored(mode: str) -> None:
    assert code(decide(start(sink_mode=mode), given(deploy()))) == "sink_mode_unsupported"


def test_a_run_without_inputs_is_refused() -> None:
    assert code(decide(start(inputs=()), given(deploy()))) == "no_inputs"


def test_a_run_has_every_declared_setting_as_given_or_by_default() -> None:
    state = given(deploy(settings={"raw_xml": "false", "depth": "3"}))
    (started,) = decide(start(settings={"raw_xml": "true"}), state)  # type: ignore[misc]
    assert started.settings == {"raw_xml": "true", "depth": "3"}  # type: ignore[union-attr]


def test_a_default_that_is_given_is_the_same_run() -> None:
    state = given(deploy(settings={"raw_xml": "false"}))
    assert decide(start(settings={"raw_xml": "false"}), state) == decide(start(), state)


def test_a_setting_that_the_parser_does_not_declare_is_refused_and_the_known_ones_are_named() -> None:
    refused = decide(start(settings={"raw_xlm": "true"}), given(deploy(settings={"raw_xml": "false"})))
    assert code(refused) == "unknown_setting"
    assert "raw_xml" in refused.next_step  # type: ignore[union-attr]


def test_a_switch_takes_true_or_false_only() -> None:
    assert (
        code(decide(start(settings={"raw_xml": "yes"}), given(deploy(settings={"raw_xml": "false"})))) == "bad_setting"
    )


def test_a_plan_carries_the_parser_that_the_state_knows() -> None:
    (event,) = decide(plan(1, 1), given(deploy(), start(), record(1)))  # type: ignore[misc]
    assert isinstance(event, RunPlanned)
    assert event.artifact_hash == "a" * 64


def test_a_plan_behind_which_something_was_recorded_that_it_would_make_is_refused() -> None:
    state = given(*running_job(), commit(), promoted(), start(), record(1, run=2))
    recorded = state.changed["output"]
    made = [key.materialization_key for key in keys(1)]
    assert code(decide(plan(1, 1, run=2, at_seq=recorded - 1, made=made), state)) == "stale_plan"
    assert types(decide(plan(1, 1, run=2, at_seq=recorded, made=made), state)) == ["RunPlanned"]


def test_what_others_record_meanwhile_does_not_overtake_a_plan() -> None:
    state = given(*running_job(), commit(), promoted(), start(), record(2, run=2))
    made = [key.materialization_key for key in keys(2)]
    assert types(decide(plan(1, 1, run=2, at_seq=1, made=made), state)) == ["RunPlanned"]


def test_a_plan_older_than_what_is_remembered_is_refused() -> None:
    state = given(deploy(), start(), record(1))
    for number in range(RECORDED_KEYS_MAX + 1):
        state.recorded.put(Seq(100 + number), MaterializationKey(f"key {number}"))
    assert code(decide(plan(1, 1, at_seq=99), state)) == "stale_plan"
    assert types(decide(plan(1, 1, at_seq=100), state)) == ["RunPlanned"]


def test_a_plan_that_forgets_a_file_is_refused() -> None:
    assert code(decide(plan(1, 1), given(deploy(), start(), record(1, 2)))) == "plan_forgets_files"


def test_a_plan_told_twice_is_one_plan() -> None:
    assert decide(plan(1, 1), given(deploy(), start(), record(1), plan(1, 1))) == []


def test_no_file_joins_a_run_after_its_plan() -> None:
    assert code(decide(record(2), given(*planned_run(1)))) == "run_already_planned"


def test_a_run_with_open_jobs_cannot_finish() -> None:
    assert code(decide(finish(processed=1), given(*planned_run(1)))) == "jobs_open"


def test_a_run_finishes_when_its_jobs_have_ended() -> None:
    (event,) = decide(finish(failed=1), given(*running_job(), fail()))  # type: ignore[misc]
    assert isinstance(event, RunFinished)
    assert event.exit == 1


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ({"processed": 2}, 0),
        ({"reused": 2}, 0),
        ({"processed": 2, "partial": 1}, 3),
        ({"reused": 2, "partial": 1}, 3),
        ({"processed": 2, "failed": 1}, 1),
        ({"processed": 2, "failed": 1, "partial": 1}, 1),
        ({"processed": 2, "failed": 1, "unaccounted": 1}, 5),
        ({}, 1),
    ],
)
def test_the_exit_code_states_what_is(counts: dict[str, int], code: int) -> None:
    assert exit_code(tally(**counts)) == code


def test_a_new_epoch_interrupts_runs_and_puts_jobs_back_without_cost() -> None:
    state = given(*running_job())
    decision = decide(BeginEpoch(now=NOW), state)
    assert types(decision) == ["ExecutorLost", "JobRequeued", "RunInterrupted"]


def test_a_new_epoch_leaves_what_is_committed() -> None:
    state = given(*running_job(), commit())
    assert types(decide(BeginEpoch(now=NOW), state)) == ["ExecutorLost", "RunInterrupted"]


def test_a_run_asks_again_for_what_jobs_that_ended_have_recorded() -> None:
    state = given(*running_job(), commit(), promoted())
    assert decide(reuse(1), state) == [OutputsReused(run=RunId(1), jobs=(JobId(1),), reused_at=NOW)]
    assert decide(reuse(), state) == []


def test_what_is_lost_is_said_before_the_run_is_planned() -> None:
    before = given(*running_job(), commit(), promoted(), finish(processed=1), start(), record(1, run=2))
    assert decide(lose(1, run=2), before) == [OutputsLost(run=RunId(2), jobs=(JobId(1),), lost_at=NOW)]
    assert code(decide(lose(1), given(*running_job(), commit(), promoted()))) == "run_planned"


@pytest.mark.parametrize("wish", [reuse, lose])
def test_only_jobs_that_have_ended_can_have_recorded_something(wish: Any) -> None:
    state = given(*running_job())
    assert code(decide(wish(1), state)) == "job_not_ended"
    assert code(decide(wish(2), state)) == "job_not_ended"
    assert code(decide(wish(1, run=7), state)) == "run_not_open"
    assert code(decide(wish(*range(1, 10_002)), state)) == "too_many_jobs"
