from __future__ import annotations

import datetime
import json
import math
import struct
import typing
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.row_text import text_of


def said(array: pa.Array[typing.Any]) -> list[typing.Any]:
    text = text_of(array)
    assert text.type == pa.string()
    text.validate(full=True)
    return text.to_pylist()


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.nulls(2), [None, None]),
        (pa.array(["a\0\n", None], pa.large_string()), ["a\0\n", None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([2**64 - 1, None], pa.uint64()), ["18446744073709551615", None]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([0.1, -0.0, 1e300, float("inf"), None]), ["0.1", "-0", "1e+300", "inf", None]),
        (pa.array([b"\0\xff", b"", None]), ["0x00ff", "0x", None]),
        (pa.array([b"ab", None], pa.binary(2)), ["0x6162", None]),
        (
            pa.array([Decimal("0.0000001"), Decimal(0), None], pa.decimal128(20, 10)),
            ["0.0000001000", "0.0000000000", None],
        ),
        (pa.array([Decimal("-0.05"), Decimal("-12.30")], pa.decimal128(4, 2)), ["-0.05", "-12.30"]),
        (pa.array([Decimal("1200")], pa.decimal128(5, -2)), ["1200"]),
        (pa.array([Decimal("9" * 76)], pa.decimal256(76, 0)), ["9" * 76]),
        (pa.array([1, None], pa.timestamp("ns", tz="Asia/Tokyo")), ["1970-01-01 00:00:00.000000001Z", None]),
        (pa.array([1], pa.timestamp("s")), ["1970-01-01 00:00:01"]),
        (pa.array([2**62, -(2**62)], pa.timestamp("s", tz="UTC")), ["4611686018427387904 s", "-4611686018427387904 s"]),
        (pa.array([2**31 - 1, 0], pa.date32()), ["2147483647 d", "1970-01-01"]),
        (pa.array([86_399_999_999], pa.time64("us")), ["23:59:59.999999"]),
    ],
)
def test_a_value_is_written_in_full(array: pa.Array[typing.Any], text: list[str | None]) -> None:
    assert said(array) == text
    assert said(array.slice(1)) == text[1:]


@given(st.lists(st.none() | st.floats()))
def test_floats_read_back_as_the_same(numbers: list[float | None]) -> None:
    for number, text in zip(numbers, said(pa.array(numbers, pa.float64())), strict=True):
        if number is None or math.isnan(number):
            assert text == (None if number is None else "nan")
        else:
            assert struct.pack("<d", float(text)) == struct.pack("<d", number)


@given(st.lists(st.none() | st.binary(max_size=6)), st.integers(0, 3))
def test_bytes_read_back_as_the_same(values: list[bytes | None], first: int) -> None:
    texts = said(pa.array(values, pa.binary()).slice(first))
    assert [None if text is None else bytes.fromhex(text.removeprefix("0x")) for text in texts] == values[first:]


@given(st.lists(st.none() | st.decimals(min_value=-(10**9), max_value=10**9, places=4)))
def test_decimals_read_back_as_the_same(values: list[Decimal | None]) -> None:
    for value, text in zip(values, said(pa.array(values, pa.decimal128(20, 4))), strict=True):
        assert text is None if value is None else Decimal(text) == value
        assert text is None or "E" not in text


NESTED = pa.struct(
    [
        ("n", pa.int64()),
        ("t", pa.string()),
        ("l", pa.list_(pa.list_(pa.string()))),
        ("f", pa.float64()),
        ("b", pa.bool_()),
    ]
)
ROWS = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "t": st.none() | st.text(),
        "l": st.none() | st.lists(st.none() | st.lists(st.none() | st.text(max_size=3), max_size=2), max_size=2),
        "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans(),
    }
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draws of a fresh process are
@given(st.lists(st.none() | ROWS, max_size=4), st.integers(0, 2))
def test_lists_and_structs_are_json(rows: list[dict[str, object] | None], first: int) -> None:
    texts = said(pa.array(rows, NESTED).slice(first))
    assert [None if text is None else json.loads(text) for text in texts] == rows[first:]


def test_what_json_has_no_kind_for_is_a_string_in_it() -> None:
    value = {"d": Decimal("1.50"), "x": float("nan"), "b": b"\1", "t": datetime.date(2026, 1, 31)}
    types = pa.struct([("d", pa.decimal128(5, 2)), ("x", pa.float64()), ("b", pa.binary()), ("t", pa.date32())])
    (text,) = said(pa.array([value], types))
    assert json.loads(text) == {"d": "1.50", "x": "nan", "b": "0x01", "t": "2026-01-31"}
