"""Owns the asking side of the control socket: finds the sentinel of a home and puts typed questions to it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from cli.messages import MESSAGE_BYTES_MAX, Answer, Asked, Reply
from cli.wire import Requester
from executors.errors import PeerGoneError, TransportError

DIAL_SECONDS: Final = 0.5  # a sentinel that lives takes a connection in milliseconds
ANSWER_SECONDS: Final = 30.0  # a sink that is asked to undo a promotion may be on a slow disk


class ControlClient:
    """Asks the sentinel of a home. Use as a context manager, on one thread."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._requester.close()

    def ask(self, asked: Asked, *, timeout_seconds: float = ANSWER_SECONDS) -> Reply:
        """Return the answer. Raises PeerGoneError, RequestTimedOutError, TransportError for what is no answer."""
        answer = self._requester.request(msgspec.json.encode(asked), timeout_seconds=timeout_seconds)
        try:
            return msgspec.json.decode(answer, type=Answer).reply
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TransportError(f"read the sentinel's answer: {error}; is it of another version?") from error


def connect(announced_in: Path) -> ControlClient | None:
    """Return a client of the sentinel that announced itself there, None if nobody listens."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        address = announced_in.read_text(encoding="utf-8", errors="surrogateescape").strip()
        path = Path(address.removeprefix("ipc://"))
        if path.is_socket():
            with contextlib.suppress(PeerGoneError):
                return ControlClient(Requester(path, message_bytes_max=MESSAGE_BYTES_MAX, dial_seconds=DIAL_SECONDS))
    return None
