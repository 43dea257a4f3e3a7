from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.column_types import ColumnType, DecimalType, ListType, TimestampTzType
from eventlog.schema import Column
from executors.formats import DIRECTIVES, Edit, compiled, format_fault

BERLIN = TimestampTzType(tz="Europe/Berlin")


def fault(type_: ColumnType, text_format: str) -> str | None:
    return format_fault(Column(name="c", type=type_, format=text_format))


@pytest.mark.parametrize(
    ("type_", "text_format"),
    [
        ("string", ""),
        (DecimalType(precision=4, scale=2), ""),
        ("int64", "text"),
        ("float64", "text"),
        ("boolean", "text"),
        ("date", "iso8601"),
        ("date", "%d.%m.%Y"),
        ("date", "%d-%b-%y"),
        ("date", "%%%Y%m%d"),
        ("time", "%H:%M"),
        ("time", "%H%M%S.%f"),
        ("timestamp", "%Y-%m-%dT%H:%M:%S"),
        ("timestamp_utc", "%Y%m%d-%H:%M:%S.%f%z"),
        ("timestamp_utc", "iso8601"),
        (BERLIN, "%d/%m/%Y %H:%M %z"),
    ],
)
def test_a_format_that_says_all_of_its_type_has_no_fault(type_: ColumnType, text_format: str) -> None:
    assert fault(type_, text_format) is None


@pytest.mark.parametrize(
    ("type_", "text_format", "why"),
    [
        ("string", "text", "its type has no format"),
        ("binary", "hex", "its type has no format"),
        (DecimalType(precision=4, scale=2), "text", "its type has no format"),
        (ListType(item="date"), "iso8601", "its type has no format"),
        ("int64", "%d", 'a format of int64 is "text" or nothing'),
        ("date", "text", "its format lacks %Y or %y"),
        ("date", "%Y-%m-%q", "its format has '%q'"),
        ("date", "%Y-%m", "its format lacks %d"),
        ("date", "%Y%m%d %H", "its format has %H, of which a date keeps nothing"),
        ("date", "%Y%y%m%d", "names %Y and %y more than once"),
        ("date", "%Y%m%d%d", "names %d more than once"),
        ("date", "%Y%m%d%z", "its format has %z, its type has no zone"),
        ("time", "%H", "its format lacks %M"),
        ("time", "%H:%M.%f", "its format has .%f without %S"),
        ("time", "%Y%H:%M", "its format has %Y, of which a time keeps nothing"),
        ("timestamp", "%Y%m%d", "its format lacks %H"),
        ("timestamp", "%Y%m%d%H%M%f", "its format has '%f'"),
        ("timestamp", "%Y%m%d%H%M%z", "its format has %z, its type has no zone"),
        ("timestamp", "%Y%m%d%H%M%", "its format has '%'"),
        ("timestamp_utc", "%Y%m%d-%H:%M:%S", "instants need %z in their format"),
        (BERLIN, "%Y%m%d-%H:%M:%S", "instants need %z in their format"),
        ("date", "%Y%m%d" + "x" * 200, "more than 200 characters"),
    ],
)
def test_a_format_that_cannot_be_is_told_with_the_reason(type_: ColumnType, text_format: str, why: str) -> None:
    found = fault(type_, text_format)
    assert found is not None
    assert why in found


def test_parts_in_the_order_of_iso_need_edits_only() -> None:
    assert compiled("%Y%m%d-%H:%M:%S.%f%z", "timestamp").edits == (
        Edit(start=4, stop=4, literal="", replacement="-"),
        Edit(start=7, stop=7, literal="", replacement="-"),
        Edit(start=10, stop=11, literal="-", replacement="T"),
    )
    assert compiled("%Y-%m-%d", "date").edits == ()


@pytest.mark.parametrize(
    "text_format", ["%d.%m.%Y", "[%Y%m%d", "%Y%m%d]", "%Y--%m%d", "%Y\u00b7%m%d", "%y%m%d", "%Y%b%d", "%Y%m%d%%"]
)
def test_others_are_read_by_their_pattern(text_format: str) -> None:
    assert compiled(text_format, "date").edits is None


@given(
    parts=st.lists(st.sampled_from([*DIRECTIVES, "%%", "-", " ", "(", "\\1", "%q", "."]), max_size=9),
    type_=st.sampled_from(["date", "time", "timestamp", "timestamp_utc"]),
)
def test_any_format_has_a_fault_or_compiles(parts: list[str], type_: ColumnType) -> None:
    text_format = "".join(parts)
    if text_format and fault(type_, text_format) is None:
        plan = compiled(text_format, "timestamp" if type_ == "timestamp_utc" else type_)
        assert plan.chars_min <= plan.chars_max
        assert plan.zoned == (type_ == "timestamp_utc")
