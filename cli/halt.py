"""Owns the wish that a run stop: asked from any thread, heeded by the run between two of its steps."""

from __future__ import annotations

import threading


class HaltedError(Exception):
    """Somebody has asked the run to stop."""


class Halt:
    """Whether a run is to stop, and how: the run looks between any two of its steps. For any thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.reason = ""
        self.leaves_jobs = False

    def ask(self, reason: str, *, leaves_jobs: bool = False) -> None:
        """Have the run stop. With `leaves_jobs` what is queued stays so for the next start. The first wish stands."""
        if not self._asked.is_set():
            self.reason, self.leaves_jobs = reason, leaves_jobs
            self._asked.set()

    def is_asked(self) -> bool:
        """Say whether the run is to stop."""
        return self._asked.is_set()

    def heed(self) -> None:
        """Raise HaltedError if the run is to stop."""
        if self._asked.is_set():
            raise HaltedError(self.reason)
