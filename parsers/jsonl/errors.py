"""Owns the one way in which the parser refuses a file or a schema."""

from __future__ import annotations


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint
