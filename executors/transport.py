"""Owns how bytes travel between sentinel and executors: one request, one answer, over nng or in memory.

Knows nothing of what the bytes mean. Two rules hold for every implementation and stand in one contract suite:

1. A peer that has gone is noticed, never waited for: requests under way raise PeerGoneError, and so does every later
   one (a client does not reconnect, because the leases behind it died with its peer; make another client).
2. A request is never sent twice. A timeout says that no answer came, not that nothing happened.

An empty answer is how a server closes one request without an answer, so neither side may say nothing on purpose.

Never use a server or a client across `os.fork()`: nng aborts the child. Processes that speak are spawned.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from executors.errors import PeerGoneError, RequestTimedOutError, TransportError
from executors.protocol import HEADER, PAYLOAD_BYTES_MAX

MESSAGE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + HEADER.size
CONTEXTS: Final = 64  # requests that one server holds at once; more wait their turn
DIAL_SECONDS: Final = 5.0  # for a peer that is still starting
CLOSE_SECONDS: Final = 5.0  # for a thread of ours to end

logger = logging.getLogger("casparian.transport")

Reply = Callable[[bytes], None]
Handler = Callable[[bytes, Reply], None]
"""Called with one message and its reply, for one message at a time and always on the same thread: it must not block.

The reply may be called later and from any thread, exactly once: a second call raises AssertionError, an answer that is
empty or too large raises ValueError and leaves the request open. After the server closed, or when the client has given
up, the answer goes nowhere. If the handler raises, that is logged and its request is closed without an answer. A
request that is never answered keeps its context for as long as the server lives.
"""


class Server(Protocol):
    @property
    def address(self) -> str: ...

    def serve(self, handler: Handler) -> None:
        """Listen, and answer on a thread of the server's own; returns at once. Raises TransportError; call once."""
        ...

    def close(self) -> None:
        """Answer nothing more and leave the address; requests under way end with PeerGoneError. Idempotent."""
        ...


class Client(Protocol):
    """May be used by several threads at once."""

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        """Return the answer to one message.

        Raises PeerGoneError, RequestTimedOutError, or TransportError if the peer closed the request without an answer.
        """
        ...

    def close(self) -> None:
        """End the connection; requests under way on other threads raise TransportError. Idempotent."""
        ...


# --- what every implementation shares --------------------------------------------------------------------------------


class OneReply:
    """The way back of one request; hands the first answer on and refuses a second."""

    def __init__(self, deliver: Callable[[bytes], None], *, bytes_max: int) -> None:
        self._deliver = deliver
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._given = False

    def __call__(self, answer: bytes) -> None:
        if not 0 < len(answer) <= self._bytes_max:
            raise ValueError(f"answer a request: {len(answer)} bytes, but an answer has 1 to {self._bytes_max}")
        if not self._take():
            raise AssertionError("a request was answered twice; reply exactly once")
        self._deliver(answer)

    def drop(self) -> None:
        """Close the request without an answer, unless it has one."""
        if self._take():
            self._deliver(b"")

    def _take(self) -> bool:
        with self._lock:
            first = not self._given
            self._given = True
        return first


def hand_over(handler: Handler, message: bytes, reply: OneReply) -> None:
    try:
        handler(message, reply)
    except Exception:  # whatever a handler raises concerns its own request; the others are to be served on
        logger.exception("handle a request of %d bytes: the handler failed, its request is closed", len(message))
        reply.drop()


def check_message(message: bytes, *, address: str, bytes_max: int) -> None:
    if not 0 < len(message) <= bytes_max:
        raise TransportError(f"send to {address}: {len(message)} bytes, but a message has 1 to {bytes_max}")


def answered(answer: bytes, *, address: str) -> bytes:
    if not answer:
        raise TransportError(f"ask {address}: the peer failed on this request; its own log says why")
    return answer


def ended(address: str, *, closed: bool) -> TransportError:
    if closed:
        return TransportError(f"ask {address}: this client was closed; make another one")
    return PeerGoneError(f"ask {address}: the peer has gone; check that it runs, then connect again")


def timed_out(address: str, seconds: float) -> RequestTimedOutError:
    return RequestTimedOutError(f"ask {address}: no answer within {seconds:g} s; the peer may be busy or stopped")


def nobody(address: str, seconds: float) -> PeerGoneError:
    return PeerGoneError(f"connect to {address}: nobody listened within {seconds:g} s; check that the sentinel runs")


def join(thread: threading.Thread, *, address: str) -> None:
    thread.join(CLOSE_SECONDS)
    if thread.is_alive():
        raise TransportError(f"close {address}: still busy after {CLOSE_SECONDS:g} s; end the process")
