"""Validation with a quarantine split: 1,000,000 rows of ten text columns become six types, clean and with 1 % bad rows.

The least that it takes is a cast of clean text by Arrow, which checks nothing: no nulls, no strict forms, no UTF-8, no
text of what was rejected. That is the other side of the first two; in batches as large as a guest may send. The bad
rows are spread over all columns, so that no batch has a column without one.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from benchmarks.pairs import Ratio, speed_ratio
from eventlog.column_types import ColumnType, DecimalType, arrow_type
from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema
from executors.validate import Checked, validate

ROWS: Final = 1_000_000
BATCH_ROWS: Final = 50_000  # as many as a guest may send at once
ROUNDS: Final = 5
BAD_EVERY: Final = 100
CLEAN_BAR: Final = 0.4
BAD_BAR: Final = 0.15

PRICE: Final = DecimalType(precision=18, scale=4)
COLUMNS: Final[tuple[tuple[str, ColumnType, str], ...]] = (
    ("id", "int64", "text"),
    ("size", "int64", "text"),
    ("price", PRICE, ""),
    ("fee", PRICE, ""),
    ("ratio", "float64", "text"),
    ("weight", "float64", "text"),
    ("at", "timestamp", "iso8601"),
    ("day", "date", "iso8601"),
    ("name", "string", ""),
    ("note", "string", ""),
)
BAD_TEXT: Final = "N/A"


def schema() -> OutputSchema:
    """Return the declared columns; the texts may not be null, so that every column has a rule to break."""
    columns = (Column(name=name, type=type_, format=words, nullable=False) for name, type_, words in COLUMNS)
    return OutputSchema(output=OutputName("lines"), columns=tuple(columns))


def batches(rows: int, *, bad: bool) -> list[pa.RecordBatch]:
    """Return the rows as text. In a bad batch every hundredth row has one bad value, in each column in turn."""
    chance = random.Random(1)
    columns: dict[str, list[str | None]] = {
        "id": [str(row * 7919) for row in range(rows)],
        "size": [str(chance.randrange(10**7)) for _ in range(rows)],
        "price": [f"{chance.randrange(10**6)}.{row % 100:02}" for row in range(rows)],
        "fee": [f"-{row % 1000}.{row % 10000:04}" for row in range(rows)],
        "ratio": [f"0.{chance.randrange(10**9):09}" for _ in range(rows)],
        "weight": [f"{row % 1000}.{row % 7}" for row in range(rows)],
        "at": [
            f"2026-0{1 + row % 9}-1{row % 10}T{row % 24:02}:{row % 60:02}:{row % 59:02}.{row:06}" for row in range(rows)
        ],
        "day": [f"2026-0{1 + row % 9}-1{row % 10}" for row in range(rows)],
        "name": [f"name {row % 1000}" for row in range(rows)],
        "note": [f"note of row {row}" for row in range(rows)],
    }
    if bad:
        for place, row in enumerate(range(0, rows, BAD_EVERY)):
            name, type_, _ = COLUMNS[place % len(COLUMNS)]
            columns[name][row] = None if type_ == "string" else BAD_TEXT
    return pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns])).to_batches(BATCH_ROWS)


def run() -> Iterator[Ratio]:
    """Measure and yield one ratio after the other."""
    declared = schema()
    clean, bad = batches(ROWS, bad=False), batches(ROWS, bad=True)
    assert ours(clean, declared) == (ROWS, 0)
    assert ours(bad, declared) == (ROWS - ROWS // BAD_EVERY, ROWS // BAD_EVERY)
    for name, given, bar in (("clean", clean, CLEAN_BAR), ("1 % bad", bad, BAD_BAR)):
        yield speed_ratio(
            f"validate {name} / unchecked cast of clean",
            ours=functools.partial(ours, given, declared),
            theirs=functools.partial(unchecked, clean),
            rounds=ROUNDS,
            bar=bar,
        )


def ours(given: list[pa.RecordBatch], declared: OutputSchema) -> tuple[int, int]:
    """Return how many rows pass and how many are rejected."""
    accepted = rejected = 0
    for batch in given:
        checked = validate(batch, declared, row_first=accepted + rejected)
        assert isinstance(checked, Checked)
        accepted += checked.accepted.num_rows
        rejected += 0 if checked.rejected is None else checked.rejected.rows.num_rows
    return accepted, rejected


def unchecked(given: list[pa.RecordBatch]) -> None:
    """Cast each column as it stands."""
    wanted = [arrow_type(type_) for _, type_, _ in COLUMNS]
    for batch in given:
        for array, type_ in zip(batch.columns, wanted, strict=True):
            array.cast(type_)
