"""Owns the bytes of a FIX message: its fields in order, BodyLength and CheckSum, and where a message can be cut.

Knows nothing of orders, sessions or files.
"""

from __future__ import annotations

import random
from typing import Final, Literal

from msgspec import Struct

SOH: Final = "\x01"
CutKind = Literal["unreadable", "header", "body"]

_SOH_BYTES: Final = SOH.encode()
# Account, ClOrdID, Currency, ExecID, OrderID, OrigClOrdID, Symbol, Text: any part of their values is such a value.
_TEXT_TAGS: Final = frozenset((b"1", b"11", b"15", b"17", b"37", b"41", b"55", b"58"))


class Draft(Struct, frozen=True, kw_only=True):
    """A message before it has its bytes. `header` and `body` are fields in order, each ended by SOH."""

    begin: str
    msg_type: str
    sender: str
    target: str
    seq: int
    sending_time: str
    body: str
    header: str = ""  # what stands behind SendingTime: PossDupFlag and the like


class Cut(Struct, frozen=True, kw_only=True):
    """Where a message is cut. `kind` says what is left: no MsgType, a part of the header, or all of the header."""

    at: int
    kind: CutKind


def fields(*pairs: tuple[int, object]) -> str:
    """Return fields as they stand in a body."""
    return "".join(f"{tag}={value}{SOH}" for tag, value in pairs)


def encode(draft: Draft, *, body_length_off: int = 0, checksum_off: int = 0) -> bytes:
    """Return the message. What is off by 0 is right; a wrong BodyLength has the CheckSum of what is written."""
    content = (
        f"35={draft.msg_type}\x0149={draft.sender}\x0156={draft.target}\x0134={draft.seq}\x01"
        f"52={draft.sending_time}\x01{draft.header}{draft.body}"
    ).encode()
    data = b"8=%s\x019=%d\x01%s" % (draft.begin.encode(), len(content) + body_length_off, content)
    return b"%s10=%03d\x01" % (data, (sum(data) + checksum_off) % 256)


def replaced(body: str, tag: int, value: str) -> str | None:
    """Return a body with another value of a tag, at its first place; None where it has no such tag."""
    marked = SOH + body
    start = marked.find(f"{SOH}{tag}=")
    if start < 0:
        return None
    end = marked.index(SOH, start + 1)
    return f"{marked[1:start]}{SOH if start else ''}{tag}={value}{marked[end:]}"


def choose_cut(message: bytes, chance: random.Random, *, within_body: bool) -> Cut:
    """Choose where to cut a sound message, so that what is left of it is certain.

    A typed value is never cut inside: a half of a price is a price, and a half of a time is none.
    """
    msg_type_at = message.index(b"\x0135=")
    if chance.random() < 0.2:
        return Cut(at=chance.randrange(message.index(_SOH_BYTES) + 1, msg_type_at + 4), kind="unreadable")
    header_end = _field_end(message, b"52")
    body_end = message.rindex(b"\x0110=")
    if not within_body or header_end >= body_end or chance.random() < 0.2:
        return Cut(at=_field_end(message, chance.choice((b"35", b"49", b"56", b"34"))), kind="header")
    at = chance.randrange(header_end, body_end)
    start = message.rindex(_SOH_BYTES, 0, at) + 1
    tag, equals, _ = message[start:at].partition(b"=")
    return Cut(at=at if not equals or tag in _TEXT_TAGS else start, kind="body")


def _field_end(message: bytes, tag: bytes) -> int:
    """Return the offset behind the first field of a tag, its SOH included."""
    return message.index(_SOH_BYTES, message.index(b"\x01%s=" % tag) + 1) + 1
