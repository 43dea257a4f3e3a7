"""Owns in what recorded columns differ from a declaration: those of tables, and those that jobs were refused for. Pure.

What is recorded was judged by the declaration of its day. Here it is held against the one of now.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from msgspec import Struct

from eventlog.column_types import arrow_type, type_words
from eventlog.events import TypeDifference
from eventlog.schema import Column, OutputSchema
from executors.observed import Difference, declared_words
from executors.shape import shown


class RefusedColumns(Struct, frozen=True, kw_only=True):
    """The names of columns for which an attempt was refused, as the log keeps them, see SchemaMismatch."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misplaced: tuple[str, ...]
    types: tuple[TypeDifference, ...]


def table_differences(schema: OutputSchema, table: pa.Schema, nulls: Mapping[str, int]) -> tuple[Difference, ...]:
    """Compare the data columns of a table with the declared ones. `nulls` says how many each has, if known."""
    declared = {column.name: column for column in schema.columns}
    fields = {field.name: field for field in table}
    found = [_missing(column, "not in the table") for name, column in declared.items() if name not in fields]
    for name, field in fields.items():
        if name in declared:
            found += _field_differences(declared[name], field, nulls.get(name))
        else:
            found.append(_extra(name, shown(str(field.type))))
    return tuple(found)


def refused_differences(schema: OutputSchema, refused: RefusedColumns) -> tuple[Difference, ...]:
    """Return what of a refusal still holds: a column that has been declared since is not too many any more."""
    declared = {shown(column.name): column for column in schema.columns}
    found = [_missing(declared[name], "not given") for name in refused.missing if name in declared]
    found += [_extra(name, "given") for name in refused.extra if name not in declared]
    found += [
        Difference(column=name, kind="order", declared="at another place", observed="misplaced")
        for name in refused.misplaced
        if name in declared
    ]
    found += [
        Difference(column=each.column, kind="type", declared=each.expected, observed=each.actual)
        for each in refused.types
        if each.column in declared and type_words(declared[each.column].type) == each.expected
    ]
    return tuple(found)


def _field_differences(column: Column, field: pa.Field[pa.DataType], nulls: int | None) -> list[Difference]:
    found: list[Difference] = []
    if field.type != arrow_type(column.type):
        found.append(
            Difference(
                column=shown(column.name),
                kind="type",
                declared=type_words(column.type),
                observed=shown(str(field.type)),
            )
        )
    if field.nullable != column.nullable:
        found.append(
            Difference(
                column=shown(column.name),
                kind="nullability",
                declared=_nullable_words(column.nullable, None),
                observed=_nullable_words(field.nullable, nulls),
            )
        )
    return found


def _nullable_words(nullable: bool, nulls: int | None) -> str:
    if not nullable:
        return "never null"
    return "may be null" if nulls is None else f"may be null, and {nulls:,} are"


def _missing(column: Column, observed: str) -> Difference:
    return Difference(column=shown(column.name), kind="missing", declared=declared_words(column), observed=observed)


def _extra(name: str, observed: str) -> Difference:
    return Difference(column=shown(name), kind="extra", declared="not declared", observed=observed)
