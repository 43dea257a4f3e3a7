"""Owns the rows of plain lines: each column of each output, for all of them at once."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from .arrays import INT32, TIMESTAMP, Column, Rows, by_value, cuts_of, looked_up, plus, scalar, spread, together
from .dictionary import MESSAGE_TABLES, TIMES
from .groups import GroupRow
from .lifecycle import EVENT_COLUMNS, lifecycle_event
from .plain_lines import Known, PlainLines
from .settings import NO_TAGS, Options
from .tables import Tables
from .text import joined_notes
from .times import PREFIX_TIME, prefix_time, utc

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

_DIGITS: Final = pa.array([b"%d" % digit for digit in range(10)])
_PART_OR_WHOLE: Final = pa.array(["1", "2"])  # of OrdStatus


class PlainRows:
    """Makes the rows of the plain lines of a block."""

    def __init__(self, plain: PlainLines, tables: Tables, options: Options) -> None:
        self._plain = plain
        self._tables = tables
        self._options = options

    def batches(self, stretches: Sequence[tuple[int, int]]) -> dict[str, pa.RecordBatch]:
        """Return the rows of the plain lines in some stretches of lines, by output, those that there are."""
        if not self._plain.rows.num_rows:
            return {}
        rows = self._within(stretches)
        made = {output: self._of_messages(output, rows) for output in MESSAGE_TABLES}
        groups = [each.layout.groups for each in self._plain.known]
        made["fix_groups"] = self._of_fields("fix_groups", rows, groups, value_at=4)
        tags = [self._wanted(each) for each in self._plain.known]
        made["fix_tags"] = self._of_fields("fix_tags", rows, tags, value_at=1)
        return {output: batch for output, batch in made.items() if batch is not None}

    def _within(self, stretches: Sequence[tuple[int, int]]) -> Rows:
        if stretches == [(0, len(self._plain.block.lines))]:
            return self._plain.rows
        lines = self._plain.rows["line"].to_pylist()
        chosen = (range(bisect_left(lines, begin), bisect_left(lines, stop)) for begin, stop in stretches)
        return self._plain.rows.take(_pa.array(chain.from_iterable(chosen), INT32))

    def _chosen(self, rows: Rows, wanted: Iterable[Any]) -> Rows:
        """Return the rows with layouts that are wanted, of all that were met."""
        return rows.filter(looked_up(map(bool, wanted), pa.bool_(), rows["known"]))

    def _places(self, rows: Rows) -> list[Column]:
        """Return line_number, message_index, byte_offset and raw_line_hash."""
        numbers = _pc.add(rows["line"].cast(pa.int64()), scalar(self._plain.block.number, pa.int64()))
        offsets = _pc.add(rows["message"].cast(pa.int64()), scalar(self._plain.block.offset, pa.int64()))
        return [numbers, _pa.repeat(scalar(0, pa.int64()), rows.num_rows), offsets, rows["hash"]]

    def _of_messages(self, output: str, rows: Rows) -> pa.RecordBatch | None:
        names = self._tables.column_names[output]
        layouts = [each.layout if each.layout.output == output else None for each in self._plain.known]
        rows = self._chosen(rows, layouts)
        if not rows.num_rows:
            return None
        nowhere = (None,) * len(names)
        places = list(zip(*(layout.places if layout else nowhere for layout in layouts), strict=True))
        fields = {each: self._plain.fields(rows, each, rows["known"]) for each in dict.fromkeys(places)}
        columns = {name: fields[each] for name, each in zip(names, places, strict=True)}
        for name in TIMES & columns.keys():
            columns[name] = _utc_times(columns[name])
        events = [_lifecycle_events(columns)] if output == "fix_order_lifecycle" else []
        return self._tables.of_columns(output, [*events, *columns.values(), *self._found(rows)])

    def _found(self, rows: Rows) -> list[Column]:
        """Return what is said of messages beside their fields, as many as FOUND_COLUMNS."""
        stops = plus(self._plain.texts.ends.take(plus(rows["last"], -1)), 1)
        prefixes, messages = cuts_of(self._plain.block.data, rows["begin"], rows["message"], stops)
        right = _pa.repeat(pa.scalar(True, pa.bool_()), rows.num_rows)
        suffixes = _pa.nulls(rows.num_rows, pa.string())
        delimiters = _pa.repeat(pa.scalar(self._plain.delimiter.name, pa.string()), rows.num_rows)
        around = self._around(prefixes, rows["known"])
        return [right, right, *around, suffixes, delimiters, messages, *self._places(rows)]

    def _around(self, prefixes: Column, codes: Column) -> list[Column]:
        """Return the notes on messages, the text before them, and its time as text and as an instant."""
        said = looked_up([joined_notes(each.layout.notes) for each in self._plain.known], pa.string(), codes)
        some = _pc.greater(_pc.binary_length(prefixes), scalar(0))
        rows = _pc.indices_nonzero(some).to_pylist()
        if not rows:
            return [said, *(_pa.nulls(len(codes), type_) for type_ in (pa.string(), pa.string(), TIMESTAMP))]
        texts = prefixes.filter(some)
        clocks, instants, noted = self._times(texts.to_pylist())
        if noted:
            words = said.to_pylist()
            for at, notes in noted.items():
                words[rows[at]] = joined_notes([*self._plain.known[codes[rows[at]].as_py()].layout.notes, *notes])
            said = pa.array(words, pa.string())
        place = _pc.if_else(some, plus(_pc.cumulative_sum(some.cast(INT32)), -1), pa.scalar(None, INT32))
        return [said, *(found.take(place) for found in (texts, clocks, instants))]

    def _times(self, prefixes: list[str]) -> tuple[Column, Column, dict[int, list[str]]]:
        """Return the times in prefixes as text and as instants, and the notes on some of them."""
        zone = self._options.prefix_zone
        if zone is None:  # as `prefix_time` has it, in half the time
            clocks = [found[0] if (found := PREFIX_TIME.search(prefix)) else None for prefix in prefixes]
            return _pa.array(clocks, pa.string()), _pa.nulls(len(prefixes), TIMESTAMP), {}
        notes: list[list[str]] = [[] for _ in prefixes]
        times = [prefix_time(prefix, zone, said) for prefix, said in zip(prefixes, notes, strict=True)]
        texts, instants = zip(*times, strict=True)
        noted = {at: said for at, said in enumerate(notes) if said}
        return _pa.array(texts, pa.string()), _pa.array(instants, TIMESTAMP), noted

    def _wanted(self, known: Known) -> list[GroupRow]:
        """Return the rows of fix_tags of a message."""
        wanted = self._options.tags
        tags = enumerate(known.shape.tags) if wanted != NO_TAGS else ()
        return [(place, (tag, place + 1)) for place, tag in tags if wanted is None or tag in wanted]

    def _of_fields(
        self, output: str, rows: Rows, lists: Sequence[Sequence[GroupRow]], *, value_at: int
    ) -> pa.RecordBatch | None:
        """Return a row for each field that is listed for its message. The value stands among what is said of it."""
        rows = self._chosen(rows, lists)
        if not rows.num_rows:
            return None
        message, field = spread(rows["known"], lists)
        columns = [each.take(message) for each in self._places(rows)]
        columns.append(looked_up([each.kind for each in self._plain.known], pa.string(), rows["known"].take(message)))
        places, told = zip(*chain.from_iterable(lists), strict=True)
        types = [each.type for each in self._tables.schemas[output]][len(columns) :]
        del types[value_at]
        said = [looked_up(each, type_, field) for each, type_ in zip(zip(*told, strict=True), types, strict=True)]
        said.insert(value_at, self._plain.fields(rows.select(["first"]).take(message), places, field))
        return self._tables.of_columns(output, [*columns, *said])


def _utc_times(texts: Column) -> Column:
    """Return times of the protocol as `utc` does, at once if all are of the usual form."""
    digits = _pc.is_in(_pc.binary_slice(texts.cast(pa.binary()), -1), value_set=_DIGITS)
    usual = _pc.and_(digits, _pc.less_equal(_pc.binary_length(texts), scalar(24)))
    if _pc.all(_pc.or_(_pc.is_null(texts), usual)).as_py():
        return _pc.binary_join_element_wise(texts, pa.scalar("Z", pa.string()), pa.scalar("", pa.string()))
    return by_value(texts, utc, pa.string())


def _lifecycle_events(columns: Mapping[str, Column]) -> Column:
    """Return the word for each order message, asking once for all that look the same to `lifecycle_event`."""
    *states, leaves = (columns[name] for name in EVENT_COLUMNS)
    execution, status = states[2:]
    matters = _pc.and_(
        _pc.equal(execution, pa.scalar("F", pa.string())), _pc.invert(_pc.is_in(status, value_set=_PART_OR_WHOLE))
    )
    told = [*states, _pc.if_else(matters, leaves, pa.scalar(None, pa.string()))]
    codes, met = together(told)
    words = [lifecycle_event(*(column[row].as_py() for column in told)) for row in met]
    return looked_up(words, pa.string(), codes)
