from __future__ import annotations

import datetime
import typing

import pyarrow as pa
import pytest

from eventlog.column_types import ColumnType, TimestampTzType, arrow_type
from executors.text_times import read_time
from executors.violations import ViolationCode

NOON = datetime.datetime(2024, 2, 29, 12, 0, 0)
UTC_NOON = NOON.replace(tzinfo=datetime.UTC)
FIX = "%Y%m%d-%H:%M:%S.%f%z"


def split(
    words: list[str | None], type_: ColumnType, text_format: str
) -> tuple[list[typing.Any], dict[ViolationCode, list[int]]]:
    """Return the values that are without fault, and the rows of each fault."""
    reading = read_time(pa.array(words, pa.string()), type_, text_format)
    assert reading.values.type == arrow_type(type_)
    reading.values.validate(full=True)
    faults = {
        fault.code: [row for row, is_so in enumerate(fault.rows.to_pylist()) if is_so] for fault in reading.faults
    }
    bad = {row for rows in faults.values() for row in rows}
    return [reading.values[row].as_py() for row in range(len(words)) if row not in bad], faults


@pytest.mark.parametrize(
    ("word", "text_format"),
    [
        ("2024-02-29T12:00:00", "iso8601"),
        ("2024-02-29 12:00:00.000", "iso8601"),
        ("20240229-12:00:00", "%Y%m%d-%H:%M:%S"),
        ("2024-02-29T12:00:00", "%Y-%m-%dT%H:%M:%S"),
        ("29.02.2024 12:00", "%d.%m.%Y %H:%M"),
        ("29-Feb-24 12.00.00", "%d-%b-%y %H.%M.%S"),
        ("29-FEB-24 12.00.00", "%d-%b-%y %H.%M.%S"),
        ("12|00 02/29/2024", "%H|%M %m/%d/%Y"),
        ("%2024022912:00", "%%%Y%m%d%H:%M"),
        ("20240229120000.000000", "%Y%m%d%H%M%S.%f"),
    ],
)
def test_a_text_of_the_format_is_read_alone_and_beside_bad_ones(word: str, text_format: str) -> None:
    assert split([word, None, word], "timestamp", text_format) == ([NOON, None, NOON], {})
    assert split([word, "x", word, word], "timestamp", text_format) == ([NOON] * 3, {"format_invalid": [1]})
    assert split([word, word.replace("29", "31")], "timestamp", text_format) == ([NOON], {"format_invalid": [1]})


@pytest.mark.parametrize(
    ("word", "text_format"),
    [
        ("20240229-12:00:00Z", FIX),
        ("20240229-12:00:00.000+00:00", FIX),
        ("20240229-13:30:00.0+0130", FIX),
        ("2024-02-29T12:00:00Z", "iso8601"),
        ("2024-02-29 07:00:00.000000-05:00", "iso8601"),
        ("29/02/2024 12:00 Z", "%d/%m/%Y %H:%M %z"),
    ],
)
def test_a_zone_in_the_text_makes_the_same_instant(word: str, text_format: str) -> None:
    assert split([word], "timestamp_utc", text_format) == ([UTC_NOON], {})
    assert split([word, word, "x"], "timestamp_utc", text_format) == ([UTC_NOON] * 2, {"format_invalid": [2]})
    berlin = TimestampTzType(tz="Europe/Berlin")
    assert split([word], berlin, text_format) == ([UTC_NOON], {})


@pytest.mark.parametrize(
    ("word", "text_format"),
    [
        ("20240229-12:00:00", FIX),
        ("20240229-12:00:00.5", FIX),
        ("2024-02-29T12:00:00", "iso8601"),
        ("29/02/2024 12:00", "%d/%m/%Y %H:%M %z"),
    ],
)
def test_a_text_without_its_zone_needs_one(word: str, text_format: str) -> None:
    assert split([word], "timestamp_utc", text_format) == ([], {"timezone_required": [0]})


def test_a_text_that_lacks_more_than_its_zone_is_invalid() -> None:
    assert split(["20240231-12:00:00", "20240229"], "timestamp_utc", FIX) == ([], {"format_invalid": [0, 1]})


@pytest.mark.parametrize(
    "word",
    [
        "20240231-12:00:00Z",
        "20230229-12:00:00Z",
        "19000229-12:00:00Z",
        "20241301-12:00:00Z",
        "20240229-24:00:00Z",
        "20240229-12:60:00Z",
        "20240229-23:59:60Z",
        "20240229-12:00:00.1234567Z",
        "20240229-12:00:00.Z",
        "20240229-12:00:00z",
        "20240229-12:00:00+01",
        "20240229-12:00:00+24:00",
        "20240229-12:00:00+01:60",
        "20240229 12:00:00Z",
        "2024229-12:00:00Z",
        " 20240229-12:00:00Z",
        "20240229-12:00:00Z ",
        "2024022\u0669-12:00:00Z",
        "2024-02-29T12:00:00Z",
        "20240229-12:00:00Z\0",
        "",
    ],
)
@pytest.mark.parametrize("others", [0, 1, 3])
def test_nothing_else_is_read(word: str, others: int) -> None:
    words = [*["20240229-12:00:00.5Z"] * others, word]
    values, faults = split(typing.cast(list[str | None], words), "timestamp_utc", FIX)
    assert faults == {"format_invalid": [others]}
    assert len(values) == others


@pytest.mark.parametrize("word", ["2024-02-29", "2024-02-29T12", "2024-02-29T12:00", "2024-02-29t12:00:00"])
def test_iso_text_without_all_parts_of_a_timestamp_is_invalid(word: str) -> None:
    assert split([word], "timestamp", "iso8601") == ([], {"format_invalid": [0]})
    assert split([f"{word}Z"], "timestamp_utc", "iso8601") == ([], {"format_invalid": [0]})


def test_dates_are_whole_days() -> None:
    leap = datetime.date(2024, 2, 29)
    assert split(["2024-02-29"], "date", "iso8601") == ([leap], {})
    assert split(["20240229", "20230229", "2024-02-29"], "date", "%Y%m%d") == ([leap], {"format_invalid": [1, 2]})
    assert split(["20000229", "19000229"], "date", "%Y%m%d")[1] == {"format_invalid": [1]}


def test_times_of_day_go_to_the_last_microsecond() -> None:
    last = datetime.time(23, 59, 59, 999999)
    assert split(["23:59:59.999999"], "time", "iso8601") == ([last], {})
    assert split(["23:59:59.999999", "24:00:00"], "time", "iso8601") == ([last], {"format_invalid": [1]})
    assert split(["2359"], "time", "%H%M") == ([datetime.time(23, 59)], {})
    assert split(["235959"], "time", "%H%M%S") == ([datetime.time(23, 59, 59)], {})


def test_years_of_two_digits_turn_at_69() -> None:
    years = [value.year for value in split(["010168", "010169", "010100", "010199"], "date", "%d%m%y")[0]]
    assert years == [2068, 1969, 2000, 1999]


def test_years_that_most_programs_do_not_know_do_not_fit() -> None:
    assert split(["0000-01-01", "0001-01-01"], "date", "iso8601") == (
        [datetime.date(1, 1, 1)],
        {"value_does_not_fit": [0]},
    )
    words: list[str | None] = ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]
    assert split(words, "timestamp_utc", "iso8601") == ([], {"value_does_not_fit": [0, 1]})
    assert split(["0000-02-30"], "date", "iso8601") == ([], {"format_invalid": [0]})
