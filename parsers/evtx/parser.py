"""Owns the reading of Windows event logs (EVTX): five tables in one decode, and a statement of what could not be read.

Guest code: it knows nothing of the host and needs only the standard library, pyarrow, msgspec, blake3 and evtx. The
layout of file, chunk and record follows the public description of libevtx, "Windows XML Event Log (EVTX) format".
docs/EVTX.md says what every column, note and number means.

Two readers look at every chunk. The walk reads headers by `struct` alone and says what is there: it is where `found`
comes from. The decoder (`evtx`) says what the records mean. They are matched record by record, in the order of the
chunk, so that whatever the decoder leaves out has a place and a length.
"""

# No `from __future__ import annotations`: msgspec reads the annotations of the Structs, and a host that loads this file
# by its path need not register it as a module, where it would look for them.

import bisect
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias
from xml.etree import ElementTree

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from evtx import PyEvtxParser
from msgspec import Struct
from msgspec.structs import astuple

outputs = {
    "evtx_events": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": False},
            {"name": "timestamp", "type": "timestamp_utc", "nullable": False},
            {"name": "provider_name", "type": "string", "nullable": True},
            {"name": "provider_guid", "type": "string", "nullable": True},
            {"name": "provider_event_source_name", "type": "string", "nullable": True},
            {"name": "channel", "type": "string", "nullable": True},
            {"name": "computer", "type": "string", "nullable": True},
            {"name": "event_id", "type": "int64", "nullable": False},
            {"name": "event_qualifiers", "type": "int64", "nullable": True},
            {"name": "version", "type": "int64", "nullable": True},
            {"name": "level", "type": "int64", "nullable": True},
            {"name": "task", "type": "int64", "nullable": True},
            {"name": "opcode", "type": "int64", "nullable": True},
            {"name": "keywords_hex", "type": "string", "nullable": True},
            {"name": "execution_process_id", "type": "int64", "nullable": True},
            {"name": "execution_thread_id", "type": "int64", "nullable": True},
            {"name": "security_user_id", "type": "string", "nullable": True},
            {"name": "correlation_activity_id", "type": "string", "nullable": True},
            {"name": "correlation_related_activity_id", "type": "string", "nullable": True},
            {"name": "raw_event_json", "type": "string", "nullable": True},
            {"name": "raw_event_xml", "type": "string", "nullable": True},
            {"name": "header_record_id", "type": "int64", "nullable": False},
            {"name": "header_time", "type": "timestamp_utc", "nullable": True},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": False},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "record_length", "type": "int64", "nullable": False},
        ],
    },
    "evtx_eventdata_kv": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": False},
            {"name": "section", "type": "string", "nullable": False},
            {"name": "key", "type": "string", "nullable": False},
            {"name": "idx", "type": "int64", "nullable": False},
            {"name": "value_raw", "type": "string", "nullable": True},
            {"name": "value_type", "type": "string", "nullable": False},
            {"name": "value_int64", "type": "int64", "nullable": True},
            {"name": "value_bool", "type": "boolean", "nullable": True},
            {"name": "value_ts", "type": "timestamp_utc", "nullable": True},
            {"name": "value_bytes", "type": "binary", "nullable": True},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": False},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "header_record_id", "type": "int64", "nullable": False},
        ],
    },
    "evtx_userdata_kv": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": False},
            {"name": "section", "type": "string", "nullable": False},
            {"name": "key", "type": "string", "nullable": False},
            {"name": "idx", "type": "int64", "nullable": False},
            {"name": "value_raw", "type": "string", "nullable": True},
            {"name": "value_type", "type": "string", "nullable": False},
            {"name": "value_int64", "type": "int64", "nullable": True},
            {"name": "value_bool", "type": "boolean", "nullable": True},
            {"name": "value_ts", "type": "timestamp_utc", "nullable": True},
            {"name": "value_bytes", "type": "binary", "nullable": True},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": False},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "header_record_id", "type": "int64", "nullable": False},
        ],
    },
    "evtx_record_annotations": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": True},
            {"name": "note_type", "type": "string", "nullable": False},
            {"name": "note_key", "type": "string", "nullable": False},
            {"name": "note_value", "type": "string", "nullable": True},
            {"name": "severity", "type": "int64", "nullable": False},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": True},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "length", "type": "int64", "nullable": False},
            {"name": "header_record_id", "type": "int64", "nullable": True},
        ],
    },
    "evtx_files": {
        "mode": "strict",
        "columns": [
            {"name": "file_size", "type": "int64", "nullable": False},
            {"name": "record_count", "type": "int64", "nullable": False},
            {"name": "chunk_count", "type": "int64", "nullable": True},
            {"name": "dirty", "type": "boolean", "nullable": True},
            {"name": "header_next_record_id", "type": "int64", "nullable": True},
            {"name": "unreadable", "type": "int64", "nullable": False},
            {"name": "parser_output_version", "type": "string", "nullable": False},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "file_hash", "type": "string", "nullable": False},
            {"name": "records_found", "type": "int64", "nullable": False},
            {"name": "unreadable_ranges", "type": "int64", "nullable": False},
            {"name": "unreadable_chunks", "type": "int64", "nullable": False},
            {"name": "slack_records", "type": "int64", "nullable": False},
            {"name": "header_chunk_count", "type": "int64", "nullable": True},
        ],
    },
}

ALL_TABLES: Final = "all"
DEFAULTS: Final = {
    "raw_xml": "false",
    "recover": "false",
    "tables": ALL_TABLES,
}  # the same as [settings] in casparian.toml

OUTPUT_VERSION: Final = "0.2.0"  # the same as `version` in casparian.toml
FILE_REF_CHARACTERS: Final = 16  # of the BLAKE3 of the file, which `_cf_source_hash` holds in full
FILE_HEADER_BYTES: Final = 4096
CHUNK_BYTES: Final = 65536
CHUNK_HEADER_BYTES: Final = 512
HASH_BYTES: Final = 128 * 1024  # read at a time into the same memory, which stays in the processor's cache
BATCH_ROWS = 1_000  # a batch ends with the chunk in which it reaches this; measured: more falls out of the cache
BATCH_TEXT_MAX = 16 * 1024 * 1024  # characters of JSON
SIDE_BATCH_ROWS = 10_000  # key-value rows and notes are gathered up to this
RETRIES_PER_CHUNK_MAX: Final = 16  # how often a decoder that stopped inside a chunk is started behind that place
REASON_CHARACTERS_MAX: Final = 300
NOTE_CHARACTERS_MAX: Final = 10_000
GAPS_MAX: Final = 1_000  # notes about missing ids; the last one says how many were not written
INT64_MAX: Final = 2**63 - 1

_FILE_MAGIC: Final = b"ElfFile\0"
_CHUNK_MAGIC: Final = b"ElfChnk\0"
_RECORD_MAGIC: Final = b"\x2a\x2a\0\0"
_RECORD_HEADER: Final = struct.Struct("<4sIQQ")  # magic, size, id, FILETIME
_RECORD_HEADER_BYTES: Final = 24
_RECORD_BYTES_MIN: Final = 28
_CHUNK_FIELDS: Final = struct.Struct("<8sQQQQIIII")  # magic, numbers, ids, header size, last record, free, checksum
_EMPTY_SLOT: Final = bytes(CHUNK_BYTES)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_ARROW_TYPES: Final = {
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "string": pa.string(),
    "timestamp_utc": _TIMESTAMP,
}

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

Batch = tuple[str, pa.RecordBatch]
Column: TypeAlias = "pa.Array[Any]"  # quoted: Array takes no parameter at run time
Statement = dict[str, Any]
Pairs = list[tuple[str, Any]]


def _schema(output: str) -> pa.Schema:
    columns: Any = outputs[output]["columns"]
    return pa.schema(
        [pa.field(column["name"], _ARROW_TYPES[column["type"]], nullable=column["nullable"]) for column in columns]
    )


EVENTS_SCHEMA: Final = _schema("evtx_events")
VALUES_SCHEMA: Final = _schema("evtx_eventdata_kv")  # and that of evtx_userdata_kv
NOTES_SCHEMA: Final = _schema("evtx_record_annotations")
FILES_SCHEMA: Final = _schema("evtx_files")

INFO: Final = 1
WARNING: Final = 3
ERROR: Final = 4


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


