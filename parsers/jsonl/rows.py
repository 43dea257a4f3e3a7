"""Owns rows that are not yet a batch: a column for each that is declared or, without a schema, for each key."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pyarrow as pa

from . import limits
from .errors import PermanentError
from .lines import Line
from .objects import Members, Repeated
from .schema import Schema, arrow_type, is_nested
from .values import readable, said, short, shown_value, value_of, visible

ROW_ID: Final = "__cf_row_id"
ROW_ERROR: Final = "__cf_row_error"


class Rows:
    """Rows that are not yet a batch. With a schema its columns, without one a column of JSON text for each key."""

    def __init__(self, schema: Schema | None, left_out: Counter[str]) -> None:
        self._schema = schema
        self._left_out = left_out
        self._declared = {column.read_from for column in schema.columns} if schema else set()
        self._columns: dict[str, list[Any]] = {column.name: [] for column in schema.columns} if schema else {}
        self._bytes = 0
        self._errors: list[str | None] = []
        self.lines: list[int] = []

    @property
    def full(self) -> bool:
        return len(self.lines) >= limits.BATCH_ROWS_MAX or self._bytes >= limits.BATCH_BYTES_MAX

    def add(self, members: Members, repeated: list[Repeated], line: Line) -> None:
        faults = [said(each) for each in repeated]
        if self._schema is None:
            self._look_at(members)
        else:
            faults += self._undeclared(members)
            again = {each.key: "\n".join(each.values) for each in repeated if each.values}
            for column in self._schema.columns:
                value, fault = value_of(column, members.get(column.read_from), again.get(column.read_from))
                self._columns[column.name].append(value)
                faults += [fault] if fault else []
        self._errors.append("; ".join(faults) or None)
        self.lines.append(line.number)
        self._bytes += line.length

    def add_plain(self, values: dict[str, Any], line: Line) -> None:
        """Add the same as `add` does for an object without nested values and repeated keys."""
        assert self._schema is not None
        faults = self._undeclared(values) if values.keys() - self._declared else []
        for column in self._schema.columns:
            value = values.get(column.read_from)
            if type(value) is bool:
                value = "true" if value else "false"
            if value is not None and not value.isascii():
                value, fault = readable(column, value)
                faults += [fault] if fault else []
            self._columns[column.name].append(None if value in column.null_values else value)
        self._errors.append("; ".join(faults) or None)
        self.lines.append(line.number)
        self._bytes += line.length

    def batch(self) -> pa.RecordBatch:
        errors: pa.Array[Any] = pa.array(self._errors, pa.string())
        names, arrays = [ROW_ID, ROW_ERROR], [pa.array(self.lines, pa.int64()), errors]
        types = {column.name: column.type for column in self._schema.columns} if self._schema else {}
        for name, values in self._columns.items():
            nested = is_nested(types.get(name, "string"))
            names.append(name)
            arrays.append(pa.array(values, arrow_type(types[name]) if nested else pa.string()))
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        return batch if self._schema else batch.replace_schema_metadata({"values": "json"})

    def _look_at(self, members: Members) -> None:
        for key in members:
            if visible(key) not in self._columns:
                self._columns[visible(key)] = [None] * len(self.lines)
        if len(self._columns) > limits.KEYS_MAX:
            hint = "declare the keys that are wanted in a schema file with mode allow_extra"
            raise PermanentError(
                f"the objects have more than {limits.KEYS_MAX:,} different keys", kind="many_keys", hint=hint
            )
        shown = {visible(key): text for key, text in members.items()}
        for name, values in self._columns.items():
            values.append(shown.get(name))

    def _undeclared(self, members: dict[str, Any]) -> list[str]:
        """Return what is to be said of keys that are not declared; in the mode allow_extra they are counted only."""
        assert self._schema is not None
        extra = [key for key in members if key not in self._declared]
        if self._schema.mode == "allow_extra":
            self._left_out.update(extra)
            return []
        return [f"the key {short(key)} is not declared, its value is {shown_value(members[key])}" for key in extra]
