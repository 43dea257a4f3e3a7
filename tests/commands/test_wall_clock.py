"""A step of the wall clock is recorded as it was measured; an adjustment is not."""

from __future__ import annotations

import pytest

from commands.wall_clock import STEP_US_MAX, NoteClockStep, decide
from eventlog.events import ClockStepped
from reducers.say import say
from tests.support import LATER, NOW


@pytest.mark.parametrize("delta_us", [STEP_US_MAX + 1, -STEP_US_MAX - 1, 315_360_000 * STEP_US_MAX])
def test_a_step_is_recorded(delta_us: int) -> None:
    decision = decide(NoteClockStep(delta_us=delta_us, expected_at=NOW, now=LATER))
    assert decision == [ClockStepped(delta_us=delta_us, expected_at=NOW, stepped_at=LATER)]


@pytest.mark.parametrize("delta_us", [0, STEP_US_MAX, -STEP_US_MAX])
def test_an_adjustment_is_not(delta_us: int) -> None:
    assert decide(NoteClockStep(delta_us=delta_us, expected_at=NOW, now=LATER)) == []


def test_a_step_is_said_in_seconds_with_its_direction() -> None:
    event = ClockStepped(delta_us=-3_600_000_500, expected_at=LATER, stepped_at=NOW)
    assert say(event) == f"the wall clock was set back by 3600.000500 s: it would show {LATER} and shows {NOW}"
    event = ClockStepped(delta_us=1_500_000, expected_at=NOW, stepped_at=LATER)
    assert say(event).startswith("the wall clock was set ahead by 1.500000 s")
