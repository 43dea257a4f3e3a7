"""Recorded columns against the declaration of now."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eventlog.column_types import ColumnType, DecimalType, ListType
from eventlog.events import TypeDifference
from eventlog.schema import Column
from executors.recorded import RefusedColumns, refused_differences, table_differences
from sinks.arrow_schema import arrow_schema
from tests.executors.columns import schema_of

TYPES: tuple[ColumnType, ...] = (
    "int64", "string", "timestamp_utc", "date", DecimalType(precision=10, scale=2), ListType(item="string"),
)  # fmt: skip
columns = st.builds(
    lambda name, type_, nullable: Column(name=name, type=type_, nullable=nullable),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(TYPES),
    st.booleans(),
)
several = st.lists(columns, min_size=1, unique_by=lambda column: column.name)


@given(before=several, now=several)
def test_a_table_differs_exactly_where_the_declaration_was_changed(before: list[Column], now: list[Column]) -> None:
    found = table_differences(schema_of(*now), arrow_schema(before), {})
    old, new = {each.name: each for each in before}, {each.name: each for each in now}
    assert {each.column for each in found if each.kind == "missing"} == new.keys() - old.keys()
    assert {each.column for each in found if each.kind == "extra"} == old.keys() - new.keys()
    both = old.keys() & new.keys()
    assert {each.column for each in found if each.kind == "type"} == {n for n in both if old[n].type != new[n].type}
    changed = {name for name in both if old[name].nullable != new[name].nullable}
    assert {each.column for each in found if each.kind == "nullability"} == changed


def test_nulls_are_counted_where_they_are_known() -> None:
    table = pa.schema([pa.field("a", pa.int64()), pa.field("b", pa.int64())])
    now = schema_of(Column(name="a", type="int64", nullable=False), Column(name="b", type="int64", nullable=False))
    assert [each.observed for each in table_differences(now, table, {"a": 1200})] == [
        "may be null, and 1,200 are",
        "may be null",
    ]


def test_a_refusal_holds_only_as_far_as_it_is_still_so() -> None:
    refused = RefusedColumns(
        missing=("gone", "wanted"),
        extra=("new", "strange"),
        misplaced=("wanted",),
        types=(
            TypeDifference(column="wanted", expected="int64", actual="string"),
            TypeDifference(column="new", expected="int64", actual="string"),
        ),
    )
    now = schema_of(Column(name="wanted", type="int64"), Column(name="new", type="string"))
    found = [(each.column, each.kind) for each in refused_differences(now, refused)]
    assert found == [("wanted", "missing"), ("strange", "extra"), ("wanted", "order"), ("wanted", "type")]
