"""Owns the reading of Windows event logs (EVTX): one typed row per record, and a statement of what could not be read.

Guest code: it knows nothing of the host and needs only the standard library, pyarrow, msgspec and evtx. The layout of
file, chunk and record follows the public description of libevtx, "Windows XML Event Log (EVTX) format".

The file is walked chunk by chunk, by its size: the header's chunk count is stale in every sixth log copied from a live
host. Each chunk is given to the decoder on its own, behind a sound file header. That costs nothing measurable, puts
every error at its place, and keeps one bad chunk from hiding the ones behind it.
"""

# No `from __future__ import annotations`: msgspec reads the annotations of the Structs, and a host that loads this file
# by its path need not register it as a module, where it would look for them.

import io
import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, TypedDict

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from evtx import PyEvtxParser
from msgspec import Struct

# `timestamp` is System/TimeCreated, `header_time` the time in the record's header; a timestamp holds microseconds, and
# what a log gives beyond them is cut, never rounded (raw_event_json keeps the text of the decoder). The same pair
# exists for the id: an exported log renumbers the headers. raw_event_xml is null: there is one decode.
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
        ],
    },
}

OUTPUT_VERSION: Final = "0.1.0"  # the same as `version` in casparian.toml
FILE_HEADER_BYTES: Final = 4096
CHUNK_BYTES: Final = 65536
CHUNK_HEADER_BYTES: Final = 512
BATCH_ROWS = 1_000  # a batch ends with the chunk in which it reaches this; measured: more falls out of the cache
BATCH_TEXT_MAX = 16 * 1024 * 1024  # characters of JSON
ERRORS_WITHOUT_PROGRESS_MAX: Final = 100_000  # errors of the decoder in a row
REASON_CHARACTERS_MAX: Final = 300
INT64_MAX: Final = 2**63 - 1

_FILE_MAGIC: Final = b"ElfFile\0"
_CHUNK_MAGIC: Final = b"ElfChnk\0"
_RECORD_MAGIC: Final = b"\x2a\x2a\0\0"
_RECORD_BYTES_MIN: Final = 28
_EMPTY_SLOT: Final = bytes(CHUNK_BYTES)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_ARROW_TYPES: Final = {
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "string": pa.string(),
    "timestamp_utc": pa.timestamp("us", tz="UTC"),
}

Batch = tuple[str, pa.RecordBatch]
Column: TypeAlias = "pa.Array[Any]"  # quoted: Array takes no parameter at run time
Statement = dict[str, Any]


def _schema(output: str) -> pa.Schema:
    columns: Any = outputs[output]["columns"]
    return pa.schema(
        [pa.field(column["name"], _ARROW_TYPES[column["type"]], nullable=column["nullable"]) for column in columns]
    )


EVENTS_SCHEMA: Final = _schema("evtx_events")
FILES_SCHEMA: Final = _schema("evtx_files")


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


def parse(path: str, settings: dict[str, str]) -> Generator[Batch, None, Statement]:
    """Yield the batches of both outputs in file order and return the statement of units.

    The unit is the record: found = rows of evtx_events + unreadable. Chunks that cannot be read hold an unknown number
    of records; they are ranges, not units. Ranges are sorted by offset. Memory holds one chunk and one batch. Raises
    PermanentError if the file is not an event log, OSError if it cannot be read.
    """
    del settings  # there are none yet
    with Path(path).open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        header = _FileHeader.read(stream, size)
        log = _Log()
        yield from log.events(stream)
    log.note_header(header)
    yield "evtx_files", log.file_row(size, header)
    return log.statement()


class _FileHeader(Struct, frozen=True, kw_only=True):
    dirty: bool
    next_record_id: int

    @classmethod
    def read(cls, stream: BinaryIO, size: int) -> "_FileHeader":
        """Read the header and leave the stream at the first chunk. Raises PermanentError if it is no event log."""
        head = stream.read(FILE_HEADER_BYTES)
        if len(head) < FILE_HEADER_BYTES:
            held = "is empty (0 bytes)" if size == 0 else f"has {size} bytes"
            raise _not_evtx(f"the file {held}; an EVTX file starts with a {FILE_HEADER_BYTES:,}-byte header")
        if not head.startswith(_FILE_MAGIC):
            raise _not_evtx(f"the file starts with {head[:8]!r}; an EVTX file starts with {_FILE_MAGIC!r}")
        (flags,) = struct.unpack_from("<I", head, 120)
        (next_record_id,) = struct.unpack_from("<Q", head, 24)
        return cls(dirty=bool(flags & 1), next_record_id=next_record_id)


