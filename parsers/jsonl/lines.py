"""Owns the way from bytes to lines, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from . import limits

UTF8_MARK: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    number: int
    offset: int
    length: int  # with its end
    content: bytes | None  # None if it is too long to be held


def lines_of(stream: BinaryIO) -> Iterator[Line]:
    """Yield the lines of a file without their ends. Holds at most limits.LINE_BYTES_MAX and a block."""
    offset = len(UTF8_MARK) if stream.read(len(UTF8_MARK)) == UTF8_MARK else 0
    stream.seek(offset)
    number = 0
    while head := stream.readline(limits.LINE_BYTES_MAX + 1):
        number += 1
        length = len(head)
        whole = head.endswith(b"\n") or length <= limits.LINE_BYTES_MAX
        while not whole:
            piece = stream.readline(limits.BLOCK_BYTES)
            length += len(piece)
            whole = piece.endswith(b"\n") or not piece
        kept = head if length == len(head) and len(head) <= limits.LINE_BYTES_MAX else None
        yield Line(number, offset, length, None if kept is None else kept.rstrip(b"\n").removesuffix(b"\r"))
        offset += length
