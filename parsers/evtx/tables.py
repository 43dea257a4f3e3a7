"""Owns the tables as they are sent: their schemas, and batches of rows."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import pyarrow as pa

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_ARROW_TYPES: Final = {
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "string": pa.string(),
    "timestamp_utc": TIMESTAMP,
}

Batch = tuple[str, pa.RecordBatch]
Column: TypeAlias = "pa.Array[Any]"  # quoted: Array takes no parameter at run time


class Tables:
    """The schemas of what is declared."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.outputs = declared.keys()  # in the order of their declaration
        self.events = _schema(declared["evtx_events"])
        self.values = _schema(declared["evtx_eventdata_kv"])  # and that of evtx_userdata_kv
        self.notes = _schema(declared["evtx_record_annotations"])
        self.files = _schema(declared["evtx_files"])


def _schema(output: Mapping[str, Any]) -> pa.Schema:
    columns: Sequence[Mapping[str, Any]] = output["columns"]
    return pa.schema(
        [pa.field(column["name"], _ARROW_TYPES[column["type"]], nullable=column["nullable"]) for column in columns]
    )


def batch_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows as a batch. from_pylist would look for pandas each time, which costs a millisecond."""
    structs: Any = pa.array(rows, pa.struct(schema))  # one call for all columns
    return pa.RecordBatch.from_struct_array(structs)


def together(lists: Sequence[Sequence[Any]], type_: pa.DataType) -> list[Column]:
    """Return columns of one type and length, made in one call: of few rows nearly all is what a call costs."""
    values: Column = pa.array(list(chain.from_iterable(lists)), type_)
    return split(values, len(lists))


def split(values: Column, count: int) -> list[Column]:
    """Return so many columns of equal length, whose values stand one after the other."""
    rows = len(values) // count
    return [values.slice(at * rows, rows) for at in range(count)]