def parse(path: str, settings: dict[str, str], source_hash: str | None = None) -> Generator[Batch, None, Statement]:
    """Yield the batches of all outputs in file order and return the statement of units.

    The unit is the record: found = rows of evtx_events + unreadable, and found is the number of record headers that
    the walk met. Ranges name the bytes that gave no row, sorted by offset; a range without a record header, such as an
    unreadable chunk, holds an unknown number of records and counts none. `source_hash` is the BLAKE3 of the file in
    hex if the caller knows it, else it is computed. Memory holds one chunk and one batch of each output. Raises
    PermanentError if the file is not an event log or a setting is unknown, OSError if it cannot be read.
    """
    options = _Options.read(settings)
    with Path(path).open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        header = _FileHeader.read(stream, size)
        log = _Log(options, source_hash or _blake3(stream), header, size)
        stream.seek(FILE_HEADER_BYTES)
        yield from log.chunks(stream)
    yield from log.rest()
    return log.statement()


def _blake3(stream: io.BufferedReader) -> str:
    stream.seek(0)
    hasher = blake3()
    piece = memoryview(bytearray(HASH_BYTES))
    while count := stream.readinto(piece):  # bounded by the size of the file
        hasher.update(piece[:count])
    return hasher.hexdigest()


class _Options(Struct, frozen=True, kw_only=True):
    raw_xml: bool
    recover: bool
    tables: frozenset[str]

    @classmethod
    def read(cls, given: dict[str, str]) -> "_Options":
        """Return the settings with their defaults. Raises PermanentError for one that is not declared."""
        texts = DEFAULTS | given
        for name, text in texts.items():
            if name not in DEFAULTS or (name != "tables" and text not in ("true", "false")):
                known = ", ".join(f"{each}=true|false" for each in DEFAULTS if each != "tables")
                raise _bad_setting(name, text, f"Use {known}, tables={ALL_TABLES}.")
        told = texts["tables"]
        tables = frozenset(outputs if told == ALL_TABLES else told.split(","))
        if not {"evtx_events"} <= tables <= outputs.keys():  # its rows are what the account of a log is held against
            raise _bad_setting(
                "tables", told, f"Use evtx_events and, with commas between, some of {', '.join(outputs)}."
            )
        return cls(raw_xml=texts["raw_xml"] == "true", recover=texts["recover"] == "true", tables=tables)


def _bad_setting(name: str, text: str, hint: str) -> PermanentError:
    return PermanentError(f"the setting {name}={text!r} is not one of the parser's", kind="bad_setting", hint=hint)


class _FileHeader(Struct, frozen=True, kw_only=True):
    dirty: bool
    next_record_id: int
    chunk_count: int
    sound: bool  # its checksum is right

    @classmethod
    def read(cls, stream: BinaryIO, size: int) -> "_FileHeader":
        """Read the header. Raises PermanentError if it is no event log."""
        head = stream.read(FILE_HEADER_BYTES)
        if len(head) < FILE_HEADER_BYTES:
            held = "is empty (0 bytes)" if size == 0 else f"has {size} bytes"
            raise _not_evtx(f"the file {held}; an EVTX file starts with a {FILE_HEADER_BYTES:,}-byte header")
        if not head.startswith(_FILE_MAGIC):
            raise _not_evtx(f"the file starts with {head[:8]!r}; an EVTX file starts with {_FILE_MAGIC!r}")
        (next_record_id,) = struct.unpack_from("<Q", head, 24)
        (chunk_count,) = struct.unpack_from("<H", head, 42)
        flags, checksum = struct.unpack_from("<II", head, 120)
        return cls(
            dirty=bool(flags & 1),
            next_record_id=next_record_id,
            chunk_count=chunk_count,
            sound=checksum == zlib.crc32(head[:120]),
        )


def _not_evtx(reason: str) -> PermanentError:
    hint = "Look at the file itself; if it was cut while it was copied, copy it again from its source."
    return PermanentError(reason, kind="not_evtx", hint=hint)


