"""Decides what is recorded when the wall clock was set. No rule depends on it: order is that of positions."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from commands.outcome import Decision
from eventlog.events import ClockStepped
from eventlog.ids import Instant

STEP_US_MAX: Final = 1_000_000  # a clock that differs by no more is being adjusted, not set


class NoteClockStep(Struct, frozen=True, kw_only=True):
    """Given by the sentinel when the wall clock does not show what it would by a clock that nobody sets."""

    delta_us: int
    expected_at: Instant
    now: Instant


def decide(command: NoteClockStep) -> Decision:
    """Record a step of more than STEP_US_MAX in either direction."""
    if abs(command.delta_us) <= STEP_US_MAX:
        return []
    return [ClockStepped(delta_us=command.delta_us, expected_at=command.expected_at, stepped_at=command.now)]
