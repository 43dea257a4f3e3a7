"""Owns the records that wait for their batch."""

from collections.abc import Iterator, Sequence
from itertools import repeat

from . import limits
from .walk import Chunk, Piece


class Rows:
    """Records that wait for their batch, one list for each of their properties."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.xml: list[str | None] = []
        self.header_ids: list[int] = []
        self.filetimes: list[int] = []
        self.lengths: list[int] = []
        self.offsets: list[int] = []  # in the file
        self.chunks: list[int] = []

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, chosen: slice | Sequence[int]) -> "Rows":
        rows = Rows()
        for name, values in vars(self).items():
            picked = values[chosen] if isinstance(chosen, slice) else [values[position] for position in chosen]
            setattr(rows, name, picked)
        return rows

    def add(self, chunk: Chunk, pieces: Sequence[Piece], texts: Sequence[str], xml: Sequence[str | None]) -> None:
        if not pieces:
            return
        starts, sizes, ids, filetimes, _ = zip(*pieces, strict=True)
        self.texts += texts
        self.xml += xml
        self.header_ids += ids
        self.filetimes += filetimes
        self.lengths += sizes
        self.offsets += [chunk.offset + start for start in starts]
        self.chunks += repeat(chunk.index, len(pieces))


def cuts_of(texts: list[str]) -> Iterator[tuple[int, int]]:
    """Yield first and end of consecutive parts that hold at most BATCH_TEXT_MAX characters, or a single record."""
    if texts and sum(map(len, texts)) <= limits.BATCH_TEXT_MAX:
        yield 0, len(texts)
        return
    first = characters = 0
    for position, text in enumerate(texts):
        if characters + len(text) > limits.BATCH_TEXT_MAX and position > first:
            yield first, position
            first, characters = position, 0
        characters += len(text)
    if texts:
        yield first, len(texts)
