"""Owns the rows of evtx_events: from the texts of records to columns."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from msgspec.structs import astuple

from .layout import INT64_MAX
from .notes import ERROR, INFO, WARNING, Note
from .record import (
    DECODER,
    LOOSE_DECODER,
    NO_CORRELATION,
    NO_EXECUTION,
    NO_PROVIDER,
    NO_SECURITY,
    NO_SYSTEM,
    PARTS,
    Event,
    EventId,
    Number,
    System,
    TimeCreated,
)
from .rows import Rows
from .tables import TIMESTAMP, Column, split, together
from .times import FILETIME_EPOCH_US, FILETIME_MAX, moment
from .value_types import HEXADECIMAL


class EventsTable(NamedTuple):
    """`bad` says, by position, why a record cannot be a row; if there are any, `batch` is not to be used."""

    batch: pa.RecordBatch
    events: list[Event]
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


def read_events(rows: Rows, file_ref: str, schema: pa.Schema) -> EventsTable:
    """Return the rows of evtx_events, in order, with what else their texts hold."""
    judge = _Judge()
    events = [_event(position, text, judge) for position, text in enumerate(rows.texts)]
    columns = _columns(rows, [event.system or NO_SYSTEM for event in events], judge)
    columns["file_ref"] = pa.repeat(pa.scalar(file_ref, pa.string()), len(rows))
    columns["chunk_index"], columns["record_offset"], columns["record_length"] = together(
        [rows.chunks, rows.offsets, rows.lengths], pa.int64()
    )
    batch = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
    return EventsTable(batch, events, judge.all_notes(), judge.bad)


def _event(position: int, text: str, judge: _Judge) -> Event:
    """Return a record's event; a stand-in, and an entry in `bad`, where there is none.

    One call a record is faster than joining the texts for `decode_lines` (measured: 40 to 50 ms a 31,000 records).
    """
    try:
        event = DECODER.decode(text).event
    except (msgspec.MsgspecError, RecursionError) as error:
        return _loose_event(position, text, str(error), judge)
    if event.system is None:
        judge.bad[position] = "has no System part"
    return event


def _loose_event(position: int, text: str, why: str, judge: _Judge) -> Event:
    """Take a System part of another shape field by field; what does not fit becomes a note."""
    try:
        loose = LOOSE_DECODER.decode(text).event
    except (msgspec.MsgspecError, RecursionError):
        judge.bad[position] = f"has an unexpected shape: {why}"
        return Event()
    fitting: dict[str, Any] = {}
    for name, value in loose.system.items():
        try:
            msgspec.convert({name: value}, System)
        except msgspec.ValidationError:
            judge.does_not_fit(position, f"System/{name}", json.dumps(value, ensure_ascii=False))
        else:
            fitting[name] = value
    judge.notes.append(Note(position, "field_shape_variant", "System", why, WARNING))
    parts = {name: getattr(loose, name) for name in PARTS}
    return Event(system=msgspec.convert(fitting, System), **parts)


def _columns(rows: Rows, systems: list[System], judge: _Judge) -> dict[str, Column]:
    header_times = _header_times(rows.filetimes, judge)
    part = dict(zip(System.__struct_fields__, zip(*map(astuple, systems), strict=True), strict=True))
    provider_names, guids, sources = _attributes(part["provider"], NO_PROVIDER)
    activities, related = _attributes(part["correlation"], NO_CORRELATION)
    processes, threads = _attributes(part["execution"], NO_EXECUTION)
    (users,) = _attributes(part["security"], NO_SECURITY)
    event_ids = [e.text if type(e) is EventId else e for e in part["event_id"]]
    qualifiers = [e.attributes.qualifiers if type(e) is EventId else None for e in part["event_id"]]
    numbers = {
        "EventRecordID": part["record_id"],
        "EventID": event_ids,
        "Qualifiers": qualifiers,
        "Version": part["version"],
        "Level": part["level"],
        "Task": part["task"],
        "Opcode": part["opcode"],
        "ProcessID": processes,
        "ThreadID": threads,
        "header_record_id": rows.header_ids,
    }
    whole = _WholeNumbers(numbers, judge)
    header_ids = _required(whole.column("header_record_id"), "header_record_id", judge)
    keywords = [f"0x{k:x}" if type(k) is int else k for k in part["keywords"]]
    channels, names, source_names, computers, keyword_texts, user_ids, *spelled = together(
        [part["channel"], provider_names, sources, part["computer"], keywords, users, guids, activities, related],
        pa.string(),
    )
    provider_guids, activity_ids, related_ids = _guids(spelled)
    _note_half_empty(channels, names, judge)
    return {
        "event_record_id": _coalesced(whole.column("EventRecordID"), header_ids),
        "timestamp": _created(part["created"], header_times, judge),
        "provider_name": names,
        "provider_guid": provider_guids,
        "provider_event_source_name": source_names,
        "channel": channels,
        "computer": computers,
        "event_id": _required(whole.column("EventID"), "EventID", judge),
        "event_qualifiers": whole.column("Qualifiers"),
        "version": whole.column("Version"),
        "level": whole.column("Level"),
        "task": whole.column("Task"),
        "opcode": whole.column("Opcode"),
        "keywords_hex": keyword_texts,
        "execution_process_id": whole.column("ProcessID"),
        "execution_thread_id": whole.column("ThreadID"),
        "security_user_id": user_ids,
        "correlation_activity_id": activity_ids,
        "correlation_related_activity_id": related_ids,
        "raw_event_json": pa.array(rows.texts, pa.string()),
        "raw_event_xml": pa.array(rows.xml, pa.string()),
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


def _guids(columns: Sequence[Column]) -> list[Column]:
    """Return GUIDs in one spelling, lower case without braces: real logs hold all of them, and joins must meet.

    raw_event_json keeps the spelling of the record. The functions for ASCII, because those for all of Unicode make
    tables of it first, which costs every guest some milliseconds.
    """
    joined: Column = pa.concat_arrays(columns)
    return split(pc.ascii_lower(pc.ascii_trim(joined, characters="{}")), len(columns))


class _WholeNumbers:
    """Columns of int64 by what is in them; numbers that stand as text are converted, what does not fit is noted and
    left out when its column is asked for. All are made at once where all are numbers that fit, as they should be."""

    def __init__(self, values: Mapping[str, Sequence[Number]], judge: _Judge) -> None:
        self._values = values
        self._judge = judge
        self._made: dict[str, Column] = {}
        try:
            self._made = dict(zip(values, together(list(values.values()), pa.int64()), strict=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            self._made = {}  # one by one: most of the columns are made of numbers all the same

    def column(self, what: str) -> Column:
        return self._made[what] if what in self._made else _int64(self._values[what], what, self._judge)


def _int64(values: Sequence[Number], what: str, judge: _Judge) -> Column:
    """Return an int64 column; numbers that stand as text are converted, what does not fit is noted and left out."""
    try:
        column: Column = pa.array(values, pa.int64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        column = pa.array(_each(values, _whole_number, what, judge), pa.int64())
        for position, value in enumerate(values):
            if isinstance(value, str) and value:
                judge.stands_as_text(position, what)
    return column


def _coalesced(column: Column, others: Column) -> Column:
    return pc.coalesce(column, others) if column.null_count else column


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


def _whole_number(value: Number) -> int | None:
    if isinstance(value, str):
        if value == "":
            return None
        if not _DECIMAL.fullmatch(value) and not HEXADECIMAL.fullmatch(value):
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


def _created(created: Sequence[TimeCreated | str | None], header_times: Column, judge: _Judge) -> Column:
    """Return System/TimeCreated, and the header's time where there is none."""
    texts = [(c.attributes.time if type(c) is TimeCreated else c) or None for c in created]
    try:
        times: Column = pa.array(texts, pa.string()).cast(TIMESTAMP)
    except pa.ArrowInvalid:  # more than six digits, as collectors write them, or no time at all
        times = pa.array(_each(texts, moment, "TimeCreated", judge), TIMESTAMP)
    if times.null_count:
        times = _required(pc.coalesce(times, header_times), "TimeCreated", judge)
    return times


def _header_times(filetimes: Sequence[int], judge: _Judge) -> Column:
    """Return the times of the record headers, cut to microseconds; one behind the year 9999 is noted and left out."""
    if filetimes and max(filetimes) > FILETIME_MAX:
        micros = []
        for position, filetime in enumerate(filetimes):
            fits = filetime <= FILETIME_MAX
            micros.append(filetime // 10 - FILETIME_EPOCH_US if fits else None)
            if not fits:
                judge.does_not_fit(position, "header_time", filetime)
        return pa.array(micros, pa.int64()).view(TIMESTAMP)
    return pa.array([filetime // 10 - FILETIME_EPOCH_US for filetime in filetimes], pa.int64()).view(TIMESTAMP)
