"""Owns the judgement of a guest's batch against its declared columns. Pure, and without work per row in Python.

A batch that passes has exactly the declared Arrow types. Only changes of representation that keep every value are
made (a narrower integer, a coarser time unit, another zone of the same instant, a column of nulls); nothing is parsed,
rounded or cut. A batch that does not pass is answered with the first violation, in the order of the classes below.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from eventlog.column_types import arrow_type
from eventlog.ids import OutputName
from eventlog.schema import RESERVED_PREFIXES, Column, OutputSchema
from executors.guest.guest_log import plain_text
from sinks.arrow_schema import arrow_schema

NAMES_SHOWN_MAX: Final = 20  # of each list in a sentence; a guest may send any number of columns
NAME_CHARS_MAX: Final = 100


class CorruptBatch(Struct, frozen=True, kw_only=True):
    """The batch's own structure is broken: offsets outside its buffers, invalid UTF-8, wrong counts."""

    output: OutputName
    why: str


class ReservedColumn(Struct, frozen=True, kw_only=True):
    """A parser supplied columns whose names belong to the host: provenance cannot be forged."""

    output: OutputName
    columns: tuple[str, ...]


class OrderMismatch(Struct, frozen=True, kw_only=True):
    index: int
    expected: str
    actual: str


class TypeMismatch(Struct, frozen=True, kw_only=True):
    column: str
    expected: str
    actual: str


class ShapeMismatch(Struct, frozen=True, kw_only=True):
    """The columns are not the declared ones: by name, number, order or type."""

    output: OutputName
    expected: tuple[str, ...]
    actual: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    order: tuple[OrderMismatch, ...]
    types: tuple[TypeMismatch, ...]


class ValueDoesNotFit(Struct, frozen=True, kw_only=True):
    """A value would change in the declared type: too large, or finer than it can hold."""

    output: OutputName
    column: str
    declared: str
    why: str


class NullNotAllowed(Struct, frozen=True, kw_only=True):
    """`count` nulls stand in a column that is declared without them; `first_row` counts from 0 in the job's output."""

    output: OutputName
    column: str
    count: int
    first_row: int


Violation = CorruptBatch | ReservedColumn | ShapeMismatch | ValueDoesNotFit | NullNotAllowed

# The words of receipts for each class: for programs, and what a person can do.
KINDS: Final[dict[type[Violation], str]] = {
    CorruptBatch: "bad_frame",
    ReservedColumn: "reserved_column",
    ShapeMismatch: "schema_mismatch",
    ValueDoesNotFit: "value_does_not_fit",
    NullNotAllowed: "null_not_allowed",
}
HINTS: Final[dict[type[Violation], str]] = {
    CorruptBatch: "nothing of the file was kept; report it to the parser's author",
    ReservedColumn: "rename the columns in the parser",
    ShapeMismatch: "make the parser's columns and its declared outputs agree, and deploy it as a new version",
    ValueDoesNotFit: "declare a type that holds the value, or let the parser count the record as unreadable",
    NullNotAllowed: "declare the column nullable, or let the parser count the record as unreadable",
}


def validate(batch: pa.RecordBatch, schema: OutputSchema, *, row_first: int = 0) -> pa.RecordBatch | Violation:
    """Return the batch in exactly the declared schema, or the first violation.

    `row_first` is the place of the batch's first row in the job's output. The schema's metadata that the guest sent is
    left behind.
    """
    try:
        # Before anything else looks into the buffers: without this, offsets of a hostile batch lead out of them.
        batch.validate(full=True)
    except (pa.ArrowException, ValueError, OSError) as error:
        return CorruptBatch(output=schema.output, why=_shown(str(error)))
    if reserved := tuple(name for name in batch.schema.names if name.lower().startswith(RESERVED_PREFIXES)):
        return ReservedColumn(output=schema.output, columns=reserved)
    if (mismatch := _shape_mismatch(batch.schema, schema)) is not None:
        return mismatch
    arrays: list[pa.Array[pa.Scalar[pa.DataType]]] = []
    for column, array in zip(schema.columns, batch.columns, strict=True):
        declared = _as_declared(array, column, schema.output)
        if isinstance(declared, ValueDoesNotFit):
            return declared
        if not column.nullable and declared.null_count:
            return _null_not_allowed(declared, column, schema.output, row_first)
        arrays.append(declared)
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema.columns))


def sentence(violation: Violation) -> str:
    """Say what was found, for a person; bounded however many columns a guest sent."""
    if isinstance(violation, CorruptBatch):
        return f"a batch of {violation.output} is corrupt: {violation.why}"
    if isinstance(violation, ReservedColumn):
        return (
            f"the parser gave {violation.output} columns whose names belong to the host "
            f"({', '.join(RESERVED_PREFIXES)}): {_listed(violation.columns)}"
        )
    if isinstance(violation, ShapeMismatch):
        return f"the columns of {violation.output} are not the declared ones: {'; '.join(_differences(violation))}"
    if isinstance(violation, ValueDoesNotFit):
        return (
            f"a value in {violation.output}.{_shown(violation.column)} does not fit its declared type "
            f"{violation.declared}: {violation.why}"
        )
    return (
        f"{violation.output}.{_shown(violation.column)} is declared without nulls and has {violation.count:,} "
        f"in one batch, the first in row {violation.first_row:,}"
    )


