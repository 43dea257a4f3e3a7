"""The helper that lies beside a parser: text stays text with its line, and no conversion guesses, rounds or picks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.sdk import casparian_sdk as sdk


def written(folder: Path, content: bytes) -> str:
    path = folder / "source"
    path.write_bytes(content)
    return str(path)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_csv_stays_text_with_the_line_that_each_record_begins_in(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,note\r\n007,"two\nlines, one field"\r\n\r\n1e5,NULL\r\n'
    assert list(sdk.read_csv_text(written(tmp_path, content))) == [
        (1, ["id", "note"]),
        (2, ["007", "two\nlines, one field"]),
        (4, []),
        (5, ["1e5", "NULL"]),
    ]


def test_a_quote_that_is_not_closed_is_told_with_its_line(tmp_path: Path) -> None:
    source = written(tmp_path, b'a,b\nc,"d\ne,f\n')
    with pytest.raises(sdk.PermanentError, match="the record that begins in line 2") as caught:
        list(sdk.read_csv_text(source))
    assert caught.value.kind == "bad_csv"
    assert "quote" in caught.value.hint


def test_bytes_of_another_encoding_are_told_and_never_replaced(tmp_path: Path) -> None:
    source = written(tmp_path, "name\nMüller\n".encode("cp1252"))
    for read in (sdk.read_csv_text(source), sdk.read_fixed_width_text(source, [4])):
        with pytest.raises(sdk.PermanentError, match="not utf-8"):
            list(read)
    assert list(sdk.read_csv_text(source, encoding="cp1252"))[1].fields == ["Müller"]


def test_fixed_width_shows_what_is_short_and_what_is_long(tmp_path: Path) -> None:
    source = written(tmp_path, b"0012 ab\n0013\n\n0014 abcd\n")
    assert list(sdk.read_fixed_width_text(source, [5, 2])) == [
        (1, ["0012", "ab"]),
        (2, ["0013"]),
        (3, []),
        (4, ["0014", "ab", "cd"]),
    ]


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1), max_size=5))
def test_what_a_csv_writer_wrote_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    content = "".join(",".join('"' + field.replace('"', '""') + '"' for field in row) + "\n" for row in rows)
    source = written(tmp_path_factory.mktemp("csv"), b"\xef\xbb\xbf" + content.encode())
    assert [row.fields for row in sdk.read_csv_text(source)] == rows


def test_a_batch_of_text_carries_line_and_error_of_each_row() -> None:
    batch = sdk.text_batch(["a", "b"], [["1", None], ["x", "y"]], lines=[2, 7], errors=[None, "x is no number"])
    assert batch.to_pydict() == {
        "a": ["1", "x"],
        "b": [None, "y"],
        "__cf_row_id": [2, 7],
        "__cf_row_error": [None, "x is no number"],
    }
    assert sdk.text_batch(["a"], [["1"]], lines=[1]).schema == sdk.text_batch(["a"], [[None]], lines=[1]).schema


# --- decimals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "exact"), [("0.10", "0.10"), ("+007.5", "7.5"), ("-12345678", "-12345678"), ("0", "0")]
)
def test_a_decimal_is_exact(text: str, exact: str) -> None:
    assert sdk.to_decimal(text, precision=10, scale=2) == Decimal(exact)


@pytest.mark.parametrize("text", ["", " 1", "1e5", "1,5", "1.", ".5", "NaN", "٣", "1_000", "0.125", "123456789"])
def test_a_decimal_that_does_not_fit_is_never_rounded(text: str) -> None:
    with pytest.raises(sdk.BadValueError):
        sdk.to_decimal(text, precision=10, scale=2)


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38))
def test_every_decimal_of_its_type_is_read_as_it_is(number: int, scale: int) -> None:
    digits = f"{abs(number):0{scale + 1}d}"
    whole, fraction = digits[: len(digits) - scale], digits[len(digits) - scale :]
    text = f"{'-' if number < 0 else ''}{whole}{'.' + fraction if fraction else ''}"
    sign, read, exponent = sdk.to_decimal(text, precision=38, scale=scale).as_tuple()
    assert exponent == -scale
    assert int("".join(map(str, read))) * (-1 if sign else 1) == number


# --- instants ---------------------------------------------------------------------------------------------------------

LOCAL = "%Y-%m-%d %H:%M:%S"


def test_local_time_is_an_instant_by_its_zone() -> None:
    assert sdk.to_instant("2026-01-15 12:00:00", LOCAL, "Europe/Berlin") == datetime(2026, 1, 15, 11, tzinfo=UTC)
    assert sdk.to_instant("2026-07-15 12:00:00", LOCAL, "Europe/Berlin") == datetime(2026, 7, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-03-29 02:30:00", "Europe/Berlin"),
        ("2026-03-08 02:00:00", "America/New_York"),
        ("2011-12-30 12:00:00", "Pacific/Apia"),  # a whole day that was left out
    ],
)
def test_a_time_that_never_was_is_named(text: str, zone: str) -> None:
    with pytest.raises(sdk.NonexistentTimeError, match=f"{text} never was in {zone}"):
        sdk.to_instant(text, LOCAL, zone)
    with pytest.raises(sdk.NonexistentTimeError):
        sdk.to_instant(text, LOCAL, zone, ambiguous="later")


def test_a_time_that_was_twice_is_named_or_taken_as_it_is_asked_for() -> None:
    text, zone = "2026-10-25 02:30:00", "Europe/Berlin"
    with pytest.raises(sdk.AmbiguousTimeError, match="was twice in Europe/Berlin"):
        sdk.to_instant(text, LOCAL, zone)
    earlier = sdk.to_instant(text, LOCAL, zone, ambiguous="earlier")
    assert earlier == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert sdk.to_instant(text, LOCAL, zone, ambiguous="later") == earlier + timedelta(hours=1)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "CET+1", "", "../etc/passwd", "europe/berlin"])
def test_a_zone_that_is_not_there_is_named(zone: str) -> None:
    with pytest.raises(sdk.UnknownZoneError, match="there is no time zone named"):
        sdk.to_instant("2026-01-15 12:00:00", LOCAL, zone)


def test_an_offset_says_all_and_a_zone_beside_it_is_a_contradiction() -> None:
    assert sdk.to_instant("2026-01-15T12:00:00.5+01:00", sdk.ISO8601) == datetime(2026, 1, 15, 11, 0, 0, 500_000, UTC)
    assert sdk.to_instant("2026-01-15T12:00:00Z", sdk.ISO8601) == datetime(2026, 1, 15, 12, tzinfo=UTC)
    with pytest.raises(sdk.BadValueError, match="says its offset itself"):
        sdk.to_instant("2026-01-15T12:00:00Z", sdk.ISO8601, "Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("2026-01-15 12:00:00", LOCAL),  # no zone is named
        ("2026-13-15 12:00:00", LOCAL),
        ("2026-01-15", sdk.ISO8601),
        ("15.01.2026 12:00", sdk.ISO8601),
        ("0001-01-01T00:00:00+12:00", sdk.ISO8601),
    ],
)
def test_a_time_that_does_not_fit_is_a_matter_of_its_row(text: str, format: str) -> None:  # noqa: A002
    with pytest.raises(sdk.BadValueError):
        sdk.to_instant(text, format)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31)), st.sampled_from(["Europe/Berlin", "Asia/Kolkata"]))
def test_an_instant_shown_in_its_zone_is_read_back(moment: datetime, zone: str) -> None:
    instant = moment.replace(tzinfo=UTC)
    shown = instant.astimezone(sdk.zone_named(zone)).replace(tzinfo=None).isoformat()
    readings = {sdk.to_instant(shown, sdk.ISO8601, zone, ambiguous=which) for which in ("earlier", "later")}
    assert instant in readings
