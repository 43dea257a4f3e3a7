"""Owns how bytes travel between sentinel and executors: one request, one answer, over nng or in memory.

Knows nothing of what the bytes mean. Two rules hold for every implementation and stand in one contract suite:

1. A peer that has gone is noticed, never waited for: requests under way raise PeerGoneError, and so does every later
   one (a client does not reconnect, because the leases behind it died with its peer; make another client).
2. A request is never sent twice. A timeout says that no answer came, not that nothing happened.

An empty answer is how a server closes one request without an answer, so neither side may say nothing on purpose.

Never use a server or a client across `os.fork()`: nng aborts the child. Processes that speak are spawned.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import pynng

from executors.errors import PeerGoneError, RequestTimedOutError, TransportError
from executors.protocol import HEADER, PAYLOAD_BYTES_MAX
from executors.socket_names import socket_name

MESSAGE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + HEADER.size
REQUEST_HEADER_BYTES: Final = 4  # the request's number, which nng counts as part of a message
CONTEXTS: Final = 64  # requests that one server holds at once; more wait their turn
DIAL_SECONDS: Final = 5.0  # for a peer that is still starting
REDIAL_MILLISECONDS: Final = 50  # between two attempts to connect
CLOSE_SECONDS: Final = 5.0  # for a thread of ours to end
ANSWER_SECONDS: Final = 10.0  # for a peer to take in its answer, before the context is given to somebody else
SOCKET_PATH_BYTES_MAX: Final = 107  # AF_UNIX: sun_path has 108, one of them the closing zero

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


# --- what both implementations share ---------------------------------------------------------------------------------


class _OneReply:
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


def _hand_over(handler: Handler, message: bytes, reply: _OneReply) -> None:
    try:
        handler(message, reply)
    except Exception:  # whatever a handler raises concerns its own request; the others are to be served on
        logger.exception("handle a request of %d bytes: the handler failed, its request is closed", len(message))
        reply.drop()


def _check_message(message: bytes, *, address: str, bytes_max: int) -> None:
    if not 0 < len(message) <= bytes_max:
        raise TransportError(f"send to {address}: {len(message)} bytes, but a message has 1 to {bytes_max}")


def _answered(answer: bytes, *, address: str) -> bytes:
    if not answer:
        raise TransportError(f"ask {address}: the peer failed on this request; its own log says why")
    return answer


def _ended(address: str, *, closed: bool) -> TransportError:
    if closed:
        return TransportError(f"ask {address}: this client was closed; make another one")
    return PeerGoneError(f"ask {address}: the peer has gone; check that it runs, then connect again")


def _timed_out(address: str, seconds: float) -> RequestTimedOutError:
    return RequestTimedOutError(f"ask {address}: no answer within {seconds:g} s; the peer may be busy or stopped")


def _nobody(address: str, seconds: float) -> PeerGoneError:
    return PeerGoneError(f"connect to {address}: nobody listened within {seconds:g} s; check that the sentinel runs")


def _join(thread: threading.Thread, *, address: str) -> None:
    thread.join(CLOSE_SECONDS)
    if thread.is_alive():
        raise TransportError(f"close {address}: still busy after {CLOSE_SECONDS:g} s; end the process")


# --- addresses -------------------------------------------------------------------------------------------------------


def socket_address(home: Path, *, purpose: str = "executors") -> str:
    """Return the ipc address that belongs to a home, in a folder that only this user can enter.

    The folder is created if needed, under $XDG_RUNTIME_DIR or else the temporary folder: nng asks no peer for
    credentials, so the folder's mode is what keeps others out, and AF_UNIX allows too few bytes for a name inside the
    home. All spellings of a home have one address. Raises TransportError if the folder cannot be trusted.
    """
    name = socket_name(home, purpose=purpose)
    for folder in _socket_folders():
        path = folder / name
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            _make_private(folder)
            return f"ipc://{path}"
    raise TransportError(f"choose a socket for {home}: every path is longer than {SOCKET_PATH_BYTES_MAX} bytes")


def remove_socket(address: str) -> None:
    """Remove the socket file of an ipc address; one that is not there is removed. Call only as the home's owner.

    Raises TransportError if the name belongs to something that is not a socket.
    """
    path = _socket_path(address)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise TransportError(f"remove the socket {path}: it is not a socket; look at it, then remove it yourself")
        path.unlink()
    except FileNotFoundError:
        return


def _socket_folders() -> list[Path]:
    folders = [Path(tempfile.gettempdir()).absolute() / f"casparian-{os.geteuid()}"]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # Under sudo the variable may still name another user's folder; a socket there would be found by nobody.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.geteuid():
        folders.insert(0, runtime / "casparian")
    # A job's TMPDIR may be too long for AF_UNIX; the system's own temporary folder never is.
    folders.append(Path("/tmp") / f"casparian-{os.geteuid()}")
    return folders


def _make_private(folder: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        facts = folder.lstat()
    except OSError as error:
        raise TransportError(f"make the socket folder {folder}: {error.strerror}; set TMPDIR to another") from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise TransportError(f"use the socket folder {folder}: it belongs to somebody else; remove it or set TMPDIR")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        raise TransportError(f"use the socket folder {folder}: others may enter it; run `chmod 700 {folder}`")


def _socket_path(address: str) -> Path:
    """Return the file behind an ipc address. Raises TransportError if it cannot be one."""
    path = address.removeprefix("ipc://")
    if path == address or not path.startswith("/") or "\0" in path:
        raise TransportError(f"use the address {address!r}: it is not of the form ipc:///absolute/path")
    # nng takes UTF-8 only, and cuts a longer name off without a word: two servers could meet at the same stump.
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise TransportError(f"use the address {address!r}: it is not UTF-8; set TMPDIR to a plain path") from error
    if size > SOCKET_PATH_BYTES_MAX:
        raise TransportError(f"use the address {address}: {size} bytes of path, at most {SOCKET_PATH_BYTES_MAX}")
    return Path(path)


# --- nng -------------------------------------------------------------------------------------------------------------

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
        _socket_path(address)
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
        _join(self._thread, address=self._address)

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
                _hand_over(handler, message, _OneReply(self._deliver_to(answer), bytes_max=self._bytes_max))
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
        _socket_path(address)
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
        _check_message(message, address=self._address, bytes_max=self._bytes_max)
        try:
            answer = self._submit(message, timeout_seconds).result(timeout_seconds + CLOSE_SECONDS)
        except TimeoutError as error:
            raise _timed_out(self._address, timeout_seconds) from error
        except (concurrent.futures.CancelledError, pynng.ConnectionReset, pynng.Closed) as error:
            raise _ended(self._address, closed=self._closed) from error
        except pynng.NNGException as error:
            raise TransportError(f"ask {self._address}: {error}; connect again") from error
        return _answered(answer, address=self._address)

    def close(self) -> None:
        """End the connection; see Client."""
        self._closed = True
        self._end()
        _join(self._thread, address=self._address)

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
                raise _nobody(self._address, timeout_seconds)
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
                raise _ended(self._address, closed=self._closed)
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


# --- in memory -------------------------------------------------------------------------------------------------------


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
                raise _nobody(self.address, dial_timeout_seconds)
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
        _join(self._thread, address=self.address)

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
            reply = _OneReply(self._deliver_to(pending), bytes_max=self._hub.message_bytes_max)
            _hand_over(handler, pending.message, reply)

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
        _check_message(message, address=address, bytes_max=self._bytes_max)
        pending = _Pending(message)
        with self._lock:
            if self._closed:
                raise _ended(address, closed=True)
            self._asked.add(pending)
        self._server.submit(pending)
        answered = pending.done.wait(timeout_seconds)
        with self._lock:
            self._asked.discard(pending)
        if not answered:
            raise _timed_out(address, timeout_seconds)
        if pending.answer is None:
            raise _ended(address, closed=self._closed)
        return _answered(pending.answer, address=address)

    def close(self) -> None:
        """End the connection; see Client."""
        with self._lock:
            self._closed = True
            for pending in self._asked:
                pending.finish(None)
