"""Owns which executors are here, as the log says, when each was heard last, and which of them get nothing more."""

from __future__ import annotations

from collections import deque

from eventlog.ids import ExecutorId
from executors.protocol import Stop

REMOVED_MAX = 1000
STRANGERS_MAX = 64  # executors that others have started, here at once


class Roster:
    """The executors of one sentinel. Not for two threads at once: whoever asks has the dispatcher's lock.

    Times are seconds on the monotonic clock.
    """

    def __init__(self) -> None:
        self._heard: dict[ExecutorId, float] = {}  # those that are here
        self._expected: set[ExecutorId] = set()  # those that we start
        self._draining: dict[ExecutorId, str] = {}
        self._removed: deque[ExecutorId] = deque(maxlen=REMOVED_MAX)  # by a person, who does not want them again

    def __contains__(self, executor: ExecutorId) -> bool:
        """Say whether it is here; for any thread, also without the lock."""
        return executor in self._heard

    def expect(self, executor: ExecutorId) -> None:
        """Have a place for an executor that we start, however many strangers are here."""
        self._expected.add(executor)

    def is_full_for(self, executor: ExecutorId) -> bool:
        """Say whether an executor that nobody knows is one stranger too many."""
        strangers = self._heard.keys() - self._expected
        return len(strangers) >= STRANGERS_MAX and executor not in {*self._heard, *self._expected}

    def join(self, executor: ExecutorId, now: float) -> bool:
        """Take in an executor; whether others have started it."""
        self._heard[executor] = now
        return executor not in self._expected

    def hear(self, executor: ExecutorId, now: float) -> None:
        """Take note that one that is here has spoken."""
        self._heard[executor] = now

    def heard(self) -> dict[ExecutorId, float]:
        """Return when each of those that are here was heard last."""
        return dict(self._heard)

    def forgive(self, absent: float, now: float) -> None:
        """Have nobody be silent for the seconds that we were absent ourselves."""
        self._heard = {executor: min(now, heard + absent) for executor, heard in self._heard.items()}

    def drain(self, executor: ExecutorId, reason: str) -> None:
        """Have it get nothing more, until it is forgotten."""
        self._draining[executor] = reason

    def remove(self, executor: ExecutorId) -> None:
        """Do not have it come again, whenever it speaks next."""
        self._removed.append(executor)

    def is_removed(self, executor: ExecutorId) -> bool:
        """Say whether a person does not want it again."""
        return executor in self._removed

    def forget(self, executor: ExecutorId) -> None:
        """Drop one that has ended; that it was removed is kept."""
        self._heard.pop(executor, None)
        self._expected.discard(executor)
        self._draining.pop(executor, None)

    def farewell(self, executor: ExecutorId) -> Stop | None:
        """Return why an executor that asks for work gets none, ever; None where it may.

        One that was given up because nobody heard it may come again, under another name.
        """
        if executor in self._draining:
            return Stop(reason=self._draining[executor])
        if executor not in self._heard:
            return Stop(reason="the sentinel has given this executor up", again=executor not in self._removed)
        return None
