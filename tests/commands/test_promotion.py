"""How a promotion ends, told as given / when / then."""

from __future__ import annotations

import pytest

from commands.outcome import Refused
from eventlog.events import JobCompleted, JobFailed, MaterializationRecorded
from tests.support import (
    abandon,
    abandon_wish,
    code,
    commit,
    decide,
    enqueue,
    events_of,
    given,
    promoted,
    running_job,
    types,
)


def test_promotion_records_every_output_and_completes_in_one_frame() -> None:
    state = given(*running_job(), commit())
    decision = decide(promoted(), state)
    assert types(decision) == ["MaterializationRecorded", "MaterializationRecorded", "JobCompleted"]
    rows, files, completed = decision  # type: ignore[misc]
    assert isinstance(rows, MaterializationRecorded)
    assert isinstance(files, MaterializationRecorded)
    assert isinstance(completed, JobCompleted)
    assert (rows.rows, rows.status) == (10, "success")
    assert (files.rows, files.file, files.status) == (0, "", "no_data")


def test_a_job_whose_outputs_are_all_empty_is_recorded_too() -> None:
    state = given(*running_job(), commit(outputs=0))
    assert types(decide(promoted(), state))[-1] == "JobCompleted"


def test_promotion_told_twice_records_once() -> None:
    state = given(*running_job(), commit(), promoted())
    assert decide(promoted(), state) == []


def test_promotion_of_another_commit_is_refused() -> None:
    state = given(*running_job(), commit())
    assert code(decide(promoted(attempt=2), state)) == "other_commit"


def test_an_abandoned_promotion_fails_the_job_and_frees_its_key() -> None:
    state = given(*running_job(), commit())
    assert types(decide(abandon(), state)) == ["PromotionAbandoned", "JobFailed"]
    assert types(decide(enqueue(1), given(*running_job(), commit(), abandon()))) == ["JobQueued"]


def test_a_promotion_that_the_sink_has_undone_may_be_abandoned() -> None:
    state = given(*running_job(), commit())
    events = events_of(decide(abandon_wish(), state))
    assert types(events) == ["PromotionAbandoned", "JobFailed"]
    failed = events[1]
    assert isinstance(failed, JobFailed)
    assert (failed.failure, failed.reason) == ("promotion", "abandoned by cli:ada: not this case")
    assert given(*running_job(), commit(), abandon_wish(), enqueue(1)).jobs.next_id == 3  # the key is free


@pytest.mark.parametrize("answer", ["unreachable", "not_asked"])
def test_a_sink_that_does_not_answer_keeps_its_promotion(answer: str) -> None:
    refused = decide(abandon_wish(answer=answer), given(*running_job(), commit()))
    assert code(refused) == "sink_unavailable"
    assert isinstance(refused, Refused)
    assert "the disk is away" in refused.why


def test_abandoning_is_refused_in_order_of_precedence() -> None:
    assert code(decide(abandon_wish(9), given(*running_job(), commit()))) == "not_found"
    assert code(decide(abandon_wish(), given(*running_job(), commit(), promoted()))) == "already_completed"
    assert code(decide(abandon_wish(), given(*running_job()))) == "not_promoting"
    assert code(decide(abandon_wish(attempt=2), given(*running_job(), commit()))) == "other_commit"
