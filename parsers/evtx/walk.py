"""Owns the walk: what is there in a chunk, by `struct` alone."""

import bisect
import struct
import zlib
from typing import Any, Final

from msgspec import Struct

from .layout import (
    CHUNK_BYTES,
    CHUNK_FIELDS,
    CHUNK_HEADER_BYTES,
    EMPTY_SLOT,
    INT64_MAX,
    RECORD_BYTES_MIN,
    RECORD_HEADER,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
)

# States of a piece of a chunk. A sound record has a header that its end confirms. A torn one has a header that fits its
# place, and an end that is not its own. A damaged one has a header that contradicts its place. No record: other bytes.
SOUND: Final = 0
TORN: Final = 1
DAMAGED: Final = 2
NO_RECORD: Final = 3


Piece = tuple[int, int, int, int, int]  # start in the chunk, size, header id, FILETIME, state


class Chunk(Struct, frozen=True, kw_only=True):
    """A chunk as the walk sees it. `end` is where its records end, `present` how many of its bytes the file has."""

    index: int
    offset: int  # in the file
    present: int
    data: bytes  # CHUNK_BYTES, filled up with zeros
    end: int
    used: int  # behind it all is zero: `end`, or all of the chunk
    pieces: list[Piece]
    slack: list[Piece]
    first_id: int
    last_id: int  # as the chunk's header says, -1 if that has no records or is not sound
    header_sound: bool
    data_sound: bool

    @property
    def cut(self) -> bool:
        return self.present < CHUNK_BYTES


def walk_chunk(index: int, offset: int, slot: bytes, *, recover: bool = True) -> Chunk:
    """Return what a chunk holds, its checksums tried first; the pieces cover all bytes from 512 to `end`, in order."""
    data = slot if len(slot) == CHUNK_BYTES else slot.ljust(CHUNK_BYTES, b"\0")
    _, _, _, first_id, last_id, _, _, free, checksum = CHUNK_FIELDS.unpack_from(data, 0)
    header_sound = struct.unpack_from("<I", data, 124)[0] == zlib.crc32(data[128:512], zlib.crc32(data[:120]))
    in_range = CHUNK_HEADER_BYTES <= free <= CHUNK_BYTES
    data_sound = in_range and zlib.crc32(memoryview(data)[CHUNK_HEADER_BYTES:free]) == checksum
    if not (header_sound and in_range) and not data_sound:
        free, data_sound = _free_space(data, free, checksum)
    end = min(free, len(slot))
    used = end if data[end:] == EMPTY_SLOT[end:] else CHUNK_BYTES
    known = header_sound and last_id <= INT64_MAX
    return Chunk(
        index=index,
        offset=offset,
        present=len(slot),
        data=data,
        end=end,
        used=used,
        pieces=_pieces(data, end, recover=recover),
        slack=_slack(data, end, used),
        first_id=first_id if known else -1,
        last_id=last_id if known else -1,
        header_sound=header_sound,
        data_sound=data_sound,
    )


def _free_space(data: bytes, told: int, checksum: int) -> tuple[int, bool]:
    """Return where the records end although the header is damaged, and whether the data's checksum says so.

    It is the end of a record up to which the checksum is right; else what the header says, if a record ends there; else
    the end of the unbroken run of records.
    """
    ends = [CHUNK_HEADER_BYTES]
    value = 0
    for start, size, _, _, state in _pieces(data, CHUNK_BYTES, recover=False):
        if state != SOUND:
            break
        value = zlib.crc32(memoryview(data)[start : start + size], value)
        ends.append(start + size)
        if value == checksum:
            return start + size, True
    return (told if told in ends else ends[-1]), False


def _pieces(data: bytes, end: int, *, recover: bool) -> list[Piece]:
    """Step from record to record by their sizes; where that fails, look for the next sound record."""
    unpack = RECORD_HEADER.unpack_from
    pieces: list[Piece] = []
    sound: list[int] | None = None  # starts of sound records, looked up once
    start = CHUNK_HEADER_BYTES
    while start < end:  # every turn moves on by a piece of at least one byte
        if start + RECORD_BYTES_MIN <= end:
            magic, size, record_id, filetime = unpack(data, start)
            stop = start + size
            if (
                magic == RECORD_MAGIC
                and size >= RECORD_BYTES_MIN
                and stop <= end
                and data[stop - 4 : stop] == data[start + 4 : start + 8]
            ):
                pieces.append((start, size, record_id, filetime, SOUND))
                start = stop
                continue
        if sound is None:
            sound = sound_starts(data, start, end)
        pieces.append(_irregular(data, start, end, sound, recover=recover))
        start += pieces[-1][1]
    return pieces


def _irregular(data: bytes, start: int, end: int, sound: list[int], *, recover: bool) -> Piece:
    """Return the piece that begins where no sound record does."""
    behind = bisect.bisect_right(sound, start)
    following = sound[behind] if recover and behind < len(sound) else end
    room = end - start
    if room < RECORD_HEADER_BYTES or not data.startswith(RECORD_MAGIC, start):
        return start, following - start, -1, -1, NO_RECORD
    _, size, record_id, filetime = RECORD_HEADER.unpack_from(data, start)
    if RECORD_BYTES_MIN <= size <= room and (start + size <= following or _holds(sound, start + size)):
        return start, size, record_id, filetime, TORN
    return start, following - start, record_id, filetime, DAMAGED


def _holds(ordered: list[int], value: int) -> bool:
    at = bisect.bisect_left(ordered, value)
    return at < len(ordered) and ordered[at] == value


def sound_starts(data: bytes, start: int, end: int) -> list[int]:
    """Return the starts of all records between two places whose size stands at both of their ends, in order."""
    found: list[int] = []
    at = data.find(_MAGIC_BEGIN, start, end)  # a search for all of it, which ends in zeros, is slow where zeros are
    while at >= 0:  # moves on by at least one byte
        behind = at + 1
        if data.startswith(RECORD_MAGIC, at, end):
            size = int.from_bytes(data[at + 4 : at + 8], "little")
            stop = at + size
            if size >= RECORD_BYTES_MIN and stop <= end and data[stop - 4 : stop] == data[at + 4 : at + 8]:
                found.append(at)
                behind = stop
        at = data.find(_MAGIC_BEGIN, behind, end)
    return found


_MAGIC_BEGIN: Final = RECORD_MAGIC[:1]


def _slack(data: bytes, end: int, used: int) -> list[Piece]:
    """Return the old records behind the records of a chunk. They are no part of the log."""
    unpack = RECORD_HEADER.unpack_from
    return [(at, *unpack(data, at)[1:], SOUND) for at in sound_starts(data, end, used)]


def place_of(chunk: Chunk, piece: Piece) -> dict[str, Any]:
    return {"chunk": chunk.index, "offset": chunk.offset + piece[0], "length": piece[1]}
