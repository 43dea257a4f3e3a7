"""Owns the watch over executors that are no children of ours: those of this machine are seen to die, at once.

A child's end is told by the system; a stranger's silence is told by its lease, half a minute later. A descriptor of the
stranger's process tells its end as a child's, and, other than a lost connection, tells nothing else: an executor that
connects again has not died. One of another machine, or whose number means nobody here, is left to its lease.
"""

from __future__ import annotations

import os
import select
import socket
import threading

from eventlog.ids import ExecutorId


class Vigil:
    """The processes of strangers, by executor. Holds one descriptor each; the caller bounds how many there are."""

    def __init__(self) -> None:
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._descriptors: dict[ExecutorId, int] = {}

    def watch(self, executor: ExecutorId, *, pid: int, host: str) -> None:
        """Watch over its process, and no longer over one that it named before."""
        self.forget(executor)
        if host != self._host:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # nobody of that number is here: it lives in another container, or has lied
            return
        with self._lock:
            self._descriptors[executor] = descriptor

    def forget(self, executor: ExecutorId) -> None:
        """Watch over it no more; one that is not watched over is not an error."""
        with self._lock:
            descriptor = self._descriptors.pop(executor, None)
            if descriptor is not None:
                os.close(descriptor)

    def ended(self) -> list[ExecutorId]:
        """Return whose process has ended, each time anew until it is forgotten. Waits for nothing."""
        with self._lock:
            poll = select.poll()
            for descriptor in self._descriptors.values():
                poll.register(descriptor, select.POLLIN)
            over = {descriptor for descriptor, _ in poll.poll(0)} if self._descriptors else set()
            return [executor for executor, descriptor in self._descriptors.items() if descriptor in over]

    def close(self) -> None:
        """Give every descriptor back."""
        for executor in list(self._descriptors):
            self.forget(executor)
