"""Owns the tables as they are sent: their schemas, which of their columns hold fields, and batches of rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from .arrays import TIMESTAMP, Column
from .dictionary import MESSAGE_TABLES, TAGS, TIMES
from .lifecycle import EVENT_COLUMNS, lifecycle_event
from .times import utc

FOUND_COLUMNS: Final = 13  # of a message: what is not one of its fields, at the end of its table
_ROW_ID: Final = pa.field("__cf_row_id", pa.int64())  # the host's: the source row of what it quarantines
_ARROW_TYPES: Final = {
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "string": pa.string(),
    "timestamp_utc": TIMESTAMP,
}

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

Batch = tuple[str, pa.RecordBatch]
Place: TypeAlias = tuple[int, int, int, str]  # line_number, message_index, byte_offset, raw_line_hash
Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Sequence[Any]


class Tables:
    """What is declared, by output: the schema of what is sent; of messages, the columns of fields and their tags."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.schemas = {output: _schema(each["columns"]) for output, each in declared.items()}
        # The columns that hold what was sent, and their tags: a time stands in two of them.
        self.column_names = {
            output: [name for name in self.schemas[output].names if name.removesuffix("_text") in TAGS or name in TAGS]
            for output in MESSAGE_TABLES
        }
        self.column_tags = {
            output: [TAGS[name] if name in TAGS else TAGS[name.removesuffix("_text")] for name in names]
            for output, names in self.column_names.items()
        }

    def of_rows(self, output: str, rows: Sequence[Row]) -> pa.RecordBatch:
        """Return rows as a batch, those of messages and groups as they wait."""
        columns = self._columns(output, rows)
        fields = zip(self.schemas[output], columns, strict=True)
        return self.of_columns(output, [_array(values, field.type) for field, values in fields])

    def of_columns(self, output: str, columns: Sequence[Column]) -> pa.RecordBatch:
        """Return the columns as a batch with the host's helper column: the line that a row came from."""
        schema = self.schemas[output]
        lines = columns[schema.get_field_index("line_number")]
        return pa.RecordBatch.from_arrays([*columns, lines], schema=schema.append(_ROW_ID))

    def _columns(self, output: str, rows: Sequence[Row]) -> list[Values]:
        """Return the columns of an output in their order, of rows as they wait."""
        columns: list[Values] = list(zip(*rows, strict=True))
        if output == "fix_groups":
            places, kinds, values, statics = columns
            before, behind = _split_at(list(zip(*statics, strict=True)), 4)
            return [*zip(*places, strict=True), kinds, *before, values, *behind]
        if output not in self.column_names:
            return columns
        names = self.column_names[output]
        for at in [at for at, name in enumerate(names) if name in TIMES]:
            columns[at] = list(map(utc, columns[at]))
        if output == "fix_order_lifecycle":
            states = (columns[names.index(name)] for name in EVENT_COLUMNS)
            columns.insert(0, list(map(lifecycle_event, *states)))
        return columns


def _schema(columns: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Return what is sent: text where the host is to read it as the declared type."""
    fields = [
        pa.field(
            column["name"],
            pa.string() if "format" in column or isinstance(column["type"], dict) else _ARROW_TYPES[column["type"]],
        )
        for column in columns
    ]
    return pa.schema(fields)


def _split_at(columns: list[Values], at: int) -> tuple[list[Values], list[Values]]:
    return columns[:at], columns[at:]


def _array(values: Values, type_: pa.DataType) -> Column:
    """Return a column; most columns of most batches hold nothing, which costs a fifth of asking each value."""
    return _pa.nulls(len(values), type_) if values.count(None) == len(values) else pa.array(values, type_)


def in_order(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return all rows in the order of the log. The sort is stable: the fields of a message stay in theirs."""
    rows: pa.RecordBatch = _pa.concat_batches(batches)
    return rows.take(_pc.sort_indices(rows["byte_offset"]))
