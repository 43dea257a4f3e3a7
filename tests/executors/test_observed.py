"""What columns are seen to be, and in what they differ from a declaration."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema, ShapeMode
from executors.observed import COLUMNS_OBSERVED_MAX, ROWS_INFERRED_MAX, Observation
from executors.shape import Placed, place_columns
from executors.validate import Checked, validate
from executors.violations import Rule
from tests.executors.columns import schema_of

NAME = Column(name="name", type="string", nullable=False)
AGE = Column(name="age", type="int64")


def differences(observed: Observation, broken: dict[Rule, int] | None = None) -> list[tuple[str, str]]:
    return [(each.column, each.kind) for each in observed.differences(broken or {})]


def test_nothing_given_is_no_difference() -> None:
    assert differences(Observation(schema_of(NAME, AGE))) == []


def test_what_is_as_declared_differs_in_nothing() -> None:
    observed = Observation(schema_of(NAME, AGE))
    observed.see(pa.record_batch({"name": ["a", "b"], "age": pa.array([1, None], pa.int32())}))
    assert differences(observed) == []
    name, age = observed.columns()
    assert (name.types, name.rows, name.nulls) == (("string",), 2, 0)
    assert (age.types, age.nulls) == (("int32",), 1)


def test_each_kind_of_difference_is_told() -> None:
    observed = Observation(schema_of(NAME, AGE, Column(name="city", type="string")))
    observed.see(pa.record_batch({"age": ["x"], "name": pa.array([None], pa.string()), "town": ["y"]}))
    assert differences(observed) == [
        ("name", "nullability"),
        ("age", "type"),
        ("city", "missing"),
        ("town", "extra"),
        ("age", "order"),
        ("name", "order"),
    ]


def test_values_that_do_not_fit_are_a_difference_and_nulls_are_told_once() -> None:
    observed = Observation(schema_of(NAME, AGE))
    observed.see(pa.record_batch({"name": pa.array([None, "a"]), "age": [1, 2]}))
    broken = {Rule(column="name", code="null_not_allowed"): 1, Rule(column="age", code="value_does_not_fit"): 2}
    assert differences(observed, broken) == [("name", "nullability"), ("age", "values")]


def test_types_and_nulls_of_all_batches_are_gathered() -> None:
    observed = Observation(schema_of(AGE))
    observed.see(pa.record_batch({"age": pa.array([1, None], pa.int64())}))
    observed.see(pa.record_batch({"age": pa.array(["x", None], pa.string())}))
    (age,) = observed.columns()
    assert (age.types, age.rows, age.nulls) == (("int64", "string"), 4, 2)
    assert differences(observed) == [("age", "type")]


def test_a_column_given_twice_is_too_many() -> None:
    observed = Observation(schema_of(AGE))
    observed.see(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["age", "age"]))
    assert differences(observed) == [("age", "extra")]


def test_nulls_inside_a_dictionary_are_nulls() -> None:
    observed = Observation(schema_of(NAME))
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([None, "a"], pa.string()))
    observed.see(pa.record_batch({"name": coded}))
    assert observed.columns()[0].nulls == 2


def test_new_columns_without_end_are_not_kept_without_end() -> None:
    observed = Observation(schema_of(AGE))
    for start in range(0, COLUMNS_OBSERVED_MAX + 2000, 1000):
        names = [f"c{number}" for number in range(start, start + 1000)]
        observed.see(pa.RecordBatch.from_arrays([pa.array([1])] * 1000, names=names))
    assert len(observed.columns()) == COLUMNS_OBSERVED_MAX


names = st.sampled_from(["a", "b", "c", "d"])
types = st.sampled_from([pa.int64(), pa.int32(), pa.string(), pa.float64()])


@given(
    declared=st.lists(names, unique=True, min_size=1),
    given_columns=st.lists(st.tuples(names, types), max_size=5),
    mode=st.sampled_from(["strict", "allow_extra", "allow_missing_optional"]),
)
def test_a_shape_that_validation_refuses_differs_and_one_without_difference_passes(
    declared: list[str], given_columns: list[tuple[str, pa.DataType]], mode: ShapeMode
) -> None:
    columns = tuple(Column(name=name, type="int64") for name in declared)
    schema = OutputSchema(output=OutputName("rows"), columns=columns, mode=mode)
    batch = pa.RecordBatch.from_arrays(
        [pa.array([None], type_) for _name, type_ in given_columns],
        schema=pa.schema([pa.field(name, type_) for name, type_ in given_columns]),
    )
    observed = Observation(schema)
    observed.see(batch)
    placed = place_columns(batch.schema, schema)
    if not isinstance(placed, Placed):
        assert differences(observed)
    elif mode == "strict":
        assert differences(observed) == []


@given(st.lists(st.one_of(st.none(), st.integers(-9, 9).map(str), st.just("x")), min_size=1))
def test_rejected_rows_and_differences_are_told_of_together(texts: list[str | None]) -> None:
    schema = schema_of(Column(name="age", type="int64", nullable=False, format="text"))
    batch = pa.record_batch({"age": pa.array(texts, pa.string())})
    checked = validate(batch, schema)
    assert isinstance(checked, Checked)
    observed = Observation(schema)
    observed.see(batch)
    kinds = Counter(kind for _column, kind in differences(observed, checked.counts))
    assert bool(kinds) == (checked.rejected is not None)
    assert kinds["nullability"] == (None in texts)
    assert kinds["values"] == ("x" in texts)


def test_texts_are_read_as_the_one_type_that_is_left() -> None:
    observed = Observation(schema_of(NAME, AGE, Column(name="day", type="string"), Column(name="empty", type="string")))
    columns = {
        "name": ["a", "7"],
        "age": pa.array([1, 2]),
        "day": pa.array(["2024-01-02", None]).dictionary_encode(),
        "empty": pa.array([None, None], pa.string()),
    }
    observed.see(pa.record_batch(columns))
    observed.see(pa.record_batch(columns | {"day": ["2024-13-01", "2024-01-03"]}))
    assert {each.name: each.reads_as for each in observed.columns()} == {
        "name": "string", "age": "", "day": "string", "empty": "",
    }  # fmt: skip


def test_only_the_first_texts_are_looked_at_one_by_one() -> None:
    observed = Observation(schema_of(NAME))
    observed.see(pa.record_batch({"name": ["1"] * ROWS_INFERRED_MAX + ["x"]}))
    assert observed.columns()[0].reads_as == "int64"
