from __future__ import annotations

import struct
import typing
from decimal import Decimal

import pyarrow as pa
import pytest

from eventlog.column_types import ColumnType, DecimalType, ListType, StructField, StructType, arrow_type
from executors.arrays import UnpackedTooLargeError, bound_views, list_items, plain
from executors.values import read
from executors.violations import ViolationCode

PRICE = DecimalType(precision=8, scale=2)
FRACTION = DecimalType(precision=38, scale=38)
LONG = "a text of more bytes than a view holds itself"
Arrow: typing.TypeAlias = "pa.Array[typing.Any]"


def split(array: Arrow, type_: ColumnType) -> tuple[list[typing.Any], dict[ViolationCode, list[int]]]:
    """Return the values that are without fault, and the rows of each fault."""
    reading = read(plain(array), type_)
    assert reading.values.type == arrow_type(type_)
    reading.values.validate(full=True)
    faults = {
        fault.code: [row for row, is_so in enumerate(fault.rows.to_pylist()) if is_so] for fault in reading.faults
    }
    bad = {row for rows in faults.values() for row in rows}
    return [reading.values[row].as_py() for row in range(len(array)) if row not in bad], faults


@pytest.mark.parametrize(
    ("array", "type_", "values"),
    [
        (pa.array([-1, None, 5], pa.int8()), "int64", [-1, None, 5]),
        (pa.array([2**32 - 1], pa.uint32()), "int64", [2**32 - 1]),
        (pa.array([1, 2]).dictionary_encode(), "int64", [1, 2]),
        (pa.array([1.5, None], pa.float32()), "float64", [1.5, None]),
        (pa.array([2**60, -(2**63)]), "float64", [2.0**60, -(2.0**63)]),
        (pa.array(["ä", None], pa.string_view()), "string", ["ä", None]),
        (pa.array(["ä", None, LONG], pa.string_view()).slice(1), "string", [None, LONG]),
        (pa.array(["a\0b"]), "string", ["a\0b"]),
        (pa.array(["b", None, "b"]).dictionary_encode(), "string", ["b", None, "b"]),
        (pa.array([b"ab", None], pa.binary(2)), "binary", [b"ab", None]),
        (pa.array([b"ab", None], pa.binary_view()), "binary", [b"ab", None]),
        (pa.array([Decimal("1.5"), None], pa.decimal256(60, 20)), PRICE, [Decimal("1.50"), None]),
        (pa.array([Decimal("1.5")], pa.decimal32(5, 2)), PRICE, [Decimal("1.50")]),
        (pa.array([Decimal("1200")], pa.decimal128(5, -2)), PRICE, [Decimal("1200.00")]),
        (pa.array([999_999, -5, None]), PRICE, [Decimal("999999.00"), Decimal("-5.00"), None]),
        (pa.nulls(2), PRICE, [None, None]),
    ],
)
def test_a_carrier_of_the_same_values_becomes_the_declared_type(
    array: Arrow, type_: ColumnType, values: list[object]
) -> None:
    assert split(array, type_) == (values, {})


@pytest.mark.parametrize(
    ("array", "type_", "code"),
    [
        (pa.array([1, 2**63], pa.uint64()), "int64", "value_does_not_fit"),
        (pa.array([1, 2**53 + 1]), "float64", "value_does_not_fit"),
        (pa.array([1, 2**63 - 1]), "float64", "value_does_not_fit"),
        (pa.array([1, 2**64 - 1], pa.uint64()), "float64", "value_does_not_fit"),
        (pa.array([1000, 1], pa.timestamp("ns", tz="UTC")), "timestamp_utc", "value_does_not_fit"),
        (pa.array([1, 2**62], pa.timestamp("s", tz="UTC")), "timestamp_utc", "value_does_not_fit"),
        (pa.array([1000, 1], pa.time64("ns")), "time", "value_does_not_fit"),
        (pa.array([None, 1], pa.timestamp("us")), "timestamp_utc", "timezone_required"),
        (pa.array([1, 1_000_000]), PRICE, "precision_exceeded"),
        (pa.array([Decimal("1.5"), Decimal("1.505")]), PRICE, "precision_exceeded"),
        (
            pa.array([Decimal(0), Decimal(7)], pa.decimal128(38, 0)),
            DecimalType(precision=38, scale=38),
            "precision_exceeded",
        ),
        (
            pa.array([Decimal(0), Decimal("1E75")], pa.decimal256(76, 0)),
            DecimalType(precision=38, scale=38),
            "precision_exceeded",
        ),
    ],
)
def test_a_value_that_would_change_is_its_rows_fault_only(array: Arrow, type_: ColumnType, code: str) -> None:
    values, faults = split(array, type_)
    assert faults == {code: [1]}
    assert len(values) == 1


