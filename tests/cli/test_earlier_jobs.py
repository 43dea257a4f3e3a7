"""What a run says of the jobs of earlier runs."""

from __future__ import annotations

import pytest

from cli.earlier_jobs import ended, held_up, taken_up


def test_what_is_made_and_what_waits_for_a_person_are_told_apart() -> None:
    assert taken_up([]) == held_up([], "") == ""
    assert taken_up([3]) == "1 job of earlier runs waited: this run makes it as well"
    assert taken_up([3, 4]).endswith("2 jobs of earlier runs waited: this run makes them as well")
    told = held_up([3], "parser p is paused: it lied")
    assert told == "1 job of earlier runs not made: parser p is paused: it lied; casparian parser health"


@pytest.mark.parametrize("statuses", [[], ["completed"], ["completed", "completed"]])
def test_nothing_is_said_where_all_is_done(statuses: list[str]) -> None:
    assert ended(statuses) == ""


def test_every_ending_is_counted() -> None:
    told = ended(["completed", "failed", "failed", "aborted", "promoting", "queued"])
    assert told.startswith("of 6 jobs of earlier runs: ")
    for part in ("1 completed", "2 failed", "1 cancelled", "1 not published", "1 still open"):
        assert part in told
