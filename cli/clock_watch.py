"""Owns the watch over the wall clock: it is compared with one that nobody sets, and a step is told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from commands.wall_clock import STEP_US_MAX, NoteClockStep
from eventlog.ids import Instant, instant, instant_datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ClockWatch:
    """Remembers where both clocks stood. Used by one thread."""

    def __init__(self, *, wall: Callable[[], Instant], steady_us: Callable[[], int]) -> None:
        self._wall = wall
        self._steady_us = steady_us
        self._begun_wall_us = _us(wall())
        self._begun_steady_us = steady_us()

    def steps(self) -> list[NoteClockStep]:
        """Return what is to be noted: nothing, or that the wall clock was set since it was last in order."""
        now, steady_us = self._wall(), self._steady_us()
        now_us = _us(now)
        expected_us = self._begun_wall_us + steady_us - self._begun_steady_us
        delta_us = now_us - expected_us
        if abs(delta_us) <= STEP_US_MAX:
            return []
        self._begun_wall_us, self._begun_steady_us = now_us, steady_us
        expected_at = instant(_EPOCH + expected_us * _MICROSECOND)
        return [NoteClockStep(delta_us=delta_us, expected_at=expected_at, now=now)]


def _us(moment: Instant) -> int:
    return (instant_datetime(moment) - _EPOCH) // _MICROSECOND
