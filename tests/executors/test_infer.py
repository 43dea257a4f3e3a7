"""Types are what no value speaks against; what is lost has evidence, and two readings that are left are a question."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.column_types import DecimalType
from executors.declared_schema import canonical_text, resolve_outputs
from executors.infer import (
    DATE_FORMATS,
    DATETIME_FORMATS,
    ROWS_MIN,
    TIME_FORMATS,
    ColumnFinding,
    ColumnInference,
    Kind,
    TableInference,
    column_names,
    fits,
    schema_file,
)
from executors.parser_catalog import builtin_parsers
from executors.validate import Checked, validate

CSV = next(package for name, package in builtin_parsers().items() if name == "csv")


def inferred(*values: str | None, kind: Kind = "text", whole: bool = True) -> ColumnFinding:
    column = ColumnInference()
    for line, value in enumerate(values, 2):
        column.take(value, line=line, kind=kind)
    return column.finding(name="c", read_from="c", whole=whole)


def lost(finding: ColumnFinding, candidate: str) -> tuple[str, int, str]:
    """Return the evidence against a candidate: reason, line, value."""
    (found,) = [each for each in finding.eliminated if each.candidate == candidate]
    return found.reason, found.line, found.value


# --- what is left ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "type_", "format_"),
    [
        (["true", "False", "TRUE"], "boolean", "text"),
        (["1", "-20", "0"], "int64", "text"),
        (["1e5", "2", "-inf", "nan"], "float64", "text"),
        (["2024-01-31", "2024-12-01"], "date", "%Y-%m-%d"),
        (["31/01/2024", "01/02/2024"], "date", "%d/%m/%Y"),
        (["31.01.24"], "date", "%d.%m.%y"),
        (["10:00:00", "23:59:59.5"], "time", "%H:%M:%S.%f"),
        (["10:00"], "time", "%H:%M"),
        (["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.123456+02:00"], "timestamp_utc", "%Y-%m-%dT%H:%M:%S.%f%z"),
        (["2024-01-02 03:04:05"], "timestamp", "%Y-%m-%d %H:%M:%S.%f"),
        (["20240102-03:04:05.123"], "timestamp", "%Y%m%d-%H:%M:%S.%f"),
        (["yes", "no"], "string", ""),
        (["P1DT2H", "PT5M"], "string", ""),
        (["1 2", "x"], "string", ""),
    ],
)
def test_a_column_is_what_no_value_speaks_against(values: list[str], type_: str, format_: str) -> None:
    finding = inferred(*values)
    assert (finding.type, finding.format, finding.question) == (type_, format_, "")


@pytest.mark.parametrize(
    ("values", "precision", "scale"),
    [
        (["1.50", "12345.6", "-3"], 7, 2),
        (["0.05"], 2, 2),
        (["9223372036854775808"], 19, 0),  # one more than int64 holds
        (["1." + "1" * 37], 38, 37),
    ],
)
def test_money_is_a_decimal_of_the_digits_that_were_seen(values: list[str], precision: int, scale: int) -> None:
    finding = inferred(*values)
    assert finding.type == DecimalType(precision=precision, scale=scale)
    assert "greater precision" not in finding.notes[0]
    assert "greater precision" in inferred(*values, whole=False).notes[0]


def test_what_a_float_would_round_stays_text() -> None:
    finding = inferred("1e5", "1.2345678901234567890123")
    assert finding.type == "string"
    assert lost(finding, "float") == ("a float would round it", 3, "1.2345678901234567890123")
    assert inferred("1e5", "1e400").type == "string"
    assert inferred("1." + "1" * 38).type == "string"


@pytest.mark.parametrize("value", ["007", "-01", "00.5", "01e3"])
def test_leading_zeros_keep_identifiers(value: str) -> None:
    finding = inferred("1", value)
    assert finding.type == "string"
    assert lost(finding, "float") == ("a leading zero: an identifier", 3, value)


@pytest.mark.parametrize("value", ["+4930", "1,5", " 1", "1.", ".5", "0x1f", "1_000", "١٢"])
def test_what_would_lose_something_as_a_number_stays_text(value: str) -> None:
    assert inferred(value).type == "string"


# --- questions -------------------------------------------------------------------------------------------------------


def test_day_and_month_that_can_be_exchanged_are_a_question_with_its_answers() -> None:
    finding = inferred("05/06/2024", "01/02/2024")
    assert finding.type == "string"
    assert "%d/%m/%Y or date %m/%d/%Y" in finding.question
    assert [answer["format"] for answer in finding.answers] == ["%d/%m/%Y", "%m/%d/%Y"]


def test_one_value_that_decides_is_the_evidence() -> None:
    finding = inferred("05/06/2024", "25/06/2024")
    assert (finding.type, finding.format) == ("date", "%d/%m/%Y")
    assert lost(finding, "date as %m/%d/%Y") == ("does not fit", 3, "25/06/2024")


def test_numbers_that_are_all_days_are_a_question_and_one_that_is_none_decides() -> None:
    finding = inferred("20240131", "20231201")
    assert finding.type == "string"
    assert [answer["type"] for answer in finding.answers] == ["int64", "date"]
    assert inferred("20240131", "20240132").type == "int64"


def test_instants_with_and_without_a_zone_are_not_mixed() -> None:
    finding = inferred("2024-01-02T03:04:05Z", "2024-01-02T03:04:05")
    assert finding.type == "string"
    assert lost(finding, "datetime")[1:] == (3, "2024-01-02T03:04:05")


def test_a_contradiction_names_the_value_that_spoke_first() -> None:
    finding = inferred("1", "2", "x" * 100, "y")
    reason, line, value = lost(finding, "integer")
    assert (reason, line) == ("not a plain number", 4)
    assert value == "x" * 59 + "…"


# --- nulls -----------------------------------------------------------------------------------------------------------


def test_what_may_stand_for_no_value_is_declared_where_there_is_a_type() -> None:
    finding = inferred("1", "", "NA", "", "2")
    assert (finding.type, finding.null_values, finding.values) == ("int64", ("", "NA"), 2)
    assert finding.nulls == {"": 2, "NA": 1}


def test_what_may_stand_for_no_value_stays_text_in_a_text() -> None:
    finding = inferred("x", "NA")
    assert (finding.type, finding.null_values) == ("string", ())
    assert "kept as text" in finding.notes[0]


def test_nothing_speaks_for_a_type_where_there_are_no_values() -> None:
    assert inferred("", "null").notes == ("it has no values: nothing speaks for a type",)
    assert inferred().notes == ("there are no rows: nothing speaks for a type",)


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "type_"),
    [
        ("string", "5", "string"),
        ("string", "2024-01-31", "date"),
        ("number", "20240131", "int64"),
        ("number", "1.5", DecimalType(precision=2, scale=1)),
        ("boolean", "true", "boolean"),
        ("nested", "[1]", "string"),
    ],
)
def test_json_says_itself_what_a_value_is(kind: Kind, value: str, type_: Any) -> None:
    assert inferred(value, kind=kind).type == type_


def test_a_string_of_json_that_looks_like_no_value_is_one() -> None:
    assert inferred("", "NA", kind="string").values == 2
    assert inferred("null", kind="null").values == 0


# --- tables ----------------------------------------------------------------------------------------------------------


def test_names_that_no_table_can_have_are_exchanged_and_read_from_their_own() -> None:
    sources = ["ok", " padded ", "", "OK", "_cf_job_id", "a\tb", "column_3"]
    names = column_names(sources)
    assert names == ["ok", "padded", "column_3_", "column_4", "column_5", "column_6", "column_3"]
    table = TableInference()
    table.take(sources, [2], [["1"]] * len(sources))
    declared = schema_file(table.findings(whole=True), output="trades")
    assert declared["output"] == "trades"
    assert declared["columns"][1] == {
        "name": "padded", "type": "int64", "nullable": True, "format": "text", "read_from": " padded "
    }  # fmt: skip


@given(st.lists(st.text(max_size=6), unique=True, max_size=8))
def test_names_are_of_one_table_whatever_the_header_says(sources: list[str]) -> None:
    names = column_names(sources)
    assert len({name.casefold() for name in names}) == len(sources)
    assert all(name and name.isprintable() and name == name.strip() for name in names)


def test_a_look_ends_early_only_where_nothing_is_left_to_eliminate() -> None:
    texts, numbers = TableInference(), TableInference()
    for table, value in ((texts, "x y"), (numbers, "1")):
        table.take(["a"], list(range(ROWS_MIN - 1)), [[value] * (ROWS_MIN - 1)])
        assert not table.full
        table.take(["a"], [ROWS_MIN], [[value]])
    assert (texts.full, numbers.full) == (True, False)


def test_a_look_ends_at_its_bound() -> None:
    table = TableInference(rows_max=3)
    table.take(["a"], [1, 2, 3], [["1", "2", "3"]])
    assert (table.full, table.rows_wanted) == (True, 0)


# --- properties ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_are_found(values: list[int]) -> None:
    finding = inferred(*map(str, values))
    assert finding.type == "int64" or "int64" in finding.question


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9), min_size=1
    )
)
def test_decimals_keep_every_digit(values: list[Decimal]) -> None:
    finding = inferred(*(f"{value:f}" for value in values))
    assert isinstance(finding.type, DecimalType)
    for value in values:
        whole, _, fraction = f"{abs(value):f}".partition(".")
        assert len(whole.lstrip("0")) <= finding.type.precision - finding.type.scale
        assert len(fraction) <= finding.type.scale


@given(st.dates(min_value=date(1970, 1, 1), max_value=date(2068, 12, 31)), st.sampled_from(DATE_FORMATS))
def test_each_form_of_a_day_is_read_as_python_writes_it(day: date, format_: str) -> None:
    assert fits(day.strftime(format_), format_)


@given(st.datetimes(min_value=datetime(1970, 1, 1)), st.sampled_from(DATETIME_FORMATS))
def test_each_form_of_an_instant_is_read_as_python_writes_it(moment: datetime, format_: str) -> None:
    zone = "+01:30" if format_.endswith("%z") else ""
    assert fits(moment.strftime(format_.removesuffix("%z")) + zone, format_)


@given(st.text("0123456789-/:.TZ +", max_size=20), st.sampled_from((*DATE_FORMATS, *TIME_FORMATS)))
def test_what_fits_a_form_is_read_by_python_too(text: str, format_: str) -> None:
    if fits(text, format_):
        python = format_ if ".%f" not in format_ or "." in text else format_.replace(".%f", "")
        assert isinstance(datetime.strptime(text, python).time(), time)


NULLS = st.sampled_from(["", "NA", "null"])
MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2068, 1, 1))


@st.composite
def written(draw: st.DrawFn) -> list[str]:
    """Draw a column as somebody may have written it, now and then without a value or with one of another kind."""
    format_ = draw(st.sampled_from((*DATE_FORMATS, *TIME_FORMATS, *DATETIME_FORMATS)))
    zone = draw(st.sampled_from(["Z", "+05:30", "-0200"])) if format_.endswith("%z") else ""
    moment = MOMENTS.map(lambda each: each.strftime(format_.removesuffix("%z")) + zone)
    kinds = (
        st.integers(-(2**70), 2**70).map(str),
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20).map(str),
        st.floats().map(str),
        st.sampled_from(["true", "FALSE", "True"]),
        moment,
    )
    kind = draw(st.sampled_from(kinds))
    return draw(st.lists(kind | NULLS | kind | kind, min_size=1, max_size=6)) + draw(
        st.lists(st.text(max_size=4), max_size=1)
    )


@given(written())
def test_the_host_reads_every_value_as_the_type_that_was_inferred_from_it(values: list[str]) -> None:
    table = TableInference()
    table.take(["c"], list(range(len(values))), [values])
    found = table.findings(whole=True)
    declared = canonical_text(json.dumps(schema_file(found)), doing="declare them")
    (output,) = resolve_outputs(CSV, {"schema": declared}).outputs
    given_over = [None if value in found[0].null_values else value for value in values]
    checked = validate(pa.RecordBatch.from_pydict({"c": pa.array(given_over, pa.string())}), output)
    assert isinstance(checked, Checked)
    assert checked.rejected is None
    assert checked.accepted.num_rows == len(values)


@given(st.lists(st.text(max_size=8) | st.sampled_from(["1", "2024-01-31", "true", "1.5", ""])))
def test_every_loss_has_one_value_as_its_evidence(values: list[str]) -> None:
    finding = inferred(*values)
    losses = {each.candidate for each in finding.eliminated if " as " not in each.candidate}
    assert losses.isdisjoint(finding.left)
    assert len(losses) + len(finding.left) == 10
    for each in finding.eliminated:
        assert values[each.line - 2].startswith(each.value.removesuffix("…"))
