"""Owns the artifacts that the jobs of one lease have in common: one of each output, each job's rows in one piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from eventlog.ids import JobId, OutputName
from eventlog.schema import OutputSchema, schema_hash
from executors.held_rows import HeldRows
from executors.protocol import Dispatch, Share
from executors.stage_writers import StageWriters
from executors.stages import lineage_of
from sinks.arrow_schema import arrow_schema
from sinks.lineage import JobRows, add_lineage_of_each, lineage_schema
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact

MANY = "rows of several jobs of one lease, told apart by _cf_job_id; this artifact is named after the first of them"


ROWS_AT_ONCE_MAX: Final = 100_000  # that lineage is made for; a guest sends at most half as many in a batch


class SharedStages:
    """Belongs to the lease's thread. The artifacts are named after the first job that has rows in any of them."""

    def __init__(self, sink: Sink, *, whose: str) -> None:
        self._writers = StageWriters(sink, whose=whose)
        self._named_after: tuple[JobId, Dispatch] | None = None
        self._rows: Counter[OutputName] = Counter()
        self._shares: dict[JobId, dict[OutputName, tuple[int, int]]] = {}  # row_first and rows

    def write(self, jobs: Iterable[tuple[JobId, Dispatch, HeldRows]]) -> None:
        """Add the accepted rows of jobs, with their lineage. Raises OSError: then nothing of the stages can be used."""
        parts: dict[OutputName, list[JobRows]] = {}
        schemas: dict[OutputName, OutputSchema] = {}
        for job, dispatch, held in jobs:
            self._named_after = self._named_after or (job, dispatch)
            lineage, mine = lineage_of(job, dispatch), self._shares.setdefault(job, {})
            for schema, checked in held.batches:
                output, rows = schema.output, checked.accepted.num_rows
                if rows:
                    first, before = mine.get(output, (self._rows[output], 0))
                    part = JobRows(batch=checked.accepted, lineage=lineage, row_first=before)
                    parts.setdefault(output, []).append(part)
                    schemas[output] = schema
                    mine[output] = (first, before + rows)
                    self._rows[output] += rows
        for output, schema in schemas.items():
            self._write(schema, parts[output])

    def _write(self, schema: OutputSchema, parts: list[JobRows]) -> None:
        columns = lineage_schema(arrow_schema(schema.columns))
        writer = self._writers.of(schema.output) or self._writers.open(self._identity(schema), columns)
        for some in _groups(parts):
            writer.write(add_lineage_of_each(some, columns))

    def finish(self, outputs: Iterable[OutputSchema]) -> tuple[StagedArtifact, ...]:
        """Make every artifact durable and return them. Raises OSError; call `abandon` then."""
        self._writers.finish()
        return tuple(self._writers.finished(schema.output for schema in outputs))

    def shares(self, job: JobId, artifacts: Iterable[StagedArtifact]) -> tuple[Share, ...]:
        """Return what a job has of the artifacts."""
        mine = self._shares[job]
        return tuple(
            Share(staged=artifact.staged, row_first=mine[artifact.output][0], rows=mine[artifact.output][1])
            for artifact in artifacts
            if artifact.output in mine
        )

    def abandon(self) -> None:
        """Remove everything, finished or not. Idempotent."""
        self._writers.abandon()

    def _identity(self, schema: OutputSchema) -> ArtifactIdentity:
        assert self._named_after is not None
        job, dispatch = self._named_after
        return ArtifactIdentity(
            log_id=dispatch.log_id,
            job=job,
            attempt=dispatch.attempt,
            output=schema.output,
            schema_hash=schema_hash(schema),
            metadata={
                "shared": MANY,
                "parser": dispatch.parser,
                "parser_version": dispatch.parser_version,
                "dispatched_at": dispatch.dispatched_at,
            },
        )


def _groups(parts: Iterable[JobRows]) -> Iterator[list[JobRows]]:
    """Yield the parts in their order, at most ROWS_AT_ONCE_MAX rows at once: lineage takes more than narrow rows do."""
    group: list[JobRows] = []
    rows = 0
    for part in parts:
        if group and rows + part.batch.num_rows > ROWS_AT_ONCE_MAX:
            yield group
            group, rows = [], 0
        group.append(part)
        rows += part.batch.num_rows
    if group:
        yield group
