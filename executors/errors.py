"""Owns the errors of an executor's own loop; those of transport, protocol and guests live beside their code."""

from __future__ import annotations


class ServerGoneError(ConnectionError):
    """The sentinel could not be reached for longer than an executor waits."""


class ExecutorRefusedError(ConnectionError):
    """The sentinel answered, and does not want this executor; the sentence is its own, and `code` that of its fault."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"the sentinel refuses this executor ({code}): {sentence}")
        self.code = code
