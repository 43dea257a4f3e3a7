"""Owns simulated time: what happens when, one thing after the other, and the clocks that everybody reads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Final, Literal

from eventlog.ids import Instant, instant

Who = Literal["network", "executor", "decider", "promoter", "person", "fleet", "sentinel", "chance"]
Action = Callable[[], object]

_BEGUN: Final = datetime(2026, 1, 22, 10, tzinfo=UTC)


class Agenda:
    """What is due, in the order of time. Two things at one moment happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0.0  # seconds, the monotonic clock
        self._set_by = timedelta()  # how far the wall clock was set
        self._entries: list[tuple[float, int, Who, Action]] = []
        self._planned = 0

    def plan(self, delay: float, who: Who, action: Action) -> None:
        """Have somebody do something after so many seconds."""
        self._planned += 1
        heappush(self._entries, (self.now + delay, self._planned, who, action))

    def take(self, until: float, who: Collection[Who] | None = None) -> Action | None:
        """Return what is next, up to a moment and of those named only; it is that moment then. None: nothing is."""
        passed_over: list[tuple[float, int, Who, Action]] = []
        found: Action | None = None
        while self._entries and self._entries[0][0] <= until:
            entry = heappop(self._entries)
            if who is None or entry[2] in who:
                self.now = max(self.now, entry[0])
                found = entry[3]
                break
            passed_over.append(entry)
        for entry in passed_over:
            heappush(self._entries, entry)
        return found

    def set_clock(self, seconds: int) -> None:
        """Set the wall clock forward or back."""
        self._set_by += timedelta(seconds=seconds)

    # --- what the product takes for its clock ---

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> Instant:
        return instant(_BEGUN + timedelta(seconds=self.now) + self._set_by)
