"""Owns the errors of starting and reading a guest."""

from __future__ import annotations


class BadFrameError(ValueError):
    """The guest's stream broke a rule of its framing; the sentence says which."""


class BadStatementError(ValueError):
    """The guest's statement of units cannot be understood; the sentence says why."""


class GuestStartError(OSError):
    """The guest's process could not be started; the errno says why."""


class ParserChangedError(GuestStartError):
    """A file of the parser is not what was trusted any more; the sentence names it."""

    hint = "see who changed it; the same command again starts from the parser as it is now, and asks for trust anew"


class ParentGoneError(ConnectionError):
    """The guest parent has ended, or does not answer and was ended."""
