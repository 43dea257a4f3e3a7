"""Carries requests between threads of one process, for tests; see executors/transport.py for what is promised."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from executors.errors import TransportError
from executors.transport import (
    CONTEXTS,
    DIAL_SECONDS,
    MESSAGE_BYTES_MAX,
    Handler,
    OneReply,
    answered,
    check_message,
    ended,
    hand_over,
    join,
    nobody,
    timed_out,
)

logger = logging.getLogger("casparian.transport")


class MemoryHub:
    """Be one address inside a process: the double of the nng transport, with the same promises."""

    def __init__(self, *, address: str = "memory", message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.address = address
        self.message_bytes_max = message_bytes_max
        self.changed = threading.Condition()
        self.listening: MemoryServer | None = None

    def server(self, *, contexts: int = CONTEXTS) -> MemoryServer:
        """Return a server for this address; it listens when it serves."""
        return MemoryServer(self, contexts=contexts)

    def client(self, *, dial_timeout_seconds: float = DIAL_SECONDS) -> MemoryClient:
        """Connect to whoever listens. Raises PeerGoneError if nobody does within the timeout."""
        with self.changed:
            self.changed.wait_for(lambda: self.listening is not None, dial_timeout_seconds)
            if self.listening is None:
                raise nobody(self.address, dial_timeout_seconds)
            return MemoryClient(self.listening, bytes_max=self.message_bytes_max)


class _Pending:
    """A request under way. The first outcome stands: an answer, or None when a side ended."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.done = threading.Event()
        self.answer: bytes | None = None
        self._lock = threading.Lock()

    def finish(self, answer: bytes | None) -> None:
        with self._lock:
            if not self.done.is_set():
                self.answer = answer
                self.done.set()


class MemoryServer:
    """Answer on a thread of its own, at most `contexts` requests at once, as NngServer does."""

    def __init__(self, hub: MemoryHub, *, contexts: int) -> None:
        self._hub = hub
        self._contexts = contexts
        self._waiting: deque[_Pending] = deque()
        self._held: set[_Pending] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def address(self) -> str:
        return self._hub.address

    def serve(self, handler: Handler) -> None:
        """Listen, and answer on a thread of the server's own. Raises TransportError if the address is taken."""
        assert self._thread is None, "a server serves once"
        with self._hub.changed:
            if self._hub.listening is not None:
                raise TransportError(f"listen on {self.address}: somebody listens there already; close it first")
            self._hub.listening = self
            self._hub.changed.notify_all()
        self._thread = threading.Thread(target=self._run, args=(handler,), name=f"serve {self.address}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more and leave the address."""
        if self._thread is None:
            return
        with self._hub.changed:
            if not self._closed:
                self._hub.listening = None
            self._closed = True
            for pending in (*self._waiting, *self._held):
                pending.finish(None)
            self._waiting.clear()
            self._held.clear()
            self._hub.changed.notify_all()
        join(self._thread, address=self.address)

    def submit(self, pending: _Pending) -> None:
        """Queue a request; one for a server that has closed ends at once."""
        with self._hub.changed:
            if self._closed:
                pending.finish(None)
            else:
                self._waiting.append(pending)
                self._hub.changed.notify_all()

    def _run(self, handler: Handler) -> None:
        while (pending := self._next()) is not None:
            reply = OneReply(self._deliver_to(pending), bytes_max=self._hub.message_bytes_max)
            hand_over(handler, pending.message, reply)

    def _next(self) -> _Pending | None:
        with self._hub.changed:
            self._hub.changed.wait_for(
                lambda: self._closed or (len(self._waiting) > 0 and len(self._held) < self._contexts)
            )
            if self._closed:
                return None
            pending = self._waiting.popleft()
            self._held.add(pending)
            return pending

    def _deliver_to(self, pending: _Pending) -> Callable[[bytes], None]:
        def deliver(answer: bytes) -> None:
            pending.finish(answer)
            with self._hub.changed:
                self._held.discard(pending)
                self._hub.changed.notify_all()

        return deliver


class MemoryClient:
    """Ask a MemoryServer."""

    def __init__(self, server: MemoryServer, *, bytes_max: int) -> None:
        self._server = server
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._asked: set[_Pending] = set()
        self._closed = False

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        """Return the answer to one message; see Client."""
        address = self._server.address
        check_message(message, address=address, bytes_max=self._bytes_max)
        pending = _Pending(message)
        with self._lock:
            if self._closed:
                raise ended(address, closed=True)
            self._asked.add(pending)
        self._server.submit(pending)
        is_done = pending.done.wait(timeout_seconds)
        with self._lock:
            self._asked.discard(pending)
        if not is_done:
            raise timed_out(address, timeout_seconds)
        if pending.answer is None:
            raise ended(address, closed=self._closed)
        return answered(pending.answer, address=address)

    def close(self) -> None:
        """End the connection; see Client."""
        with self._lock:
            self._closed = True
            for pending in self._asked:
                pending.finish(None)
