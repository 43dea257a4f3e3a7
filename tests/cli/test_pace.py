"""How a run's pace is told: at most once a second, with what is left, and a stall once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cli.pace import PUBLISH_SECONDS, STALL_SECONDS, Pace, say_stall
from eventlog.events import Event
from eventlog.ids import JobId
from reducers.fold import State, fold
from tests.projections import histories as h


@given(st.lists(st.floats(0, 0.9), min_size=1, max_size=200), st.integers(1, 50))
def test_it_is_told_at_most_once_a_second_and_the_end_in_any_case(steps: list[float], total: int) -> None:
    pace, now, told = Pace(total, now=0.0), 0.0, []
    for number, step in enumerate(steps):
        now += step
        done = min(total - 1, number)
        if pace.is_due(done, now):
            told.append(now)
    assert all(later - earlier >= PUBLISH_SECONDS for earlier, later in pairwise(told))
    assert pace.is_due(total, now)
    assert not pace.is_due(total, now)


def test_what_is_left_follows_from_what_was_done_here() -> None:
    pace = Pace(10, now=100.0)
    assert pace.seconds_left(4, 100.0) is None  # they had ended before
    assert pace.seconds_left(4, 110.0) is None
    assert pace.seconds_left(6, 110.0) == 20
    assert pace.seconds_left(10, 120.0) is None


def test_a_stall_is_told_once_and_anew_after_something_moved() -> None:
    pace = Pace(3, now=0.0)
    assert not pace.has_stalled((0, 0), 0.0)
    assert not pace.has_stalled((0, 0), STALL_SECONDS - 0.1)
    assert pace.has_stalled((0, 0), STALL_SECONDS)
    assert not pace.has_stalled((0, 0), STALL_SECONDS * 2)
    assert not pace.has_stalled((0, 1), STALL_SECONDS * 2)
    assert not pace.has_stalled((0, 1), STALL_SECONDS * 3 - 0.1)
    assert pace.has_stalled((0, 1), STALL_SECONDS * 3)


def test_a_stall_names_what_does_not_move() -> None:
    state = State()
    events: list[Event] = [h.queued(1), h.queued(2), h.dispatched(2, attempt=1), h.started(2)]
    fold(state, [record for frame in h.frames_of([events]) for record in frame.records])
    said = say_stall(state, {JobId(1), JobId(2)})
    assert said.startswith(f"no progress for 30 s: job 2 on {h.queued(2).path} (evtx 1, attempt 1)")
    assert "casparian job logs 2" in said
    assert "1 job open, none of them at work" in say_stall(state, {JobId(1)})
