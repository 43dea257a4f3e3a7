from __future__ import annotations

import datetime
import typing

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.column_types import PrimitiveType
from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema
from executors.validate import (
    HINTS,
    KINDS,
    CorruptBatch,
    NullNotAllowed,
    OrderMismatch,
    ReservedColumn,
    ShapeMismatch,
    TypeMismatch,
    ValueDoesNotFit,
    Violation,
    sentence,
    validate,
)
from sinks.arrow_schema import arrow_schema

PRIMITIVES: tuple[PrimitiveType, ...] = typing.get_args(PrimitiveType)
NOON = datetime.datetime(2026, 1, 22, 12, 0, tzinfo=datetime.UTC)


def declared(*columns: Column) -> OutputSchema:
    return OutputSchema(output=OutputName("lines"), columns=columns)


def column(name: str, type_: PrimitiveType, *, nullable: bool = True) -> Column:
    return Column(name=name, type=type_, nullable=nullable)


def one(array: pa.Array[typing.Any], type_: PrimitiveType) -> pa.RecordBatch | Violation:
    return validate(pa.record_batch([array], names=["c"]), declared(column("c", type_)))


def accepted(array: pa.Array[typing.Any], type_: PrimitiveType) -> pa.Array[typing.Any]:
    batch = one(array, type_)
    assert isinstance(batch, pa.RecordBatch), sentence(batch)
    return batch.column(0)


TWO = declared(column("n", "int64", nullable=False), column("text", "string"))


def test_a_batch_of_the_declared_columns_comes_back_equal() -> None:
    batch = pa.record_batch([[1, 2], ["a", None]], schema=arrow_schema(TWO.columns))
    checked = validate(batch, TWO)
    assert isinstance(checked, pa.RecordBatch)
    assert checked.equals(batch)


def test_metadata_of_the_guest_is_left_behind_and_nullability_is_the_declared_one() -> None:
    fields: list[pa.Field[typing.Any]] = [
        pa.field("n", pa.int64(), metadata={"secret": "1"}),
        pa.field("text", pa.string(), nullable=False),
    ]
    batch = pa.record_batch([[1], ["a"]], schema=pa.schema(fields, metadata={"pandas": "{}"}))
    checked = validate(batch, TWO)
    assert isinstance(checked, pa.RecordBatch)
    assert checked.schema.equals(arrow_schema(TWO.columns), check_metadata=True)


@pytest.mark.parametrize("narrow", [pa.int8(), pa.int16(), pa.int32(), pa.int64()])
def test_signed_integers_of_any_width_are_an_int64(narrow: pa.DataType) -> None:
    assert accepted(pa.array([-1, None, 5], narrow), "int64").to_pylist() == [-1, None, 5]


@pytest.mark.parametrize("narrow", [pa.float16(), pa.float32(), pa.int8(), pa.int64()])
def test_floats_and_integers_are_a_float64(narrow: pa.DataType) -> None:
    assert accepted(pa.array([1, None, 5], pa.int8()).cast(narrow), "float64").to_pylist() == [1.0, None, 5.0]


@pytest.mark.parametrize("carrier", [pa.large_string(), pa.string_view()])
def test_every_carrier_of_text_is_a_string(carrier: pa.DataType) -> None:
    assert accepted(pa.array(["ä", None], carrier), "string").to_pylist() == ["ä", None]


@pytest.mark.parametrize("carrier", [pa.large_binary(), pa.binary_view(), pa.binary(2)])
def test_every_carrier_of_bytes_is_a_binary(carrier: pa.DataType) -> None:
    assert accepted(pa.array([b"ab", None], carrier), "binary").to_pylist() == [b"ab", None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "+05:30"])
def test_a_zoned_timestamp_is_the_same_instant_in_utc(unit: typing.Any, zone: str) -> None:
    moments = pa.array([NOON, None], pa.timestamp("us", tz="UTC")).cast(pa.timestamp(unit, tz=zone))
    result = accepted(moments, "timestamp_utc")
    assert result.type == pa.timestamp("us", tz="UTC")
    assert result.to_pylist() == [NOON, None]


@pytest.mark.parametrize("type_", PRIMITIVES)
def test_a_column_of_nulls_is_of_any_type(type_: PrimitiveType) -> None:
    assert accepted(pa.nulls(3), type_).null_count == 3


@pytest.mark.parametrize(
    ("array", "type_"),
    [
        (pa.array(["1"]), "int64"),
        (pa.array([1], pa.uint64()), "int64"),
        (pa.array([1]), "string"),
        (pa.array([1]), "boolean"),
        (pa.array(["a"]), "binary"),
        (pa.array([b"a"]), "string"),
        (pa.array([NOON.replace(tzinfo=None)]), "timestamp_utc"),
        (pa.array([["nested"]]), "string"),
        (pa.array(["a"]).dictionary_encode(), "string"),
    ],
)
def test_nothing_is_parsed_or_guessed(array: pa.Array[typing.Any], type_: PrimitiveType) -> None:
    violation = one(array, type_)
    assert isinstance(violation, ShapeMismatch)
    assert [mismatch.column for mismatch in violation.types] == ["c"]
    assert str(array.type)[:20] in sentence(violation)


