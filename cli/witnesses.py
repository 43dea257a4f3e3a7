"""Owns what executors are told of the log's end, and the test of what those that come back were told before.

An executor that outlives its sentinel is a witness: it knows a head of the log that was durable, and is no part of the
home, so it also sees a home that was put back to an older state as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventlog.frames import Frame
from eventlog.log import Log
from eventlog.sealed import HeadClaim
from executors.protocol import Identify, LogHead


class Witnesses:
    """The head that answers carry, and the comparison of the log with those that executors say they were told."""

    def __init__(self, log: Log) -> None:
        """Take the log as its opening left it, which ends with a record."""
        self._log = log
        self.head = _head(log, seq=log.head.seq, hash_=log.head.hash)

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable; what comes next may be told. On the deciding thread."""
        for frame in reversed(frames):
            if frame.records:
                self.head = _head(self._log, seq=frame.last, hash_=frame.hash)
                return

    def about_us(self, identify: Identify) -> list[HeadClaim]:
        """Return what an executor has heard of this log; what it heard of others, also of earlier lives, is nothing."""
        by = f"the executor {identify.executor} (process {identify.pid})"
        return [
            HeadClaim(log_id=each.log_id, seq=each.seq, hash=each.hash, by=by)
            for each in identify.heard
            if each.log_id == self._log.log_id
        ]

    def hold(self, claims: Sequence[HeadClaim]) -> None:
        """Hold the log to what was told of it. Raises as `Log.hold_to`: LogRegressedError if it is not so."""
        for claim in claims:
            self._log.hold_to(claim)


def _head(log: Log, *, seq: int, hash_: str) -> LogHead:
    return LogHead(log_id=log.log_id, seq=seq, hash=hash_)
