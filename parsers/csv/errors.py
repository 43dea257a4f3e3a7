"""Owns the ways in which the parser refuses a file or a setting."""

from __future__ import annotations

from typing import Final

NAMES_SHOWN_MAX: Final = 20


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


def bad_header(why: str, hint: str) -> PermanentError:
    return PermanentError(why, kind="bad_header", hint=hint)


def listed(names: list[str]) -> str:
    """Return names for a sentence, the first NAMES_SHOWN_MAX of them."""
    shown = ", ".join(repr(name[:100]) for name in names[:NAMES_SHOWN_MAX])
    return shown if len(names) <= NAMES_SHOWN_MAX else f"{shown} and {len(names) - NAMES_SHOWN_MAX:,} more"