def test_floats_keep_their_bits() -> None:
    bits = [0x7FF8000000000001, 0xFFF8DEADBEEF0000, 0x7FF0000000000001, 1 << 63, 1]
    numbers = pa.array(bits, pa.uint64()).view(pa.float64())
    assert read(numbers, "float64").values.view(pa.uint64()).to_pylist() == bits
    assert struct.pack("<d", read(pa.array([-0.0], pa.float32()), "float64").values[0].as_py()) == struct.pack(
        "<d", -0.0
    )


LISTS = [pa.list_(pa.uint64()), pa.large_list(pa.uint64()), pa.list_view(pa.uint64()), pa.large_list_view(pa.uint64())]


@pytest.mark.parametrize("carrier", LISTS)
@pytest.mark.parametrize("first", [0, 1])
def test_a_list_with_a_value_that_does_not_fit_is_at_fault(carrier: typing.Any, first: int) -> None:
    rows: list[list[int | None] | None] = [[1, 2], None, [], [None, 2**63], [3]]
    values, faults = split(pa.array(rows, carrier).slice(first), ListType(item="int64"))
    assert faults == {"value_does_not_fit": [3 - first]}
    assert values == [row for row in rows[first:] if row is None or 2**63 not in row]


def test_lists_of_one_size_are_lists() -> None:
    rows = [[1, 2], None, [3, None]]
    assert split(pa.array(rows, pa.list_(pa.int8(), 2)), ListType(item="int64")) == (rows, {})


PAIR = StructType(fields=(StructField(name="a", type="int64", nullable=False), StructField(name="b", type=PRICE)))


def test_a_struct_is_judged_field_by_field() -> None:
    rows = [{"a": 1, "b": "1.5"}, None, {"a": None, "b": "1"}, {"a": 2, "b": "x"}, {"a": None, "b": "x"}]
    given = pa.array(rows, pa.struct([("a", pa.int8()), ("b", pa.string())]))
    values, faults = split(given, PAIR)
    assert faults == {"null_not_allowed": [2, 4], "format_invalid": [3, 4]}
    assert values == [{"a": 1, "b": Decimal("1.50")}, None]


def test_what_is_nested_is_judged_to_the_bottom() -> None:
    deep = ListType(item=StructType(fields=(StructField(name="l", type=ListType(item=PRICE)),)))
    rows = [[{"l": ["1.5"]}, None], [{"l": None}, {"l": ["1.555"]}], None, []]
    given = pa.array(rows, pa.list_(pa.struct([("l", pa.list_(pa.string()))])))
    values, faults = split(given, deep)
    assert faults == {"precision_exceeded": [1]}
    assert values == [[{"l": [Decimal("1.50")]}, None], None, []]


def test_a_dictionary_that_unpacks_to_too_much_is_not_unpacked() -> None:
    large = pa.array(["x" * 60_000_000])
    bomb = pa.DictionaryArray.from_arrays(pa.nulls(50_000, pa.int32()).fill_null(0), large)
    with pytest.raises(UnpackedTooLargeError, match="it unpacks to 3,000,000,000,000 bytes"):
        plain(bomb)


def test_views_of_the_same_bytes_that_unpack_to_too_much_are_not_unpacked() -> None:
    one = pa.array(["x" * 60_000_000], pa.string_view())
    views = one.buffers()[1]
    assert views is not None
    many = pa.py_buffer(views.to_pybytes() * 9)
    bomb = pa.Array.from_buffers(pa.string_view(), 9, [None, many, *one.buffers()[2:]])
    for nested in (bomb, pa.ListArray.from_arrays([0, 9], bomb), pa.StructArray.from_arrays([bomb], ["a"])):
        with pytest.raises(UnpackedTooLargeError, match="it unpacks to 540,000,000 bytes"):
            bound_views(nested)


def test_a_list_of_more_nulls_than_memory_is_not_laid_out() -> None:
    offsets = pa.array([0, 2**31 - 1], pa.int32())
    bomb = pa.ListArray.from_arrays(offsets, pa.nulls(2**31 - 1))
    with pytest.raises(UnpackedTooLargeError, match="its lists hold 2,147,483,647 values"):
        list_items(bomb)
