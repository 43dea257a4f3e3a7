"""Owns the decoder: what the records of a chunk say, matched to the walk, record by record."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from evtx import PyEvtxParser

from . import limits
from .layout import CHUNK_HEADER_BYTES, FILE_HEADER_BYTES, FILE_MAGIC, RECORD_BYTES_MIN, RECORD_HEADER, RECORD_MAGIC
from .walk import SOUND, Chunk


def _sound_header() -> bytes:
    """Return the file header that each chunk is given to the decoder with: one chunk, nothing unusual."""
    header = bytearray(FILE_HEADER_BYTES)
    struct.pack_into("<8sQQQIHHHH", header, 0, FILE_MAGIC, 0, 0, 1, 128, 1, 3, FILE_HEADER_BYTES, 1)
    struct.pack_into("<I", header, 124, zlib.crc32(header[:120]))
    return bytes(header)


_SOUND_HEADER: Final = _sound_header()
_NAMED_RECORD: Final = re.compile(r"record number (\d+)")


class Texts(NamedTuple):
    """What the decoder made of the pieces of a chunk: a text for each, None with an entry in `errors` for the rest."""

    texts: list[str | None]
    errors: dict[int, str]


def decode(chunk: Chunk, *, xml: bool = False) -> Texts:
    """Decode the records of a chunk. The text at a position belongs to the piece at that position."""
    pieces = chunk.pieces
    if not chunk.cut and all(piece[4] == SOUND for piece in pieces):
        try:
            got: list[Any] = list(_records(chunk.data, xml=xml))
        except RuntimeError:
            got = []
        if [each["event_record_id"] for each in got] == [piece[2] for piece in pieces]:
            return Texts([each["data"] for each in got], {})
    return _decode_mended(chunk, xml=xml)


def _records(data: bytes | bytearray, *, xml: bool) -> Iterator[Any]:
    parser = PyEvtxParser(io.BytesIO(_SOUND_HEADER + data), 1)
    return iter(parser.records() if xml else parser.records_json())


def _decode_mended(chunk: Chunk, *, xml: bool) -> Texts:
    """Decode a copy of the chunk in which every piece is made passable, so that none hides the ones behind it."""
    count = len(chunk.pieces)
    result = Texts([None] * count, {})
    first = 0
    for _ in range(limits.RETRIES_PER_CHUNK_MAX):
        if first >= count:
            break
        first = _decode_from(first, chunk, result, xml=xml)
    for position in range(count):
        if result.texts[position] is None:
            result.errors.setdefault(position, "the decoder stopped before this record")
    return result


def _decode_from(first: int, chunk: Chunk, result: Texts, *, xml: bool) -> int:
    """Decode the pieces from `first` on; return the position behind the last one that the decoder spoke of."""
    decoder = _records(_mended(chunk, first), xml=xml)
    count = len(chunk.pieces)
    position = first - 1
    for _ in range(count + 1):
        try:
            record = next(decoder)
            said = record["event_record_id"]
        except StopIteration:
            break
        except RuntimeError as error:
            named = _NAMED_RECORD.search(str(error))
            said = int(named[1]) if named else position + 1
            if position < said < count:
                name = f"record number {chunk.pieces[said][2]}"
                result.errors[said] = sentence(_NAMED_RECORD.sub(name, str(error), count=1))
        else:
            if position < said < count:
                result.texts[said] = record["data"]
        if not position < said < count:
            break
        position = said
    return max(position, first) + 1


def _mended(chunk: Chunk, first: int) -> bytearray:
    """Return the chunk with a passable header for every piece, its position as its id; those before `first` as one.

    Times are zero: the decoder ends at a header with a time that no calendar has, and the walk has read the real one.

    The tables of names and templates are emptied: one damaged entry makes the decoder refuse the chunk. They only save
    work, for names and templates are found at the offsets that the records give.
    """
    copy = bytearray(chunk.data)
    copy[128:CHUNK_HEADER_BYTES] = bytes(CHUNK_HEADER_BYTES - 128)
    end = CHUNK_HEADER_BYTES
    last = -1  # where the header before this one stands
    for position in range(max(first - 1, 0), len(chunk.pieces)):
        start, size, *_ = chunk.pieces[position]
        if position < first:
            start, size = CHUNK_HEADER_BYTES, start + size - CHUNK_HEADER_BYTES
        end = start + size
        if size >= RECORD_BYTES_MIN:
            RECORD_HEADER.pack_into(copy, start, RECORD_MAGIC, size, position, 0)
            last = start
        elif last >= 0:  # too small for a header: the piece before it swallows it
            struct.pack_into("<I", copy, last + 4, end - last)
    struct.pack_into("<Q", copy, 32, 2**64 - 1)  # the decoder stops at the record that has this id
    struct.pack_into("<I", copy, 48, end)
    return copy


def sentence(text: str) -> str:
    return " ".join(text.split())[: limits.REASON_CHARACTERS_MAX]
