from __future__ import annotations

import typing

import pyarrow as pa
import pytest

from eventlog.column_types import (
    ColumnType,
    DecimalType,
    ListType,
    PrimitiveType,
    StructField,
    StructType,
    TimestampTzType,
    arrow_type,
)
from eventlog.schema import Column
from executors.accepted_types import accepts

PRICE = DecimalType(precision=8, scale=2)
BERLIN = TimestampTzType(tz="Europe/Berlin")
PAIR = StructType(fields=(StructField(name="a", type="int64"), StructField(name="b", type=PRICE)))
TYPES: tuple[ColumnType, ...] = (*typing.get_args(PrimitiveType), PRICE, BERLIN, ListType(item="int64"), PAIR)


def encoded(values: typing.Any) -> pa.DataType:
    """Return the type of a dictionary of any values, also of those that the stubs do not know."""
    return pa.dictionary(pa.int8(), values)


def takes(type_: ColumnType, actual: pa.DataType, text_format: str = "") -> bool:
    return accepts(Column(name="c", type=type_, format=text_format), actual)


@pytest.mark.parametrize("type_", TYPES)
def test_every_type_accepts_itself_and_a_column_of_nulls(type_: ColumnType) -> None:
    assert takes(type_, arrow_type(type_))
    assert takes(type_, pa.null())


@pytest.mark.parametrize(
    ("type_", "actual"),
    [
        ("int64", pa.uint64()),
        ("int64", pa.dictionary(pa.int8(), pa.int32())),
        ("float64", pa.float16()),
        ("float64", pa.uint8()),
        ("string", pa.large_string()),
        ("string", pa.string_view()),
        ("string", pa.dictionary(pa.int32(), pa.large_string())),
        ("binary", pa.binary_view()),
        ("binary", pa.binary(4)),
        ("date", pa.date64()),
        ("time", pa.time32("s")),
        ("timestamp", pa.timestamp("ns")),
        ("timestamp_utc", pa.timestamp("ns", tz="Asia/Tokyo")),
        ("timestamp_utc", pa.timestamp("s", tz="-03:30")),
        ("timestamp_utc", pa.timestamp("us")),
        (BERLIN, pa.timestamp("ms", tz="UTC")),
        (PRICE, pa.decimal256(76, 3)),
        (PRICE, pa.decimal32(3, 1)),
        (PRICE, pa.decimal128(5, -2)),
        (PRICE, pa.int16()),
        (PRICE, pa.string()),
        (ListType(item="int64"), pa.large_list(pa.int8())),
        (ListType(item="int64"), pa.list_view(pa.int8())),
        (ListType(item="int64"), pa.list_(pa.int8(), 3)),
        (ListType(item="int64"), pa.list_(pa.null())),
        (PAIR, pa.struct([("a", pa.int8()), ("b", pa.string())])),
    ],
)
def test_a_carrier_of_the_same_values_is_accepted(type_: ColumnType, actual: pa.DataType) -> None:
    assert takes(type_, actual)


@pytest.mark.parametrize(
    ("type_", "actual"),
    [
        ("int64", pa.float64()),
        ("int64", pa.string()),
        ("int64", pa.bool_()),
        ("boolean", pa.int8()),
        ("string", pa.binary()),
        ("string", pa.int64()),
        ("string", pa.list_(pa.string())),
        ("string", pa.struct([("a", pa.string())])),
        ("binary", pa.string()),
        ("date", pa.timestamp("us")),
        ("date", pa.string()),
        ("time", pa.duration("us")),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("timestamp", pa.string()),
        ("timestamp_utc", pa.timestamp("us", tz="No/Where")),
        ("timestamp_utc", pa.timestamp("us", tz="+1")),
        ("timestamp_utc", pa.int64()),
        (PRICE, pa.float64()),
        (PRICE, pa.bool_()),
        (PRICE, pa.decimal256(70, -20)),
        (ListType(item="int64"), pa.list_(pa.string())),
        (ListType(item="int64"), pa.int64()),
        (ListType(item="int64"), pa.map_(pa.string(), pa.int64())),
        (PAIR, pa.struct([("b", pa.string()), ("a", pa.int8())])),
        (PAIR, pa.struct([("a", pa.int8())])),
        ("int64", pa.run_end_encoded(pa.int32(), pa.int64())),
        (ListType(item="int64"), encoded(pa.list_(pa.int64()))),
        ("string", encoded(encoded(pa.string()))),
        ("binary", pa.uuid()),
    ],
)
def test_another_type_is_not(type_: ColumnType, actual: pa.DataType) -> None:
    assert not takes(type_, actual)


@pytest.mark.parametrize(
    ("type_", "text_format"),
    [("int64", "text"), ("float64", "text"), ("boolean", "text"), ("date", "%Y"), ("time", "iso8601")],
)
def test_text_is_accepted_where_a_format_says_how_it_is_read(type_: ColumnType, text_format: str) -> None:
    for carrier in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        assert takes(type_, carrier, text_format)
        assert not takes(type_, carrier)
    assert not takes(type_, pa.binary(), text_format)
