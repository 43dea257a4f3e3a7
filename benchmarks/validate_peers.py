"""Asks other libraries what bench_validate.py asks of ours. None is a dependency; one that is missing is named.

What each does is not the same. pandera on pandas casts and names each bad cell. pandera on polars casts eight of ten
columns; it is given clean rows, because of bad ones it finds a part only and names no column (606 of 1,600 cells when
it was tried). Great Expectations matches patterns and casts nothing. None of them splits the rows. Those that would
take minutes for the million rows are given fewer: pandera on pandas needs a millisecond a row.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
from msgspec import Struct

NUMBERS: Final = ("id", "size", "price", "fee", "ratio", "weight")
DATES: Final = ("at", "day")
TEXTS: Final = ("name", "note")
PATTERNS: Final = {
    "id": r"^[+-]?[0-9]+$",
    "size": r"^[+-]?[0-9]+$",
    "price": r"^[+-]?[0-9]+(?:\.[0-9]+)?$",
    "fee": r"^[+-]?[0-9]+(?:\.[0-9]+)?$",
    "ratio": r"^[+-]?[0-9]+(?:\.[0-9]+)?$",
    "weight": r"^[+-]?[0-9]+(?:\.[0-9]+)?$",
    "at": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?$",
    "day": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
}


class Peer(Struct, frozen=True, kw_only=True):
    """A library, the modules that it takes, how many rows it is given, how it is asked, and what ours should reach."""

    name: str
    modules: tuple[str, ...]
    rows: int
    bar: float
    clean: bool = False
    asked: Callable[[list[pa.RecordBatch]], Callable[[], object]]


def is_there(peer: Peer) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in peer.modules)


def _module(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def _pandera_pandas(given: list[pa.RecordBatch]) -> Callable[[], object]:
    pandera = _module("pandera.pandas")
    types = dict.fromkeys(NUMBERS[:2], "int64") | dict.fromkeys(NUMBERS[2:], "float64")
    types |= dict.fromkeys(DATES, "datetime64[ns]")
    columns = {name: pandera.Column(type_, coerce=True) for name, type_ in types.items()}
    columns |= {name: pandera.Column(str, nullable=False) for name in TEXTS}
    return _lazily(pandera, pandera.DataFrameSchema(columns), _frame(given))


def _pandera_polars(given: list[pa.RecordBatch]) -> Callable[[], object]:
    pandera, polars = _module("pandera.polars"), _module("polars")
    columns = {name: pandera.Column(polars.Int64, coerce=True) for name in NUMBERS[:2]}
    columns |= {name: pandera.Column(polars.Float64, coerce=True) for name in NUMBERS[2:]}
    columns |= {name: pandera.Column(str, nullable=False) for name in TEXTS}
    frame = polars.from_arrow(pa.Table.from_batches(given).select([*NUMBERS, *TEXTS]))
    return _lazily(pandera, pandera.DataFrameSchema(columns), frame)


def _lazily(pandera: Any, schema: Any, frame: Any) -> Callable[[], object]:
    def ask() -> object:
        try:
            return schema.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as found:
            return found.failure_cases

    return ask


def _great_expectations(given: list[pa.RecordBatch]) -> Callable[[], object]:
    library = _module("great_expectations")
    context = library.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": _frame(given)})
    expected = library.expectations
    suite = library.ExpectationSuite(name="bench")
    for name, pattern in PATTERNS.items():
        suite.add_expectation(expected.ExpectColumnValuesToMatchRegex(column=name, regex=pattern))
    for name in TEXTS:
        suite.add_expectation(expected.ExpectColumnValuesToNotBeNull(column=name))
    return lambda: batch.validate(suite)


def _frame(given: list[pa.RecordBatch]) -> Any:
    return _module("pandas").DataFrame(pa.Table.from_batches(given).to_pydict())


PEERS: Final = (
    Peer(name="pandera, pandas", modules=("pandera", "pandas"), rows=20_000, bar=500, asked=_pandera_pandas),
    Peer(
        name="pandera, polars", modules=("pandera", "polars"), rows=1_000_000, bar=1, clean=True, asked=_pandera_polars
    ),
    Peer(
        name="Great Expectations",
        modules=("great_expectations", "pandas"),
        rows=200_000,
        bar=4,
        asked=_great_expectations,
    ),
)