def _not_evtx(reason: str) -> PermanentError:
    hint = "Look at the file itself; if it was cut while it was copied, copy it again from its source."
    return PermanentError(reason, kind="not_evtx", hint=hint)


# --- the shape of a decoded record --------------------------------------------------------------------------------

# Real logs are loose: a collector stores numbers as text, an attribute turns a plain value into an object, and parts of
# System are missing or null. What fits none of these is not forced: the record counts as unreadable, with the reason.
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


class _Event(Struct, gc=False):
    system: _System | None = msgspec.field(default=None, name="System")


class _Line(Struct, gc=False):
    event: _Event = msgspec.field(name="Event")


_decoder = msgspec.json.Decoder(_Line)

_NO_PROVIDER: Final = _ProviderAttributes()
_NO_CORRELATION: Final = _CorrelationAttributes()
_NO_EXECUTION: Final = _ExecutionAttributes()


# --- the walk -----------------------------------------------------------------------------------------------------


class Record(TypedDict):
    """A record as the decoder gives it: header id, header time as text, event as JSON."""

    event_record_id: int
    timestamp: str
    data: str


def _sound_header() -> bytes:
    """Return the file header that each chunk is given to the decoder with: one chunk, nothing unusual."""
    header = bytearray(FILE_HEADER_BYTES)
    struct.pack_into("<8sQQQIHHHH", header, 0, _FILE_MAGIC, 0, 0, 1, 128, 1, 3, FILE_HEADER_BYTES, 1)
    struct.pack_into("<I", header, 124, zlib.crc32(header[:120]))
    return bytes(header)


_SOUND_HEADER: Final = _sound_header()