def _shape_mismatch(actual: pa.Schema, declared: OutputSchema) -> ShapeMismatch | None:
    expected_names = tuple(column.name for column in declared.columns)
    actual_names = tuple(actual.names)
    missing = tuple(name for name in expected_names if name not in set(actual_names))
    extra = _surplus(expected_names, actual_names)
    order = () if missing or extra else _order_mismatches(expected_names, actual_names)
    types = () if missing or extra or order else _type_mismatches(actual, declared)
    if not (missing or extra or order or types):
        return None
    return ShapeMismatch(
        output=declared.output,
        expected=expected_names,
        actual=actual_names,
        missing=missing,
        extra=extra,
        order=order,
        types=types,
    )


def _surplus(expected: tuple[str, ...], actual: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is there and not declared, and what is there a second time."""
    unclaimed = set(expected)
    extra: list[str] = []
    for name in actual:
        if name in unclaimed:
            unclaimed.discard(name)
        else:
            extra.append(name)
    return tuple(extra)


def _order_mismatches(expected: tuple[str, ...], actual: tuple[str, ...]) -> tuple[OrderMismatch, ...]:
    pairs = enumerate(zip(expected, actual, strict=True))
    return tuple(
        OrderMismatch(index=index, expected=wanted, actual=found) for index, (wanted, found) in pairs if wanted != found
    )


def _type_mismatches(actual: pa.Schema, declared: OutputSchema) -> tuple[TypeMismatch, ...]:
    return tuple(
        TypeMismatch(
            column=column.name, expected=str(arrow_type(column.type)), actual=_shown(str(actual.field(index).type))
        )
        for index, column in enumerate(declared.columns)
        if not _accepts(column, actual.field(index).type)
    )


def _accepts(column: Column, actual: pa.DataType) -> bool:
    """Say whether a type may hold a column's values; whether each value fits is seen when it is cast."""
    types = pa.types
    if types.is_null(actual) or actual == arrow_type(column.type):
        return True
    match column.type:
        case "boolean":
            return False
        case "int64":
            return types.is_signed_integer(actual)
        case "float64":
            return types.is_signed_integer(actual) or types.is_floating(actual)
        case "string":
            return types.is_large_string(actual) or types.is_string_view(actual)
        case "binary":
            return types.is_large_binary(actual) or types.is_binary_view(actual) or types.is_fixed_size_binary(actual)
        case "timestamp_utc":
            return isinstance(actual, pa.TimestampType) and actual.tz is not None
        case _:
            return False


def _as_declared(
    array: pa.Array[pa.Scalar[pa.DataType]], column: Column, output: OutputName
) -> pa.Array[pa.Scalar[pa.DataType]] | ValueDoesNotFit:
    wanted = arrow_type(column.type)
    if array.type == wanted:
        return array
    try:
        return array.cast(wanted, safe=True)
    except pa.ArrowException as error:
        return ValueDoesNotFit(output=output, column=column.name, declared=str(wanted), why=_shown(str(error)))


def _null_not_allowed(
    array: pa.Array[pa.Scalar[pa.DataType]], column: Column, output: OutputName, row_first: int
) -> NullNotAllowed:
    first = pc.index(array.is_null(), True).as_py()
    assert first is not None and first >= 0
    return NullNotAllowed(output=output, column=column.name, count=array.null_count, first_row=row_first + first)


def _differences(mismatch: ShapeMismatch) -> list[str]:
    parts: list[str] = []
    if mismatch.missing:
        parts.append(f"missing: {_listed(mismatch.missing)}")
    if mismatch.extra:
        parts.append(f"not declared: {_listed(mismatch.extra)}")
    if mismatch.order:
        parts.append(
            "in another order: "
            + _listed(
                tuple(f"{item.expected} expected at {item.index}, {item.actual} found" for item in mismatch.order)
            )
        )
    if mismatch.types:
        parts.append(
            "of another type: "
            + _listed(tuple(f"{item.column} is {item.actual} instead of {item.expected}" for item in mismatch.types))
        )
    parts.append(f"{len(mismatch.expected)} columns declared ({_listed(mismatch.expected)})")
    parts.append(f"{len(mismatch.actual)} columns given ({_listed(mismatch.actual)})")
    return parts


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(_shown(name) for name in names[:NAMES_SHOWN_MAX])
    return shown if len(names) <= NAMES_SHOWN_MAX else f"{shown} and {len(names) - NAMES_SHOWN_MAX:,} more"


def _shown(text: str) -> str:
    return plain_text(text, chars_max=NAME_CHARS_MAX)
