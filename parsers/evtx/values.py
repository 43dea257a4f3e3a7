"""Owns the rows of values by key: of event data, and of what else an event holds."""

import json
from collections.abc import Iterator
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from .notes import ERROR, INFO, Note
from .record import NOTHING, PARTS, USER_PARTS, Event
from .tables import Column
from .unnamed import Pairs, with_types
from .value_types import positions, value_columns

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc


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

    def batch(self, places: pa.RecordBatch, notes: list[Note], schema: pa.Schema) -> pa.RecordBatch:
        """Return the rows, with the columns of `places` (a row a record) repeated; add what does not fit to `notes`."""
        columns, unfit = value_columns(self.keys, self.values)
        starts = list(accumulate(self.counts, initial=0))
        lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.nulls(starts[-1]))
        run = _pc.list_parent_indices(lists)
        rows = self._runs(places, starts[:-1]).take(run)
        for at in unfit:
            position = self.owners[run[at].as_py()]
            notes.append(Note(position, "conversion_failed", self.keys[at], str(self.values[at]), INFO))
        columns |= dict(zip(rows.schema.names, rows.columns, strict=True))
        columns["idx"] = pc.subtract(_pa.arange(0, starts[-1]), columns["start"])
        columns["file_ref"] = pa.repeat(places.column("file_ref")[0], starts[-1])
        if "section" not in columns:
            columns["section"] = pa.repeat(pa.scalar(self.sections[0], pa.string()), starts[-1])
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _runs(self, places: pa.RecordBatch, starts: list[int]) -> pa.RecordBatch:
        """Return what all values of a section of a record have in common, but for what is the same everywhere."""
        if self.owners != list(range(places.num_rows)):
            places = places.take(pa.array(self.owners, pa.int64()))
        columns = {name: places.column(name) for name in places.schema.names if name != "file_ref"}
        columns["start"] = pa.array(starts, pa.int64())
        if len(set(self.sections)) > 1:
            columns["section"] = pa.array(self.sections, pa.string())
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def read_event_data(events: list[Event], notes: list[Note], offsets: list[int], unnamed: dict[int, Pairs]) -> Values:
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
        odd.update(positions(pc.not_equal(_separators(raws, joined), pa.array(gathered.counts, pa.int32()))))
    if list in set(map(type, chain.from_iterable(contents))):
        odd.update(at for at, each in enumerate(contents) if list in map(type, each))
    for at in odd:
        pairs = _of_classic(decoded[at], raws[at]) or _flat(raws[at], at, "EventData", notes)
        if offsets[at] in unnamed:
            pairs = with_types(unnamed[offsets[at]], dict(pairs))
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


def _of_classic(decoded: Any, raw: msgspec.Raw) -> Pairs:
    """Return the values of a classic event, whose <Data> elements have no names; none if there is more or less."""
    if type(decoded) is not dict or len(decoded) > 1 or bytes(raw).count(_SEPARATOR) != 2:
        return []
    match decoded.get("Data"):
        case {"#text": texts}:
            items = texts if type(texts) is list else [texts]
            return [] if {dict, list} & set(map(type, items)) else [("Data", item) for item in items]
    return []


def read_user_data(events: list[Event], notes: list[Note]) -> Values:
    """Return a row for each value outside System and EventData, nested ones by path, in the order of the record."""
    gathered = Values()
    found: set[int] = set()
    for part in USER_PARTS:
        raws = list(map(attrgetter(part), events))
        if raws.count(NOTHING) != len(raws):
            found.update(position for position, raw in enumerate(raws) if raw != NOTHING)
    if not found:
        return gathered
    for position in sorted(found):
        for part in USER_PARTS:
            section, raw = PARTS[part], getattr(events[position], part)
            if raw != NOTHING:
                gathered.add(position, section, _flat(raw, position, section, notes))
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
