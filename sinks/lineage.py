"""Owns the lineage columns of a row: which file, job, parser and contract it came from, and its place in the output.

Pure: the time is the one recorded when the job was dispatched, so that a re-execution can repeat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from eventlog.column_types import arrow_type
from eventlog.ids import Instant, JobId, SourceHash, instant_datetime
from eventlog.schema import LINEAGE_COLUMNS, RESERVED_PREFIXES, Column
from sinks.arrow_schema import arrow_field
from sinks.errors import LineageColumnError


class Lineage(Struct, frozen=True, kw_only=True):
    """What all rows of one job have in common. `contract` is the approved schema hash, None before approval."""

    source_hash: SourceHash
    job: JobId
    processed_at: Instant
    parser_version: str
    contract: str | None


def add_lineage(batch: pa.RecordBatch, lineage: Lineage, *, row_first: int) -> pa.RecordBatch:
    """Append the lineage columns; the rows are numbered from `row_first` (0-based place in the job's output).

    Raises LineageColumnError if the batch brings a reserved column.
    """
    schema = lineage_schema(batch.schema)
    rows = batch.num_rows
    values = _values(lineage)
    # arange is missing from the stubs, not from pyarrow.
    sequence: pa.Int64Array = pa.arange(row_first, row_first + rows)  # type: ignore[attr-defined]
    added = [
        sequence if column.name == "_cf_row_seq" else _constant(column, values[column.name], rows=rows)
        for column in LINEAGE_COLUMNS
    ]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)


class JobRows(Struct, frozen=True, kw_only=True):
    """Rows of one job's output, the first of which has the place `row_first` there."""

    batch: pa.RecordBatch
    lineage: Lineage
    row_first: int


def add_lineage_of_each(parts: Sequence[JobRows], schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows of several jobs as one batch, as if `add_lineage` had been called for each.

    `schema` is the `lineage_schema` of theirs. What a job's rows have in common is made once a job, and the columns
    once for all: of small batches nearly all is what a call costs. All are at most 2 GiB, what a column of text holds.
    """
    table = pa.Table.from_batches([part.batch for part in parts]).combine_chunks()
    counts = [part.batch.num_rows for part in parts]
    starts = list(accumulate(counts, initial=0))
    # The stubs of pyarrow lack both, or know no lists of nothing.
    untyped: Any = pa
    compute: Any = pc
    owners = compute.list_parent_indices(
        untyped.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.nulls(starts[-1]))
    )
    shifts = pa.array([part.row_first - start for part, start in zip(parts, starts, strict=False)], pa.int64())
    sequence = pc.add(untyped.arange(0, starts[-1]), shifts.take(owners))
    values = [_values(part.lineage) for part in parts]
    added = [
        sequence
        if column.name == "_cf_row_seq"
        else pa.array([value[column.name] for value in values], arrow_type(column.type)).take(owners)
        for column in LINEAGE_COLUMNS
    ]
    columns: list[Any] = [column.chunk(0) for column in table.columns]
    return pa.RecordBatch.from_arrays([*columns, *added], schema=schema)


def _values(lineage: Lineage) -> dict[str, object]:
    """Return what all rows of a job have in common, by column."""
    return {
        "_cf_source_hash": lineage.source_hash,
        "_cf_job_id": str(lineage.job),
        "_cf_processed_at": _moment(lineage.processed_at),
        "_cf_parser_version": lineage.parser_version,
        "_cf_contract": lineage.contract,
    }


_moment = lru_cache(16)(instant_datetime)  # the jobs of a lease are dispatched at once


def _constant(column: Column, value: object, *, rows: int) -> pa.Array[pa.Scalar[pa.DataType]]:
    scalar = pa.scalar(value, arrow_type(column.type))
    # The stubs know one overload for each kind of scalar, none for a scalar of a type chosen at run time.
    array: pa.Array[pa.Scalar[pa.DataType]] = pa.repeat(scalar, rows)  # type: ignore[call-overload]
    return array


def lineage_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the lineage columns after the data columns. Raises LineageColumnError."""
    refuse_reserved(schema)
    for column in LINEAGE_COLUMNS:
        schema = schema.append(arrow_field(column))
    return schema


def refuse_reserved(schema: pa.Schema) -> None:
    """Raise LineageColumnError if a column's name is reserved, in any mixture of cases.

    SQL engines do not tell `_CF_job_id` from `_cf_job_id`, so a parser could pass one off as the other.
    """
    for name in schema.names:
        if name.lower().startswith(RESERVED_PREFIXES):
            raise LineageColumnError(
                f"add lineage to the columns of a parser: {name!r} is reserved for the host "
                f"({', '.join(RESERVED_PREFIXES)}); rename the column in the parser"
            )
