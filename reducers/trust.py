"""Owns whom a person trusts: the artifacts of parsers that are not built in and may run."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from eventlog.events import (
    ParserRevoked,
    ParserTrusted,
    Record,
)


class Trust(Struct, frozen=True, kw_only=True):
    """One artifact that may run, as a person said."""

    trusted: ParserTrusted


TrustEvent = ParserTrusted | ParserRevoked

HANDLES: frozenset[type[Record]] = frozenset({ParserTrusted, ParserRevoked})


def evolve(_trust: Trust | None, event: TrustEvent) -> Trust | None:
    """Return the trust in an artifact after the event: what was said last counts."""
    match event:
        case ParserTrusted():
            return Trust(trusted=event)
        case ParserRevoked():
            return None
        case _:
            assert_never(event)
