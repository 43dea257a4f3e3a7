"""What the lineage columns hold, and that a parser cannot bring its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.ids import Instant, JobId, SourceHash
from eventlog.schema import LINEAGE_COLUMNS
from sinks.errors import LineageColumnError
from sinks.lineage import JobRows, Lineage, add_lineage, add_lineage_of_each, lineage_schema
from tests.sinks.artifacts import SCHEMA, rows

LINEAGE = Lineage(
    source_hash=SourceHash("ab" * 32),
    job=JobId(7),
    processed_at=Instant("2026-01-22T10:11:12.123456Z"),
    parser_version="1.2.0",
    contract="cd" * 32,
)


def test_lineage_stands_after_the_data_in_the_declared_order_and_types() -> None:
    batch = add_lineage(rows(2), LINEAGE, row_first=0)
    assert batch.schema.names == ["id", "name", *(column.name for column in LINEAGE_COLUMNS)]
    assert batch.schema.equals(lineage_schema(SCHEMA))
    assert [str(field) for field in list(batch.schema)[2:]] == [
        str(pa.field("_cf_source_hash", pa.string(), nullable=False)),
        str(pa.field("_cf_job_id", pa.string(), nullable=False)),
        str(pa.field("_cf_processed_at", pa.timestamp("us", tz="UTC"), nullable=False)),
        str(pa.field("_cf_parser_version", pa.string(), nullable=False)),
        str(pa.field("_cf_row_seq", pa.int64(), nullable=False)),
        str(pa.field("_cf_contract", pa.string(), nullable=True)),
    ]
    batch.validate(full=True)


def test_every_row_names_its_origin() -> None:
    batch = add_lineage(rows(2), LINEAGE, row_first=41)
    assert batch.to_pylist() == [
        {
            "id": row,
            "name": f"logon {row}",
            "_cf_source_hash": "ab" * 32,
            "_cf_job_id": "7",
            "_cf_processed_at": datetime(2026, 1, 22, 10, 11, 12, 123456, tzinfo=UTC),
            "_cf_parser_version": "1.2.0",
            "_cf_row_seq": 41 + row,
            "_cf_contract": "cd" * 32,
        }
        for row in (0, 1)
    ]


def test_before_approval_the_contract_is_null() -> None:
    batch = add_lineage(rows(2), msgspec.structs.replace(LINEAGE, contract=None), row_first=0)
    assert batch.column("_cf_contract").to_pylist() == [None, None]
    assert batch.schema.field("_cf_contract").type == pa.string()


@given(cuts=st.lists(st.integers(0, 50), max_size=8), first=st.integers(0, 2**62))
def test_batches_of_one_output_are_numbered_without_gaps(cuts: list[int], first: int) -> None:
    numbers: list[object] = []
    for count in cuts:
        batch = add_lineage(rows(count), LINEAGE, row_first=first + len(numbers))
        assert batch.num_rows == count
        numbers += batch.column("_cf_row_seq").to_pylist()
    assert numbers == list(range(first, first + sum(cuts)))


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**40), st.sampled_from([None, "ef" * 32])),
        min_size=1,
        max_size=6,
    )
)
def test_rows_of_several_jobs_get_what_each_of_them_would_alone(parts: list[tuple[int, int, int, str | None]]) -> None:
    given_ = [
        JobRows(
            batch=rows(count),
            lineage=msgspec.structs.replace(
                LINEAGE, job=JobId(job), source_hash=SourceHash(f"{job:02}" * 32), contract=contract
            ),
            row_first=first,
        )
        for count, job, first, contract in parts
    ]
    together = add_lineage_of_each(given_, lineage_schema(SCHEMA))
    apart = [add_lineage(each.batch, each.lineage, row_first=each.row_first) for each in given_]
    assert together.equals(pa.Table.from_batches(apart).combine_chunks().to_batches()[0])
    assert together.schema.equals(apart[0].schema, check_metadata=True)
    together.validate(full=True)


def test_data_columns_are_kept_without_a_copy() -> None:
    data = rows(10)
    batch = add_lineage(data, LINEAGE, row_first=0)
    before, after = (found.column("id").buffers()[1] for found in (data, batch))
    assert before is not None
    assert after is not None
    assert after.address == before.address


@pytest.mark.parametrize("name", ["_cf_job_id", "_cf_path_host", "_CF_JOB_ID", "__cf_row_id", "__Cf_x", "_cf_"])
def test_a_reserved_column_of_a_parser_is_refused_by_name(name: str) -> None:
    batch = pa.RecordBatch.from_pydict({"id": [1], name: ["spoof"]})
    with pytest.raises(LineageColumnError, match=rf"'{name}' is reserved .*rename the column"):
        add_lineage(batch, LINEAGE, row_first=0)
    with pytest.raises(LineageColumnError, match=name):
        lineage_schema(batch.schema)


def test_lineage_cannot_be_added_twice() -> None:
    with pytest.raises(LineageColumnError, match="_cf_source_hash"):
        add_lineage(add_lineage(rows(1), LINEAGE, row_first=0), LINEAGE, row_first=0)


@pytest.mark.parametrize("name", ["cf_job", "a_cf_b", "_cf", "_c"])
def test_names_that_only_look_alike_are_the_parsers_own(name: str) -> None:
    batch = add_lineage(pa.RecordBatch.from_pydict({name: [1]}), LINEAGE, row_first=0)
    assert batch.schema.names[0] == name


def test_lineage_of_a_million_rows_costs_no_python_per_row() -> None:
    batch = pa.RecordBatch.from_arrays([pa.nulls(1_000_000, pa.int64())], ["id"])
    started = time.process_time()
    add_lineage(batch, LINEAGE, row_first=0)
    assert time.process_time() - started < 2  # about 0.3 s; six Python objects for each row take many
