"""Owns the record line: the one registry from tag to type, and the codec between records and lines.

A line is `{"seq":101,"type":"JobQueued","data":{...}}`; a command has `"id":"<uuid>"` between type and data. The tag
is the class name. Lines are split on the byte 0x0A and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Union, get_args, overload

import msgspec
from msgspec import Struct

from eventlog.errors import InvalidRecordError, UnknownEventError
from eventlog.events import Event, LoggedCommand
from eventlog.guard import Proof, proof_of
from eventlog.ids import Seq


class LogRecord(Struct, frozen=True, gc=False):
    """One line of the log, decoded."""

    seq: Seq
    data: Event | LoggedCommand

    @property
    def type(self) -> str:
        """Return the tag, which is the name of the data's class."""
        return type(self.data).__name__

    @property
    def id(self) -> str:
        """Return the command's id, "" for an event. The lines of commands have a field of this name."""
        return ""


EVENT_TYPES: Final[dict[str, type[Struct]]] = {shape.__name__: shape for shape in get_args(Event)}
COMMAND_TYPES: Final[dict[str, type[Struct]]] = {shape.__name__: shape for shape in get_args(LoggedCommand)}
RECORD_TYPES: Final[dict[str, type[Struct]]] = EVENT_TYPES | COMMAND_TYPES


class _EventLine(Struct, gc=False):
    seq: int
    type: str
    data: Struct


class _CommandLine(Struct, gc=False):
    seq: int
    type: str
    id: str
    data: Struct


def _line_shape(tag: str, shape: type[Struct]) -> type[Struct]:
    """Return the shape that decodes a line with this tag; the tag chooses it, so `type` is not a field."""
    return msgspec.defstruct(
        f"{tag}Line",
        [("data", shape), *([("id", str)] if tag in COMMAND_TYPES else [])],
        bases=(LogRecord,),
        tag=tag,
        tag_field="type",
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )


class _Tag(Struct, gc=False):
    """The part of a line that says what it is; everything else is skipped undecoded."""

    type: str


class _Position(Struct):
    seq: int = 0
    type: str = "?"


# By type, not by name: a class of ours that only has an event's name has no tag.
_EVENT_TAGS: Final[dict[type, str]] = {shape: tag for tag, shape in EVENT_TYPES.items()}
_PROOFS: Final[dict[type, Proof]] = {shape: proof_of(shape) for shape in RECORD_TYPES.values()}
_LINE_SHAPES: Final = tuple(_line_shape(tag, shape) for tag, shape in RECORD_TYPES.items())
_encoder = msgspec.json.Encoder(order="deterministic")  # dicts and sets come out in one order, whatever the hash seed
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(type=Union[_LINE_SHAPES])  # noqa: UP007 - built at run time
_tag_decoder = msgspec.json.Decoder(type=_Tag)
_position_decoder = msgspec.json.Decoder(type=_Position)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode_records(
    events: Sequence[Event], *, first: int, command: LoggedCommand | None = None, command_id: str = ""
) -> bytes:
    """Return the lines of one frame, the command first.

    Raises InvalidRecordError for what JSON cannot carry and for what would not read back as it is: a record that could
    not be replayed must never get a position.
    """
    lines: list[Struct] = []
    if command is not None:
        lines.append(_CommandLine(first, _command_tag(command), command_id, command))
    try:
        lines += [
            _EventLine(seq, _EVENT_TAGS[type(event)], event) for seq, event in enumerate(events, first + len(lines))
        ]
        data = _encoder.encode_lines(lines)
    except KeyError as error:
        raise _refusal(f"{error.args[0].__name__} is not an event of the log") from error
    except UnicodeEncodeError as error:
        raise _refusal(f"text holds half a surrogate pair, which is not a character ({error})") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(str(error)) from error
    originals = events if command is None else (command, *events)
    if not all([_PROOFS[type(record)](record) for record in originals]):  # noqa: C419 - a list is a third faster
        _refuse_changed(data, originals)
    return data


def decode_records(lines: bytes) -> tuple[LogRecord, ...]:
    """Return the records of a frame's lines, in order. Raises UnknownEventError naming the first that is unreadable."""
    try:
        return tuple(_decoder.decode_lines(lines))
    except _UNREADABLE as error:
        raise _unknown(lines, error) from error