class _Log:
    """One log being read: counts, ranges, and the rows that wait for their batch."""

    def __init__(self) -> None:
        self.written = 0
        self.unreadable = 0
        self.chunks = 0
        self.ranges: list[dict[str, Any]] = []
        self._errors_in_a_row = 0

    def events(self, stream: BinaryIO) -> Iterator[Batch]:
        """Yield evtx_events in batches of bounded rows and text."""
        waiting: list[Record] = []
        offsets: list[int] = []  # of the chunk of each waiting record
        for offset, slot in _slots(stream):
            waiting += self._records(offset, slot)
            offsets += [offset] * (len(waiting) - len(offsets))
            if len(waiting) >= BATCH_ROWS:
                yield from self._batches(waiting, offsets)
                waiting, offsets = [], []
        yield from self._batches(waiting, offsets)

    def _batches(self, records: list[Record], offsets: list[int]) -> Iterator[Batch]:
        for first, end in _cuts(records):
            batch, bad = events_batch(records[first:end])
            for position, reason in bad.items():
                record_id = records[first + position]["event_record_id"]
                self._record_lost(offsets[first + position], -1, f"record {record_id} {reason}")
            if batch.num_rows:
                self.written += batch.num_rows
                yield "evtx_events", batch

    def _records(self, offset: int, slot: bytes) -> list[Record]:
        """Return the records of one slot; what is no chunk becomes a range, what was never used is nothing."""
        if len(slot) < CHUNK_BYTES:
            self._range(offset, len(slot), "file ends inside a chunk")
            return []
        if slot.startswith(_CHUNK_MAGIC):
            self.chunks += 1
            return self._decoded(offset, slot, whole=True)
        if slot != _EMPTY_SLOT:
            self._range(offset, CHUNK_BYTES, f"chunk starts with {slot[:8]!r} instead of {_CHUNK_MAGIC!r}")
        return []

    def _decoded(self, offset: int, chunk: bytes, *, whole: bool) -> list[Record]:
        """Decode a chunk. `whole` says that its tables of names and templates have not been removed yet."""
        decoder = PyEvtxParser(io.BytesIO(_SOUND_HEADER + chunk), 1).records_json()
        records: list[Any] = []
        passed: int | None = None  # header id of the record that the decoder came past last
        while True:
            before = len(records)
            try:
                records.extend(decoder)  # keeps what came before an error, and can be taken up again after it
            except RuntimeError as error:
                if len(records) > before:
                    self._errors_in_a_row = 0
                    passed = records[-1]["event_record_id"]
                self._count_error()
                if whole and "Failed to parse chunk" in str(error):
                    # One damaged entry of these tables makes the decoder refuse the chunk. They only save work: names
                    # and templates are found at the offsets that the records give. So do without them.
                    return self._decoded(offset, _without_tables(chunk), whole=False)
                passed = self._decoder_error(offset, chunk, passed, str(error))
                continue
            if len(records) > before:
                self._errors_in_a_row = 0
            return records

    def _count_error(self) -> None:
        self._errors_in_a_row += 1
        if self._errors_in_a_row > ERRORS_WITHOUT_PROGRESS_MAX:
            raise PermanentError(
                f"the decoder gave {self._errors_in_a_row:,} errors in a row without a record",
                kind="decoder_stuck",
                hint="The file is damaged in a way that the decoder cannot pass; keep it and report it.",
            )

    def _decoder_error(self, offset: int, chunk: bytes, passed: int | None, message: str) -> int | None:
        """Book an error: the record it names, the rest of the chunk, or the chunk; return the record passed last."""
        if "Failed to parse chunk" in message:
            self._range(offset, CHUNK_BYTES, message)
            return passed
        named = _NAMED_RECORD.search(message)
        if named is None:
            start, length = _rest_behind(chunk, passed)
        else:
            passed = int(named[1])
            start, length = _record_places(chunk).get(passed, (0, -1))
        self._record_lost(offset + start, length, message)
        return passed

    def _record_lost(self, offset: int, length: int, reason: str) -> None:
        self.unreadable += 1
        self._range(offset, length, reason)

    def _range(self, offset: int, length: int, reason: str) -> None:
        sentence = " ".join(reason.split())[:REASON_CHARACTERS_MAX]
        self.ranges.append({"offset": offset, "length": length, "reason": sentence})

    def note_header(self, header: _FileHeader) -> None:
        """Book a header value that no column can hold."""
        if header.next_record_id > INT64_MAX:
            self._range(24, 8, f"the header's next record id {header.next_record_id} does not fit into int64")

    def file_row(self, size: int, header: _FileHeader) -> pa.RecordBatch:
        """Return the row of evtx_files; its counts are what the walk saw, not what the header says."""
        row = {
            "file_size": size,
            "record_count": self.written,
            "chunk_count": self.chunks,
            "dirty": header.dirty,
            "header_next_record_id": header.next_record_id if header.next_record_id <= INT64_MAX else None,
            "unreadable": self.unreadable,
            "parser_output_version": OUTPUT_VERSION,
        }
        return pa.RecordBatch.from_pylist([row], schema=FILES_SCHEMA)

    def statement(self) -> Statement:
        return {
            "unit": "records",
            "output": "evtx_events",
            "found": self.written + self.unreadable,
            "skipped": 0,
            "unreadable": self.unreadable,
            "ranges": sorted(self.ranges, key=lambda each: each["offset"]),
        }


