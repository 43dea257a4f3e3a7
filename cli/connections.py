"""Owns the listening side of the control socket: a thread for each connection, which answers it in turn.

So a peer that does not read its answers, or never says the rest of its message, keeps nobody waiting but itself. What
is asked is for others to know.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cli.wire import FIRST_NUMBER, NUMBER, Pipe
from executors.errors import TransportError

CONNECTIONS_MAX: Final = 256
PATIENCE_SECONDS: Final = 10.0  # for a peer to say the rest of a message, and to take in its answer
PAUSE_SECONDS: Final = 1.0  # after a connection that could not be accepted
CLOSE_SECONDS: Final = 5.0  # for the listening thread to end

logger = logging.getLogger("casparian.connections")

Answering = Callable[[bytes], bytes]


class Connections:
    """Answers whoever connects to an ipc address. Where all places are taken, who was silent longest has to go."""

    def __init__(self, address: str, *, answer: Answering, message_bytes_max: int) -> None:
        """Take what to do; nothing is touched. `answer` is called from many threads at once, and must not raise."""
        self.address = address
        self._path = Path(address.removeprefix("ipc://"))
        self._answer = answer
        self._bytes_max = message_bytes_max
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._listen, name="control", daemon=True)
        self._lock = threading.Lock()
        self._open: set[_Conversation] = set()
        self._over = threading.Event()

    def start(self) -> None:
        """Listen. Raises TransportError if the address cannot be had."""
        try:
            self._socket.bind(str(self._path))
            self._socket.listen(CONNECTIONS_MAX)
        except OSError as error:
            self._socket.close()
            raise TransportError(f"listen on {self.address}: {error.strerror}; check the folder") from error
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more, and hang up; requests under way end without an answer. Idempotent."""
        if self._over.is_set():
            return
        with self._lock:
            self._over.set()
            for conversation in self._open:
                conversation.pipe.hang_up()
        if self._thread.ident is not None:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts
            self._thread.join(CLOSE_SECONDS)
            self._path.unlink(missing_ok=True)
        self._socket.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                connected, _ = self._socket.accept()
            except OSError as error:
                if self._over.is_set():
                    return
                logger.warning("accept a connection on %s: %s", self.address, error.strerror)
                self._over.wait(PAUSE_SECONDS)  # out of descriptors, most likely: some will be given back
                continue
            self._take_in(connected)

    def _take_in(self, connected: socket.socket) -> None:
        pipe = Pipe(connected, part="rep", message_bytes_max=self._bytes_max, seconds=PATIENCE_SECONDS)
        conversation = _Conversation(pipe, self._answer)
        with self._lock:
            has_place = not self._over.is_set() and self._make_place()
            if has_place:
                self._open.add(conversation)
        if not has_place:
            pipe.close()
            return
        threading.Thread(target=self._converse, args=(conversation,), name="control request", daemon=True).start()

    def _make_place(self) -> bool:
        """Have room for one more; False if all are being answered."""
        if len(self._open) < CONNECTIONS_MAX:
            return True
        silent = [each for each in self._open if not each.is_answering]
        if not silent:
            return False
        longest = min(silent, key=lambda each: each.silent_since)
        self._open.discard(longest)
        longest.pipe.hang_up()
        return True

    def _converse(self, conversation: _Conversation) -> None:
        try:
            with suppress(TransportError, TimeoutError):  # each concerns this peer alone, and hangs up on it
                conversation.go_on()
        finally:
            with self._lock:
                self._open.discard(conversation)
            conversation.pipe.close()


class _Conversation:
    """One peer, on a thread of its own."""

    def __init__(self, pipe: Pipe, answer: Answering) -> None:
        self.pipe = pipe
        self.silent_since = time.monotonic()
        self.is_answering = False
        self._answer = answer

    def go_on(self) -> None:
        """Answer one request after the other. Raises TransportError or TimeoutError when that is over."""
        self.pipe.greet()
        while True:
            request = self._next_request()
            self.is_answering = True
            number = request[: NUMBER.size]
            self.pipe.send(number + self._answer(request[NUMBER.size :]))
            self.silent_since = time.monotonic()
            self.is_answering = False

    def _next_request(self) -> bytes:
        """Return a request with its number, however long the peer is silent before it begins one."""
        while True:
            try:
                request = self.pipe.receive()
                break
            except TimeoutError:
                if not self.pipe.is_between_messages:
                    raise
        if len(request) < NUMBER.size or NUMBER.unpack_from(request)[0] < FIRST_NUMBER:
            raise TransportError("receive a request: it has no number")
        return request
