"""Owns how messages travel in the simulation: late, twice, not at all, past each other, or not while they are cut off.

A request that reaches the sentinel must be answered once, and in time: the server holds a context for it until then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from executors.protocol import POLL_SECONDS
from tests.cli.simulation.agenda import Agenda

ANSWER_SECONDS_MAX: Final = POLL_SECONDS + 4.0  # a poll, a sweep, and a disk that is slow
REFUSED_SECONDS: Final = 0.01  # until nobody is found to listen

Reply = Callable[[bytes], None]
Listener = Callable[[bytes, Reply], None]
Answered = Callable[[bytes | None], None]


class Network:
    """One server's address, and everybody who asks there."""

    def __init__(self, agenda: Agenda, chance: Random, complain: Callable[[str], None]) -> None:
        self._agenda = agenda
        self._chance = chance
        self._complain = complain
        self._listener: Listener | None = None
        self._life = 0
        self._open: dict[int, tuple[float, Answered]] = {}  # requests that have come and have no answer
        self._number = 0
        self.lossy = chance.choice((0.0, 0.0, 0.02, 0.15))
        self.slow = chance.choice((0.001, 0.01, 0.5, 3.0))  # seconds, how long a message takes at most, mostly
        self.cut_until: dict[str, float] = {}

    def listen(self, listener: Listener) -> None:
        """Hand messages to a sentinel that has come up."""
        self._listener = listener
        self._life += 1

    def hang_up(self) -> None:
        """End with the sentinel: whoever waits for an answer notices at once."""
        self._listener = None
        for _, answered in self._open.values():
            self._agenda.plan(REFUSED_SECONDS, "network", partial(answered, None))
        self._open.clear()

    def heal(self) -> None:
        """Carry every message from now on, soon."""
        self.lossy, self.slow = 0.0, 0.001
        self.cut_until.clear()

    def cut(self, who: str, seconds: float) -> None:
        """Let nothing pass from or to somebody for a while."""
        self.cut_until[who] = self._agenda.now + seconds

    def ask(self, who: str, message: bytes, answered: Answered) -> None:
        """Send a message; `answered` is called with each answer that arrives, or with None if nobody listens."""
        if self._listener is None:
            self._agenda.plan(REFUSED_SECONDS, "network", partial(answered, None))
            return
        for _ in range(2 if self._chance.random() < self.lossy / 2 else 1):
            self._carry(who, lambda: self._arrive(who, message, answered))

    def require_answers(self) -> None:
        """Complain of a request that has waited for its answer for too long."""
        for arrived, _ in self._open.values():
            if self._agenda.now - arrived > ANSWER_SECONDS_MAX:
                self._complain(f"a request of {arrived:.3f} s is not answered at {self._agenda.now:.3f} s")

    def _carry(self, who: str, deliver: Callable[[], None]) -> None:
        if self._chance.random() < self.lossy or self._is_cut(who):
            return
        delay = self._chance.random() * (self.slow if self._chance.random() < 0.9 else self.slow * 5)
        self._agenda.plan(delay, "network", lambda: None if self._is_cut(who) else deliver())

    def _is_cut(self, who: str) -> bool:
        return self.cut_until.get(who, 0.0) > self._agenda.now

    def _arrive(self, who: str, message: bytes, answered: Answered) -> None:
        if self._listener is None:
            return
        self._number += 1
        number, life = self._number, self._life
        self._open[number] = self._agenda.now, answered

        def reply(answer: bytes) -> None:
            if self._life != life or self._listener is None:
                return  # of a sentinel that has gone
            if self._open.pop(number, None) is None:
                self._complain("a request was answered twice")
            self._carry(who, lambda: answered(answer))

        self._listener(message, reply)
