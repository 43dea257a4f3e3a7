"""Owns the artifacts that the jobs of one lease have in common: one of each output, each job's rows in one piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from eventlog.ids import JobId, OutputName
from eventlog.schema import OutputSchema, schema_hash
from executors.held_rows import HeldRows
from executors.protocol import Dispatch, Share
from executors.stage_writers import StageWriters
from executors.stages import lineage_of
from sinks.arrow_schema import arrow_schema
from sinks.lineage import add_lineage, lineage_schema
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact, StageWriter

MANY = "rows of several jobs of one lease, told apart by _cf_job_id; this artifact is named after the first of them"


class SharedStages:
    """Belongs to the lease's thread. The artifacts are named after the first job that has rows in any of them."""

    def __init__(self, sink: Sink, *, whose: str) -> None:
        self._writers = StageWriters(sink, whose=whose)
        self._named_after: tuple[JobId, Dispatch] | None = None
        self._rows: Counter[OutputName] = Counter()
        self._shares: dict[JobId, dict[OutputName, tuple[int, int]]] = {}  # row_first and rows

    def write(self, job: JobId, dispatch: Dispatch, held: HeldRows) -> None:
        """Add the accepted rows of a job, with its lineage. Raises OSError: then nothing of the stages can be used."""
        self._named_after = self._named_after or (job, dispatch)
        lineage, written = lineage_of(job, dispatch), Counter[OutputName]()
        first = self._rows.copy()
        for schema, checked in held.batches:
            if checked.accepted.num_rows:
                writer = self._writers.of(schema.output) or self._opened(schema)
                writer.write(add_lineage(checked.accepted, lineage, row_first=written[schema.output]))
                written[schema.output] += checked.accepted.num_rows
        self._rows += written
        self._shares[job] = {output: (first[output], rows) for output, rows in written.items()}

    def _opened(self, schema: OutputSchema) -> StageWriter:
        return self._writers.open(self._identity(schema), lineage_schema(arrow_schema(schema.columns)))

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
