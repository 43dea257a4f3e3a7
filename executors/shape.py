"""Owns the judgement of a batch's columns against the declared ones: names, number, order, types, in the three modes.

What is wrong here is wrong with the whole batch: the parser is not what it declares. Pure, and never looks at a value.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from msgspec import Struct

from eventlog.column_types import type_words
from eventlog.ids import OutputName
from eventlog.schema import RESERVED_PREFIXES, Column, OutputSchema
from executors.accepted_types import accepts
from executors.guest.guest_log import plain_text
from executors.violations import HELPER_COLUMNS, NAME_CHARS_MAX, ROW_ERROR_COLUMN, ShapeCode

NAMES_SHOWN_MAX: Final = 20  # of each list in a sentence; a guest may send any number of columns


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


ShapeFault = CorruptBatch | ReservedColumn | ShapeMismatch

# The words of receipts for each class: for programs, and what a person can do.
KINDS: Final[dict[type[ShapeFault], str]] = {
    CorruptBatch: "bad_frame",
    ReservedColumn: "reserved_column",
    ShapeMismatch: "schema_mismatch",
}
HINTS: Final[dict[type[ShapeFault], str]] = {
    CorruptBatch: "nothing of the file was kept; report it to the parser's author",
    ReservedColumn: "rename the columns in the parser",
    ShapeMismatch: (
        "make the parser's columns and its declared outputs agree; text that the host is to read as another type "
        "needs a format in the declaration"
    ),
}


class Placed(Struct, frozen=True, kw_only=True):
    """Where each declared column stands in a batch, None for one that is left out; and what the mode let pass."""

    places: tuple[int | None, ...]
    filled: tuple[str, ...]
    dropped: tuple[str, ...]


def place_columns(actual: pa.Schema, declared: OutputSchema) -> Placed | ReservedColumn | ShapeMismatch:
    """Find the declared columns in a batch, or say why they are not there."""
    names: list[str] = actual.names
    if reserved := tuple(name for name in names if _is_reserved(name)):
        return ReservedColumn(output=declared.output, columns=reserved)
    given = tuple(name for name in names if name not in HELPER_COLUMNS)
    repeated_helpers = tuple(name for name in HELPER_COLUMNS if names.count(name) > 1)
    filled, missing = _absent(given, declared)
    dropped, extra = _surplus(given, declared)
    extra += repeated_helpers
    expected = tuple(column.name for column in declared.columns if column.name not in filled)
    order: tuple[OrderMismatch, ...] = ()
    types: tuple[TypeMismatch, ...] = ()
    if not (missing or extra):
        unwanted = set(dropped)
        order = _order_mismatches(expected, tuple(name for name in given if name not in unwanted))
    if not (missing or extra or order):
        types = _type_mismatches(actual, declared, set(filled))
    if missing or extra or order or types:
        return ShapeMismatch(
            output=declared.output,
            expected=tuple(column.name for column in declared.columns),
            actual=given,
            missing=missing,
            extra=extra,
            order=order,
            types=types,
        )
    index = {name: place for place, name in enumerate(names)}
    return Placed(places=tuple(index.get(column.name) for column in declared.columns), filled=filled, dropped=dropped)


def shape_codes(fault: ShapeFault) -> tuple[ShapeCode, ...]:
    """Return the codes of all that is wrong with a batch."""
    match fault:
        case CorruptBatch():
            return ("corrupt_batch",)
        case ReservedColumn():
            return ("reserved_column",)
        case ShapeMismatch():
            found: dict[ShapeCode, bool] = {
                "column_missing": bool(fault.missing),
                "column_extra": bool(fault.extra),
                "order_mismatch": bool(fault.order),
                "type_mismatch": bool(fault.types),
            }
            return tuple(code for code, is_so in found.items() if is_so)


def sentence(fault: ShapeFault) -> str:
    """Say what was found, for a person; bounded however many columns a guest sent."""
    match fault:
        case CorruptBatch():
            return f"a batch of {fault.output} is corrupt: {fault.why}"
        case ReservedColumn():
            return (
                f"the parser gave {fault.output} columns whose names belong to the host "
                f"({', '.join(RESERVED_PREFIXES)}): {_listed(fault.columns)}"
            )
        case ShapeMismatch():
            return f"the columns of {fault.output} are not the declared ones: {'; '.join(_differences(fault))}"


def shown(text: str) -> str:
    """Return a guest's word as it can be shown."""
    return plain_text(text, chars_max=NAME_CHARS_MAX)


