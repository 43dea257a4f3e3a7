"""Owns an executor's connection to its sentinel: a question is asked again until it is answered, or nobody is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from executors.errors import ExecutorRefusedError, ServerGoneError, TransportError
from executors.protocol import Fault, Message, OpCode, ProtocolError, decode, payload
from executors.transport import Client
from executors.waits import WorkerTimes

LINK_ERRORS: Final = (ServerGoneError, ExecutorRefusedError, ProtocolError)


class Link:
    """One connection to the sentinel, made again after a failure. For any thread."""

    def __init__(self, client_factory: Callable[[], Client], times: WorkerTimes) -> None:
        self._client_factory = client_factory
        self._times = times
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._client: Client | None = None

    def ask(self, message: bytes) -> Message:
        """Return the answer, asking again until there is one.

        Asking again is safe: whoever is asked knows jobs by their leases. Raises ServerGoneError when there was no
        answer for `gone_max` seconds after the first failure, or when the link is closed; ExecutorRefusedError if the
        answer is a fault; ProtocolError if it makes no sense.
        """
        gone_at: float | None = None
        client: Client | None = None
        while True:
            try:
                client = self._connected()
                answer = decode(client.request(message, timeout_seconds=self._times.request))
                break
            except TransportError as error:
                self._disconnect(client)
                gone_at = gone_at or time.monotonic() + self._times.gone_max
                if time.monotonic() >= gone_at or self._closed.wait(self._times.retry):
                    raise ServerGoneError(
                        f"ask the sentinel: {error}; see whether it still runs, it starts executors as it needs them"
                    ) from error
        if answer.op is OpCode.ERR:
            fault = payload(answer, Fault)
            raise ExecutorRefusedError(fault.code, fault.message)
        return answer

    def close(self) -> None:
        """End the connection and every wait on it. Idempotent."""
        self._closed.set()
        with self._lock:
            client = self._client
        self._disconnect(client)

    def _connected(self) -> Client:
        with self._lock:
            if self._closed.is_set():
                raise ServerGoneError("ask the sentinel: this executor is leaving")
            if self._client is None:
                self._client = self._client_factory()
            return self._client

    def _disconnect(self, client: Client | None) -> None:
        """Close a client that failed, unless another thread has met its failure already."""
        with self._lock:
            mine = client is not None and self._client is client
            if mine:
                self._client = None
        if mine and client is not None:
            client.close()


def unexpected(answer: Message, said: str) -> ProtocolError:
    """Return the error of an answer that is none to what was said."""
    return ProtocolError(f"UnexpectedAnswer: the sentinel answered {answer.op.name} to {said}")
