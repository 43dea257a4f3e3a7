"""Owns the asking side of the control socket: finds the sentinel of a home and puts typed questions to it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from cli.messages import MESSAGE_BYTES_MAX, Answer, Asked, Reply
from executors.transport import Client, NngClient, TransportError

DIAL_SECONDS: Final = 0.5  # a sentinel that lives takes a connection in milliseconds
ANSWER_SECONDS: Final = 30.0  # a sink that is asked to undo a promotion may be on a slow disk


class ControlClient:
    """Asks the sentinel of a home. Use as a context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, asked: Asked, *, timeout_seconds: float = ANSWER_SECONDS) -> Reply:
        """Return the answer. Raises PeerGoneError, RequestTimedOutError, TransportError for what is no answer."""
        answer = self._client.request(msgspec.json.encode(asked), timeout_seconds=timeout_seconds)
        try:
            return msgspec.json.decode(answer, type=Answer).reply
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TransportError(f"read the sentinel's answer: {error}; is it of another version?") from error


def connect(announced_in: Path) -> ControlClient | None:
    """Return a client of the sentinel that announced itself there, None if nobody listens. Raises TransportError."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        address = announced_in.read_text(encoding="utf-8", errors="surrogateescape").strip()
        if Path(address.removeprefix("ipc://")).is_socket():
            with contextlib.suppress(ConnectionError):
                return ControlClient(
                    NngClient(address, dial_timeout_seconds=DIAL_SECONDS, message_bytes_max=MESSAGE_BYTES_MAX)
                )
    return None
