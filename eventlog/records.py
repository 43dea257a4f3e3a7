"""Owns the codec between records and lines.

A line is `{"seq":101,"type":"JobQueued","data":{...}}`; a command has `"id":"<uuid>"` between type and data. The tag
is the class name, with `.2` and so on behind it for a later version (eventlog/registry.py). Lines are split on the byte
0x0A and on nothing else.

Lines of older versions are brought to the newest shape as they are read; the bytes stay. A line with an unknown tag
stops the reader, unless its writer marked it `"opt":1`, safe to pass over: then it is passed over and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Union, get_args, overload

import msgspec
from msgspec import Struct

from eventlog.errors import InvalidRecordError, UnknownEventError
from eventlog.events import Event, LoggedCommand
from eventlog.guard import Proof, proof_of
from eventlog.ids import Seq
from eventlog.registry import Change, Registry
from eventlog.upcasters import UPCASTERS


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


class SkippedRecord(Struct, frozen=True, gc=False):
    """A line of a type that this version does not know, which its writer marked as safe to pass over."""

    seq: int
    type: str
    opt: Literal[1]  # the writer's word for it


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


class _Tag(Struct, gc=False):
    """The part of a line that says what it is; everything else is skipped undecoded."""

    type: str


class _Position(Struct):
    seq: int = 0
    type: str = "?"


class _Opened(Struct):
    version: str = ""


class _OpenedLine(Struct):
    """What is asked of a WriterOpened of any version, released or yet to come."""

    data: _Opened


_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.json.Encoder(order="deterministic")  # dicts and sets come out in one order, whatever the hash seed
_tag_decoder = msgspec.json.Decoder(type=_Tag)
_position_decoder = msgspec.json.Decoder(type=_Position)
_skipped_decoder = msgspec.json.Decoder(type=SkippedRecord)
_opened_decoder = msgspec.json.Decoder(type=_OpenedLine)
_OPENED: Final = re.compile(rb'^\{"seq":[0-9]+,"type":"WriterOpened[".][^\n]*$', re.ASCII | re.MULTILINE)


class _Proofs(dict[type[Struct], Proof]):
    """The proof of each shape that is written, compiled when it is written first: most processes write none."""

    def __missing__(self, shape: type[Struct]) -> Proof:
        proof = self[shape] = proof_of(shape)
        return proof


class Codec:
    """Writes and reads the records of one set of shapes. There is one for the log; tests make others."""

    def __init__(
        self,
        events: Mapping[str, type[Struct]],
        commands: Mapping[str, type[Struct]],
        *,
        upcasters: Mapping[str, Change],
    ) -> None:
        shapes = {**events, **commands}
        self.registry = Registry(shapes, upcasters=upcasters)
        tags = self.registry.tags
        # By type, not by name: a class of ours that only has an event's name has no tag.
        self._event_tags: dict[type, str] = {shape: tags[name] for name, shape in events.items()}
        self._command_tags: dict[type, str] = {shape: tags[name] for name, shape in commands.items()}
        self._proofs = _Proofs()
        # What a line of each shape is decoded to: the type of a record says what its data is.
        self.line_of = {shape: _line_shape(tags[name], shape, name in commands) for name, shape in shapes.items()}
        self._line: Any = Union[tuple(self.line_of.values())]  # noqa: UP007 - built at run time
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(type=self._line)

    # --- writing ---

    def encode(
        self, events: Sequence[Event], *, first: int, command: LoggedCommand | None = None, command_id: str = ""
    ) -> bytes:
        """Return the lines of one frame, the command first.

        Raises InvalidRecordError for what JSON cannot carry and for what would not read back as it is: a record that
        could not be replayed must never get a position.
        """
        lines: list[Struct] = []
        if command is not None:
            lines.append(_CommandLine(first, self._command_tag(command), command_id, command))
        tags = self._event_tags
        try:
            lines += [_EventLine(seq, tags[type(event)], event) for seq, event in enumerate(events, first + len(lines))]
            data = _encoder.encode_lines(lines)
        except KeyError as error:
            raise _refusal(f"{error.args[0].__name__} is not an event of the log") from error
        except UnicodeEncodeError as error:
            raise _refusal(f"text holds half a surrogate pair, which is not a character ({error})") from error
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _refusal(str(error)) from error
        originals = events if command is None else (command, *events)
        proofs = self._proofs
        if not all([proofs[type(record)](record) for record in originals]):  # noqa: C419 - a list is a third faster
            self._refuse_changed(data, originals)
        return data

    def _command_tag(self, command: Struct) -> str:
        tag = self._command_tags.get(type(command))
        if tag is None:
            raise _refusal(f"{type(command).__name__} is not a command of the log")
        return tag

    def _refuse_changed(self, lines: bytes, originals: Sequence[Event | LoggedCommand]) -> None:
        """Raise InvalidRecordError unless every line reads back as what it was made from."""
        try:
            records, _ = self.decode(lines)
        except UnknownEventError as error:
            raise _refusal(f"a record would not read back: {error}") from error
        for record, original in zip(records, originals, strict=True):
            if record.data != original:
                raise _refusal(f"{record.type} reads back as {record.data!r:.200}, it was {original!r:.200}")

    # --- reading ---

    def decode(self, lines: bytes) -> tuple[tuple[LogRecord, ...], tuple[SkippedRecord, ...]]:
        """Return the records of a frame's lines, and those that are passed over, each in order.

        Raises UnknownEventError naming the first that is unreadable.
        """
        try:
            return tuple(self._decoder.decode_lines(lines)), ()
        except _UNREADABLE:
            every = [self._decode_line(line) for line in lines.split(b"\n")[:-1]]
        records = tuple(each for each in every if isinstance(each, LogRecord))
        return records, tuple(each for each in every if isinstance(each, SkippedRecord))

    def refuse_unknown_tags(self, lines: bytes) -> None:
        """Raise UnknownEventError if a line has a tag that this version cannot read or pass over."""
        try:
            tags = [line.type for line in _tag_decoder.decode_lines(lines)]
        except _UNREADABLE as error:
            raise _unknown_line(lines[:200], error, known=False) from error
        if not self.registry.readable.issuperset(tags):
            self.decode(lines)

    def _decode_line(self, line: bytes) -> LogRecord | SkippedRecord:
        """Return a line of any version. The data of an older one is changed step by step to the newest shape."""
        tag = ""
        try:
            tag = _tag_decoder.decode(line).type
            if tag in self.registry.older:
                return self._upcast(line, tag)
            if tag not in self.registry.readable:
                return _skipped_decoder.decode(line)
            record: LogRecord = self._decoder.decode(line)
        except _UNREADABLE as error:
            raise _unknown_line(line, error, known=tag in self.registry.readable) from error
        return record

    def _upcast(self, line: bytes, tag: str) -> LogRecord:
        old: dict[str, Any] = msgspec.json.decode(line)
        try:
            newest, data = self.registry.upcast(tag, old["data"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unknown_line(line, error, known=True) from error  # not data of that version
        record: LogRecord = msgspec.convert({**old, "type": newest, "data": data}, self._line)
        return record


def _line_shape(tag: str, shape: type[Struct], is_command: bool) -> type[Struct]:
    """Return the shape that decodes a line with this tag; the tag chooses it, so `type` is not a field."""
    return msgspec.defstruct(
        f"{shape.__name__}Line",
        [("data", shape), *([("id", str)] if is_command else [])],
        bases=(LogRecord,),
        tag=tag,
        tag_field="type",
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )


CODEC: Final = Codec(EVENT_TYPES, COMMAND_TYPES, upcasters=UPCASTERS)
encode_records: Final = CODEC.encode
decode_records: Final = CODEC.decode
refuse_unknown_tags: Final = CODEC.refuse_unknown_tags


def misplaced_line(lines: bytes, *, first: int, last: int) -> tuple[int, bytes] | None:
    """Return (expected seq, start of the line) of the first line that is not where its frame says, else None."""
    if first == last and lines.startswith(b'{"seq":%d,"type":"' % first) and lines.find(b"\n") == len(lines) - 1:
        return None
    at = 0
    for seq in range(first, last + 1):  # ends with the lines: `last` is a mere claim that may be of any size
        if not lines.startswith(b'{"seq":%d,"type":"' % seq, at):
            break
        at = lines.find(b"\n", at) + 1
        if not at:
            break
    else:
        if at == len(lines):
            return None
    return _first_misplaced(lines, first=first, last=last)


def _first_misplaced(lines: bytes, *, first: int, last: int) -> tuple[int, bytes]:
    pieces = lines.split(b"\n")
    count = last - first + 1
    for index in range(count):
        piece = pieces[index] if index < len(pieces) else b""
        if not piece.startswith(b'{"seq":%d,"type":"' % (first + index)):
            return first + index, piece[:80]
    return last + 1, b"\n".join(pieces[count:])[:80]  # the last line ends with a line break; this is too much


def version_opened(lines: bytes) -> str:
    """Return the version of the writer whose epoch begins in a frame's lines, "" if they do not say it.

    The other lines may be of types that this version does not know.
    """
    found = _OPENED.search(lines)
    try:
        return _opened_decoder.decode(found[0]).data.version if found else ""
    except _UNREADABLE:
        return ""


def records_are_in_place(records: Sequence[LogRecord | SkippedRecord], *, first: int, last: int) -> bool:
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
            self._decoded, _ = decode_records(self._lines)
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


def _refusal(why: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"Refused a frame for the log before writing it: {why}.",
        next_step="Correct the record that was built; nothing was written.",
    )


def _unknown_line(line: bytes, reason: Exception, *, known: bool) -> UnknownEventError:
    try:
        position = _position_decoder.decode(line)
    except _UNREADABLE:
        position = _Position()  # not even the envelope is readable; the sentence below says so with "?"
    why = "cannot be decoded" if known else "is not a type of this version"
    return UnknownEventError(
        f"Read record {position.seq} of the log: {position.type} {why} ({reason}).",
        next_step="The bytes are undamaged: open the log with the Casparian version that wrote it, or a newer one.",
        seq=position.seq,
        tag=position.type,
    )
