"""Owns how a thread of an executor is played: a generator that says what it waits for, and is resumed with it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from tests.cli.simulation.executor import SimulatedExecutor


class Sleep(Struct, frozen=True):
    """Wait for so long, or until woken."""

    seconds: float


class Exchange(Struct, frozen=True):
    """Ask, and wait for the answer for so long; None comes back when there was none in time, or nobody listens."""

    message: bytes
    seconds: float


Wish = Sleep | Exchange


class Played:
    """One thread of an executor. It does nothing while its executor is frozen, and nothing more when it has ended."""

    def __init__(
        self, owner: SimulatedExecutor, script: Generator[Wish, bytes | None, None], ended: Callable[[], None]
    ) -> None:
        self._owner = owner
        self._script = script
        self._ended = ended
        self._turn = 0  # what it waits for is that of this turn; what comes for an earlier one comes too late
        self._sleeps = False
        self._over = False
        self._resume(0, None)

    def wake(self) -> None:
        """End its sleep."""
        if self._sleeps:
            self._owner.agenda.plan(0.0, "executor", self._resumption(None))

    def stop(self) -> None:
        """End it, whatever it waits for."""
        self._over = True

    def _resumption(self, value: bytes | None) -> Callable[[], None]:
        turn = self._turn
        return lambda: self._resume(turn, value)

    def _resume(self, turn: int, value: bytes | None) -> None:
        if self._over or turn != self._turn or not self._owner.alive:
            return
        if (frozen := self._owner.frozen_seconds) > 0:
            self._owner.agenda.plan(frozen, "executor", lambda: self._resume(turn, value))
            return
        self._turn += 1
        try:
            wish = self._script.send(value)
        except StopIteration:
            self._over = True
            self._ended()
            return
        self._wait_for(wish)

    def _wait_for(self, wish: Wish) -> None:
        self._sleeps = isinstance(wish, Sleep)
        self._owner.agenda.plan(wish.seconds, "executor", self._resumption(None))
        if isinstance(wish, Exchange):
            turn = self._turn
            self._owner.network.ask(self._owner.place, wish.message, lambda answer: self._resume(turn, answer))
