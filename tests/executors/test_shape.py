from __future__ import annotations

import typing

import pyarrow as pa
import pytest

from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema, ShapeMode
from executors.shape import (
    HINTS,
    KINDS,
    CorruptBatch,
    OrderMismatch,
    Placed,
    ReservedColumn,
    ShapeFault,
    ShapeMismatch,
    TypeMismatch,
    place_columns,
    sentence,
    shape_codes,
)
from executors.violations import SHAPE_CODES

ID = Column(name="n", type="int64", nullable=False)
TEXT = Column(name="text", type="string")
DAY = Column(name="day", type="date")


def schema(*columns: Column, mode: ShapeMode = "strict") -> OutputSchema:
    return OutputSchema(output=OutputName("lines"), columns=columns, mode=mode)


def given(**types: pa.DataType) -> pa.Schema:
    return pa.schema(types)


def mismatch(actual: pa.Schema, declared: OutputSchema) -> ShapeMismatch:
    found = place_columns(actual, declared)
    assert isinstance(found, ShapeMismatch)
    return found


def placed(actual: pa.Schema, declared: OutputSchema) -> Placed:
    found = place_columns(actual, declared)
    assert isinstance(found, Placed)
    return found


def test_missing_and_undeclared_columns_are_named() -> None:
    found = mismatch(given(n=pa.int64(), txt=pa.string()), schema(ID, TEXT))
    assert (found.missing, found.extra) == (("text",), ("txt",))
    assert (found.expected, found.actual) == (("n", "text"), ("n", "txt"))
    assert "missing: text; not declared: txt" in sentence(found)
    assert shape_codes(found) == ("column_missing", "column_extra")


@pytest.mark.parametrize("mode", typing.get_args(ShapeMode))
def test_a_column_given_twice_is_one_too_many_in_every_mode(mode: ShapeMode) -> None:
    fields: list[pa.Field[typing.Any]] = [
        pa.field("n", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("n", pa.int64()),
    ]
    assert mismatch(pa.schema(fields), schema(ID, TEXT, mode=mode)).extra == ("n",)


@pytest.mark.parametrize("name", ["__cf_row_id", "__cf_row_error"])
def test_a_helper_column_given_twice_is_one_too_many(name: str) -> None:
    fields: list[pa.Field[typing.Any]] = [
        pa.field("n", pa.int64()),
        pa.field(name, pa.string()),
        pa.field(name, pa.string()),
    ]
    assert mismatch(pa.schema(fields), schema(ID)).extra == (name,)


@pytest.mark.parametrize("mode", typing.get_args(ShapeMode))
def test_another_order_is_named_by_place_in_every_mode(mode: ShapeMode) -> None:
    found = mismatch(given(text=pa.string(), n=pa.int64()), schema(ID, TEXT, mode=mode))
    assert found.order == (
        OrderMismatch(index=0, expected="n", actual="text"),
        OrderMismatch(index=1, expected="text", actual="n"),
    )
    assert "n expected at 0, text found" in sentence(found)
    assert shape_codes(found) == ("order_mismatch",)


def test_another_type_is_named_with_both() -> None:
    found = mismatch(given(n=pa.string(), text=pa.string()), schema(ID, TEXT))
    assert found.types == (TypeMismatch(column="n", expected="int64", actual="string"),)
    assert "n is string instead of int64" in sentence(found)
    assert shape_codes(found) == ("type_mismatch",)


def test_allow_extra_drops_what_is_not_declared_and_names_it() -> None:
    actual = given(more=pa.int8(), n=pa.int64(), other=pa.string(), text=pa.string())
    found = placed(actual, schema(ID, TEXT, mode="allow_extra"))
    assert found == Placed(places=(1, 3), filled=(), dropped=("more", "other"))


def test_allow_extra_fills_nothing() -> None:
    assert mismatch(given(n=pa.int64()), schema(ID, TEXT, mode="allow_extra")).missing == ("text",)


def test_allow_missing_optional_fills_nullable_columns_and_names_them() -> None:
    found = placed(given(n=pa.int64(), day=pa.date32()), schema(ID, TEXT, DAY, mode="allow_missing_optional"))
    assert found == Placed(places=(0, None, 1), filled=("text",), dropped=())


def test_allow_missing_optional_needs_the_columns_without_nulls_and_no_others() -> None:
    found = mismatch(given(text=pa.string(), more=pa.int8()), schema(ID, TEXT, mode="allow_missing_optional"))
    assert (found.missing, found.extra) == (("n",), ("more",))


@pytest.mark.parametrize("name", ["_cf_job_id", "__cf_other", "_CF_x", "__CF_ROW_ID"])
def test_reserved_names_are_refused_before_anything_else(name: str) -> None:
    found = place_columns(pa.schema([(name, pa.string())]), schema(ID, TEXT))
    assert found == ReservedColumn(output=OutputName("lines"), columns=(name,))
    assert shape_codes(found) == ("reserved_column",)


def test_ten_thousand_columns_are_told_in_a_bounded_sentence() -> None:
    found = mismatch(pa.schema([(f"column_{place}", pa.int8()) for place in range(10_000)]), schema(ID))
    assert len(found.extra) == 10_000
    assert "and 9,980 more" in sentence(found)
    assert len(sentence(found)) < 2_000


def test_a_name_of_the_guests_is_shown_in_one_short_line() -> None:
    found = mismatch(pa.schema([("a\n\x1b[31m" + "b" * 500, pa.int8())]), schema(ID))
    assert "\n" not in sentence(found)
    assert "\x1b" not in sentence(found)
    assert "b" * 101 not in sentence(found)


def test_every_fault_has_a_word_a_hint_and_a_code_of_the_list() -> None:
    assert set(KINDS) == set(HINTS) == set(typing.get_args(ShapeFault))
    assert shape_codes(CorruptBatch(output=OutputName("lines"), why="broken")) == ("corrupt_batch",)
    assert len(set(SHAPE_CODES)) == 6
