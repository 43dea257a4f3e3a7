"""Owns the thread that starts executors: a child dies with the thread that started it, so it lives to the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

HIRE_SECONDS: Final = 0.5  # between two looks, while nobody wakes us: who has died is replaced, who is due is served
JOIN_SECONDS: Final = 10.0


class Hirer:
    """Calls `hire` whenever it is woken, and now and then by itself."""

    def __init__(self, hire: Callable[[], None]) -> None:
        self._hire = hire
        self._woken = threading.Event()
        self._stopping = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._loop, name="hirer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have it look soon. Raises what kept it from looking: TransportError if executors cannot be spoken with."""
        if self._fault is not None:
            raise self._fault
        self._woken.set()

    def stop(self) -> None:
        """Hire nobody any more; what it has started dies with it, so let those leave before."""
        self._stopping = True
        self._woken.set()
        self._thread.join(JOIN_SECONDS)

    def _loop(self) -> None:
        try:
            while not self._stopping:
                self._woken.wait(HIRE_SECONDS)
                self._woken.clear()
                if not self._stopping:
                    self._hire()
        except Exception as error:  # noqa: BLE001  # whoever wants executors is told
            self._fault = error
