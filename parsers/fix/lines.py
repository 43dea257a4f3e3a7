"""Owns the lines of a log: whole ones in blocks, one that is too long in pieces, unpacked where the log is gzip."""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple

from . import limits
from .spans import START


class Line(NamedTuple):
    number: int  # from 1
    offset: int  # in the log
    data: bytes  # without the newline
    piece: int  # 0 of a whole line; else which piece of a longer one, from 1


class Block:
    """Lines that follow each other, or one piece of a line that is too long. The first `taken` are done with."""

    def __init__(self, number: int, offset: int, data: bytes, piece: int = 0) -> None:
        self.number = number  # of its first line
        self.offset = offset
        self.data = data  # each line with its newline, a piece without one
        self.piece = piece
        self.lines = [data] if piece else data.split(b"\n")[:-1]
        self.taken = 0

    @cached_property
    def _begins(self) -> list[int]:
        return list(accumulate((len(line) + 1 for line in self.lines), initial=0))

    def take(self, at: int) -> Line:
        """Return a line of the block; it and all before it are done with."""
        self.taken = at + 1
        return Line(self.number + at, self.offset + self._begins[at], self.lines[at], self.piece)


class Lines:
    """The lines of a log, unpacked where it is gzip. `fault` says why it ended early; `position` where it did."""

    def __init__(self, stream: BinaryIO) -> None:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        self._stream: Any = gzip.GzipFile(fileobj=stream) if packed else stream
        self._source = self._read()
        self._held: deque[Block] = deque()  # the block that is being read, and those looked into ahead of their turn
        self.position = 0
        self.count = 0
        self.fault = ""

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks in order. Of one that was looked into before, some lines may be done with."""
        while self._held or self._load():
            yield self._held[0]
            self._held.popleft()

    def following(self) -> Line | None:
        """Take the line behind those that are done with, out of its turn."""
        for block in self._held:
            if block.taken < len(block.lines):
                return block.take(block.taken)
        return self._held[-1].take(0) if self._load() else None

    def put_back(self, count: int) -> None:
        """Give back the last lines that `following` gave."""
        for block in reversed(self._held):
            given = min(count, block.taken)
            block.taken -= given
            count -= given

    def _load(self) -> bool:
        block = next(self._source, None)
        if block is not None:
            self._held.append(block)
        return block is not None

    def _reads(self) -> Iterator[bytes]:
        while True:  # bounded by the size of the log
            try:
                # `read` would keep the last bytes of a cut log to itself.
                read: bytes = self._stream.read1(limits.READ_BYTES)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self.fault = " ".join(str(error).split())
                return
            if not read:
                return
            yield read

    def _read(self) -> Iterator[Block]:
        lines: list[bytes] = []  # whole ones, up to BLOCK_BYTES
        waiting: list[bytes] = []  # the beginning of the line behind them
        gathered = held = piece = 0  # bytes of both; pieces of the last line that were given already
        for read in self._reads():
            rest = read
            if piece and (end := read.find(b"\n") + 1):
                yield self._piece(b"".join((*waiting, read[: end - 1])), piece + 1, newline=True)
                waiting, held, piece, rest = [], 0, 0, read[end:]
            if end := rest.rfind(b"\n") + 1:
                lines += (*waiting, rest[:end])
                gathered += held + end
                waiting, held = [], 0
            waiting.append(rest[end:])
            held += len(rest) - end
            if lines and (gathered >= limits.BLOCK_BYTES or held >= limits.LINE_BYTES_MAX):
                yield self._whole(b"".join(lines))
                lines, gathered = [], 0
            if not end and held >= limits.LINE_BYTES_MAX:
                piece += 1
                cut, kept = _cut(b"".join(waiting))
                yield self._piece(cut, piece, newline=False)
                waiting, held = [kept], len(kept)
        if piece:
            yield self._piece(b"".join(waiting), piece + 1, newline=False)
        elif rest := b"".join((*lines, *waiting)):
            yield self._last(rest)

    def _last(self, data: bytes) -> Block:
        """Return the last lines; the very last may lack its newline."""
        if data.endswith(b"\n"):
            return self._whole(data)
        block = self._whole(data + b"\n")
        self.position -= 1
        return block

    def _whole(self, data: bytes) -> Block:
        block = Block(self.count + 1, self.position, data)
        self.count += len(block.lines)
        self.position += len(data)
        return block

    def _piece(self, data: bytes, piece: int, newline: bool) -> Block:
        self.count += piece < 2
        offset = self.position
        self.position += len(data) + newline
        return Block(self.count, offset, data, piece)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Cut the beginning of a line that is too long where its last message begins, if it holds one before that."""
    at = data.rfind(b"8=FIX", 1)
    while at > 0 and not START.match(data[at : at + 64].decode("latin-1")):  # moves towards the beginning
        at = data.rfind(b"8=FIX", 1, at)
    return (data[:at], data[at:]) if at > 0 and len(data) - at <= limits.MESSAGE_BYTES_MAX else (data, b"")
