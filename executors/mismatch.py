"""Owns the form in which the difference between declared and given columns is kept in the log: whole, but bounded."""

from __future__ import annotations

from eventlog.events import COLUMNS_NAMED_MAX, SchemaMismatch, TypeDifference
from eventlog.ids import OutputName
from executors.shape import CorruptBatch, ReservedColumn, ShapeFault, ShapeMismatch, TypeMismatch, shown


def mismatch_of(fault: ShapeFault) -> SchemaMismatch | None:
    """Return the difference of the columns as the log keeps it; None where the batch was not even readable."""
    match fault:
        case CorruptBatch():
            return None
        case ReservedColumn():
            return _recorded(fault.output, extra=fault.columns)
        case ShapeMismatch():
            return _recorded(
                fault.output,
                expected=fault.expected,
                actual=fault.actual,
                missing=fault.missing,
                extra=fault.extra,
                misplaced=tuple(item.actual for item in fault.order),
                types=fault.types,
            )


def _recorded(
    output: OutputName,
    *,
    expected: tuple[str, ...] = (),
    actual: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    misplaced: tuple[str, ...] = (),
    types: tuple[TypeMismatch, ...] = (),
) -> SchemaMismatch:
    return SchemaMismatch(
        output=output,
        expected=_named(expected),
        actual=_named(actual),
        missing=_named(missing),
        extra=_named(extra),
        misplaced=_named(misplaced),
        types=tuple(
            TypeDifference(column=shown(each.column), expected=each.expected, actual=each.actual)
            for each in types[:COLUMNS_NAMED_MAX]
        ),
        expected_total=len(expected),
        actual_total=len(actual),
    )


def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(shown(name) for name in names[:COLUMNS_NAMED_MAX])
