"""Owns the counts of what one socket of this process takes in and gives out: volatile, told as metrics."""

from __future__ import annotations

import threading
from typing import Literal

from projections.metrics import Traffic


class TrafficCount:
    """Counts messages, from any thread."""

    def __init__(self, socket: Literal["control", "executors"]) -> None:
        self._socket: Literal["control", "executors"] = socket
        self._lock = threading.Lock()
        self._received = self._sent = self._errors = 0

    def received(self) -> None:
        with self._lock:
            self._received += 1

    def sent(self) -> None:
        with self._lock:
            self._sent += 1

    def error(self) -> None:
        """Count a message that was refused because it was not understood."""
        with self._lock:
            self._errors += 1

    def seen(self) -> Traffic:
        """Return how it stands."""
        with self._lock:
            return Traffic(socket=self._socket, received=self._received, sent=self._sent, errors=self._errors)
