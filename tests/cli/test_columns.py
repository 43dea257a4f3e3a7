"""Declared and observed columns side by side."""

from __future__ import annotations

import pyarrow as pa

from cli.columns import DIFFERS, EQUAL, column_lines, side_by_side
from eventlog.schema import Column
from executors.observed import Observation
from tests.executors.columns import schema_of

SCHEMA = schema_of(Column(name="name", type="string", nullable=False), Column(name="age", type="int64"))


def lines_of(batch: pa.RecordBatch) -> list[str]:
    observed = Observation(SCHEMA)
    observed.see(batch)
    return column_lines(side_by_side(SCHEMA, observed.columns(), observed.differences({})))


def test_each_column_of_either_side_has_one_line_and_its_mark() -> None:
    _heading, _rule, *lines = lines_of(pa.record_batch({"name": ["a", None], "town": ["b", "c"]}))
    assert [line.split()[:2] for line in lines] == [[DIFFERS, "name"], [DIFFERS, "age"], [DIFFERS, "town"]]
    assert "1 of 2 null" in lines[0]
    assert lines[1].endswith("missing")
    assert lines[2].endswith("not declared")


def test_what_is_nowhere_said_has_no_heading() -> None:
    coded = pa.record_batch({"name": pa.array([], pa.string()), "age": pa.array([], pa.int64())})
    heading, _rule, *lines = lines_of(coded)
    assert "what differs" not in heading
    assert "texts read as" not in heading
    assert all(line.startswith(EQUAL) for line in lines)
    assert "texts read as" in lines_of(pa.record_batch({"name": ["a"], "age": [1]}))[0]


def test_a_hostile_name_cannot_break_the_table() -> None:
    lines = lines_of(pa.record_batch({"name": ["a"], "age": [1], "x\n= y\x1b[2J": [1]}))
    assert len(lines) == 5
    assert not any("\x1b" in line or "\n" in line for line in lines)
