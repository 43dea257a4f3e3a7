from __future__ import annotations

import datetime
import itertools
import struct
import typing
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.column_types import ColumnType, DecimalType, ListType, PrimitiveType
from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema
from executors import arrays
from executors.rejected import Rejected
from executors.shape import CorruptBatch, ReservedColumn, ShapeFault, ShapeMismatch, sentence
from executors.validate import Checked, validate
from executors.violations import ROW_CODES, Rule, ViolationCode, coarse_word, row_sentence
from sinks.arrow_schema import arrow_schema
from tests.executors.carriers import CARRIERS, Carrier, raw

PRIMITIVES: tuple[PrimitiveType, ...] = typing.get_args(PrimitiveType)
UNTYPED: typing.Any = pa  # the stubs know one way only to make a list
NOON = datetime.datetime(2026, 1, 22, 12, 0, tzinfo=datetime.UTC)


def declared(*columns: Column) -> OutputSchema:
    return OutputSchema(output=OutputName("lines"), columns=columns)


def column(name: str, type_: ColumnType, *, nullable: bool = True, text_format: str = "") -> Column:
    return Column(name=name, type=type_, nullable=nullable, format=text_format)


def checked(batch: pa.RecordBatch, schema: OutputSchema, *, row_first: int = 0) -> Checked:
    result = validate(batch, schema, row_first=row_first)
    assert isinstance(result, Checked), sentence(result)
    return result


def rejected(result: Checked) -> Rejected:
    assert result.rejected is not None
    return result.rejected


def fault(batch: pa.RecordBatch, schema: OutputSchema) -> ShapeFault:
    result = validate(batch, schema)
    assert not isinstance(result, Checked)
    return result


TWO = declared(column("n", "int64", nullable=False), column("text", "string"))


def test_a_batch_of_the_declared_columns_comes_back_equal() -> None:
    batch = pa.record_batch([[1, 2], ["a", None]], schema=arrow_schema(TWO.columns))
    result = checked(batch, TWO)
    assert result.accepted.equals(batch)
    assert (result.rejected, result.counts, result.filled, result.dropped, result.warnings) == (None, {}, (), (), ())


def test_what_one_batch_of_an_output_was_like_says_nothing_of_the_next() -> None:
    exact = pa.record_batch([[1, 2], ["a", None]], schema=arrow_schema(TWO.columns))
    loose = pa.record_batch([pa.array([3], pa.int32()), pa.array(["b"])], names=["n", "text"])
    without = pa.record_batch([["c"]], names=["text"])
    unfit: list[pa.Array[typing.Any]] = [pa.array([4, None]), pa.array(["d", "e"])]
    bad = pa.record_batch(unfit, names=["n", "text"])
    for _ in range(2):
        assert checked(exact, TWO).accepted.equals(exact)
        assert checked(loose, TWO).accepted.to_pylist() == [{"n": 3, "text": "b"}]
        assert isinstance(fault(without, TWO), ShapeMismatch)
        assert checked(bad, TWO).accepted.to_pylist() == [{"n": 4, "text": "d"}]
        assert rejected(checked(bad, TWO)).rows.num_rows == 1


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamp_utc"])
def test_a_moment_of_no_known_year_is_rejected_though_all_is_as_declared(type_: PrimitiveType) -> None:
    shape = declared(column("at", type_))
    wanted = arrow_schema(shape.columns).field(0).type
    numbers = pa.array([0, -800_000 if type_ == "date" else -(2**62)], pa.int32() if type_ == "date" else pa.int64())
    batch = pa.record_batch([numbers.view(wanted)], schema=arrow_schema(shape.columns))
    result = checked(batch, shape)
    assert (result.accepted.num_rows, rejected(result).rows.num_rows) == (1, 1)


def test_a_hostile_text_of_a_flat_batch_is_still_corrupt() -> None:
    offsets = pa.py_buffer(struct.pack("<3i", 0, 1_000_000, 5))
    text = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abcde")])
    batch = pa.record_batch([pa.array([1, 2]), text], schema=arrow_schema(TWO.columns))
    assert isinstance(fault(batch, TWO), CorruptBatch)


def test_metadata_of_the_guest_is_left_behind_and_nullability_is_the_declared_one() -> None:
    fields: list[pa.Field[typing.Any]] = [
        pa.field("n", pa.int64(), metadata={"secret": "1"}),
        pa.field("text", pa.string(), nullable=False),
    ]
    batch = pa.record_batch([[1], ["a"]], schema=pa.schema(fields, metadata={"pandas": "{}"}))
    assert checked(batch, TWO).accepted.schema.equals(arrow_schema(TWO.columns), check_metadata=True)


