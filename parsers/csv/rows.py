"""Owns the way from records to columns: rows as they come, and the batch that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from .header import Layout
from .source import is_text

ROW_ID: Final = "__cf_row_id"
ROW_ERROR: Final = "__cf_row_error"
UNDECODABLE: Final = "bytes that are not text in this encoding, shown with backslashes"

Fields: TypeAlias = list[str | None]


class Rows:
    """Rows that are not yet columns: of each its fields, its first line, and what is wrong with it."""

    def __init__(self) -> None:
        self.fields: list[Fields] = []
        self.lines: list[int] = []
        self.errors: dict[int, str] = {}

    def add(self, fields: Fields, line: int, error: str = "") -> None:
        if error:
            self.errors[len(self.fields)] = error
        self.fields.append(fields)
        self.lines.append(line)


class Columns(NamedTuple):
    """Makes batches of rows. `shown` makes visible what is no text, see `Source.shown`."""

    layout: Layout
    shown: Callable[[str], str]

    def of_rows(self, rows: Rows) -> pa.RecordBatch:
        columns: list[tuple[str | None, ...]] = list(zip(*rows.fields, strict=True))
        return self.of_values(columns, rows.lines, rows.errors)

    def of_values(
        self, columns: Sequence[Sequence[str | None] | pa.Array[Any]], lines: Sequence[int], errors: dict[int, str]
    ) -> pa.RecordBatch:
        arrays = [
            _with_nulls(self._text(columns[place] if columns else (), errors), nulls)
            for place, nulls in zip(self.layout.places, self.layout.null_values, strict=True)
        ]
        told: pa.Array[Any] = pa.nulls(len(lines), pa.string())
        if errors:
            told = pa.array([errors.get(row) for row in range(len(lines))], pa.string())
        names = [ROW_ID, ROW_ERROR, *self.layout.names]
        return pa.RecordBatch.from_arrays([pa.array(lines, pa.int64()), told, *arrays], names=names)

    def _text(self, values: Sequence[str | None] | pa.Array[Any], errors: dict[int, str]) -> pa.Array[Any]:
        """Return a column; what is no text in it is made visible, and its row is wrong."""
        if isinstance(values, pa.Array):
            return values
        try:
            return pa.array(values, pa.string())
        except UnicodeEncodeError:
            shown = [value if value is None else self.shown(value) for value in values]
        for row, (value, visible) in enumerate(zip(values, shown, strict=True)):
            if value is not None and not is_text(value):
                shown[row] = visible
                errors[row] = f"{errors[row]}; {UNDECODABLE}" if row in errors else UNDECODABLE
            else:
                shown[row] = value
        return pa.array(shown, pa.string())


def even_columns(text: str, lines: list[str], delimiter: str, width: int) -> list[pa.Array[Any]] | None:
    """Return the columns of lines that all have their delimiters; None if one has not, or has what is no text."""
    try:
        whole = pa.array([text.replace("\n", delimiter)], pa.string())
        counts = pc.count_substring(pa.array(lines, pa.string()), delimiter)
    except UnicodeEncodeError:
        return None
    if pc.unique(counts).to_pylist() != [width - 1]:
        return None
    flat = pc.list_flatten(pc.split_pattern(whole, delimiter))
    return [flat.take(pa.array(range(place, len(flat), width), pa.int64())) for place in range(width)]


def _with_nulls(array: pa.Array[Any], null_values: tuple[str, ...]) -> pa.Array[Any]:
    if not null_values:
        return array
    told: pa.Array[Any] = pc.if_else(pc.is_in(array, pa.array(null_values, pa.string())), None, array)
    return told
