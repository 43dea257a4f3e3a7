"""Owns how declared and observed columns are told side by side: one line a column, a mark where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from cli.render import table

if TYPE_CHECKING:
    from eventlog.schema import OutputSchema
    from executors.observed import Difference, ObservedColumn

EQUAL = "="
DIFFERS = "≠"


class ColumnReport(Struct, frozen=True, kw_only=True):
    """A column of both sides: `declared` in words, null where it is not; `given` in Arrow's words, none if not.

    `reads_as` is what its first texts, if it has such, could be read as. `differences` says in what the two are not the
    same, in words; none where they are.
    """

    name: str
    declared: str | None
    given: tuple[str, ...]
    reads_as: str
    rows: int
    nulls: int
    differences: tuple[Difference, ...]


def side_by_side(
    schema: OutputSchema, observed: Sequence[ObservedColumn], differences: Sequence[Difference]
) -> tuple[ColumnReport, ...]:
    """Return the declared columns in their order, then those that are given all the same."""
    from executors.observed import declared_words
    from executors.shape import shown

    declared = {shown(column.name): declared_words(column) for column in schema.columns}
    seen = {each.name: each for each in observed}
    return tuple(_column(name, declared.get(name), seen.get(name), differences) for name in {**declared, **seen})


def _column(
    name: str, declared: str | None, seen: ObservedColumn | None, differences: Sequence[Difference]
) -> ColumnReport:
    return ColumnReport(
        name=name,
        declared=declared,
        given=seen.types if seen else (),
        reads_as=seen.reads_as if seen else "",
        rows=seen.rows if seen else 0,
        nulls=seen.nulls if seen else 0,
        differences=tuple(each for each in differences if each.column == name),
    )


HEADINGS: Final = ("", "column", "declared", "given as", "texts read as", "nulls", "what differs")
TEXTS, NULLS, DIFFERENCES = 4, 5, 6  # places in HEADINGS


def column_lines(columns: Sequence[ColumnReport]) -> list[str]:
    """Return a table of the columns, without the headings under which nothing stands."""
    rows = [_cells(column) for column in columns]
    kept = [place for place in range(len(HEADINGS)) if place not in (TEXTS, DIFFERENCES) or any(r[place] for r in rows)]
    return table(
        [HEADINGS[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        right=[kept.index(NULLS)],
    )


def _cells(column: ColumnReport) -> tuple[str, ...]:
    return (
        DIFFERS if column.differences else EQUAL,
        column.name,
        column.declared if column.declared is not None else "-",
        ", ".join(column.given) or "-",
        column.reads_as,
        f"{column.nulls:,}" if column.given else "",
        "; ".join(told(each) for each in column.differences),
    )


def told(difference: Difference) -> str:
    """Return a difference in words, beside both columns."""
    match difference.kind:
        case "missing":
            return "missing"
        case "extra":
            return difference.declared
        case "type":
            return "another type"
        case "order":
            return f"{difference.declared}, {difference.observed}"
        case _:
            return difference.observed
