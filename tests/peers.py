"""A peer that speaks nng's wire by hand, so that it can say what no library would let it say."""

from __future__ import annotations

import socket
import struct
import time
from types import TracebackType
from typing import Self

HELLO = struct.Struct("!4sHH")  # \0SP\0, protocol, reserved
SUB, REQ, REP = 0x21, 0x30, 0x31
FRAME = struct.Struct("!BQ")  # of ipc: a one, then the length
REQUEST_ID = struct.Struct("!I")
FIRST_REQUEST = 0x8000_0000


class RawPeer:
    """One connection to an ipc address. Use as a context manager."""

    def __init__(self, address: str, *, hello: bytes | None = None, seconds: float = 10.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self._connect(address.removeprefix("ipc://"), time.monotonic() + seconds)
        self.socket.sendall(HELLO.pack(b"\0SP\0", REQ, 0) if hello is None else hello)
        self._number = FIRST_REQUEST

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def _connect(self, path: str, give_up: float) -> None:
        """Connect, however many others wait to be accepted."""
        while True:
            try:
                self.socket.connect(path)
                return
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    def greet(self) -> bytes:
        """Return the other side's hello."""
        return self._exactly(HELLO.size)

    def send(self, message: bytes) -> None:
        """Ask, waiting for nothing."""
        self._number += 1
        body = REQUEST_ID.pack(self._number) + message
        self.socket.sendall(FRAME.pack(1, len(body)) + body)

    def receive(self) -> bytes:
        """Return the next answer. Raises ConnectionError if the other side has hung up."""
        _kind, length = FRAME.unpack(self._exactly(FRAME.size))
        return self._exactly(length)[REQUEST_ID.size :]

    def ask(self, message: bytes) -> bytes:
        """Return the answer to one message."""
        self.send(message)
        return self.receive()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionResetError("the other side has hung up")
            data += part
        return data
