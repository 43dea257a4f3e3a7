"""Owns whether a message is whole: its BodyLength and CheckSum against its bytes as they were sent."""

import zlib
from typing import Final

from .spans import Delimiter, Span

THREE_DIGITS: Final = tuple(f"{number:03}" for number in range(256))
_SUM_BYTES: Final = 256  # up to here the sum of bytes is below the modulus of Adler-32


def checked(
    data: bytes, span: Span, told: str, delimiter: Delimiter, count: int, notes: list[str]
) -> tuple[bool | None, bool | None]:
    """Say whether BodyLength and CheckSum are right; None where that cannot be said. `count` fields stand before it."""
    if span.trailer < 0:
        notes.append("checksum_absent")
        return None, None
    length_ok = None if span.told < 0 else _body_length(span, delimiter, count, notes)
    return length_ok, _check_sum(data, span, told, delimiter, count, notes)


def _body_length(span: Span, delimiter: Delimiter, fields: int, notes: list[str]) -> bool:
    counted = span.trailer - span.body - max(fields - 2, 0) * (delimiter.length - 1)
    if counted == span.told:
        return True
    notes.append(f"body_length_mismatch:counted={counted}")
    return False


def _check_sum(data: bytes, span: Span, told: str, delimiter: Delimiter, fields: int, notes: list[str]) -> bool:
    """Compare CheckSum with the bytes of the message as it was sent, with SOH. `fields` stand before it."""
    printed = _sum(data[span.start : span.trailer])
    computed = (printed - fields * delimiter.excess) & 0xFF
    if len(told) != 3 or not told.isdecimal():
        notes.append("checksum_not_3_digits")
    if told.isdecimal() and len(told) < 10 and int(told) == computed:
        return True
    if told == f"{printed & 0xFF:03}":
        notes.append("checksum_ok_over_printed_delimiter")
    else:
        notes.append(f"checksum_mismatch:computed={computed:03}")
    return False


def _sum(data: bytes) -> int:
    """Return the sum of the bytes, by a checksum that computes it on its way."""
    if len(data) <= _SUM_BYTES:
        return (zlib.adler32(data) & 0xFFFF) - 1
    pieces = (data[at : at + _SUM_BYTES] for at in range(0, len(data), _SUM_BYTES))
    return sum((zlib.adler32(piece) & 0xFFFF) - 1 for piece in pieces)
