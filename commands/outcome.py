"""Owns what a decision can be: events, or a refusal. A wish that is fulfilled already is an empty list of events."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from eventlog.events import Event


class Refused(Struct, frozen=True):
    """The command changes nothing. `code` is for programs, `why` says what and why, `next_step` what to do."""

    code: str
    why: str
    next_step: str = ""


Decision = Sequence[Event] | Refused
