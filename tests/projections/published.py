"""Owns made-up published outputs for the tests of views: Parquet files on disk and the events that record them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eventlog.column_types import ColumnType, arrow_type
from eventlog.events import Event
from eventlog.ids import path_text
from eventlog.schema import LINEAGE_COLUMNS, Column, OutputSchema
from tests.projections import histories as h

_VALUES: dict[ColumnType, object] = {
    "boolean": True,
    "int64": 4624,
    "float64": 0.5,
    "string": "text",
    "binary": b"\x00\xff",
    "timestamp_utc": datetime(2026, 1, 22, 10, 11, 12, 123456, tzinfo=UTC),
}


def uri_of(folder: Path) -> str:
    """Return the sink URI of a folder."""
    return "parquet://" + path_text(bytes(folder))


def write_rows(path: Path, *, rows: int = 3, columns: Sequence[Column] = h.EVTX_COLUMNS, job: int = 1) -> None:
    """Write rows of one made-up value per type, with the host's lineage columns."""
    declared = (*columns, *LINEAGE_COLUMNS)
    row = {column.name: str(job) if column.name == "_cf_job_id" else _VALUES[column.type] for column in declared}
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in declared])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # Arrow itself cannot open a name that is not UTF-8
        pq.write_table(pa.Table.from_pylist([row] * rows, schema=schema), file)


def published(
    folder: Path,
    job: int,
    *,
    content: str = "a",
    version: str = "1",
    parser: str = "evtx",
    schema: OutputSchema | None = None,
    rows: int = 3,
) -> list[Event]:
    """Write the one output of a job into a folder and return the job's events."""
    shape = schema or h.output()
    file = f"{shape.output}_{job:016x}.parquet"
    if rows:
        write_rows(folder / file, rows=rows, columns=shape.columns, job=job)
    return [
        h.queued(job, content=content, version=version, parser=parser),
        h.dispatched(job),
        h.committed(job),
        h.recorded(
            job,
            content=content,
            version=version,
            parser=parser,
            name=shape.output,
            sink_uri=uri_of(folder),
            file=file if rows else "",
            size=(folder / file).stat().st_size if rows else 0,
            schema=shape,
        ),
        h.completed(job),
    ]


def published_together(folder: Path, *contents: str, first_job: int = 1, rows: int = 3) -> list[Event]:
    """Write the rows of several jobs into one file, each of another content, and return the jobs' events."""
    columns = (*h.EVTX_COLUMNS, *LINEAGE_COLUMNS)
    jobs = range(first_job, first_job + len(contents))
    row = {column.name: _VALUES[column.type] for column in columns}
    told = [{**row, "_cf_job_id": str(job), "_cf_row_seq": seq} for job in jobs for seq in range(rows)]
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
    file = f"evtx_events_{first_job:016x}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(told, schema=schema), folder / file)
    events: list[Event] = []
    for place, (job, content) in enumerate(zip(jobs, contents, strict=True)):
        size = (folder / file).stat().st_size
        made = h.recorded(
            job, content=content, sink_uri=uri_of(folder), file=file, size=size, row_first=place * rows, rows=rows
        )
        events += [h.queued(job, content=content), h.dispatched(job), h.committed(job), made, h.completed(job)]
    return events
