"""Carries requests over nng, between processes of one machine; see executors/transport.py for what is promised."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Final

import pynng

from executors.addresses import socket_path
from executors.errors import PeerGoneError, TransportError
from executors.transport import (
    CLOSE_SECONDS,
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

REQUEST_HEADER_BYTES: Final = 4  # the request's number, which nng counts as part of a message
REDIAL_MILLISECONDS: Final = 50  # between two attempts to connect
ANSWER_SECONDS: Final = 10.0  # for a peer to take in its answer, before the context is given to somebody else

logger = logging.getLogger("casparian.transport")

_open_ends: Final[set[NngServer | NngClient]] = set()


@atexit.register
def _close_open_ends() -> None:
    """Close what a process that ends has left open: pynng takes nng down at exit, and nng aborts when it is in use.

    Runs before pynng's own handler, which was registered earlier.
    """
    for end in tuple(_open_ends):
        end.close()


class NngServer:
    """Answer over one REP socket whose contexts are parked in an event loop on a thread of its own.

    A stale socket file is taken over; an address where somebody listens is refused, which makes it a lock as well.
    """

    def __init__(self, address: str, *, contexts: int = CONTEXTS, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        socket_path(address)
        self._address = address
        self._contexts = contexts
        self._bytes_max = message_bytes_max
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._gate = threading.RLock()  # held to speak to the loop, and to leave it; a signal handler may close

    @property
    def address(self) -> str:
        return self._address

    def serve(self, handler: Handler) -> None:
        """Listen, and answer on a thread of the server's own. Raises TransportError if the address is taken."""
        assert self._thread is None, "a server serves once"
        socket = self._listen()
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop, socket, handler), name=f"serve {self._address}", daemon=True
        )
        _open_ends.add(self)
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more; nng removes the socket file. Call from any thread but the handler's."""
        if self._thread is None:
            return
        with self._gate:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
        join(self._thread, address=self._address)

    def _listen(self) -> pynng.Rep0:
        # Without the limit, which holds only for what listens afterwards, a peer could ask for any amount of memory.
        limit = self._bytes_max + REQUEST_HEADER_BYTES
        socket = pynng.Rep0(recv_max_size=limit)
        assert socket.recv_max_size == limit, "pynng ignores nng's refusal of an option"
        try:
            socket.listen(self._address)
        except pynng.AddressInUse as error:
            socket.close()
            raise TransportError(
                f"listen on {self._address}: somebody listens there already; end that process first"
            ) from error
        except pynng.NNGException as error:
            socket.close()
            raise TransportError(f"listen on {self._address}: {error}; check the folder") from error
        return socket

    def _run(self, loop: asyncio.AbstractEventLoop, socket: pynng.Rep0, handler: Handler) -> None:
        try:
            loop.run_until_complete(self._answer_all(socket, handler))
        finally:
            with self._gate:
                self._loop = None
            loop.close()
            _open_ends.discard(self)

    async def _answer_all(self, socket: pynng.Rep0, handler: Handler) -> None:
        workers = [asyncio.create_task(self._answer_in_turn(socket, handler)) for _ in range(self._contexts)]
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stopped, *workers], return_when=asyncio.FIRST_COMPLETED)
        socket.close()  # ends every parked receive and unlinks the file; clients see it in milliseconds
        for task in (stopped, *workers):
            task.cancel()
        for outcome in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.critical("serve %s: stopped, because a context failed", self._address, exc_info=outcome)

    async def _answer_in_turn(self, socket: pynng.Rep0, handler: Handler) -> None:
        """Answer one request after the other until the socket closes."""
        context = socket.new_context()
        try:
            while True:
                message = await context.arecv()
                _heed_cancel()
                answer = asyncio.get_running_loop().create_future()
                hand_over(handler, message, OneReply(self._deliver_to(answer), bytes_max=self._bytes_max))
                context = await self._answer_one(socket, context, await answer)
        except pynng.Closed:
            return
        finally:
            with contextlib.suppress(pynng.Closed):
                context.close()

    async def _answer_one(self, socket: pynng.Rep0, context: pynng.Context, answer: bytes) -> pynng.Context:
        """Send an answer; return the context for the next request: another one if the peer does not take its answer.

        A peer that asks and never reads would keep a context for as long as it likes, and with enough of them all.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await context.asend(answer)
        except TimeoutError:
            logger.info("serve %s: a peer did not take in its answer, which is dropped", self._address)
            context.close()
            return socket.new_context()
        return context

    def _deliver_to(self, future: asyncio.Future[bytes]) -> Callable[[bytes], None]:
        def deliver(answer: bytes) -> None:
            with self._gate:
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(_settle, future, answer)

        return deliver


def _settle(future: asyncio.Future[bytes], answer: bytes) -> None:
    if not future.done():  # cancelled, when the server closes
        future.set_result(answer)


def _heed_cancel() -> None:
    """Raise the cancellation that pynng swallows when it meets an operation that has just succeeded."""
    task = asyncio.current_task()
    assert task is not None, "called inside a task"
    if task.cancelling():
        raise asyncio.CancelledError


class NngClient:
    """Ask over one REQ socket, with a context for each request, all of them in an event loop on a thread of its own.

    nng aborts the process when a socket is closed while another thread is inside a call on one of its contexts, which
    is why one thread makes all calls. nng would also send a request again by itself after a minute, and to a restarted
    peer: that is switched off.
    """

    def __init__(
        self,
        address: str,
        *,
        dial_timeout_seconds: float = DIAL_SECONDS,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """Connect. Raises PeerGoneError if nobody listens within the timeout."""
        socket_path(address)
        self._address = address
        self._bytes_max = message_bytes_max
        self._closed = False
        self._over = asyncio.Event()  # the peer has gone, or the client was closed
        self._gate = threading.RLock()  # held to speak to the loop, and to leave it; a signal handler may close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = self._dial(dial_timeout_seconds)
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name=f"ask {address}", daemon=True)
        _open_ends.add(self)
        self._thread.start()

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        """Return the answer to one message; see Client."""
        check_message(message, address=self._address, bytes_max=self._bytes_max)
        try:
            answer = self._submit(message, timeout_seconds).result(timeout_seconds + CLOSE_SECONDS)
        except TimeoutError as error:
            raise timed_out(self._address, timeout_seconds) from error
        except (concurrent.futures.CancelledError, pynng.ConnectionReset, pynng.Closed) as error:
            raise ended(self._address, closed=self._closed) from error
        except pynng.NNGException as error:
            raise TransportError(f"ask {self._address}: {error}; connect again") from error
        return answered(answer, address=self._address)

    def close(self) -> None:
        """End the connection; see Client."""
        self._closed = True
        self._end()
        join(self._thread, address=self._address)

    def _dial(self, timeout_seconds: float) -> pynng.Req0:
        connected = threading.Event()
        self._loop = asyncio.new_event_loop()
        socket = pynng.Req0(
            resend_time=-1,
            recv_max_size=self._bytes_max + REQUEST_HEADER_BYTES,
            reconnect_time_min=REDIAL_MILLISECONDS,
        )
        # These run on nng's own threads, where a call that closes anything would deadlock: they only leave word.
        socket.add_post_pipe_connect_cb(lambda _pipe: connected.set())
        socket.add_post_pipe_remove_cb(lambda _pipe: self._end())
        try:
            # Not blocking, because a stopped peer accepts and then says nothing for as long as nng likes to wait.
            socket.dial(self._address, block=False)
            if not connected.wait(timeout_seconds):
                raise nobody(self._address, timeout_seconds)
        except (pynng.NNGException, PeerGoneError) as error:
            socket.close()
            self._close_loop(self._loop)
            if isinstance(error, PeerGoneError):
                raise
            raise TransportError(f"connect to {self._address}: {error}; check the address") from error
        return socket

    def _end(self) -> None:
        with self._gate:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._over.set)

    def _submit(self, message: bytes, timeout_seconds: float) -> concurrent.futures.Future[bytes]:
        with self._gate:
            if self._loop is None:
                raise ended(self._address, closed=self._closed)
            return asyncio.run_coroutine_threadsafe(self._exchange(message, timeout_seconds), self._loop)

    async def _exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        context = self._socket.new_context()
        try:
            async with asyncio.timeout(timeout_seconds):
                await context.asend(message)
                _heed_cancel()
                answer: bytes = await context.arecv()
        finally:
            context.close()
        return answer

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_until_complete(self._live())
        finally:
            loop.close()
            _open_ends.discard(self)

    async def _live(self) -> None:
        """Wait for the end, end what is under way, then close: nng itself would keep a queued request for ever."""
        await self._over.wait()
        with self._gate:
            self._loop = None
        await asyncio.sleep(0)  # what was submitted before that becomes a task now
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # each outcome belongs to the thread that asked
        self._socket.close()

    def _close_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._gate:
            self._loop = None
        loop.close()