@pytest.mark.parametrize(
    ("array", "type_"),
    [
        (pa.array([2**53 + 1]), "float64"),
        (pa.array([1], pa.timestamp("ns", tz="UTC")), "timestamp_utc"),
        (pa.array([2**62], pa.timestamp("s", tz="UTC")), "timestamp_utc"),
    ],
)
def test_a_value_that_would_change_is_refused(array: pa.Array[typing.Any], type_: PrimitiveType) -> None:
    violation = one(array, type_)
    assert isinstance(violation, ValueDoesNotFit)
    assert violation.column == "c"


def test_missing_and_undeclared_columns_are_named() -> None:
    violation = validate(pa.record_batch({"n": [1], "txt": ["a"]}), TWO)
    assert isinstance(violation, ShapeMismatch)
    assert (violation.missing, violation.extra) == (("text",), ("txt",))
    assert violation.expected == ("n", "text")
    assert violation.actual == ("n", "txt")
    assert "missing: text; not declared: txt" in sentence(violation)


def test_a_column_given_twice_is_one_too_many() -> None:
    violation = validate(pa.record_batch([[1], ["a"], [2]], names=["n", "text", "n"]), TWO)
    assert isinstance(violation, ShapeMismatch)
    assert violation.extra == ("n",)


def test_another_order_is_named_by_place() -> None:
    violation = validate(pa.record_batch({"text": ["a"], "n": [1]}), TWO)
    assert isinstance(violation, ShapeMismatch)
    assert violation.order == (
        OrderMismatch(index=0, expected="n", actual="text"),
        OrderMismatch(index=1, expected="text", actual="n"),
    )
    assert "n expected at 0, text found" in sentence(violation)


def test_another_type_is_named_with_both() -> None:
    violation = validate(pa.record_batch({"n": ["1"], "text": ["a"]}), TWO)
    assert isinstance(violation, ShapeMismatch)
    assert violation.types == (TypeMismatch(column="n", expected="int64", actual="string"),)
    assert "n is string instead of int64" in sentence(violation)


def test_nulls_are_counted_and_the_first_is_placed_in_the_output() -> None:
    batch = pa.record_batch([pa.array([1, None, 3, None]), ["a", "b", None, "d"]], names=["n", "text"])
    violation = validate(batch, TWO, row_first=50_000)
    assert violation == NullNotAllowed(output=OutputName("lines"), column="n", count=2, first_row=50_001)
    assert "has 2 in one batch, the first in row 50,001" in sentence(violation)


@pytest.mark.parametrize("name", ["_cf_job_id", "__cf_row_id", "_CF_anything"])
def test_a_column_of_the_hosts_is_refused_by_name(name: str) -> None:
    violation = validate(pa.record_batch({"n": [1], "text": ["a"], name: ["forged"]}), TWO)
    assert violation == ReservedColumn(output=OutputName("lines"), columns=(name,))
    assert name in sentence(violation)


def broken_offsets() -> pa.Array[typing.Any]:
    offsets = pa.array([0, 1_000_000, 3], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])


def broken_text() -> pa.Array[typing.Any]:
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff\xfe")])


def lying_null_count() -> pa.Array[typing.Any]:
    honest = pa.array([1, None])
    return pa.Array.from_buffers(pa.int64(), 2, honest.buffers(), null_count=2)


@pytest.mark.parametrize("make", [broken_offsets, broken_text, lying_null_count])
def test_a_batch_that_lies_about_its_buffers_is_corrupt(make: typing.Callable[[], pa.Array[typing.Any]]) -> None:
    array = make()
    type_: PrimitiveType = "int64" if array.type == pa.int64() else "string"
    violation = one(array, type_)
    assert isinstance(violation, CorruptBatch)
    assert "corrupt" in sentence(violation)


def test_every_violation_has_a_word_and_a_hint() -> None:
    assert set(KINDS) == set(HINTS) == set(typing.get_args(Violation))


ARRAYS = st.sampled_from(
    [
        pa.array([1, None], pa.int8()),
        pa.array([2**62, 3]),
        pa.array([0.5, None]),
        pa.array(["a", "ä" * 200]),
        pa.array([b"a", None]),
        pa.array([True, None]),
        pa.array([NOON, None]),
        pa.array([1, 2], pa.timestamp("ns", tz="Asia/Tokyo")),
        pa.array([[1], None]),
        pa.array([{"a": 1}, None]),
        pa.nulls(2),
    ]
)
NAMES = st.sampled_from(["a", "b", "c", "_cf_x", "", "name with\nnewline", "x" * 300])


@given(
    columns=st.lists(
        st.builds(column, NAMES, st.sampled_from(PRIMITIVES), nullable=st.booleans()),
        max_size=4,
        unique_by=lambda item: item.name,
    ),
    given_=st.lists(st.tuples(NAMES, ARRAYS), max_size=4),
    agree=st.booleans(),
)
def test_any_batch_becomes_the_declared_schema_or_a_bounded_sentence(
    columns: list[Column], given_: list[tuple[str, pa.Array[typing.Any]]], agree: bool
) -> None:
    names = [item.name for item in columns][: len(given_)] if agree else []
    names += [name for name, _ in given_[len(names) :]]
    batch = pa.record_batch([array for _, array in given_], names=names)
    result = validate(batch, declared(*columns))
    if isinstance(result, pa.RecordBatch):
        assert result.schema.equals(arrow_schema(columns), check_metadata=True)
        assert result.num_rows == (2 if columns else 0)
        result.validate(full=True)
    else:
        assert 0 < len(sentence(result)) < 12_000
        assert "\n" not in sentence(result)
