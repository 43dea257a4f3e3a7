from __future__ import annotations

import math
import typing
from decimal import Decimal
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.column_types import DecimalType
from executors.arrays import Reading
from executors.text_numbers import read_boolean, read_decimal, read_float64, read_int64

Words = list[str | None]


def good(reading: Reading) -> list[typing.Any]:
    assert reading.faults == ()
    return reading.values.to_pylist()


def faults(reading: Reading) -> dict[str, list[int]]:
    return {fault.code: [row for row, is_so in enumerate(fault.rows.to_pylist()) if is_so] for fault in reading.faults}


def decimal(words: Words, precision: int, scale: int) -> Reading:
    return read_decimal(pa.array(words, pa.string()), DecimalType(precision=precision, scale=scale))


@pytest.mark.parametrize("words", [["1", "-0", "007", None], ["+1", "0", "7", None], ["1", "-0", "0" * 60 + "7", None]])
def test_integers_are_signs_and_digits(words: Words) -> None:
    assert good(read_int64(pa.array(words))) == [1, 0, 7, None]


def test_integers_reach_both_ends_and_not_further() -> None:
    words = ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "9" * 99]
    reading = read_int64(pa.array(words))
    assert faults(reading) == {"value_does_not_fit": [2, 3, 4]}
    assert reading.values.slice(0, 2).to_pylist() == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    "word", ["0x1F", " 1", "1 ", "1_0", "", "-", "+-1", "1.0", "1e3", "\u0661", "1\0", "\n1", "NULL"]
)
@pytest.mark.parametrize("others", [["1", "2", "3"], ["+1", "2", "3"], []])
def test_what_is_no_integer_is_said_so_and_the_others_are_read(word: str, others: list[str]) -> None:
    reading = read_int64(pa.array([*others, word]))
    assert faults(reading) == {"format_invalid": [len(others)]}
    assert reading.values.slice(0, len(others)).to_pylist() == [int(other) for other in others]


def test_floats_are_decimals_exponents_and_three_words() -> None:
    words = ["1.5", "1e5", "-1.5E-3", "+2", "inf", "-inf", "nan", "-0.0", None]
    numbers = good(read_float64(pa.array(words)))
    assert numbers[:6] == [1.5, 1e5, -1.5e-3, 2.0, math.inf, -math.inf]
    assert math.isnan(numbers[6])
    assert math.copysign(1, numbers[7]) == -1
    assert numbers[8] is None


def test_plain_floats_are_read_at_once_to_the_nearest() -> None:
    assert good(read_float64(pa.array(["0.1", "-2.50", "3"]))) == [0.1, -2.5, 3.0]


@pytest.mark.parametrize(
    "word", ["NaN", "INF", "Infinity", "+inf", "-nan", "1.", ".5", "-.5", "1e", "0x10", "1d", " 1"]
)
def test_other_spellings_of_floats_are_invalid(word: str) -> None:
    assert faults(read_float64(pa.array(["1.5", word, "2.5"]))) == {"format_invalid": [1]}


@pytest.mark.parametrize("word", ["1e400", "-1e400", "9" * 400])
def test_a_float_too_large_does_not_become_infinite(word: str) -> None:
    assert faults(read_float64(pa.array(["inf", word, "2.5"]))) == {"value_does_not_fit": [1]}
    assert faults(read_float64(pa.array(["1.5", word, "2.5"]))) == {"value_does_not_fit": [1]}


def test_truth_is_six_words() -> None:
    assert good(read_boolean(pa.array(["true", "TRUE", "True", "false", "FALSE", "False", None]))) == [
        *[True] * 3,
        *[False] * 3,
        None,
    ]
    assert faults(read_boolean(pa.array(["tRuE", "1", "0", "yes", "", "t", " true"]))) == {
        "format_invalid": [*range(7)]
    }


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1.5000", "1.50"),
        ("+1", "1.00"),
        ("-0.10", "-0.10"),
        ("00000000001.5", "1.50"),
        ("0" * 60 + "7.5" + "0" * 60, "7.50"),
        ("999999.99", "999999.99"),
        ("-" + "0" * 60, "0.00"),
    ],
)
@pytest.mark.parametrize("odd", [[], ["x"]])
def test_a_decimal_is_exact_and_zeros_around_it_change_nothing(word: str, value: str, odd: list[str]) -> None:
    reading = decimal([word, "1", *odd], 8, 2)
    assert faults(reading) == ({"format_invalid": [2]} if odd else {})
    assert str(reading.values[0].as_py()) in {value, f"-{value}"}


@pytest.mark.parametrize(
    ("word", "is_one"), [("nan", True), ("inf", True), ("-inf", True), ("N/A", False), ("", False)]
)
def test_a_word_among_floats_is_one_of_those_that_are_numbers_or_none(word: str, is_one: bool) -> None:
    reading = read_float64(pa.array([*["1.5"] * 20, word]))
    assert reading.values.is_null().to_pylist() == [*[False] * 20, not is_one]
    assert [fault.code for fault in reading.faults] == ([] if is_one else ["format_invalid"])


@pytest.mark.parametrize("word", ["1e3", "1.5E1", "1.", ".5", "-.5", " 1", "1 ", "", "-", "1,5", "1\0", "nan", "1.5.5"])
def test_other_spellings_of_decimals_are_invalid(word: str) -> None:
    assert faults(decimal(["1.5", word, None], 8, 2)) == {"format_invalid": [1]}


@pytest.mark.parametrize("word", ["1.555", "1234567", "-1234567", "0" * 60 + "7.501", "0.001"])
def test_nothing_is_rounded_and_nothing_is_cut(word: str) -> None:
    assert faults(decimal(["1.5", word, None], 8, 2)) == {"precision_exceeded": [1]}


def test_thirty_eight_digits_are_held_wherever_the_point_is() -> None:
    assert good(decimal(["9" * 38, "-" + "9" * 38], 38, 0)) == [Decimal("9" * 38), Decimal("-" + "9" * 38)]
    assert good(decimal(["0." + "9" * 38], 38, 38)) == [Decimal("0." + "9" * 38)]
    assert faults(decimal(["9" * 39, "1" + "0" * 38], 38, 0)) == {"precision_exceeded": [0, 1]}


def test_a_number_that_would_overflow_on_its_way_does_not_become_another() -> None:
    # Arrow's own cast makes 0.1943... of the text "7" here.
    assert faults(decimal(["7", "0.5"], 38, 38)) == {"precision_exceeded": [0]}
    assert faults(decimal(["70000000000", "0.5"], 38, 30)) == {"precision_exceeded": [0]}


def test_bytes_under_nulls_do_not_count() -> None:
    text = pa.array(["junk", "5", "6"])
    hidden = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x06"), *text.buffers()[1:]])
    assert good(read_int64(hidden)) == [None, 5, 6]
    assert good(read_decimal(hidden, DecimalType(precision=5, scale=1))) == [None, Decimal("5.0"), Decimal("6.0")]


@given(words=st.lists(st.none() | st.sampled_from(["1.5", "-2.5", "+0.1", ".5", "5.", "-.5", "7", ".", "-", ""])))
def test_what_is_seen_in_the_buffers_of_many_texts_changes_nothing_but_the_cost(words: list[str | None]) -> None:
    text = pa.concat_arrays([pa.array([".", *words, "."], pa.string())]).slice(1, len(words))
    for read in (read_float64, partial(read_decimal, type_=DecimalType(precision=9, scale=2))):
        few = read(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("executors.text_numbers.BY_BUFFERS_ROWS_MIN", 0)
            many = read(text)
        assert many.values.equals(few.values)
        assert faults(many) == faults(few)
