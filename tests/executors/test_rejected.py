from __future__ import annotations

import pyarrow as pa

from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema
from executors.rejected import SENTENCES_PER_ROW_MAX
from executors.shape import CorruptBatch
from executors.validate import Checked, validate

MANY = 10_000


def wide(nullable: bool) -> OutputSchema:
    columns = (Column(name=f"column_{place}", type="int64", nullable=nullable) for place in range(MANY))
    return OutputSchema(output=OutputName("wide"), columns=tuple(columns))


def of_nulls(rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.nulls(rows)] * MANY, names=[f"column_{place}" for place in range(MANY)])


def test_ten_thousand_columns_pass() -> None:
    result = validate(of_nulls(3), wide(nullable=True))
    assert isinstance(result, Checked)
    assert (result.accepted.num_rows, result.accepted.num_columns) == (3, MANY)


def test_ten_thousand_wrong_columns_are_counted_and_the_first_are_told() -> None:
    result = validate(of_nulls(3), wide(nullable=False))
    assert isinstance(result, Checked)
    assert result.rejected is not None
    assert len(result.counts) == MANY
    assert set(result.counts.values()) == {3}
    for message in result.rejected.error_msg.to_pylist():
        sentences = str(message).split("; ")
        assert sentences[0] == "schema: null not allowed in column_0"
        assert sentences[SENTENCES_PER_ROW_MAX - 1] == f"schema: null not allowed in column_{SENTENCES_PER_ROW_MAX - 1}"
        assert sentences[SENTENCES_PER_ROW_MAX:] == [f"and {MANY - SENTENCES_PER_ROW_MAX} more"]
    assert result.rejected.rule_id.to_pylist() == ["column_0.null_not_allowed"] * 3


def test_ten_million_rows_are_split_at_once() -> None:
    rows = 10_000_000
    schema = OutputSchema(output=OutputName("long"), columns=(Column(name="n", type="int64", nullable=False),))
    numbers = pa.arange(0, rows)  # type: ignore[attr-defined]  # missing from the stubs, not from pyarrow
    holes = pa.concat_arrays([numbers.slice(1), pa.nulls(1, pa.int64())])
    result = validate(pa.record_batch([holes], names=["n"]), schema)
    assert isinstance(result, Checked)
    assert result.rejected is not None
    assert result.accepted.num_rows == rows - 1
    assert result.rejected.row_index.to_pylist() == [rows - 1]


def test_a_column_that_unpacks_to_too_much_is_a_corrupt_batch() -> None:
    schema = OutputSchema(output=OutputName("bomb"), columns=(Column(name="t", type="string"),))
    large = pa.array(["x" * 1_000_000])
    bomb = pa.DictionaryArray.from_arrays(pa.nulls(5_000, pa.int32()).fill_null(0), large)
    result = validate(pa.record_batch([bomb], names=["t"]), schema)
    assert isinstance(result, CorruptBatch)
    assert result.why == "t: it unpacks to 5,000,000,000 bytes, at most 536,870,912 are taken"
