"""Owns what an executor remembers of logs: the newest head of each that it was told of, across all its visits."""

from __future__ import annotations

import threading

from eventlog.ids import LogId
from executors.protocol import HEARD_LOGS_MAX, LogHead


class Heard:
    """The newest head of each log, of those that were heard of last; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: dict[LogId, LogHead] = {}  # in the order in which they were told

    def hear(self, head: LogHead | None) -> None:
        """Remember a head. One that is behind what was told before is forgotten: what was acknowledged stays so."""
        if head is None:
            return
        with self._lock:
            known = self._heads.pop(head.log_id, head)
            self._heads[head.log_id] = max(known, head, key=lambda each: each.seq)
            if len(self._heads) > HEARD_LOGS_MAX:
                del self._heads[next(iter(self._heads))]

    @property
    def heads(self) -> tuple[LogHead, ...]:
        with self._lock:
            return tuple(self._heads.values())
