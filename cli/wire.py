"""Owns how messages cross the control socket: as nng's REQ and REP send them over ipc, on a plain socket.

Each side begins with eight bytes that say which part it takes; then come messages, each behind a one and its length.
A request begins with a number, and its answer with the same one. Knows nothing of what is asked.

Whoever has nng can ask as well. Nothing of nng is needed here: importing it takes longer than asking does, it ends the
process that closes a socket while another thread waits on it, and so asks for an event loop on both sides.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Final, Literal

from executors.errors import PeerGoneError, RequestTimedOutError, TransportError

Part = Literal["req", "rep", "pub", "sub"]

HELLO: Final = struct.Struct("!4sHH")  # the four bytes, the part, and two bytes that are zero
MAGIC: Final = b"\0SP\0"
PARTS: Final[dict[Part, int]] = {"pub": 0x20, "sub": 0x21, "req": 0x30, "rep": 0x31}
HEARS: Final[dict[Part, Part]] = {"pub": "sub", "sub": "pub", "req": "rep", "rep": "req"}
FRAME: Final = struct.Struct("!BQ")
FRAME_KIND: Final = 1
NUMBER: Final = struct.Struct("!I")
FIRST_NUMBER: Final = 0x8000_0000  # the bit says that no other address stands before the message
NUMBERS: Final = 0x8000_0000  # how many there are, before they begin anew
CHUNK_BYTES: Final = 64 * 1024
DIAL_TICK_SECONDS: Final = 0.01  # between two attempts, while others wait to be accepted


class Pipe:
    """One connection. `seconds` is how long a send may take, and how long a message that has begun may pause.

    Raises PeerGoneError where the other side has hung up, TransportError for what is no message, TimeoutError.
    """

    def __init__(self, connected: socket.socket, *, part: Part, message_bytes_max: int, seconds: float) -> None:
        self._socket = connected
        self._part: Part = part
        self._frame_bytes_max = message_bytes_max + NUMBER.size
        self._read = bytearray()
        self._seconds = -1.0
        self.give(seconds)

    def give(self, seconds: float) -> None:
        """Let everything take so long from now on."""
        if seconds != self._seconds:  # it is a call of the system
            self._seconds = seconds
            self._socket.settimeout(seconds)

    def greet(self) -> None:
        """Say which part is taken here, and have the other side say that it takes the one that belongs to it."""
        self._send(HELLO.pack(MAGIC, PARTS[self._part], 0))
        if self._exactly(HELLO.size) != HELLO.pack(MAGIC, PARTS[HEARS[self._part]], 0):
            raise TransportError("greet: the other side does not speak this protocol")

    def send(self, message: bytes) -> None:
        """Send one message, with its number if it has one."""
        self._send(FRAME.pack(FRAME_KIND, len(message)) + message)

    def receive(self) -> bytes:
        """Return the next message. After a TimeoutError it can be asked for again."""
        while len(self._read) < FRAME.size:
            self._take_more()
        kind, length = FRAME.unpack_from(self._read)
        if kind != FRAME_KIND or length > self._frame_bytes_max:
            raise TransportError(f"receive a message: {length:,} bytes, at most {self._frame_bytes_max:,} are taken")
        while len(self._read) < FRAME.size + length:
            self._take_more()
        message = bytes(memoryview(self._read)[FRAME.size : FRAME.size + length])
        del self._read[: FRAME.size + length]
        return message

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing of a message has come yet."""
        return not self._read

    def hang_up(self) -> None:
        """End the connection; whoever waits on it, on either side, hears that at once. From any thread, idempotent."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was quicker
            return

    def close(self) -> None:
        """Let go of the socket. On the thread that uses it."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError:
            self.hang_up()  # nothing can follow half a message
            raise
        except OSError as error:
            raise PeerGoneError(f"send a message: {error.strerror}") from error

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._take_more()
        data = bytes(self._read[:size])
        del self._read[:size]
        return data

    def _take_more(self) -> None:
        try:
            data = self._socket.recv(CHUNK_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise PeerGoneError(f"receive a message: {error.strerror}") from error
        if not data:
            raise PeerGoneError("receive a message: the other side has hung up")
        self._read += data


def dial(path: Path, *, part: Part, message_bytes_max: int, seconds: float) -> Pipe:
    """Return a connection that was greeted. Raises PeerGoneError if nobody listens or answers in time."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(connected, path, seconds)
        pipe = Pipe(connected, part=part, message_bytes_max=message_bytes_max, seconds=seconds)
        pipe.greet()
    except (OSError, ValueError) as error:  # ValueError: a path that is no socket's, too long or with a zero in it
        connected.close()
        raise PeerGoneError(f"connect to {path}: {error}; check that the sentinel runs") from error
    return pipe


def _connect(connected: socket.socket, path: Path, seconds: float) -> None:
    """Connect, however many others wait to be accepted."""
    give_up = time.monotonic() + seconds
    connected.settimeout(seconds)
    while True:
        try:
            connected.connect(str(path))
            return
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise
            time.sleep(DIAL_TICK_SECONDS)


class Requester:
    """Asks over one connection, one question after the other. It does not connect again."""

    def __init__(self, path: Path, *, message_bytes_max: int, dial_seconds: float) -> None:
        """Connect. Raises PeerGoneError if nobody listens or answers in time."""
        self._path = path
        self._bytes_max = message_bytes_max
        self._asked = 0
        self._pipe = dial(path, part="req", message_bytes_max=message_bytes_max, seconds=dial_seconds)

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        """Return the answer to one message.

        Raises PeerGoneError, RequestTimedOutError (whether the request was acted upon is then not known), and
        TransportError for a message that is too long and for an answer that is none.
        """
        if not 0 < len(message) <= self._bytes_max:
            what = f"{len(message)} bytes, but a message has 1 to {self._bytes_max}"
            raise TransportError(f"send to {self._path}: {what}")
        self._asked += 1
        number = NUMBER.pack(FIRST_NUMBER + self._asked % NUMBERS)
        give_up = time.monotonic() + timeout_seconds
        try:
            self._pipe.give(timeout_seconds)
            self._pipe.send(number + message)
            return self._answer_to(number, give_up)
        except TimeoutError as error:
            why = f"ask {self._path}: no answer within {timeout_seconds:g} s; the peer may be busy or stopped"
            raise RequestTimedOutError(why) from error
        except PeerGoneError as error:
            why = f"ask {self._path}: the peer has gone; check that it runs, then connect again"
            raise PeerGoneError(why) from error

    def close(self) -> None:
        """End the connection."""
        self._pipe.hang_up()
        self._pipe.close()

    def _answer_to(self, number: bytes, give_up: float) -> bytes:
        """Return the answer with this number; others are to questions that were given up."""
        while (answer := self._pipe.receive())[: NUMBER.size] != number:
            self._pipe.give(max(DIAL_TICK_SECONDS, give_up - time.monotonic()))
        return answer[NUMBER.size :]