# --- the walk: what is there, by `struct` alone ---------------------------------------------------------------------

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
    _, _, _, first_id, last_id, _, _, free, checksum = _CHUNK_FIELDS.unpack_from(data, 0)
    header_sound = struct.unpack_from("<I", data, 124)[0] == zlib.crc32(data[128:512], zlib.crc32(data[:120]))
    in_range = CHUNK_HEADER_BYTES <= free <= CHUNK_BYTES
    data_sound = in_range and zlib.crc32(memoryview(data)[CHUNK_HEADER_BYTES:free]) == checksum
    if not (header_sound and in_range) and not data_sound:
        free, data_sound = _free_space(data, free, checksum)
    end = min(free, len(slot))
    known = header_sound and last_id <= INT64_MAX
    return Chunk(
        index=index,
        offset=offset,
        present=len(slot),
        data=data,
        end=end,
        pieces=_pieces(data, end, recover=recover),
        slack=_slack(data, end),
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
    unpack = _RECORD_HEADER.unpack_from
    pieces: list[Piece] = []
    sound: list[int] | None = None  # starts of sound records, looked up once
    start = CHUNK_HEADER_BYTES
    while start < end:  # every turn moves on by a piece of at least one byte
        if start + _RECORD_BYTES_MIN <= end:
            magic, size, record_id, filetime = unpack(data, start)
            stop = start + size
            if (
                magic == _RECORD_MAGIC
                and size >= _RECORD_BYTES_MIN
                and stop <= end
                and data[stop - 4 : stop] == data[start + 4 : start + 8]
            ):
                pieces.append((start, size, record_id, filetime, SOUND))
                start = stop
                continue
        if sound is None:
            sound = _sound_starts(data, start, end)
        pieces.append(_irregular(data, start, end, sound, recover=recover))
        start += pieces[-1][1]
    return pieces


def _irregular(data: bytes, start: int, end: int, sound: list[int], *, recover: bool) -> Piece:
    """Return the piece that begins where no sound record does."""
    behind = bisect.bisect_right(sound, start)
    following = sound[behind] if recover and behind < len(sound) else end
    room = end - start
    if room < _RECORD_HEADER_BYTES or not data.startswith(_RECORD_MAGIC, start):
        return start, following - start, -1, -1, NO_RECORD
    _, size, record_id, filetime = _RECORD_HEADER.unpack_from(data, start)
    if _RECORD_BYTES_MIN <= size <= room and (start + size <= following or _holds(sound, start + size)):
        return start, size, record_id, filetime, TORN
    return start, following - start, record_id, filetime, DAMAGED


def _holds(ordered: list[int], value: int) -> bool:
    at = bisect.bisect_left(ordered, value)
    return at < len(ordered) and ordered[at] == value


def _sound_starts(data: bytes, start: int, end: int) -> list[int]:
    """Return the starts of all records between two places whose size stands at both of their ends, in order."""
    found: list[int] = []
    at = data.find(_RECORD_MAGIC, start, end)
    while at >= 0:  # moves on by at least one byte
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        stop = at + size
        if size >= _RECORD_BYTES_MIN and stop <= end and data[stop - 4 : stop] == data[at + 4 : at + 8]:
            found.append(at)
            at = data.find(_RECORD_MAGIC, stop, end)
        else:
            at = data.find(_RECORD_MAGIC, at + 1, end)
    return found


def _slack(data: bytes, end: int) -> list[Piece]:
    """Return the old records behind the records of a chunk. They are no part of the log."""
    unpack = _RECORD_HEADER.unpack_from
    return [(at, *unpack(data, at)[1:], SOUND) for at in _sound_starts(data, end, CHUNK_BYTES)]


# --- the decoder, matched to the walk -------------------------------------------------------------------------------


def _sound_header() -> bytes:
    """Return the file header that each chunk is given to the decoder with: one chunk, nothing unusual."""
    header = bytearray(FILE_HEADER_BYTES)
    struct.pack_into("<8sQQQIHHHH", header, 0, _FILE_MAGIC, 0, 0, 1, 128, 1, 3, FILE_HEADER_BYTES, 1)
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
    for _ in range(RETRIES_PER_CHUNK_MAX):
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
                result.errors[said] = _sentence(_NAMED_RECORD.sub(name, str(error), count=1))
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
        if size >= _RECORD_BYTES_MIN:
            _RECORD_HEADER.pack_into(copy, start, _RECORD_MAGIC, size, position, 0)
            last = start
        elif last >= 0:  # too small for a header: the piece before it swallows it
            struct.pack_into("<I", copy, last + 4, end - last)
    struct.pack_into("<Q", copy, 32, 2**64 - 1)  # the decoder stops at the record that has this id
    struct.pack_into("<I", copy, 48, end)
    return copy


def _sentence(text: str) -> str:
    return " ".join(text.split())[:REASON_CHARACTERS_MAX]


# --- the shape of a decoded record --------------------------------------------------------------------------------

# Real logs are loose: a collector stores numbers as text, an attribute turns a plain value into an object, and parts of
# System are missing or null. What fits none of these is taken field by field, with a note.
Number = int | str | None


class _IdAttributes(Struct, gc=False):
    qualifiers: Number = msgspec.field(default=None, name="Qualifiers")


class _EventId(Struct, gc=False):
    attributes: _IdAttributes = msgspec.field(default_factory=_IdAttributes, name="#attributes")
    text: Number = msgspec.field(default=None, name="#text")


class _ProviderAttributes(Struct, gc=False):
    name: str | None = msgspec.field(default=None, name="Name")
    guid: str | None = msgspec.field(default=None, name="Guid")
    source: str | None = msgspec.field(default=None, name="EventSourceName")


class _Provider(Struct, gc=False):
    attributes: _ProviderAttributes = msgspec.field(default_factory=_ProviderAttributes, name="#attributes")


class _TimeAttributes(Struct, gc=False):
    time: str | None = msgspec.field(default=None, name="SystemTime")


class _TimeCreated(Struct, gc=False):
    attributes: _TimeAttributes = msgspec.field(default_factory=_TimeAttributes, name="#attributes")


class _CorrelationAttributes(Struct, gc=False):
    activity: str | None = msgspec.field(default=None, name="ActivityID")
    related: str | None = msgspec.field(default=None, name="RelatedActivityID")


class _Correlation(Struct, gc=False):
    attributes: _CorrelationAttributes = msgspec.field(default_factory=_CorrelationAttributes, name="#attributes")


class _ExecutionAttributes(Struct, gc=False):
    process: Number = msgspec.field(default=None, name="ProcessID")
    thread: Number = msgspec.field(default=None, name="ThreadID")


class _Execution(Struct, gc=False):
    attributes: _ExecutionAttributes = msgspec.field(default_factory=_ExecutionAttributes, name="#attributes")


class _SecurityAttributes(Struct, gc=False):
    user: str | None = msgspec.field(default=None, name="UserID")


class _Security(Struct, gc=False):
    attributes: _SecurityAttributes = msgspec.field(default_factory=_SecurityAttributes, name="#attributes")


class _System(Struct, gc=False):
    provider: _Provider | None = msgspec.field(default=None, name="Provider")
    event_id: int | str | _EventId | None = msgspec.field(default=None, name="EventID")
    version: Number = msgspec.field(default=None, name="Version")
    level: Number = msgspec.field(default=None, name="Level")
    task: Number = msgspec.field(default=None, name="Task")
    opcode: Number = msgspec.field(default=None, name="Opcode")
    keywords: Number = msgspec.field(default=None, name="Keywords")
    created: _TimeCreated | str | None = msgspec.field(default=None, name="TimeCreated")
    record_id: Number = msgspec.field(default=None, name="EventRecordID")
    correlation: _Correlation | None = msgspec.field(default=None, name="Correlation")
    execution: _Execution | None = msgspec.field(default=None, name="Execution")
    channel: str | None = msgspec.field(default=None, name="Channel")
    computer: str | None = msgspec.field(default=None, name="Computer")
    security: _Security | None = msgspec.field(default=None, name="Security")


_NOTHING: Final = msgspec.Raw(b"null")

# What an event may hold besides System, by the name here.
_PARTS: Final = {
    "event_data": "EventData",
    "user_data": "UserData",
    "rendering_info": "RenderingInfo",
    "processing_error": "ProcessingErrorData",
    "debug_data": "DebugData",
    "binary_data": "BinaryEventData",
}
_USER_PARTS: Final = tuple(_PARTS)[1:]


class _Parts(Struct, gc=False):
    event_data: msgspec.Raw = msgspec.field(default=_NOTHING, name="EventData")
    user_data: msgspec.Raw = msgspec.field(default=_NOTHING, name="UserData")
    rendering_info: msgspec.Raw = msgspec.field(default=_NOTHING, name="RenderingInfo")
    processing_error: msgspec.Raw = msgspec.field(default=_NOTHING, name="ProcessingErrorData")
    debug_data: msgspec.Raw = msgspec.field(default=_NOTHING, name="DebugData")
    binary_data: msgspec.Raw = msgspec.field(default=_NOTHING, name="BinaryEventData")


class _Event(_Parts, gc=False):
    system: _System | None = msgspec.field(default=None, name="System")


class _Line(Struct, gc=False):
    event: _Event = msgspec.field(name="Event")


class _LooseEvent(_Parts, gc=False, kw_only=True):
    system: dict[str, Any] = msgspec.field(name="System")


class _LooseLine(Struct, gc=False):
    event: _LooseEvent = msgspec.field(name="Event")


_decoder = msgspec.json.Decoder(_Line)
_loose_decoder = msgspec.json.Decoder(_LooseLine)

_NO_SYSTEM: Final = _System()
_NO_PROVIDER: Final = _ProviderAttributes()
_NO_CORRELATION: Final = _CorrelationAttributes()
_NO_EXECUTION: Final = _ExecutionAttributes()
_NO_SECURITY: Final = _SecurityAttributes()


# --- one log being read ---------------------------------------------------------------------------------------------


class Note(NamedTuple):
    """A note about the record at a position of its batch."""

    position: int
    note_type: str
    key: str
    value: str | None
    severity: int


class _Rows:
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

    def part(self, chosen: slice | Sequence[int]) -> "_Rows":
        rows = _Rows()
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


class _Notes:
    """The rows of evtx_record_annotations that wait for their batch."""

    def __init__(self, file_ref: str) -> None:
        self._file_ref = file_ref
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        note_type: str,
        key: str,
        value: str | None,
        severity: int,
        *,
        chunk: int | None,
        offset: int,
        length: int,
        header_id: int | None = None,
        record_id: int | None = None,
    ) -> None:
        whole = header_id is not None and 0 <= header_id <= INT64_MAX
        row = {
            "event_record_id": record_id,
            "note_type": note_type,
            "note_key": key,
            "note_value": value if value is None else value[:NOTE_CHARACTERS_MAX],
            "severity": severity,
            "file_ref": self._file_ref,
            "chunk_index": chunk,
            "record_offset": offset,
            "length": length,
            "header_record_id": header_id if whole else None,
        }
        self._rows.append(row)

    def take(self) -> pa.RecordBatch:
        rows, self._rows = self._rows, []
        return _batch_of(rows, NOTES_SCHEMA)


