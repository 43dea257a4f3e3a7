"""Owns the errors of transport and of an executor's own loop; those of protocol and guests live beside their code."""

from __future__ import annotations


class TransportError(OSError):
    """A message could not be carried."""


class PeerGoneError(TransportError, ConnectionError):
    """Nobody listens, or the peer ended before it answered."""


class RequestTimedOutError(TransportError, TimeoutError):
    """No answer came in time; whether the request was acted upon is not known."""


class ServerGoneError(ConnectionError):
    """The sentinel could not be reached for longer than an executor waits."""


class ExecutorRefusedError(ConnectionError):
    """The sentinel answered, and does not want this executor; the sentence is its own, and `code` that of its fault."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"the sentinel refuses this executor ({code}): {sentence}")
        self.code = code
