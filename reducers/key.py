"""Owns whose signature a person trusts: the keys by which parsers may run that nobody here has looked at."""

from __future__ import annotations

from typing import assert_never

import msgspec
from msgspec import Struct

from eventlog.events import (
    KeyRevoked,
    KeyTrusted,
    ParserRevoked,
    Record,
)
from eventlog.ids import ParserName


class Key(Struct, frozen=True, kw_only=True):
    """One trusted key. `without` are the parsers that a person has revoked although it signed them: for those names
    its signature counts no more, until the key is trusted anew."""

    trusted: KeyTrusted
    without: tuple[ParserName, ...] = ()


KeyEvent = KeyTrusted | KeyRevoked | ParserRevoked

HANDLES: frozenset[type[Record]] = frozenset({KeyTrusted, KeyRevoked, ParserRevoked})


def evolve(key: Key | None, event: KeyEvent) -> Key | None:
    """Return the trust in a key after the event. A parser that is revoked together with its key finds it gone."""
    match event:
        case KeyTrusted():
            return Key(trusted=event)
        case KeyRevoked():
            return None
        case ParserRevoked():
            if key is None or event.parser in key.without:
                return key
            return msgspec.structs.replace(key, without=(*key.without, event.parser))
        case _:
            assert_never(event)