def _batch_of(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows as a batch. from_pylist would look for pandas each time, which costs a millisecond."""
    columns: list[Column] = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class _Log:
    """One log being read: counts, ranges, and the rows that wait for their batch."""

    def __init__(self, options: _Options, source_hash: str, header: _FileHeader, size: int) -> None:
        self._options = options
        self._tables = options.tables
        self._header = header
        self._size = size
        self._source_hash = source_hash
        self.file_ref = source_hash[:FILE_REF_CHARACTERS]
        self.found = 0
        self.written = 0
        self.unreadable = 0
        self.chunk_count = 0
        self.unreadable_chunks = 0
        self.slack_records = 0
        self.ranges: list[dict[str, Any]] = []
        self.notes = _Notes(self.file_ref)
        self.values: dict[str, list[pa.RecordBatch]] = {"evtx_eventdata_kv": [], "evtx_userdata_kv": []}
        self._rows = _Rows()
        self._runs: list[tuple[int, int, int, int]] = []  # first and last id, chunk, offset of its first record
        self._unnamed: dict[int, Pairs] = {}  # by offset: values that only the XML holds

    def chunks(self, stream: BinaryIO) -> Iterator[Batch]:
        """Read the chunks to the end of the file; yield batches as they fill."""
        for index, (offset, slot) in enumerate(_slots(stream)):
            self._slot(index, offset, slot)
            if len(self._rows) >= BATCH_ROWS:
                yield from self._batches()

    def rest(self) -> Iterator[Batch]:
        """Yield what still waits: rows, the notes about the whole file, key-value rows, the row of the file."""
        yield from self._batches()
        self._note_header(self._header)
        self._note_gaps()
        for output, batches in self.values.items():
            if batches:
                yield output, _pa.concat_batches(batches)
        if len(self.notes) and "evtx_record_annotations" in self._tables:
            yield "evtx_record_annotations", self.notes.take()
        if "evtx_files" in self._tables:
            yield "evtx_files", self._file_row()

    # Slots.

    def _slot(self, index: int, offset: int, slot: bytes) -> None:
        """Take in one slot; what is no chunk becomes a range, what was never used is nothing."""
        cut = len(slot) < CHUNK_BYTES
        if slot.startswith(_CHUNK_MAGIC) and len(slot) > CHUNK_HEADER_BYTES:
            self._chunk(walk_chunk(index, offset, slot, recover=self._options.recover))
        elif slot != _EMPTY_SLOT[: len(slot)]:
            reason = "file ends inside a chunk's header" if cut else f"chunk starts with {slot[:8]!r}"
            if not slot.startswith(_CHUNK_MAGIC):
                reason = f"chunk starts with {slot[:8]!r} instead of {_CHUNK_MAGIC!r}"
            seen = len(_sound_starts(slot, 0, len(slot)))
            self.unreadable_chunks += 1
            self._range(offset, len(slot), reason)
            value = f"{reason}; {seen} whole records can be seen in it"
            self.notes.add("chunk_unreadable", "chunk", value, ERROR, chunk=index, offset=offset, length=len(slot))

    def _chunk(self, chunk: Chunk) -> None:
        self.chunk_count += 1
        self._note_chunk(chunk)
        texts, errors = decode(chunk)
        xml: list[str | None] = decode(chunk, xml=True).texts if self._options.raw_xml else [None] * len(texts)
        pieces = chunk.pieces
        self._note_ids(chunk)
        if errors or any(piece[4] != SOUND for piece in pieces):
            kept = [at for at, piece in enumerate(pieces) if self._keep(chunk, piece, texts[at], errors.get(at, ""))]
            pieces = [pieces[at] for at in kept]
            texts = [texts[at] for at in kept]
            xml = [xml[at] for at in kept]
        else:
            self.found += len(pieces)
        if "evtx_eventdata_kv" in self._tables and _mixes_unnamed_data(chunk.data):
            self._read_unnamed(chunk)
        self._rows.add(chunk, pieces, texts, xml)  # type: ignore[arg-type]  # what has no text was not kept

    def _keep(self, chunk: Chunk, piece: Piece, text: str | None, error: str) -> bool:
        """Book a piece of a damaged chunk; say whether it is to become a row."""
        start, _, header_id, _, state = piece
        if state == NO_RECORD:
            where = "the record before it ends" if start > CHUNK_HEADER_BYTES else "the records begin"
            begin = chunk.data[start : start + 8]
            self._lost(chunk, piece, f"no record where {where}: the bytes begin with {begin.hex(' ')}", counted=False)
            return False
        self.found += 1
        if state == DAMAGED:
            (told,) = struct.unpack_from("<I", chunk.data, start + 4)
            what = f"the record's header says {told} bytes, which does not fit its place"
            if not self._options.recover:
                what += "; --set recover=true looks for whole records behind it"
            if chunk.cut and start + told > chunk.end:
                what = f"the file ends inside a record: it has {told} bytes, {chunk.end - start} are there"
            self._lost(chunk, piece, what, counted=True)
            return False
        if text is None:
            self._lost(chunk, piece, error or "the decoder gave nothing", counted=True)
            return False
        if state == TORN:
            value = "the size at the record's end is not that of its header: the end was never written or overwritten"
            self.notes.add("torn", "size_copy", value, ERROR, **_at(chunk, piece), header_id=header_id)
        return True

    def _lost(self, chunk: Chunk, piece: Piece, reason: str, *, counted: bool) -> None:
        start, size, header_id, _, _ = piece
        self.unreadable += counted
        self._range(chunk.offset + start, size, reason)
        note_type = "torn" if chunk.cut and start + size >= chunk.end else "record_undecodable"
        key = "record" if counted else "no_record"
        self.notes.add(note_type, key, reason, ERROR, **_at(chunk, piece), header_id=header_id)

    def _range(self, offset: int, length: int, reason: str) -> None:
        self.ranges.append({"offset": offset, "length": length, "reason": _sentence(reason)})

    # Notes about a chunk and about the file.

    def _note_chunk(self, chunk: Chunk) -> None:
        if not chunk.header_sound:
            value = "the checksum of the chunk's header does not match it"
            place = {"chunk": chunk.index, "offset": chunk.offset, "length": CHUNK_HEADER_BYTES}
            self.notes.add("parse_warning", "chunk_header_checksum", value, WARNING, **place)
        if chunk.cut:
            value = f"the file ends {CHUNK_BYTES - chunk.present} bytes before the end of this chunk"
            place = {"chunk": chunk.index, "offset": chunk.offset, "length": chunk.present}
            self.notes.add("parse_warning", "cut_chunk", value, WARNING, **place)
        elif not chunk.data_sound:
            value = "the checksum of the chunk's records does not match them"
            place = {"chunk": chunk.index, "offset": chunk.offset + CHUNK_HEADER_BYTES}
            length = chunk.end - CHUNK_HEADER_BYTES
            self.notes.add("parse_warning", "chunk_data_checksum", value, WARNING, **place, length=length)
        for piece in chunk.slack:
            self.slack_records += 1
            told = _moment_text(piece[3])
            self.notes.add("slack", "old_record", told, INFO, **_at(chunk, piece), header_id=piece[2])

    def _note_ids(self, chunk: Chunk) -> None:
        """Remember the run of ids of a chunk and note the ones that are missing inside it."""
        records = [piece for piece in chunk.pieces if piece[4] in (SOUND, TORN)]
        if not records:
            return
        ids = [piece[2] for piece in records]
        if ids != list(range(ids[0], ids[0] + len(ids))):
            for before, piece in zip(ids, records[1:], strict=False):
                self._gap(before, piece[2], chunk.index, chunk.offset + piece[0])
        last = ids[-1]
        if chunk.last_id > last:
            self._gap(last, chunk.last_id + 1, chunk.index, chunk.offset + records[-1][0] + records[-1][1])
            last = chunk.last_id
        self._runs.append((ids[0], last, chunk.index, chunk.offset + records[0][0]))

    def _note_gaps(self) -> None:
        """Note the ids that are missing between chunks, taken in the order of their ids: a log is written in a ring."""
        reached = None
        for first, last, index, offset in sorted(self._runs):
            if reached is not None:
                self._gap(reached, first, index, offset)
            reached = last if reached is None else max(reached, last)

    def _gap(self, before: int, after: int, chunk: int, offset: int) -> None:
        missing = after - before - 1
        if missing > 0:
            span = f"{before + 1}" if missing == 1 else f"{before + 1} to {after - 1}"
            value = f"{missing} record ids are missing: {span}"
            self.notes.add("gap", "record_ids", value, WARNING, chunk=chunk, offset=offset, length=0, header_id=after)

    def _note_header(self, header: _FileHeader) -> None:
        """Note what the file's header says against what was found; a live log's header lags behind."""
        if header.next_record_id > INT64_MAX:
            said = f"the header's next record id {header.next_record_id} does not fit into int64"
            self._range(24, 8, said)
            self.notes.add("conversion_failed", "header_next_record_id", said, ERROR, chunk=None, offset=24, length=8)
        if not header.sound:
            said = "the checksum of the file's header does not match it"
            self.notes.add("parse_warning", "file_header_checksum", said, WARNING, chunk=None, offset=0, length=128)
        if header.chunk_count != self.chunk_count:
            said = f"the header counts {header.chunk_count} chunks, the file holds {self.chunk_count}"
            self.notes.add("parse_warning", "chunk_count", said, INFO, chunk=None, offset=42, length=2)

    # Values that only the XML holds.

    def _read_unnamed(self, chunk: Chunk) -> None:
        texts = decode(chunk, xml=True).texts
        for piece, text in zip(chunk.pieces, texts, strict=True):
            pairs = _mixed_pairs(text) if text else None
            if pairs is not None:
                self._unnamed[chunk.offset + piece[0]] = pairs
                value = "raw_event_json lacks the unnamed values of this record; evtx_eventdata_kv holds them"
                self.notes.add(
                    "parse_warning", "unnamed_values", value, WARNING, **_at(chunk, piece), header_id=piece[2]
                )

    # Batches.

    def _batches(self) -> Iterator[Batch]:
        rows, self._rows = self._rows, _Rows()
        for first, end in _cuts(rows.texts):
            yield from self._batch(rows.part(slice(first, end)))
        self._unnamed = {}
        if len(self.notes) >= SIDE_BATCH_ROWS:
            notes = self.notes.take()
            if "evtx_record_annotations" in self._tables:
                yield "evtx_record_annotations", notes

    def _batch(self, rows: _Rows) -> Iterator[Batch]:
        table = read_events(rows, self.file_ref)
        if table.bad:
            for position, reason in table.bad.items():
                self._record_bad(rows, position, reason)
            rows = rows.part([position for position in range(len(rows)) if position not in table.bad])
            if not len(rows):
                return
            table = read_events(rows, self.file_ref)
        self.written += len(rows)
        yield "evtx_events", table.batch
        if "evtx_eventdata_kv" in self._tables:
            values = read_event_data(table.events, table.notes, rows.offsets, self._unnamed)
            yield from self._side("evtx_eventdata_kv", values, table)
        if "evtx_userdata_kv" in self._tables:
            yield from self._side("evtx_userdata_kv", read_user_data(table.events, table.notes), table)
        ids = table.batch.column("event_record_id")
        for note in table.notes:
            self._note_value(rows, ids, note)

    def _side(self, output: str, values: "Values", table: "EventsTable") -> Iterator[Batch]:
        """Gather key-value rows; yield them when there are enough."""
        if not values.values:
            return
        places = table.batch.select(["event_record_id", "file_ref", "chunk_index", "record_offset", "header_record_id"])
        waiting = self.values[output]
        waiting.append(values.batch(places, table.notes))
        if sum(each.num_rows for each in waiting) >= SIDE_BATCH_ROWS:
            yield output, _pa.concat_batches(waiting)
            waiting.clear()

    def _record_bad(self, rows: _Rows, position: int, reason: str) -> None:
        self.unreadable += 1
        header_id, offset, length = rows.header_ids[position], rows.offsets[position], rows.lengths[position]
        said = f"record {header_id} {reason}"
        self._range(offset, length, said)
        place = {"chunk": rows.chunks[position], "offset": offset, "length": length, "header_id": header_id}
        self.notes.add("record_undecodable", "record", said, ERROR, **place)

    def _note_value(self, rows: _Rows, ids: Column, note: Note) -> None:
        self.notes.add(
            note.note_type,
            note.key,
            note.value,
            note.severity,
            chunk=rows.chunks[note.position],
            offset=rows.offsets[note.position],
            length=rows.lengths[note.position],
            header_id=rows.header_ids[note.position],
            record_id=ids[note.position].as_py(),
        )

    # Sums.

    def _file_row(self) -> pa.RecordBatch:
        """Return the row of evtx_files; its counts are what the walk saw, not what the header says."""
        header = self._header
        row = {
            "file_size": self._size,
            "record_count": self.written,
            "chunk_count": self.chunk_count,
            "dirty": header.dirty,
            "header_next_record_id": header.next_record_id if header.next_record_id <= INT64_MAX else None,
            "unreadable": self.unreadable,
            "parser_output_version": OUTPUT_VERSION,
            "file_ref": self.file_ref,
            "file_hash": self._source_hash,
            "records_found": self.found,
            "unreadable_ranges": len(self.ranges),
            "unreadable_chunks": self.unreadable_chunks,
            "slack_records": self.slack_records,
            "header_chunk_count": header.chunk_count,
        }
        return _batch_of([row], FILES_SCHEMA)

    def statement(self) -> Statement:
        return {
            "unit": "records",
            "output": "evtx_events",
            "found": self.found,
            "skipped": 0,
            "unreadable": self.unreadable,
            "ranges": sorted(self.ranges, key=lambda each: each["offset"]),
        }


def _slots(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each chunk slot up to the end of the file; the last one may be short."""
    offset = FILE_HEADER_BYTES
    while slot := stream.read(CHUNK_BYTES):  # bounded by the size of the file
        yield offset, slot
        offset += len(slot)


def _at(chunk: Chunk, piece: Piece) -> dict[str, Any]:
    return {"chunk": chunk.index, "offset": chunk.offset + piece[0], "length": piece[1]}


def _cuts(texts: list[str]) -> Iterator[tuple[int, int]]:
    """Yield first and end of consecutive parts that hold at most BATCH_TEXT_MAX characters, or a single record."""
    if texts and sum(map(len, texts)) <= BATCH_TEXT_MAX:
        yield 0, len(texts)
        return
    first = characters = 0
    for position, text in enumerate(texts):
        if characters + len(text) > BATCH_TEXT_MAX and position > first:
            yield first, position
            first, characters = position, 0
        characters += len(text)
    if texts:
        yield first, len(texts)


# --- records to the columns of evtx_events --------------------------------------------------------------------------


class EventsTable(NamedTuple):
    """`bad` says, by position, why a record cannot be a row; if there are any, `batch` is not to be used."""

    batch: pa.RecordBatch
    events: list[_Event]
    notes: list[Note]
    bad: dict[int, str]


class _Judge:
    """Gathers what is to be said of the records of a batch while their columns are made."""

    def __init__(self) -> None:
        self.bad: dict[int, str] = {}
        self.notes: list[Note] = []
        self._texts: dict[int, list[str]] = {}

    def does_not_fit(self, position: int, key: str, value: object) -> None:
        self.notes.append(Note(position, "conversion_failed", key, str(value), ERROR))

    def stands_as_text(self, position: int, key: str) -> None:
        self._texts.setdefault(position, []).append(key)

    def all_notes(self) -> list[Note]:
        variants = (
            Note(position, "field_shape_variant", "System", f"numbers stand as text: {', '.join(keys)}", INFO)
            for position, keys in self._texts.items()
        )
        return [*self.notes, *variants]


def read_events(rows: _Rows, file_ref: str) -> EventsTable:
    """Return the rows of evtx_events, in order, with what else their texts hold."""
    judge = _Judge()
    events = [_event(position, text, judge) for position, text in enumerate(rows.texts)]
    columns = _columns(rows, [event.system or _NO_SYSTEM for event in events], judge)
    count = len(rows)
    columns["file_ref"] = pa.repeat(pa.scalar(file_ref, pa.string()), count)
    columns["chunk_index"] = pa.array(rows.chunks, pa.int64())
    columns["record_offset"] = pa.array(rows.offsets, pa.int64())
    columns["record_length"] = pa.array(rows.lengths, pa.int64())
    batch = pa.RecordBatch.from_arrays([columns[name] for name in EVENTS_SCHEMA.names], schema=EVENTS_SCHEMA)
    return EventsTable(batch, events, judge.all_notes(), judge.bad)


def _event(position: int, text: str, judge: _Judge) -> _Event:
    """Return a record's event; a stand-in, and an entry in `bad`, where there is none.

    One call a record is faster than joining the texts for `decode_lines` (measured: 40 to 50 ms a 31,000 records).
    """
    try:
        event = _decoder.decode(text).event
    except (msgspec.MsgspecError, RecursionError) as error:
        return _loose_event(position, text, str(error), judge)
    if event.system is None:
        judge.bad[position] = "has no System part"
    return event


def _loose_event(position: int, text: str, why: str, judge: _Judge) -> _Event:
    """Take a System part of another shape field by field; what does not fit becomes a note."""
    try:
        loose = _loose_decoder.decode(text).event
    except (msgspec.MsgspecError, RecursionError):
        judge.bad[position] = f"has an unexpected shape: {why}"
        return _Event()
    fitting: dict[str, Any] = {}
    for name, value in loose.system.items():
        try:
            msgspec.convert({name: value}, _System)
        except msgspec.ValidationError:
            judge.does_not_fit(position, f"System/{name}", json.dumps(value, ensure_ascii=False))
        else:
            fitting[name] = value
    judge.notes.append(Note(position, "field_shape_variant", "System", why, WARNING))
    parts = {name: getattr(loose, name) for name in _PARTS}
    return _Event(system=msgspec.convert(fitting, _System), **parts)


def _columns(rows: _Rows, systems: list[_System], judge: _Judge) -> dict[str, Column]:
    header_times = _header_times(rows.filetimes, judge)
    part = dict(zip(_System.__struct_fields__, zip(*map(astuple, systems), strict=True), strict=True))
    provider_names, guids, sources = _attributes(part["provider"], _NO_PROVIDER)
    activities, related = _attributes(part["correlation"], _NO_CORRELATION)
    processes, threads = _attributes(part["execution"], _NO_EXECUTION)
    (users,) = _attributes(part["security"], _NO_SECURITY)
    event_ids = [e.text if type(e) is _EventId else e for e in part["event_id"]]
    qualifiers = [e.attributes.qualifiers if type(e) is _EventId else None for e in part["event_id"]]
    header_ids = _int64(rows.header_ids, "header_record_id", judge, required=True)
    channels = _text(part["channel"])
    names = _text(provider_names)
    _note_half_empty(channels, names, judge)
    return {
        "event_record_id": pc.coalesce(_int64(part["record_id"], "EventRecordID", judge), header_ids),
        "timestamp": _created(part["created"], header_times, judge),
        "provider_name": names,
        "provider_guid": _guid(guids),
        "provider_event_source_name": _text(sources),
        "channel": channels,
        "computer": _text(part["computer"]),
        "event_id": _int64(event_ids, "EventID", judge, required=True),
        "event_qualifiers": _int64(qualifiers, "Qualifiers", judge),
        "version": _int64(part["version"], "Version", judge),
        "level": _int64(part["level"], "Level", judge),
        "task": _int64(part["task"], "Task", judge),
        "opcode": _int64(part["opcode"], "Opcode", judge),
        "keywords_hex": _text([f"0x{k:x}" if type(k) is int else k for k in part["keywords"]]),
        "execution_process_id": _int64(processes, "ProcessID", judge),
        "execution_thread_id": _int64(threads, "ThreadID", judge),
        "security_user_id": _text(users),
        "correlation_activity_id": _guid(activities),
        "correlation_related_activity_id": _guid(related),
        "raw_event_json": _text(rows.texts),
        "raw_event_xml": _text(rows.xml),
        "header_record_id": header_ids,
        "header_time": header_times,
    }


def _attributes(parts: Sequence[Any], absent: Struct) -> Iterator[tuple[Any, ...]]:
    """Return the attributes of a part of System as columns, in the order of their Struct."""
    return zip(*map(astuple, [part.attributes if part else absent for part in parts]), strict=True)


def _note_half_empty(channels: Column, providers: Column, judge: _Judge) -> None:
    """Note the records that name neither channel nor provider: the decoder reads zeros as values that are not there."""
    if channels.null_count and providers.null_count:
        for position, (channel, provider) in enumerate(zip(channels, providers, strict=True)):
            if not channel.is_valid and not provider.is_valid:
                value = "neither channel nor provider is there: half of the record was never written or overwritten"
                judge.notes.append(Note(position, "torn", "half_empty", value, ERROR))


def _text(values: Sequence[str | None]) -> Column:
    return pa.array(values, pa.string())


def _guid(values: Sequence[str | None]) -> Column:
    """Return GUIDs in one spelling, lower case without braces: real logs hold all of them, and joins must meet.

    raw_event_json keeps the spelling of the record. The functions for ASCII, because those for all of Unicode make
    tables of it first, which costs every guest some milliseconds.
    """
    return pc.ascii_lower(pc.ascii_trim(_text(values), characters="{}"))


def _int64(values: Sequence[Number], what: str, judge: _Judge, *, required: bool = False) -> Column:
    """Return an int64 column; numbers that stand as text are converted, what does not fit is noted and left out."""
    try:
        column: Column = pa.array(values, pa.int64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        column = pa.array(_each(values, _whole_number, what, judge), pa.int64())
        for position, value in enumerate(values):
            if isinstance(value, str) and value:
                judge.stands_as_text(position, what)
    return _required(column, what, judge) if required else column


def _each(values: Sequence[Any], convert: Callable[[Any], Any], what: str, judge: _Judge) -> list[Any]:
    """Convert value by value; None, and a note, for what `convert` refuses with ValueError."""
    converted: list[Any] = []
    for position, value in enumerate(values):
        try:
            converted.append(convert(value))
        except ValueError:
            judge.does_not_fit(position, what, value)
            converted.append(None)
    return converted


_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}")
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


def _whole_number(value: Number) -> int | None:
    if isinstance(value, str):
        if value == "":
            return None
        if not _DECIMAL.fullmatch(value) and not _HEXADECIMAL.fullmatch(value):
            raise ValueError(value)
        value = int(value, 16 if value[1:2] in ("x", "X") else 10)
    if value is not None and not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ValueError(value)
    return value


def _required(column: Column, what: str, judge: _Judge) -> Column:
    """Mark the records without a value as bad, with the text that did not fit if there was one."""
    if column.null_count:
        texts = {note.position: note.value for note in judge.notes if note.key == what}
        for position, missing in enumerate(column.is_null().to_pylist()):
            if missing and position in texts:
                judge.bad.setdefault(position, f"has {what} {texts[position]!r:.60}, which its column cannot hold")
            elif missing:
                judge.bad.setdefault(position, f"has no {what}")
    return column


def _created(created: Sequence[_TimeCreated | str | None], header_times: Column, judge: _Judge) -> Column:
    """Return System/TimeCreated, and the header's time where there is none."""
    texts = [(c.attributes.time if type(c) is _TimeCreated else c) or None for c in created]
    try:
        times: Column = pa.array(texts, pa.string()).cast(_TIMESTAMP)
    except pa.ArrowInvalid:  # more than six digits, as collectors write them, or no time at all
        times = pa.array(_each(texts, _moment, "TimeCreated", judge), _TIMESTAMP)
    if times.null_count:
        times = _required(pc.coalesce(times, header_times), "TimeCreated", judge)
    return times


_FILETIME_EPOCH_US: Final = 11_644_473_600_000_000  # microseconds from 1601 to 1970
_EPOCH_SCALAR: Final = pa.scalar(_FILETIME_EPOCH_US, pa.int64())
_TICKS_PER_MICROSECOND: Final = pa.scalar(10, pa.int64())
_FILETIME_MAX: Final = (253_402_300_799_999_999 + _FILETIME_EPOCH_US) * 10 + 9  # the end of the year 9999


def _header_times(filetimes: Sequence[int], judge: _Judge) -> Column:
    """Return the times of the record headers, cut to microseconds; one behind the year 9999 is noted and left out."""
    if filetimes and max(filetimes) > _FILETIME_MAX:
        micros = []
        for position, filetime in enumerate(filetimes):
            fits = filetime <= _FILETIME_MAX
            micros.append(filetime // 10 - _FILETIME_EPOCH_US if fits else None)
            if not fits:
                judge.does_not_fit(position, "header_time", filetime)
        return pa.array(micros, pa.int64()).cast(_TIMESTAMP)
    ticks = pa.array(filetimes, pa.int64())
    return pc.subtract(pc.divide(ticks, _TICKS_PER_MICROSECOND), _EPOCH_SCALAR).cast(_TIMESTAMP)


def _moment_text(filetime: int) -> str:
    if filetime > _FILETIME_MAX:
        return f"FILETIME {filetime}"
    return (_EPOCH + timedelta(microseconds=filetime // 10 - _FILETIME_EPOCH_US)).isoformat()


# --- values by key --------------------------------------------------------------------------------------------------


class Values:
    """Key-value rows being gathered, a run for each section of each record: the position of the record in its batch,
    the name of the section, and how many values it has."""

    def __init__(self) -> None:
        self.owners: list[int] = []
        self.sections: list[str] = []
        self.counts: list[int] = []
        self.keys: list[str] = []
        self.values: list[Any] = []

    def add(self, owner: int, section: str, pairs: Pairs) -> None:
        """Append the values of one section of one record."""
        self.owners.append(owner)
        self.sections.append(section)
        self.counts.append(len(pairs))
        self.keys += [key for key, _ in pairs]
        self.values += [value for _, value in pairs]

    def batch(self, places: pa.RecordBatch, notes: list[Note]) -> pa.RecordBatch:
        """Return the rows, with the columns of `places` (a row a record) repeated; add what does not fit to `notes`."""
        columns, unfit = _value_columns(self.keys, self.values)
        starts = pa.array([0, *accumulate(self.counts)], pa.int32())
        run = _pc.list_parent_indices(pa.ListArray.from_arrays(starts, pa.nulls(len(self.values))))
        owner = pa.array(self.owners, pa.int64()).take(run)
        for at in unfit:
            position = owner[at].as_py()
            notes.append(Note(position, "conversion_failed", self.keys[at], str(self.values[at]), INFO))
        columns["section"] = pa.array(self.sections, pa.string()).take(run)
        columns["idx"] = pc.subtract(_pa.arange(0, len(self.values)), starts.take(run).cast(pa.int64()))
        for name in places.schema.names:
            column = places.column(name)
            is_file = pa.types.is_string(column.type)  # the file_ref is the same for all
            columns[name] = pa.repeat(column[0], len(self.values)) if is_file else column.take(owner)
        return pa.RecordBatch.from_arrays([columns[name] for name in VALUES_SCHEMA.names], schema=VALUES_SCHEMA)


def read_event_data(events: list[_Event], notes: list[Note], offsets: list[int], unnamed: dict[int, Pairs]) -> Values:
    """Return a row for each value of EventData, in the order of the record.

    All are decoded in one call, which would lose a key that stands twice, and leaves lists and objects as they are. The
    separators behind names tell: where there are more of them than names, the record is read pair by pair.
    """
    raws = [event.event_data for event in events]
    joined = b"[" + b",".join(raws) + b"]"
    try:
        decoded: list[Any] = msgspec.json.decode(joined)
    except (msgspec.MsgspecError, RecursionError):
        decoded = [""] * len(raws)
    keys: list[Any] = [each if type(each) is dict else {} for each in decoded]
    contents: list[Any] = list(map(dict.values, keys))
    gathered = Values()
    gathered.counts = list(map(len, keys))
    odd = {at for at, each in enumerate(decoded) if each is not None and type(each) is not dict}
    odd.update(at for at, offset in enumerate(offsets) if unnamed and offset in unnamed)
    if joined.count(_SEPARATOR) != sum(gathered.counts):
        odd.update(_positions(pc.not_equal(_separators(raws, joined), pa.array(gathered.counts, pa.int32()))))
    if list in set(map(type, chain.from_iterable(contents))):
        odd.update(at for at, each in enumerate(contents) if list in map(type, each))
    for at in odd:
        pairs = _flat(raws[at], at, "EventData", notes)
        if offsets[at] in unnamed:
            pairs = _with_types(unnamed[offsets[at]], dict(pairs))
        keys[at] = [key for key, _ in pairs]
        contents[at] = [value for _, value in pairs]
        gathered.counts[at] = len(pairs)
    gathered.owners = list(range(len(raws)))
    gathered.sections = ["EventData"] * len(raws)
    gathered.keys = list(chain.from_iterable(keys))
    gathered.values = list(chain.from_iterable(contents))
    return gathered


_SEPARATOR: Final = b'":'


def _separators(raws: list[msgspec.Raw], joined: bytes) -> Column:
    """Return how many separators each of the texts holds that `joined` lists in brackets, with commas between."""
    starts = pa.array(accumulate((len(raw) + 1 for raw in raws), initial=1), pa.int32())
    texts = pa.Array.from_buffers(pa.binary(), len(raws), [None, starts.buffers()[1], pa.py_buffer(joined)])
    counts: Column = _pc.count_substring(texts, _SEPARATOR.decode())
    return counts


def _with_types(pairs: Pairs, typed: dict[str, Any]) -> Pairs:
    """Return the pairs of the XML, where all is text, with the values of the JSON where that holds a key once."""
    names = [name for name, _ in pairs]
    return [(name, typed[name] if name in typed and names.count(name) == 1 else text) for name, text in pairs]


def read_user_data(events: list[_Event], notes: list[Note]) -> Values:
    """Return a row for each value outside System and EventData, nested ones by path, in the order of the record."""
    gathered = Values()
    found: set[int] = set()
    for part in _USER_PARTS:
        raws = list(map(attrgetter(part), events))
        if raws.count(_NOTHING) != len(raws):
            found.update(position for position, raw in enumerate(raws) if raw != _NOTHING)
    if not found:
        return gathered
    for position in sorted(found):
        for part in _USER_PARTS:
            section = _PARTS[part]
            gathered.add(position, section, _flat(getattr(events[position], part), position, section, notes))
    return gathered


class _Object(list[tuple[str, Any]]):
    """A JSON object that keeps the order and the repetition of its keys."""


_by_pairs: Final = json.JSONDecoder(object_pairs_hook=_Object)


def _flat(raw: msgspec.Raw, position: int, section: str, notes: list[Note]) -> Pairs:
    """Return the scalar values of a part of an event, each with its path."""
    text = bytes(raw).decode()
    try:
        return list(_leaves(_by_pairs.decode(text), ""))
    except (ValueError, RecursionError) as error:
        notes.append(Note(position, "conversion_failed", section, f"{type(error).__name__}: {text}", ERROR))
        return []


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and value: names joined by "/", attributes with "@", the items of a list under the same path."""
    if isinstance(value, _Object):
        for name, inner in value:
            if name == "#attributes" and isinstance(inner, _Object):
                yield from ((f"{path}/@{key}" if path else f"@{key}", each) for key, each in inner)
            elif name == "#text" and path:
                yield from _leaves(inner, path)
            else:
                yield from _leaves(inner, f"{path}/{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    elif path or value is not None:
        yield path or "#text", value


# --- the type of a value --------------------------------------------------------------------------------------------

_TYPES: Final = ("string", "int64", "uint64", "hex", "boolean", "float", "timestamp", "binary", "null")
_TYPE_NAMES: Final = pa.array(_TYPES)
_TYPE_CODES: Final = {name: pa.scalar(code, pa.int8()) for code, name in enumerate(_TYPES)}  # 0 is a string
_BINARY_KEYS: Final = pa.array(["Binary", "EventPayload"])  # elements that the schema of events declares xs:hexBinary
_TIME_TEXT: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"  # how the decoder writes a FILETIME or SYSTEMTIME
_TIME_TEXT_CHARACTERS: Final = pa.scalar(27, pa.int32())
_FALSE: Final = pa.scalar(False, pa.bool_())


def _value_columns(keys: list[str], values: list[Any]) -> tuple[dict[str, Column], list[int]]:
    """Return the columns of key and value, and the positions of the values that their typed column cannot hold.

    The text of a value is looked at once for each different text: event data repeats itself.
    """
    kinds = set(map(type, values))
    only_text = kinds <= {str, type(None)}
    texts: Column = pa.array(values if only_text else [v if type(v) is str else None for v in values], pa.string())
    codes: Column = pa.array(bytes(len(values)), pa.int8())
    columns: dict[str, Column] = {"key": pa.array(keys, pa.string()), "value_int64": pa.nulls(len(values), pa.int64())}
    unfit: list[int] = []
    if int in kinds:
        columns["value_int64"], unfit = _whole_values(values)
        codes = _coded(columns["value_int64"].is_valid(), "int64", codes)
    columns["value_bool"] = pa.nulls(len(values), pa.bool_())
    if bool in kinds:
        columns["value_bool"] = pa.array([v if type(v) is bool else None for v in values], pa.bool_())
    encoded: Any = texts.dictionary_encode()
    numbers, large = _hexadecimals(encoded.dictionary)
    if numbers is not None:
        whole = numbers.take(encoded.indices)
        codes = _coded(whole.is_valid(), "hex", codes)
        columns["value_int64"] = pc.coalesce(columns["value_int64"], whole)
    if large:
        spots: Column = _pc.fill_null(pc.is_in(encoded.indices, pa.array(large, pa.int32())), _FALSE)
        unfit = sorted({*unfit, *_positions(spots)})
        codes = _coded(spots, "hex", codes)
    times = _times(encoded.dictionary)
    columns["value_ts"] = pa.nulls(len(values), _TIMESTAMP)
    if times is not None:
        columns["value_ts"] = times.take(encoded.indices)
        codes = _coded(columns["value_ts"].is_valid(), "timestamp", codes)
    columns["value_bytes"], codes = _binaries(columns["key"], texts, codes)
    if kinds != {str}:
        texts, codes = _with_the_rest(values, kinds, texts, codes, columns)
    return {**columns, "value_raw": texts, "value_type": _TYPE_NAMES.take(codes)}, unfit


def _coded(where: Column, name: str, codes: Column) -> Column:
    """Return the codes of types with that of `name` put in at the places marked."""
    coded: Column = _pc.if_else(where, _TYPE_CODES[name], codes)
    return coded


def _with_the_rest(
    values: list[Any], kinds: set[type], texts: Column, codes: Column, columns: dict[str, Column]
) -> tuple[Column, Column]:
    """Return value_raw and the codes with what is no text: numbers that fit through Arrow, the rest one by one."""
    if int in kinds:
        is_whole = _pc.equal(codes, _TYPE_CODES["int64"])
        texts = _pc.coalesce(texts, _pc.if_else(is_whole, columns["value_int64"].cast(pa.string()), None))
    if bool in kinds:
        texts = pc.coalesce(texts, columns["value_bool"].cast(pa.string()))
        codes = _coded(columns["value_bool"].is_valid(), "boolean", codes)
    rest = _positions(texts.is_null())
    if not rest:
        return texts, codes
    more: list[str | None] = [None] * len(values)
    kind: list[Any] = [None] * len(values)
    for at in rest:
        value = values[at]
        more[at] = None if value is None else repr(value)
        kind[at] = _TYPES.index("null" if value is None else "float" if isinstance(value, float) else "uint64")
    return pc.coalesce(texts, pa.array(more, pa.string())), pc.coalesce(pa.array(kind, pa.int8()), codes)


def _whole_values(values: list[Any]) -> "tuple[Column, list[int]]":
    numbers = [v if type(v) is int else None for v in values]
    try:
        return pa.array(numbers, pa.int64()), []
    except (OverflowError, pa.ArrowInvalid):
        unfit = [at for at, v in enumerate(numbers) if v is not None and not -INT64_MAX - 1 <= v <= INT64_MAX]
        for at in unfit:
            numbers[at] = None
        return pa.array(numbers, pa.int64()), unfit


def _positions(mask: Column) -> list[int]:
    positions: list[int] = _pc.indices_nonzero(mask).to_pylist()
    return positions


def _hexadecimals(texts: Any) -> "tuple[Column | None, list[int]]":
    """Return the numbers that stand as 0x…, and the positions of those that int64 cannot hold."""
    candidates = _positions(pc.starts_with(texts, "0x"))
    if not candidates:
        return None, []
    numbers: list[int | None] = [None] * len(texts)
    large: list[int] = []
    for at, text in zip(candidates, texts.take(pa.array(candidates, pa.int32())).to_pylist(), strict=True):
        if _HEXADECIMAL.fullmatch(text):
            number = int(text, 16)
            if number <= INT64_MAX:
                numbers[at] = number
            else:
                large.append(at)
    return pa.array(numbers, pa.int64()), large


def _times(texts: Any) -> "Column | None":
    """Return the moments among the texts, or None if there are none."""
    candidates = _positions(_pc.equal(_pc.binary_length(texts), _TIME_TEXT_CHARACTERS))
    if not candidates:
        return None
    chosen = texts.take(pa.array(candidates, pa.int32()))
    matching = _positions(pc.match_substring_regex(chosen, _TIME_TEXT))
    if not matching:
        return None
    chosen = chosen.take(pa.array(matching, pa.int32()))
    try:
        moments: Column = chosen.cast(_TIMESTAMP)
    except pa.ArrowInvalid:  # such as a month 13: it is a text that looks like a time
        moments = pa.array([_moment_or_none(text) for text in chosen.to_pylist()], _TIMESTAMP)
    places: list[int | None] = [None] * len(texts)
    for place, at in enumerate(matching):
        places[candidates[at]] = place
    return moments.take(pa.array(places, pa.int32()))


def _moment_or_none(text: str) -> datetime | None:
    try:
        return _moment(text)
    except ValueError:
        return None


def _binaries(keys: Column, texts: Column, codes: Column) -> tuple[Column, Column]:
    """Return value_bytes and the codes of types with "binary" where a value is one."""
    spots = _positions(pc.is_in(keys, _BINARY_KEYS))
    if not spots:
        return pa.nulls(len(texts), pa.binary()), codes
    blobs: list[bytes | None] = [None] * len(texts)
    for at in spots:
        blobs[at] = _unhexlified(texts[at].as_py())
    column: Column = pa.array(blobs, pa.binary())
    return column, _coded(column.is_valid(), "binary", codes)


_HEX_BYTES: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")


def _unhexlified(text: str | None) -> bytes | None:
    return bytes.fromhex(text) if text and _HEX_BYTES.fullmatch(text) else None


# --- unnamed values beside named ones -------------------------------------------------------------------------------

# The decoder's JSON leaves unnamed <Data> elements out where named ones stand beside them. Both are told apart in the
# binary XML: an element's token has a bit for attributes, and its size says where the next element begins.
_DATA_NAME: Final = b"\x04\x00" + "Data".encode("utf-16-le") + b"\0\0"
_DATA_HASH: Final = 0x6F8A  # of the name "Data"; its bucket is the hash modulo 64
_NAME_HEADER_BYTES: Final = 6  # offset of the next name, hash
_NAMES_IN_BUCKET_MAX: Final = 1_000
_DATA_OPENS_MAX: Final = 20_000  # in a chunk
_OPEN_TOKENS: Final = {0x01: False, 0x41: True}  # has attributes


def _mixes_unnamed_data(data: bytes) -> bool:
    """Say whether a <Data> with attributes may stand next to one without, somewhere in a chunk with a sound header."""
    name = _name_offset(data)
    if name < CHUNK_HEADER_BYTES:
        return False
    opens: dict[int, bool] = {}  # where an element refers to the name -> whether it has attributes
    low = struct.pack("<H", name)  # a search for all four bytes would be slow: the last two are zero, as many others
    spot = data.find(low, CHUNK_HEADER_BYTES)
    while spot >= 0 and len(opens) < _DATA_OPENS_MAX:  # moves on by at least one byte
        if data[spot + 2 : spot + 4] == b"\0\0":
            token = data[spot - 7] if data[spot - 7] in _OPEN_TOKENS else data[spot - 5]
            if token in _OPEN_TOKENS:
                opens[spot] = _OPEN_TOKENS[token]
        spot = data.find(low, spot + 1)
    if len(set(opens.values())) < 2:
        return False
    for spot, named in opens.items():
        following = spot + int.from_bytes(data[spot - 4 : spot], "little")
        if any(opens.get(following + width, named) != named for width in (5, 7)):
            return True
    return False


def _name_offset(data: bytes) -> int:
    """Return where the chunk's table of names has "Data", 0 if it has not."""
    (at,) = struct.unpack_from("<I", data, 128 + 4 * (_DATA_HASH % 64))
    for _ in range(_NAMES_IN_BUCKET_MAX):
        if not CHUNK_HEADER_BYTES <= at < CHUNK_BYTES or data.startswith(_DATA_NAME, at + _NAME_HEADER_BYTES):
            break
        (at,) = struct.unpack_from("<I", data, min(at, CHUNK_BYTES - 4))
    return at if at < CHUNK_BYTES else 0


_NAMESPACE: Final = "{http://schemas.microsoft.com/win/2004/08/events/event}"


def _mixed_pairs(xml: str) -> Pairs | None:
    """Return names and texts of EventData if unnamed values stand beside named ones; None if not."""
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, RecursionError):
        return None
    section = root.find(f"{_NAMESPACE}EventData")
    fields = list(section) if section is not None else []
    named = [field.get("Name") is not None for field in fields if field.tag == f"{_NAMESPACE}Data"]
    if all(named) or not any(named):
        return None
    return [(field.get("Name") or field.tag.removeprefix(_NAMESPACE), field.text or "") for field in fields]


# --- times as text --------------------------------------------------------------------------------------------------

_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?")


def _moment(text: str | None) -> datetime | None:
    """Return the moment, digits past the microseconds cut. Without a zone it is UTC, as the format defines it."""
    if text is None:
        return None
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    fraction = (parts[7] or "").ljust(6, "0")[:6]
    zone = parts[8] or "Z"
    year, month, day, hour, minute, second = (int(part) for part in parts.groups()[:6])
    seconds = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    if zone != "Z":
        sign = -1 if zone[0] == "+" else 1
        seconds += sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return seconds + timedelta(microseconds=int(fraction))
