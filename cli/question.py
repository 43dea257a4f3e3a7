"""Owns a question of an executor that waits here for its answer, and the one answer that it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from eventlog.ids import JobId, LeaseId
from executors import protocol
from executors.protocol import OpCode

Reply = Callable[[bytes], None]
Said = protocol.Dispatch | protocol.Stop | protocol.Carry


class Question:
    """A long poll. Answered once, when there is something to say and the receipt that came with it is durable.

    The answer carries the head of the log as it is when it goes: it covers the receipt.
    """

    def __init__(
        self, reply: Reply, *, lease: LeaseId, head: Callable[[], protocol.LogHead | None], with_receipt: bool = False
    ) -> None:
        self.lease = lease  # which it is about; of one that waits for work, the one that it would get
        self.since = time.monotonic()
        self.taken = False  # a job was planned for it
        self.then: Callable[[], object] = _nothing  # what follows when it is answered
        self._reply = reply
        self._head = head
        self._lock = threading.Lock()
        self._settled = not with_receipt
        self._discard = False
        self._answer: tuple[OpCode, Said | protocol.Fault, JobId | None] | None = None

    def answer(self, op: OpCode, payload: Said | protocol.Fault, job: JobId | None = None) -> None:
        """Give the answer; the first stands."""
        with self._lock:
            first, self._answer = self._answer is None, self._answer or (op, payload, job)
            due = first and self._settled
        if due:
            self._send()

    def settle(self, *, discard: bool) -> None:
        """Say what became of the receipt."""
        with self._lock:
            self._settled, self._discard = True, discard
            due = self._answer is not None
        if due:
            self._send()

    def _send(self) -> None:
        assert self._answer is not None
        op, payload, job = self._answer
        if not isinstance(payload, protocol.Fault):
            payload = msgspec.structs.replace(payload, head=self._head())
        self._reply(protocol.encode(op, payload, job=job, discard=self._discard))
        self.then()


def _nothing() -> None:
    """Do nothing: what follows most answers."""