def _slots(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each chunk slot up to the end of the file; the last one may be short."""
    offset = FILE_HEADER_BYTES
    while chunk := stream.read(CHUNK_BYTES):  # bounded by the size of the file
        yield offset, chunk
        offset += len(chunk)


def _cuts(records: list[Record]) -> Iterator[tuple[int, int]]:
    """Yield first and end of consecutive parts that hold at most BATCH_TEXT_MAX characters, or a single record."""
    first = characters = 0
    for position, record in enumerate(records):
        length = len(record["data"])
        if characters + length > BATCH_TEXT_MAX and position > first:
            yield first, position
            first, characters = position, 0
        characters += length
    if records:
        yield first, len(records)


def _without_tables(chunk: bytes) -> bytes:
    return chunk[:128] + bytes(CHUNK_HEADER_BYTES - 128) + chunk[CHUNK_HEADER_BYTES:]


_NAMED_RECORD: Final = re.compile(r"record number (\d+)")


def _rest_behind(chunk: bytes, passed: int | None) -> tuple[int, int]:
    """Return start and length of what a decoder loses that stops behind a record: all up to the chunk's free space.

    An error that names no record comes from a record's header, and the decoder does not go on behind it. The start is
    relative to the chunk; length -1 if it cannot be told.
    """
    start = CHUNK_HEADER_BYTES if passed is None else sum(_record_places(chunk).get(passed, (0, 0)))
    (free,) = struct.unpack_from("<I", chunk, 48)
    return (start, free - start) if CHUNK_HEADER_BYTES <= start < free <= CHUNK_BYTES else (start, -1)


def _record_places(chunk: bytes) -> dict[int, tuple[int, int]]:
    """Step from record to record by their sizes, as far as that goes; return start and length by header id."""
    places: dict[int, tuple[int, int]] = {}
    start = CHUNK_HEADER_BYTES
    while start + _RECORD_BYTES_MIN <= CHUNK_BYTES:
        magic, length, record_id = struct.unpack_from("<4sIQ", chunk, start)
        if magic != _RECORD_MAGIC or not _RECORD_BYTES_MIN <= length <= CHUNK_BYTES - start:
            break
        places[record_id] = (start, length)
        start += length
    return places


# --- records to columns -------------------------------------------------------------------------------------------

Bad = dict[int, str]  # position of a record in its batch -> why it cannot become a row


def events_batch(records: Sequence[Record]) -> tuple[pa.RecordBatch, Bad]:
    """Return the rows of evtx_events, in order, and the positions of the records that cannot be one, with reasons."""
    bad: Bad = {}
    systems = [_system(position, record["data"], bad) for position, record in enumerate(records)]
    columns = _columns(records, systems, bad)
    batch = pa.RecordBatch.from_arrays([columns[name] for name in EVENTS_SCHEMA.names], schema=EVENTS_SCHEMA)
    if bad:
        batch = batch.filter(pa.array([position not in bad for position in range(len(records))]))
    return batch, bad


def _system(position: int, text: str, bad: Bad) -> _System:
    """Return the System part of a record; a stand-in, and an entry in `bad`, where there is none that fits.

    One call a record is faster than joining the texts for `decode_lines` (measured: 40 to 50 ms a 31,000 records).
    """
    try:
        system = _decoder.decode(text).event.system
    except msgspec.MsgspecError as error:
        bad[position] = f"has an unexpected shape: {error}"
        return _System()
    if system is None:
        bad[position] = "has no System part"
        return _System()
    return system


def _columns(records: Sequence[Record], systems: list[_System], bad: Bad) -> dict[str, Column]:
    header_ids = [record["event_record_id"] for record in records]
    header_times = _header_times([record["timestamp"] for record in records])
    providers = [s.provider.attributes if s.provider else _NO_PROVIDER for s in systems]
    correlations = [s.correlation.attributes if s.correlation else _NO_CORRELATION for s in systems]
    executions = [s.execution.attributes if s.execution else _NO_EXECUTION for s in systems]
    ids = [s.event_id for s in systems]
    event_ids = [e.text if isinstance(e, _EventId) else e for e in ids]
    qualifiers = [e.attributes.qualifiers if isinstance(e, _EventId) else None for e in ids]
    given_ids = [s.record_id for s in systems]
    record_ids = [h if given in (None, "") else given for given, h in zip(given_ids, header_ids, strict=True)]
    return {
        "event_record_id": _int64(record_ids, "EventRecordID", bad),
        "timestamp": _created(systems, header_times, bad),
        "provider_name": _text([p.name for p in providers]),
        "provider_guid": _guid([p.guid for p in providers]),
        "provider_event_source_name": _text([p.source for p in providers]),
        "channel": _text([s.channel for s in systems]),
        "computer": _text([s.computer for s in systems]),
        "event_id": _required(_int64(event_ids, "EventID", bad), "EventID", bad),
        "event_qualifiers": _int64(qualifiers, "Qualifiers", bad),
        "version": _int64([s.version for s in systems], "Version", bad),
        "level": _int64([s.level for s in systems], "Level", bad),
        "task": _int64([s.task for s in systems], "Task", bad),
        "opcode": _int64([s.opcode for s in systems], "Opcode", bad),
        "keywords_hex": _text([f"0x{k:x}" if isinstance(k, int) else k for k in [s.keywords for s in systems]]),
        "execution_process_id": _int64([e.process for e in executions], "ProcessID", bad),
        "execution_thread_id": _int64([e.thread for e in executions], "ThreadID", bad),
        "security_user_id": _text([s.security.attributes.user if s.security else None for s in systems]),
        "correlation_activity_id": _guid([c.activity for c in correlations]),
        "correlation_related_activity_id": _guid([c.related for c in correlations]),
        "raw_event_json": _text([record["data"] for record in records]),
        "raw_event_xml": pa.nulls(len(records), pa.string()),
        "header_record_id": _int64(header_ids, "record id in the header", bad),
        "header_time": header_times,
    }


def _text(values: list[str | None] | list[str]) -> Column:
    return pa.array(values, pa.string())


def _guid(values: list[str | None]) -> Column:
    """Return GUIDs in one spelling, lower case without braces: real logs hold all of them, and joins must meet.

    raw_event_json keeps the spelling of the record.
    """
    return pc.utf8_lower(pc.utf8_trim(_text(values), characters="{}"))


def _int64(values: Sequence[Number], what: str, bad: Bad) -> Column:
    """Return an int64 column; numbers that stand as text are converted, what does not fit makes its record bad."""
    try:
        return pa.array(values, pa.int64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array(_each(values, _whole_number, what, bad), pa.int64())


def _each(values: Sequence[Any], convert: Callable[[Any], Any], what: str, bad: Bad) -> list[Any]:
    """Convert value by value; None, and an entry in `bad`, for what `convert` refuses with ValueError."""
    converted: list[Any] = []
    for position, value in enumerate(values):
        try:
            converted.append(convert(value))
        except ValueError:
            bad.setdefault(position, f"has {what} {str(value)[:60]!r}, which its column cannot hold")
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


def _required(column: Column, what: str, bad: Bad) -> Column:
    """Mark the records without a value; a value that did not fit has been marked before."""
    if column.null_count:
        for position, missing in enumerate(column.is_null().to_pylist()):
            if missing:
                bad.setdefault(position, f"has no {what}")
    return column


_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def _created(systems: Sequence[_System], header_times: Column, bad: Bad) -> Column:
    """Return System/TimeCreated, and the header's time where there is none."""
    created = [system.created for system in systems]
    texts = [(c.attributes.time if isinstance(c, _TimeCreated) else c) or None for c in created]
    try:
        times = pa.array(texts, pa.string()).cast(_TIMESTAMP)
    except pa.ArrowInvalid:  # more than six digits, as collectors write them, or no time at all
        times = pa.array(_each(texts, _moment, "TimeCreated", bad), _TIMESTAMP)
    if times.null_count:
        times = pc.coalesce(times, header_times)
        _required(times, "time", bad)
    return times


def _header_times(texts: list[str]) -> Column:
    """Return the times of the record headers from the decoder's text, "2019-02-13T18:01:47.5123404Z UTC".

    The first 26 characters end with the microseconds, or before them.
    """
    times = pc.utf8_rtrim(pc.utf8_slice_codeunits(pa.array(texts, pa.string()), 0, 26), characters="Z UTC")
    try:
        return pc.cast(times, pa.timestamp("us")).cast(_TIMESTAMP)  # a naive timestamp becomes UTC
    except pa.ArrowInvalid:
        # A time beyond year 9999. The id and TimeCreated stand elsewhere, so this alone does not cost the record.
        return pa.array([_moment_or_none(text) for text in texts], _TIMESTAMP)


def _moment_or_none(text: str) -> datetime | None:
    try:
        return _moment(text.removesuffix(" UTC"))
    except ValueError:
        return None


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