def test_a_row_that_does_not_fit_is_rejected_and_the_others_pass() -> None:
    batch = pa.record_batch([pa.array([1, None, 3, None]), ["a", "b", None, "d"]], names=["n", "text"])
    result = checked(batch, TWO, row_first=50_000)
    assert result.accepted.to_pylist() == [{"n": 1, "text": "a"}, {"n": 3, "text": None}]
    assert result.counts == {Rule(column="n", code="null_not_allowed"): 2}
    rows = rejected(result)
    assert rows.rows.to_pylist() == [{"n": None, "text": "b"}, {"n": None, "text": "d"}]
    assert rows.error_msg.to_pylist() == ["schema: null not allowed in n"] * 2
    assert rows.violation_type.to_pylist() == ["null_not_allowed"] * 2
    assert rows.rule_id.to_pylist() == ["n.null_not_allowed"] * 2
    assert rows.row_index.to_pylist() == [50_001, 50_003]
    assert rows.source_row.to_pylist() == [None, None]


FIVE = declared(
    column("n", "int64", nullable=False),
    column("price", DecimalType(precision=4, scale=1)),
    column("day", "date", text_format="%Y%m%d"),
    column("at", "timestamp_utc", text_format="iso8601"),
    column("count", "int64", text_format="text"),
)


def test_a_row_that_breaks_five_rules_is_one_row_with_five_sentences_and_five_counts() -> None:
    good: list[object] = [1, "1.5", "20260131", "2026-01-31T10:00:00Z", "7"]
    bad: list[object] = [None, "1.55", "20260231", "2026-01-31T10:00:00", "9223372036854775808"]
    batch = pa.record_batch(
        [pa.array(pair) for pair in zip(good, bad, strict=True)], names=[c.name for c in FIVE.columns]
    )
    result = checked(batch, FIVE)
    assert result.accepted.num_rows == 1
    rows = rejected(result)
    assert rows.error_msg.to_pylist() == [
        "schema: null not allowed in n; "
        "schema: does not match decimal(4,1) for price: it has more digits; "
        "schema: does not match format %Y%m%d for day; "
        "schema: no time zone in at, which is a timestamp_utc; "
        "schema: does not fit int64 in count"
    ]
    assert rows.rule_id.to_pylist() == ["n.null_not_allowed"]
    assert list(rows.rows.to_pylist()[0].values()) == bad
    assert {rule.rule_id: count for rule, count in result.counts.items()} == {
        "n.null_not_allowed": 1,
        "price.precision_exceeded": 1,
        "day.format_invalid": 1,
        "at.timezone_required": 1,
        "count.value_does_not_fit": 1,
    }


def with_errors(said: pa.Array[typing.Any]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array([1, None, 3]), pa.array(["a", "b", "c"]), said], names=["n", "text", "__cf_row_error"]
    )


@pytest.mark.parametrize(
    "lists",
    [
        # The children of the third row stand before those of the others; those of the last are under a null.
        UNTYPED.ListViewArray.from_arrays([4, 2, 0], [2, 2, 2], pa.array([1, 2**63, 3, 4, 5, 6], pa.uint64())),
        UNTYPED.ListArray.from_arrays(
            [0, 2, 4, 6], pa.array([1, 2, 3, 4, 2**63, 6], pa.uint64()), mask=pa.array([False, True, False])
        ),
    ],
)
def test_the_row_whose_list_has_the_value_is_rejected_wherever_that_value_lies(lists: pa.Array[typing.Any]) -> None:
    schema = OutputSchema(
        output=OutputName("lists"),
        columns=(Column(name="id", type="int64"), Column(name="of", type=ListType(item="int64"))),
    )
    result = validate(pa.record_batch({"id": pa.array([1, 2, 3]), "of": lists}), schema)
    assert isinstance(result, Checked)
    assert result.rejected is not None
    assert result.accepted["id"].to_pylist() == [1, 2]
    assert result.accepted["of"].to_pylist() == lists.to_pylist()[:2]
    assert result.rejected.row_index.to_pylist() == [2]


@pytest.mark.parametrize(
    ("days", "fine"), [(-719_163, False), (-719_162, True), (2_932_896, True), (2_932_897, False), (2**31 - 1, False)]
)
def test_a_day_that_no_reader_knows_does_not_fit(days: int, fine: bool) -> None:
    schema = OutputSchema(output=OutputName("days"), columns=(Column(name="day", type="date"),))
    result = validate(pa.record_batch({"day": pa.array([days, None], pa.int32()).cast(pa.date32())}), schema)
    assert isinstance(result, Checked)
    assert [rule.rule_id for rule in result.counts] == ([] if fine else ["day.value_does_not_fit"])
    assert result.accepted.num_rows == (2 if fine else 1)