def _is_reserved(name: str) -> bool:
    return name not in HELPER_COLUMNS and name.lower().startswith(RESERVED_PREFIXES)


def _absent(given: tuple[str, ...], declared: OutputSchema) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the declared columns that are not there: those that may be filled with nulls, and the others."""
    there = set(given)
    absent = [column for column in declared.columns if column.name not in there]
    optional = declared.mode == "allow_missing_optional"
    filled = tuple(column.name for column in absent if optional and column.nullable)
    return filled, tuple(column.name for column in absent if not (optional and column.nullable))


def _surplus(given: tuple[str, ...], declared: OutputSchema) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that may be dropped, and those that are too many: not declared, or there a second time."""
    names = {column.name for column in declared.columns}
    unclaimed = set(names)
    dropped: list[str] = []
    extra: list[str] = []
    for name in given:
        if name in unclaimed:
            unclaimed.discard(name)
        elif declared.mode == "allow_extra" and name not in names:
            dropped.append(name)
        else:
            extra.append(name)
    return tuple(dropped), tuple(extra)


def _order_mismatches(expected: tuple[str, ...], actual: tuple[str, ...]) -> tuple[OrderMismatch, ...]:
    pairs = enumerate(zip(expected, actual, strict=True))
    return tuple(
        OrderMismatch(index=index, expected=wanted, actual=found) for index, (wanted, found) in pairs if wanted != found
    )


def _type_mismatches(actual: pa.Schema, declared: OutputSchema, filled: set[str]) -> tuple[TypeMismatch, ...]:
    given = {field.name: field.type for field in actual}
    mismatches = [
        TypeMismatch(column=column.name, expected=type_words(column.type), actual=shown(str(given[column.name])))
        for column in declared.columns
        if column.name not in filled and not accepts(column, given[column.name])
    ]
    errors = given.get(ROW_ERROR_COLUMN, pa.null())
    if not (pa.types.is_null(errors) or accepts(_ROW_ERROR, errors)):
        mismatches.append(TypeMismatch(column=ROW_ERROR_COLUMN, expected="string", actual=shown(str(errors))))
    return tuple(mismatches)


_ROW_ERROR: Final = Column(name=ROW_ERROR_COLUMN, type="string")


def _differences(mismatch: ShapeMismatch) -> list[str]:
    parts: list[str] = []
    if mismatch.missing:
        parts.append(f"missing: {_listed(mismatch.missing)}")
    if mismatch.extra:
        parts.append(f"not declared: {_listed(mismatch.extra)}")
    if mismatch.order:
        places = tuple(f"{item.expected} expected at {item.index}, {item.actual} found" for item in mismatch.order)
        parts.append(f"in another order: {_listed(places)}")
    if mismatch.types:
        types = tuple(f"{item.column} is {item.actual} instead of {item.expected}" for item in mismatch.types)
        parts.append(f"of another type: {_listed(types)}")
    parts.append(f"{len(mismatch.expected)} columns declared ({_listed(mismatch.expected)})")
    parts.append(f"{len(mismatch.actual)} columns given ({_listed(mismatch.actual)})")
    return parts


def _listed(names: tuple[str, ...]) -> str:
    listed = ", ".join(shown(name) for name in names[:NAMES_SHOWN_MAX])
    return listed if len(names) <= NAMES_SHOWN_MAX else f"{listed} and {len(names) - NAMES_SHOWN_MAX:,} more"
