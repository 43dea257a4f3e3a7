"""Owns what a guest says, as typed values, and the decoding of its payloads. Pure: bytes in, values out.

A guest is not trusted: whatever the bytes are, the answer is a value or a BadFrameError / BadStatementError.
"""

from __future__ import annotations

import logging
import re
import struct
from typing import Annotated, Final

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from eventlog.events import RANGES_MAX, SKIPS_MAX, FailureClass, SkippedUnits, UnreadableRange
from executors.guest.errors import BadFrameError, BadStatementError
from executors.guest.guest_log import plain_text
from executors.guest.limits import (
    KIND_CHARS_MAX,
    LOG_LINE_BYTES_MAX,
    RANGE_REASON_CHARS_MAX,
    REASON_CHARS_MAX,
    ROWS_PER_BATCH_MAX,
)

INT64_MAX: Final = 2**63 - 1
OUTPUTS_STATED_MAX: Final = 100
STATEMENTS_MAX: Final = 10
_KIND: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{KIND_CHARS_MAX - 1}}}")

Count = Annotated[int, Meta(ge=0, le=INT64_MAX)]
Offset = Annotated[int, Meta(ge=-1, le=INT64_MAX)]


class StatedRange(Struct, frozen=True, kw_only=True):
    """A range as the parser states it; -1 where it does not know."""

    offset: Offset
    length: Offset
    reason: str


class StatedSkip(Struct, frozen=True, kw_only=True):
    """How many units the parser left out for one reason."""

    count: Annotated[int, Meta(ge=1, le=INT64_MAX)]
    reason: Annotated[str, Meta(min_length=1)]


class Statement(Struct, frozen=True, kw_only=True):
    """The parser's account of its input, in its own unit.

    Where each row of an output is a unit, `output` names it, or several such, and the host counts the rows. Where units
    are not rows (lines of which several make a row, bytes), `output` is "" and the parser states how many it
    `accepted`. The counts of `skips` must make up `skipped`: nothing is left out without a reason.
    """

    unit: Annotated[str, Meta(pattern="^[a-z][a-z0-9_ -]{0,63}$")]
    output: str | Annotated[tuple[str, ...], Meta(min_length=1, max_length=OUTPUTS_STATED_MAX)] = ""
    accepted: Count | None = None
    found: Count
    skipped: Count = 0
    skips: Annotated[tuple[StatedSkip, ...], Meta(max_length=SKIPS_MAX)] = ()
    unreadable: Count = 0
    ranges: tuple[StatedRange, ...] = ()
    ranges_total: Count = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs whose rows are the units."""
        if isinstance(self.output, tuple):
            return self.output
        return (self.output,) if self.output else ()

    def unreadable_ranges(self) -> tuple[UnreadableRange, ...]:
        """Return at most RANGES_MAX ranges, their reasons fit for the event log."""
        return tuple(
            UnreadableRange(
                offset=stated.offset,
                length=stated.length,
                reason=plain_text(stated.reason, chars_max=RANGE_REASON_CHARS_MAX),
            )
            for stated in self.ranges[:RANGES_MAX]
        )

    def skipped_units(self) -> tuple[SkippedUnits, ...]:
        """Return the reasons for what was skipped, fit for the event log."""
        return tuple(
            SkippedUnits(count=stated.count, reason=plain_text(stated.reason, chars_max=RANGE_REASON_CHARS_MAX))
            for stated in self.skips
        )


class GuestBatch(Struct, frozen=True, kw_only=True):
    """Rows of one declared output, by its index; structurally read, not yet validated."""

    output: int
    batch: pa.RecordBatch


class GuestStatement(Struct, frozen=True, kw_only=True):
    """What the parser states of its input; several where it counts in several units, the first being the main one."""

    statements: Annotated[tuple[Statement, ...], Meta(min_length=1, max_length=STATEMENTS_MAX)]


class GuestEnd(Struct, frozen=True):
    """The guest has said all and means success."""


class GuestFailure(Struct, frozen=True, kw_only=True):
    """The guest did not succeed: by its own word, by its death, or by breaking a rule."""

    failure: FailureClass
    kind: str
    reason: str
    hint: str


GuestFrame = GuestBatch | GuestStatement | GuestEnd | GuestFailure


class LogLine(Struct, frozen=True, kw_only=True):
    level: int
    text: str


class _ErrorPayload(Struct, frozen=True, kw_only=True):
    error: str
    retryable: bool
    kind: str
    hint: str
    known: bool = True


def decode_batch(payload: bytes | bytearray | memoryview) -> pa.RecordBatch:
    """Read one complete Arrow IPC stream that holds exactly one uncompressed record batch, without copying it.

    What comes back may still lie about its contents: `validate` looks into it before anything else does.
    Raises BadFrameError.
    """
    try:
        return _read_batch(pa.py_buffer(payload))
    except (pa.ArrowException, ValueError, OSError, KeyError, MemoryError, struct.error) as error:
        if isinstance(error, BadFrameError):
            raise
        raise BadFrameError(f"a batch is not readable as an Arrow stream: {_first_line(error)}") from error


def decode_statement(payload: bytes | bytearray) -> GuestStatement:
    """Read a metrics frame. Raises BadStatementError."""
    try:
        return msgspec.json.decode(payload, type=GuestStatement)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadStatementError(f"the parser's statement of units cannot be used: {_first_line(error)}") from error


def decode_error(payload: bytes | bytearray) -> GuestFailure:
    """Read an error frame; its words are cut to what the event log can hold. Raises BadFrameError."""
    try:
        said = msgspec.json.decode(payload, type=_ErrorPayload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrameError(f"an error frame cannot be read: {_first_line(error)}") from error
    return GuestFailure(
        failure="transient" if said.retryable else "permanent" if said.known else "unknown",
        kind=said.kind if _KIND.fullmatch(said.kind) else "parser_error",
        reason=plain_text(said.error, chars_max=REASON_CHARS_MAX),
        hint=plain_text(said.hint, chars_max=REASON_CHARS_MAX),
    )


def decode_log(payload: bytes | bytearray) -> LogLine:
    """Read a log frame: one level byte, then text; bytes that are not UTF-8 are replaced. Raises BadFrameError."""
    if not payload:
        raise BadFrameError("a log frame has no level byte")
    if len(payload) > LOG_LINE_BYTES_MAX + 1:
        raise BadFrameError(f"a log line has {len(payload) - 1:,} bytes, at most {LOG_LINE_BYTES_MAX:,} are allowed")
    return LogLine(level=payload[0] or logging.INFO, text=bytes(payload[1:]).decode("utf-8", "replace"))


def _read_batch(buffer: pa.Buffer) -> pa.RecordBatch:
    head = _first_message(buffer)
    schema = _schemas.get(head)
    if schema is None:
        messages = pa.ipc.MessageReader.open_stream(buffer)
        schema = _read_schema(messages)
        _keep_schema(head, schema)
    else:
        messages = pa.ipc.MessageReader.open_stream(buffer.slice(len(head)))
    message = _next_message(messages, expected="record batch")
    if _is_compressed(message):
        # A few bytes of a compressed body may unpack to more memory than the machine has.
        raise BadFrameError("a batch is compressed; batches between guest and host are sent uncompressed")
    batch = pa.ipc.read_record_batch(message, schema)
    if batch.num_rows > ROWS_PER_BATCH_MAX:
        raise BadFrameError(f"a batch has {batch.num_rows:,} rows, at most {ROWS_PER_BATCH_MAX:,} are allowed")
    _expect_end(messages)
    return batch


def _read_schema(messages: pa.ipc.MessageReader) -> pa.Schema:
    schema = pa.ipc.read_schema(_next_message(messages, expected="schema"))
    for name in schema.names:
        name.encode()  # names that are not UTF-8 raise here, inside the one place that expects it
    return schema


# Batches of one output begin with the same bytes, in each file of a lease and in each job of a parser.
SCHEMAS_KEPT_MAX: Final = 64
SCHEMA_BYTES_MAX: Final = 64 * 1024  # of one that is kept
_CONTINUATION: Final = b"\xff\xff\xff\xff"
_schemas: dict[bytes, pa.Schema] = {}


def _first_message(buffer: pa.Buffer) -> bytes:
    """Return a stream's first message, if it says to be one without a body that may be kept; else nothing."""
    mark, size = struct.unpack_from("<4sI", buffer) if buffer.size >= 8 else (b"", 0)
    return buffer[: 8 + size].to_pybytes() if mark == _CONTINUATION and size <= SCHEMA_BYTES_MAX else b""


