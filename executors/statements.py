"""Owns what becomes of a parser's statements: whether their form can be believed, and the balance sheets they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from eventlog.events import BalanceSheet
from eventlog.ids import OutputName
from eventlog.schema import OutputSchema
from executors.guest.frames import Statement

Statements = tuple[Statement, ...]
CountRows = Callable[[OutputName], int]


def misstated(statements: Statements, outputs: Iterable[OutputSchema], *, before: Statements | None) -> str:
    """Return what is wrong with the form of statements, as a sentence; "" if nothing is."""
    if before is not None:
        return "the parser stated its units twice"
    units = [statement.unit for statement in statements]
    if len(set(units)) < len(units):
        return f"the parser states one unit twice: {', '.join(units)}"
    declared = [schema.output for schema in outputs]
    return next((fault for each in statements if (fault := _fault(each, declared))), "")


def _fault(statement: Statement, declared: list[OutputName]) -> str:
    named = statement.outputs
    if statement.ranges_total and not statement.ranges:
        return f"the parser counts {statement.ranges_total} places and names none"
    if not named and statement.accepted is None:
        return f"the parser states {statement.unit} and says neither whose rows they are nor how many it accepted"
    if named and statement.accepted is not None:
        return f"the parser states how many {statement.unit} it accepted, but the host counts {', '.join(named)}"
    if not set(named) <= set(declared) or len(set(named)) < len(named):
        return f"the parser states units of {', '.join(map(repr, named))}, declared are: {', '.join(declared)}"
    return ""


def balance_sheets(
    statements: Statements | None, *, accepted: CountRows, rejected: CountRows
) -> tuple[BalanceSheet, ...]:
    """Join what the parser states with the rows that the host counted; without statements the input is unaccounted."""
    if statements is None:
        return (BalanceSheet(unit="", output="", found=0, written=0, quarantined=0, skipped=0, unreadable=0),)
    return tuple(_sheet(each, accepted=accepted, rejected=rejected) for each in statements)


def _sheet(statement: Statement, *, accepted: CountRows, rejected: CountRows) -> BalanceSheet:
    outputs = tuple(map(OutputName, statement.outputs))
    return BalanceSheet(
        unit=statement.unit,
        output=outputs[0] if outputs else "",
        also=outputs[1:],
        found=statement.found,
        written=sum(map(accepted, outputs)) if outputs else statement.accepted or 0,
        quarantined=sum(map(rejected, outputs)),
        skipped=statement.skipped,
        unreadable=statement.unreadable,
        skips=statement.skipped_units(),
        ranges=statement.unreadable_ranges(),
        ranges_total=max(statement.ranges_total, len(statement.ranges)),
    )
