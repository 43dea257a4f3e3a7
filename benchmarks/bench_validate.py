"""Validation with a quarantine split: 1,000,000 rows of ten text columns become six types, clean and with 1 % bad rows.

The least that it takes is a cast of clean text by Arrow, which checks nothing: no nulls, no strict forms, no UTF-8, no
text of what was rejected. That is the other side of the first two; in batches as large as a guest may send. The bad
rows are spread over all columns, so that no batch has a column without one.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa

from benchmarks.pairs import Absent, Ratio, speed_ratio
from benchmarks.validate_peers import PEERS, Peer, is_there
from eventlog.column_types import ColumnType, DecimalType, arrow_type
from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema
from executors.validate import Checked, validate

ROWS: Final = 1_000_000
BATCH_ROWS: Final = 50_000  # as many as a guest may send at once
ROUNDS: Final = 5
PEER_ROUNDS: Final = 3
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
BAD_WORD: Final = "N/A"  # what people write where there is nothing
# What looks right and is not: a patterns' work, because no character and no length tells it.
BAD_VALUES: Final = {
    "id": "9223372036854775808",
    "size": "9999999999999999999",
    "price": "1.00001",
    "fee": "-0.12345",
    "ratio": "1e999",
    "weight": "5.",
    "at": "2026-02-30T10:00:00.000000",
    "day": "2026-02-30",
}


def schema() -> OutputSchema:
    """Return the declared columns; the texts may not be null, so that every column has a rule to break."""
    columns = (Column(name=name, type=type_, format=words, nullable=False) for name, type_, words in COLUMNS)
    return OutputSchema(output=OutputName("lines"), columns=tuple(columns))


def batches(rows: int, *, bad: Mapping[str, str] | None = None) -> list[pa.RecordBatch]:
    """Return the rows as text. With `bad`, every hundredth has that value in one column, in each in turn, or a null."""
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
    if bad is not None:
        for place, row in enumerate(range(0, rows, BAD_EVERY)):
            name, _, _ = COLUMNS[place % len(COLUMNS)]
            columns[name][row] = bad.get(name)
    return pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns])).to_batches(BATCH_ROWS)


def run() -> Iterator[Ratio | Absent]:
    """Measure and yield one ratio after the other."""
    declared = schema()
    clean, bad = batches(ROWS), batches(ROWS, bad=dict.fromkeys(BAD_VALUES, BAD_WORD))
    assert ours(clean, declared) == (ROWS, 0)
    assert ours(bad, declared) == (ROWS - ROWS // BAD_EVERY, ROWS // BAD_EVERY)
    subtle = batches(ROWS, bad=BAD_VALUES)
    assert ours(subtle, declared) == ours(bad, declared)
    for name, given, bar in (("clean", clean, CLEAN_BAR), ("1 % words", bad, BAD_BAR), ("1 % subtle", subtle, BAD_BAR)):
        yield speed_ratio(
            f"validate {name} / unchecked cast of clean",
            ours=functools.partial(ours, given, declared),
            theirs=functools.partial(unchecked, clean),
            rounds=ROUNDS,
            bar=bar,
        )
    for peer in PEERS:
        yield against(peer, declared)


def against(peer: Peer, declared: OutputSchema) -> Ratio | Absent:
    """Compare with another library, on rows of which 1 % are bad, or none."""
    name = f"validate {'clean' if peer.clean else '1 % words'} / {peer.name}"
    if not is_there(peer):
        return Absent(name=name)
    given = batches(peer.rows, bad=None if peer.clean else dict.fromkeys(BAD_VALUES, BAD_WORD))
    theirs = peer.asked(given)
    return speed_ratio(
        name, ours=functools.partial(ours, given, declared), theirs=theirs, rounds=PEER_ROUNDS, bar=peer.bar
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