def _keep_schema(head: bytes, schema: pa.Schema) -> None:
    if len(_schemas) >= SCHEMAS_KEPT_MAX:
        _schemas.clear()
    if head:
        _schemas[head] = schema


def _next_message(messages: pa.ipc.MessageReader, *, expected: str) -> pa.ipc.Message:
    try:
        message = messages.read_next_message()
    except StopIteration:
        raise BadFrameError(f"a batch ends before its {expected}") from None
    if message.type == "dictionary":
        raise BadFrameError("a batch has a dictionary-encoded column; cast it to its plain type in the parser")
    if message.type != expected:
        raise BadFrameError(f"a batch has a {message.type} where its {expected} belongs")
    return message


def _expect_end(messages: pa.ipc.MessageReader) -> None:
    """Refuse a second batch in one frame: it would be passed over, and its rows lost without a word."""
    try:
        messages.read_next_message()
    except StopIteration:
        return
    raise BadFrameError("a frame holds more than one batch")


# The numbers of two tables of Arrow's format, https://github.com/apache/arrow/blob/main/format/Message.fbs
_MESSAGE_HEADER: Final = 2
_RECORD_BATCH_COMPRESSION: Final = 3


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Say whether a record batch message declares body compression; pyarrow reads that field but does not show it.

    The flatbuffer has been verified by the reader, so the offsets stay inside it.
    """
    metadata = memoryview(message.metadata)
    root = _offset_at(metadata, 0)
    field = root + _table_field(metadata, root, _MESSAGE_HEADER)
    header = field + _offset_at(metadata, field)
    return _table_field(metadata, header, _RECORD_BATCH_COMPRESSION) != 0


def _offset_at(metadata: memoryview, position: int) -> int:
    return int(struct.unpack_from("<I", metadata, position)[0])


def _table_field(metadata: memoryview, table: int, number: int) -> int:
    """Return a field's offset from its table, 0 where the field is absent: how every flatbuffer table is laid out."""
    vtable = table - int(struct.unpack_from("<i", metadata, table)[0])
    size = int(struct.unpack_from("<H", metadata, vtable)[0])
    slot = 4 + 2 * number
    return int(struct.unpack_from("<H", metadata, vtable + slot)[0]) if slot + 2 <= size else 0


def _first_line(error: BaseException) -> str:
    return plain_text(str(error).partition("\n")[0] or type(error).__name__, chars_max=300)
