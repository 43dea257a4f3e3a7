"""Owns how it is told that a verb could not have a guest: no process, or a parser that is not what was trusted."""

from __future__ import annotations

from cli.errors import CliError
from executors.guest.errors import GuestStartError, ParserChangedError


def not_started(error: GuestStartError, *, doing: str) -> CliError:
    """Return the error of a verb that needed a guest to do what `doing` says."""
    if isinstance(error, ParserChangedError):
        return CliError("parser_changed", f"{doing}: {error.strerror}", error.hint)
    why = f"{doing}: {error.strerror}"
    return CliError("guest_not_started", why, "check the temporary folder, then try again")
