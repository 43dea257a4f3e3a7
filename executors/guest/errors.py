"""Owns the errors of starting and reading a guest."""

from __future__ import annotations


class BadFrameError(ValueError):
    """The guest's stream broke a rule of its framing; the sentence says which."""


class BadStatementError(ValueError):
    """The guest's statement of units cannot be understood; the sentence says why."""


class GuestStartError(OSError):
    """The guest's process could not be started; the errno says why."""


class ParentGoneError(ConnectionError):
    """The guest parent has ended, or does not answer and was ended."""
