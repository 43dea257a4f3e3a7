"""Owns what the columns that a parser gives are seen to be, and in what they differ from its declaration.

Knows types and nulls, no rules: which values do not fit is the judgement of validation, whose counts are taken in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import pyarrow as pa
from msgspec import Struct

from eventlog.column_types import type_words
from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema
from executors.accepted_types import accepts, is_text
from executors.arrays import Array, UnpackedTooLargeError, plain
from executors.infer import ColumnInference
from executors.shape import shown
from executors.violations import HELPER_COLUMNS, Rule

COLUMNS_OBSERVED_MAX: Final = 10_000  # of one output; with allow_extra a guest may always give new ones
TYPES_OBSERVED_MAX: Final = 10  # of one column
ROWS_INFERRED_MAX: Final = 1_000  # of text, for which each value is looked at one by one

# missing, extra: declared and not given, and the other way round. order: at another place than declared. type: of a
# type that cannot hold what is declared. nullability: nulls where none are declared. values: of a type that could hold
# them, and some do not fit.
DifferenceKind = Literal["missing", "extra", "order", "type", "nullability", "values"]


class Difference(Struct, frozen=True, kw_only=True):
    """In what one column is not as declared, both sides in words."""

    column: str
    kind: DifferenceKind
    declared: str
    observed: str


class ObservedColumn(Struct, frozen=True, kw_only=True):
    """A column as it was given: in Arrow's words its type, several where batches differ; and how many nulls it had.

    `reads_as` is what its first texts could be read as, "" where they are no texts, or no values.
    """

    name: str
    types: tuple[str, ...]
    reads_as: str
    rows: int
    nulls: int


class _Seen:
    """One column so far. `twice`: a batch had two of its name."""

    def __init__(self) -> None:
        self.types: dict[pa.DataType, None] = {}
        self.rows = 0
        self.nulls = 0
        self.twice = False
        self._texts = ColumnInference()

    def reads_as(self) -> str:
        """Return the type that is left of all for the texts, as `schema infer` would say it."""
        if not self._texts.values:
            return ""
        found = self._texts.finding(name="", read_from="", whole=False)
        if found.question:
            return "string, or one of several types"
        return (
            f"{type_words(found.type)} {found.format}" if found.format not in ("", "text") else type_words(found.type)
        )

    def take(self, array: Array) -> None:
        self._infer(array)
        if len(self.types) < TYPES_OBSERVED_MAX:
            self.types[array.type] = None
        self.rows += len(array)
        self.nulls += _nulls(array)

    def _infer(self, array: Array) -> None:
        if is_text(array.type) and self.rows < ROWS_INFERRED_MAX:
            for row, text in enumerate(array.slice(0, ROWS_INFERRED_MAX - self.rows).to_pylist()):
                self._texts.take(None if text is None else str(text), line=self.rows + row)


class Observation:
    """What was seen of one output. Batches must have been found whole before, see `validate`."""

    def __init__(self, schema: OutputSchema) -> None:
        self._schema = schema
        self._seen: dict[str, _Seen] = {}
        self.rows = 0
        self.batches = 0

    @property
    def output(self) -> OutputName:
        return self._schema.output

    def see(self, batch: pa.RecordBatch) -> None:
        """Take a batch in, whatever its columns are."""
        self.rows += batch.num_rows
        self.batches += 1
        met: set[str] = set()
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            if name in HELPER_COLUMNS or (name not in self._seen and len(self._seen) >= COLUMNS_OBSERVED_MAX):
                continue
            seen = self._seen.setdefault(name, _Seen())
            seen.twice = seen.twice or name in met
            met.add(name)
            seen.take(array)

    def columns(self) -> tuple[ObservedColumn, ...]:
        """Return the columns in the order in which they were given first, their names as they can be shown."""
        return tuple(
            ObservedColumn(
                name=shown(name), types=_words(seen), reads_as=seen.reads_as(), rows=seen.rows, nulls=seen.nulls
            )
            for name, seen in self._seen.items()
        )

    def differences(self, broken: Mapping[Rule, int]) -> tuple[Difference, ...]:
        """Return in what the columns are not as declared; none where nothing was given.

        `broken` says how many rows broke each rule.
        """
        if not self.batches:
            return ()
        found = [each for column in self._schema.columns for each in self._of_column(column, broken)]
        declared = {column.name for column in self._schema.columns}
        for name, seen in self._seen.items():
            if name not in declared or seen.twice:
                not_so = "given twice in one batch" if name in declared else "not declared"
                found.append(_difference(name, "extra", not_so, ", ".join(_words(seen))))
        return (*found, *self._misplaced(declared))

    def _of_column(self, column: Column, broken: Mapping[Rule, int]) -> list[Difference]:
        seen = self._seen.get(column.name)
        if seen is None:
            return [_difference(column.name, "missing", declared_words(column), "not given")]
        found: list[Difference] = []
        if not all(accepts(column, each) for each in seen.types):
            found.append(_difference(column.name, "type", type_words(column.type), ", ".join(_words(seen))))
        if not column.nullable and seen.nulls:
            told = f"{seen.nulls:,} of {seen.rows:,} null"
            found.append(_difference(column.name, "nullability", "never null", told))
        for rule, rows in broken.items():
            if rule.column == column.name and rule.code != "null_not_allowed":
                told = f"{rows:,} of {seen.rows:,} do not fit: {rule.code}"
                found.append(_difference(column.name, "values", declared_words(column), told))
        return found

    def _misplaced(self, declared: set[str]) -> list[Difference]:
        """Compare the order of those columns that are both declared and given."""
        wanted = [column.name for column in self._schema.columns if column.name in self._seen]
        given = [name for name in self._seen if name in declared]
        return [
            _difference(found, "order", f"{expected} stands there", f"given as number {place}")
            for place, (expected, found) in enumerate(zip(wanted, given, strict=True), start=1)
            if expected != found
        ]


def declared_words(column: Column) -> str:
    """Return a declared column's type for a person to read, with all that is declared of it."""
    words = type_words(column.type)
    if column.format and column.format != "text":
        words += f" {column.format}"
    return words if column.nullable else f"{words}, never null"


def _difference(name: str, kind: DifferenceKind, declared: str, observed: str) -> Difference:
    return Difference(column=shown(name), kind=kind, declared=declared, observed=observed)


def _words(seen: _Seen) -> tuple[str, ...]:
    return tuple(shown(str(each)) for each in seen.types)


def _nulls(array: Array) -> int:
    """Return how many values are null, those included that a dictionary holds a null for."""
    try:
        return plain(array).null_count
    except UnpackedTooLargeError:
        return array.null_count