def refuse_unknown_tags(lines: bytes) -> None:
    """Raise UnknownEventError if a line has a tag that this version does not know; data is not decoded."""
    try:
        tags = [line.type for line in _tag_decoder.decode_lines(lines)]
    except _UNREADABLE as error:
        raise _unknown(lines, error) from error
    if not RECORD_TYPES.keys() >= set(tags):
        decode_records(lines)  # raises, with the position


def misplaced_line(lines: bytes, *, first: int, last: int) -> tuple[int, bytes] | None:
    """Return (expected seq, start of the line) of the first line that is not where its frame says, else None."""
    pieces = lines.split(b"\n")
    count = last - first + 1
    for index in range(count):
        piece = pieces[index] if index < len(pieces) else b""
        if not piece.startswith(b'{"seq":%d,"type":"' % (first + index)):
            return first + index, piece[:80]
    rest = b"\n".join(pieces[count:])  # empty, because the last line ends with a line break; anything else is too much
    return (last + 1, rest[:80]) if rest or len(pieces) != count + 1 else None


def records_are_in_place(records: Sequence[LogRecord], *, first: int, last: int) -> bool:
    """Return whether the records have exactly the seqs from `first` to `last`, in order."""
    due = first
    for record in records:
        if record.seq != due:
            return False
        due += 1
    return due == last + 1


class Records(Sequence[LogRecord]):
    """The records of a frame that was just written, decoded when somebody looks at them and not before.

    They are read from the bytes that are in the log, so nothing that a caller holds is shared with them.
    """

    __slots__ = ("_count", "_decoded", "_lines")

    def __init__(self, lines: bytes, count: int) -> None:
        self._lines = lines
        self._count = count
        self._decoded: tuple[LogRecord, ...] | None = None

    def _all(self) -> tuple[LogRecord, ...]:
        if self._decoded is None:  # two threads may both decode it, to equal values
            self._decoded = decode_records(self._lines)
        return self._decoded

    @overload
    def __getitem__(self, index: int) -> LogRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LogRecord, ...]: ...
    def __getitem__(self, index: int | slice) -> LogRecord | tuple[LogRecord, ...]:
        return self._all()[index]

    def __iter__(self) -> Iterator[LogRecord]:
        return iter(self._all())

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, Records) else other)

    __hash__ = None  # type: ignore[assignment]  # as for every sequence that is compared by its items

    def __repr__(self) -> str:
        return repr(self._all())


def _refuse_changed(lines: bytes, originals: Sequence[Event | LoggedCommand]) -> None:
    """Raise InvalidRecordError unless every line reads back as what it was made from."""
    try:
        records = decode_records(lines)
    except UnknownEventError as error:
        raise _refusal(f"a record would not read back: {error}") from error
    for record, original in zip(records, originals, strict=True):
        if record.data != original:
            raise _refusal(f"{record.type} reads back as {record.data!r:.200}, it was {original!r:.200}")


def _command_tag(command: Struct) -> str:
    tag = type(command).__name__
    if COMMAND_TYPES.get(tag) is not type(command):
        raise _refusal(f"{tag} is not a command of the log")
    return tag


def _refusal(why: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"Refused a frame for the log before writing it: {why}.",
        next_step="Correct the record that was built; nothing was written.",
    )


def _unknown(lines: bytes, error: Exception) -> UnknownEventError:
    """Find which line of the frame cannot be read; the frame has few, and replay stops here."""
    for line in lines.split(b"\n"):
        try:
            _decoder.decode(line)
        except _UNREADABLE as reason:
            return _unknown_line(line, reason)
    return _unknown_line(lines[:200], error)


def _unknown_line(line: bytes, reason: Exception) -> UnknownEventError:
    try:
        position = _position_decoder.decode(line)
    except _UNREADABLE:
        position = _Position()  # not even the envelope is readable; the sentence below says so with "?"
    known = "is not a type of this version" if position.type not in RECORD_TYPES else "cannot be decoded"
    return UnknownEventError(
        f"Read record {position.seq} of the log: {position.type} {known} ({reason}).",
        next_step="The bytes are undamaged: open the log with the Casparian version that wrote it, or a newer one.",
        seq=position.seq,
        tag=position.type,
    )
