"""Owns what the tests of sinks share: one identity, a few rows, and the way to stage them."""

from __future__ import annotations

import pyarrow as pa

from eventlog.ids import JobId, LogId, OutputName, SchemaHash
from eventlog.schema import Column
from sinks.arrow_schema import arrow_schema
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact

LOG_ID = LogId("0123456789abcdef0123456789abcdef")
OTHER_LOG_ID = LogId("fedcba9876543210fedcba9876543210")
SCHEMA = arrow_schema([Column(name="id", type="int64", nullable=False), Column(name="name", type="string")])


def identity(
    *, job: int = 7, attempt: int = 1, output: str = "events", metadata: dict[str, str] | None = None
) -> ArtifactIdentity:
    return ArtifactIdentity(
        log_id=LOG_ID,
        job=JobId(job),
        attempt=attempt,
        output=OutputName(output),
        schema_hash=SchemaHash("5c" * 32),
        metadata={"parser": "evtx", "source_hash": "ab" * 32} if metadata is None else metadata,
    )


def rows(count: int, *, first: int = 0, name: str = "logon") -> pa.RecordBatch:
    ids = range(first, first + count)
    return pa.RecordBatch.from_pydict({"id": list(ids), "name": [f"{name} {number}" for number in ids]}, schema=SCHEMA)


def stage(sink: Sink, who: ArtifactIdentity | None = None, *, count: int = 3, name: str = "logon") -> StagedArtifact:
    writer = sink.open_stage(who or identity(), SCHEMA)
    writer.write(rows(count, name=name))
    return writer.finish()
