"""Owns the staged artifacts of one attempt: the accepted rows of each output, and the rejected ones beside them.

An artifact is opened when its first row comes; all of them are finished, or removed, together.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from eventlog.events import COLUMNS_NAMED_MAX, NOTES_MAX, RULES_MAX, BrokenRule, StagedEvidence
from eventlog.ids import JobId, OutputName
from eventlog.schema import OutputSchema, quarantine_schema, schema_hash
from executors.protocol import Dispatch
from executors.rejected import Rejected
from executors.shape import shown
from executors.stage_writers import StageWriters
from executors.validate import Checked
from executors.violations import ROW_ERROR_COLUMN, Rule
from sinks.arrow_schema import arrow_schema
from sinks.lineage import Lineage, add_lineage, lineage_schema
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact

Notes = dict[str, None]  # in the order in which they were made, each once


class Stages:
    """What one attempt has staged. Belongs to the attempt's thread; `abandon` may be called at any time after it."""

    def __init__(self, sink: Sink, job: JobId, dispatch: Dispatch) -> None:
        self._job = job
        self._dispatch = dispatch
        self._writers = StageWriters(sink, whose=f"job {job}")
        self._lineage = lineage_of(job, dispatch)
        self._accepted: Counter[OutputName] = Counter()
        self._rejected: Counter[OutputName] = Counter()
        self._rules: dict[OutputName, Counter[Rule]] = {}
        self._notes: Notes = {}

    def accepted(self, output: OutputName) -> int:
        """Return how many rows of an output were accepted."""
        return self._accepted[output]

    def rejected(self, output: OutputName) -> int:
        """Return how many rows of an output were rejected."""
        return self._rejected[output]

    def seen(self, output: OutputName) -> int:
        """Return how many rows the parser has given for an output."""
        return self._accepted[output] + self._rejected[output]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done with columns that need not be as declared, and what was not believed; at most NOTES_MAX."""
        return tuple(self._notes)

    def write(self, schema: OutputSchema, checked: Checked) -> None:
        """Stage the rows of a batch, accepted and rejected; what has no rows is never opened. Raises OSError."""
        if checked.accepted.num_rows:
            self._write_accepted(schema, checked.accepted)
        if checked.rejected is not None:
            self._write_rejected(schema, checked.rejected)
            self._rules.setdefault(schema.output, Counter()).update(checked.counts)
        note(self._notes, schema.output, checked)

    def _write_accepted(self, schema: OutputSchema, batch: pa.RecordBatch) -> None:
        writer = self._writers.of(schema.output)
        writer = writer or self._writers.open(self._identity(schema), lineage_schema(arrow_schema(schema.columns)))
        writer.write(add_lineage(batch, self._lineage, row_first=self.accepted(schema.output)))
        self._accepted[schema.output] += batch.num_rows

    def _write_rejected(self, schema: OutputSchema, rejected: Rejected) -> None:
        kept = quarantine_schema(schema)
        writer = self._writers.of(kept.output)
        writer = writer or self._writers.open(self._identity(kept), arrow_schema(kept.columns))
        writer.write(self._evidence(kept, rejected))
        self._rejected[schema.output] += rejected.rows.num_rows

    def _evidence(self, kept: OutputSchema, rejected: Rejected) -> pa.RecordBatch:
        """Return rejected rows as they are kept. A row has its place in the source or, without one, in the output."""
        rows = rejected.rows.num_rows
        with_place = rejected.source_row.null_count == 0
        added = {
            "_error_msg": rejected.error_msg,
            "_violation_type": rejected.violation_type,
            "_rule_id": rejected.rule_id,
            "_source_row": rejected.source_row,
            "_output_row_index": pa.nulls(rows, pa.int64()) if with_place else rejected.row_index,
            "_cf_job_id": _repeated(str(self._job), rows),
            "_cf_source_hash": _repeated(self._dispatch.source_hash, rows),
            "_cf_parser_version": _repeated(self._dispatch.parser_version, rows),
        }
        return pa.RecordBatch.from_arrays([*rejected.rows.columns, *added.values()], schema=arrow_schema(kept.columns))

    def finish(self) -> tuple[StagedArtifact, ...]:
        """Make every artifact durable; return those of outputs with accepted rows, in declared order.

        Raises OSError; call `abandon` then.
        """
        self._writers.finish()
        return tuple(self._writers.finished(schema.output for schema in self._dispatch.outputs))

    def evidence(self) -> tuple[StagedEvidence, ...]:
        """Return what is kept of rejected rows, in declared order; call after `finish`."""
        rejected = [schema for schema in self._dispatch.outputs if self._rejected[schema.output]]
        artifacts = self._writers.finished(quarantine_schema(schema).output for schema in rejected)
        return tuple(
            self._staged_evidence(schema.output, artifact) for schema, artifact in zip(rejected, artifacts, strict=True)
        )

    def _staged_evidence(self, output: OutputName, artifact: StagedArtifact) -> StagedEvidence:
        assert artifact.rows == self._rejected[output]
        rules = tuple(
            BrokenRule(column="" if rule.column == ROW_ERROR_COLUMN else rule.column, code=rule.code, rows=rows)
            for rule, rows in self._rules[output].most_common(RULES_MAX)
        )
        return StagedEvidence(
            output=output,
            staged=artifact.staged,
            final=artifact.final,
            digest=artifact.digest,
            bytes=artifact.bytes,
            rows=artifact.rows,
            accepted=self._accepted[output],
            schema_hash=artifact.schema_hash,
            rules=rules,
        )

    def abandon(self) -> None:
        """Remove everything, finished or not. Idempotent; what cannot be removed is left for sweeping."""
        self._writers.abandon()

    def _identity(self, schema: OutputSchema) -> ArtifactIdentity:
        dispatch = self._dispatch
        return ArtifactIdentity(
            log_id=dispatch.log_id,
            job=self._job,
            attempt=dispatch.attempt,
            output=schema.output,
            schema_hash=schema_hash(schema),
            metadata={
                "source_hash": dispatch.source_hash,
                "path": dispatch.path,
                "parser": dispatch.parser,
                "parser_version": dispatch.parser_version,
                "dispatched_at": dispatch.dispatched_at,
            },
        )


def lineage_of(job: JobId, dispatch: Dispatch) -> Lineage:
    """Return what all rows of a dispatched job have in common."""
    return Lineage(
        source_hash=dispatch.source_hash,
        job=job,
        processed_at=dispatch.dispatched_at,
        parser_version=dispatch.parser_version,
        contract=None,
    )


def note(notes: Notes, output: OutputName, checked: Checked) -> None:
    """Add what was done with the columns of a batch, up to NOTES_MAX notes in all."""
    said = [f"{output}: {warning}" for warning in checked.warnings]
    if checked.filled:
        said.append(f"{output}: columns that the parser left out were filled with nulls: {_listed(checked.filled)}")
    if checked.dropped:
        said.append(f"{output}: columns that are not declared were not kept: {_listed(checked.dropped)}")
    for each in said:
        if len(notes) < NOTES_MAX:
            notes[each] = None


def _repeated(text: str, rows: int) -> pa.Array[pa.Scalar[pa.DataType]]:
    # The stubs know one overload for each kind of scalar, none for this one.
    array: pa.Array[pa.Scalar[pa.DataType]] = pa.repeat(pa.scalar(text, pa.string()), rows)
    return array


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - COLUMNS_NAMED_MAX
    return ", ".join(shown(name) for name in names[:COLUMNS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