def test_a_row_that_the_parser_rejects_itself_is_rejected_with_its_words_first() -> None:
    result = checked(with_errors(pa.array(["bad checksum", "no end", None])), TWO)
    rows = rejected(result)
    assert result.accepted.to_pylist() == [{"n": 3, "text": "c"}]
    assert rows.error_msg.to_pylist() == ["bad checksum", "no end; schema: null not allowed in n"]
    assert rows.violation_type.to_pylist() == ["parser", "parser"]
    assert rows.rule_id.to_pylist() == ["parser"] * 2
    assert rows.rows.schema.names == ["n", "text"]
    assert result.counts == {
        Rule(column="__cf_row_error", code="parser"): 2,
        Rule(column="n", code="null_not_allowed"): 1,
    }


def test_a_parser_that_rejects_a_row_in_no_words_is_unknown() -> None:
    rows = rejected(checked(with_errors(pa.array(["", None, None])), TWO))
    assert rows.violation_type.to_pylist() == ["unknown", "null_not_allowed"]
    assert rows.error_msg.to_pylist() == ["the parser gave no reason", "schema: null not allowed in n"]


def test_errors_of_another_type_than_text_are_a_mismatch() -> None:
    mismatch = fault(with_errors(pa.array([1, 2, 3])), TWO)
    assert isinstance(mismatch, ShapeMismatch)
    assert [item.column for item in mismatch.types] == ["__cf_row_error"]


def test_errors_that_are_all_null_reject_nothing() -> None:
    assert checked(with_errors(pa.nulls(3)), TWO).accepted.num_rows == 2
    assert checked(with_errors(pa.nulls(3, pa.string())), TWO).accepted.num_rows == 2


def with_ids(ids: pa.Array[typing.Any]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([None, 2, None]), pa.nulls(3), ids], names=["n", "text", "__cf_row_id"])


@pytest.mark.parametrize("type_", [pa.int64(), pa.uint64()])
def test_rejected_rows_keep_their_place_in_the_source(type_: pa.DataType) -> None:
    result = checked(with_ids(pa.array([7, 8, 12], type_)), TWO, row_first=3)
    assert rejected(result).source_row.to_pylist() == [7, 12]
    assert rejected(result).row_index.to_pylist() == [3, 5]
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        (pa.array(["1", "2", "3"]), "it is string, not int64 or uint64"),
        (pa.array([1, 2, 3], pa.int32()), "it is int32, not int64 or uint64"),
        (pa.array([1, None, 3]), "it has nulls"),
        (pa.array([1, -2, 3]), "below 0"),
        (pa.array([1, 2**63, 3], pa.uint64()), "above those of an int64"),
    ],
)
def test_places_that_cannot_be_believed_are_ignored_with_a_warning(ids: pa.Array[typing.Any], why: str) -> None:
    result = checked(with_ids(ids), TWO)
    assert rejected(result).source_row.to_pylist() == [None, None]
    assert len(result.warnings) == 1
    assert why in result.warnings[0]


def test_helper_columns_are_neither_declared_nor_stored_wherever_they_stand() -> None:
    batch = pa.record_batch(
        [pa.nulls(1), pa.array([1]), pa.array([5]), pa.array(["a"])],
        names=["__cf_row_error", "n", "__cf_row_id", "text"],
    )
    assert checked(batch, TWO).accepted.to_pylist() == [{"n": 1, "text": "a"}]


@pytest.mark.parametrize("name", ["_cf_job_id", "__cf_rows", "__CF_ROW_ID", "_CF_anything"])
def test_a_column_of_the_hosts_is_refused_by_name(name: str) -> None:
    found = fault(pa.record_batch({"n": [1], "text": ["a"], name: ["forged"]}), TWO)
    assert found == ReservedColumn(output=OutputName("lines"), columns=(name,))
    assert name in sentence(found)


def broken_offsets() -> pa.Array[typing.Any]:
    offsets = pa.array([0, 1_000_000, 3], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])


def broken_text() -> pa.Array[typing.Any]:
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff\xfe")])


def lying_null_count() -> pa.Array[typing.Any]:
    honest = pa.array([1, None])
    return pa.Array.from_buffers(pa.int64(), 2, honest.buffers(), null_count=2)


def hidden_text() -> pa.Array[typing.Any]:
    """Return a text that is no UTF-8 far behind others."""
    return pa.array([b"a" * 100_000, b"b\xff"]).view(pa.string())


@pytest.mark.parametrize("rows_min", [0, arrays.BY_BUFFERS_ROWS_MIN], ids=["by buffers", "at once"])
@pytest.mark.parametrize("make", [broken_offsets, broken_text, hidden_text, lying_null_count])
def test_a_batch_that_lies_about_its_buffers_is_corrupt(
    make: typing.Callable[[], pa.Array[typing.Any]], rows_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executors.validate.BY_BUFFERS_ROWS_MIN", rows_min)
    array = make()
    type_: PrimitiveType = "int64" if array.type == pa.int64() else "string"
    found = fault(pa.record_batch([array], names=["c"]), declared(column("c", type_)))
    assert isinstance(found, CorruptBatch)
    assert "corrupt" in sentence(found)
    assert "column 0" in found.why


@pytest.mark.parametrize("text", ["plain", "\u00e4\u20ac", ""])
def test_texts_of_many_rows_are_taken_whatever_letters_they_have(text: str) -> None:
    rows = arrays.BY_BUFFERS_ROWS_MIN
    batch = pa.record_batch({"c": pa.array([text] * rows)}).slice(1)
    result = validate(batch, declared(column("c", "string")))
    assert isinstance(result, Checked)
    assert result.accepted.column(0).to_pylist() == [text] * (rows - 1)


def test_every_code_has_a_coarse_word_and_a_sentence_with_the_columns_name() -> None:
    for code in ROW_CODES:
        assert coarse_word(code) in {"schema", "null_not_allowed", "parser", "unknown"}
        assert code == "parser" or "price" in row_sentence(column("price", "int64"), code)
    assert typing.get_args(ViolationCode) == ROW_CODES


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
    if isinstance(result, Checked):
        assert result.accepted.schema.equals(arrow_schema(columns), check_metadata=True)
        kept = result.accepted.num_rows + (0 if result.rejected is None else result.rejected.rows.num_rows)
        assert kept == (2 if columns else 0)
        result.accepted.validate(full=True)
    else:
        assert 0 < len(sentence(result)) < 12_000
        assert "\n" not in sentence(result)


class Table(typing.NamedTuple):
    """Any table: how each column is given, whether it may have nulls, its values, and what the parser says of rows."""

    carriers: list[Carrier]
    nullable: list[bool]
    columns: list[list[typing.Any]]
    errors: list[str | None] | None

    @property
    def names(self) -> list[str]:
        return [f"c{place}" for place in range(len(self.carriers))]

    def schema(self) -> OutputSchema:
        named = zip(self.names, self.carriers, self.nullable, strict=True)
        return declared(
            *(Column(name=name, type=way.type, format=way.format, nullable=nullable) for name, way, nullable in named)
        )

    def batch(self) -> pa.RecordBatch:
        arrays = [way.given(values) for way, values in zip(self.carriers, self.columns, strict=True)]
        batch = pa.record_batch(arrays, names=self.names)
        return (
            batch if self.errors is None else batch.append_column("__cf_row_error", pa.array(self.errors, pa.string()))
        )

    def judged(self, row: int) -> tuple[tuple[typing.Any, ...], list[str]]:
        """Return one row's values as they are to be accepted, and the rules that it breaks; slowly."""
        broken = [] if self.errors is None or self.errors[row] is None else ["parser"]
        values: list[typing.Any] = []
        for way, nullable, name, column_ in zip(self.carriers, self.nullable, self.names, self.columns, strict=True):
            value = column_[row]
            code, said = (None if nullable else "null_not_allowed", None) if value is None else way.judge(value)
            values.append(said)
            broken += [] if code is None else [f"{name}.{code}"]
        return tuple(values), broken


@st.composite
def tables(draw: st.DrawFn) -> Table:
    chosen = draw(st.lists(st.sampled_from(CARRIERS), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    errors = st.lists(st.none() | st.sampled_from(["", "bad", "a; b"]), min_size=rows, max_size=rows)
    return Table(
        carriers=chosen,
        nullable=[draw(st.booleans()) for _ in chosen],
        columns=[draw(st.lists(st.none() | way.values, min_size=rows, max_size=rows)) for way in chosen],
        errors=draw(st.none() | errors),
    )


@settings(max_examples=200, deadline=None)
@given(table=tables(), first=st.integers(0, 3))
def test_rows_are_split_as_a_slow_judge_splits_them_and_what_passes_is_what_was_given(table: Table, first: int) -> None:
    batch = table.batch().slice(first)
    result = checked(batch, table.schema(), row_first=100)
    verdicts = [table.judged(first + row) for row in range(batch.num_rows)]
    accepted = [raw(array, way.type) for array, way in zip(result.accepted.columns, table.carriers, strict=True)]
    assert list(zip(*accepted, strict=True)) == [values for values, broken in verdicts if not broken]
    result.accepted.validate(full=True)
    failed = {100 + row: broken for row, (_, broken) in enumerate(verdicts) if broken}
    assert {rule.rule_id: count for rule, count in result.counts.items()} == Counter(itertools.chain(*failed.values()))
    if result.rejected is None:
        assert failed == {}
        return
    assert result.rejected.row_index.to_pylist() == list(failed)
    assert result.rejected.rule_id.to_pylist() == [broken[0] for broken in failed.values()]
    assert [str(said).count("schema: ") for said in result.rejected.error_msg.to_pylist()] == [
        sum(rule != "parser" for rule in broken) for broken in failed.values()
    ]
    assert result.rejected.rows.schema.names == table.names
