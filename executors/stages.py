"""Owns the staged artifacts of one attempt: the accepted rows of each output, and the rejected ones beside them.

An artifact is opened when its first row comes; all of them are finished, or removed, together.
"""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from eventlog.events import COLUMNS_NAMED_MAX, NOTES_MAX, RULES_MAX, BrokenRule, StagedEvidence
from eventlog.ids import JobId, OutputName
from eventlog.schema import OutputSchema, quarantine_schema, schema_hash
from executors.protocol import Dispatch
from executors.rejected import Rejected
from executors.shape import shown
from executors.validate import Checked
from executors.violations import ROW_ERROR_COLUMN, Rule
from sinks.arrow_schema import arrow_schema
from sinks.lineage import Lineage, add_lineage, lineage_schema
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact, StageWriter

logger = logging.getLogger("casparian.executor")

# Kept from job to job: Arrow gives each thread memory of its own, and a new one takes fresh pages from the system.
FINISHERS_MAX: Final = 4
_FINISHERS: Final = ThreadPoolExecutor(FINISHERS_MAX, thread_name_prefix="finish")


class Stages:
    """What one attempt has staged. Belongs to the attempt's thread; `abandon` may be called at any time after it."""

    def __init__(self, sink: Sink, job: JobId, dispatch: Dispatch) -> None:
        self._sink = sink
        self._job = job
        self._dispatch = dispatch
        self._lineage = Lineage(
            source_hash=dispatch.source_hash,
            job=job,
            processed_at=dispatch.dispatched_at,
            parser_version=dispatch.parser_version,
            contract=None,
        )
        self._open: dict[OutputName, StageWriter] = {}
        self._finished: dict[OutputName, StagedArtifact] = {}
        self._accepted: Counter[OutputName] = Counter()
        self._rejected: Counter[OutputName] = Counter()
        self._rules: dict[OutputName, Counter[Rule]] = {}
        self._notes: dict[str, None] = {}  # in the order in which they were made, each once

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
        return tuple(self._notes)[:NOTES_MAX]

    def write(self, schema: OutputSchema, checked: Checked) -> None:
        """Stage the rows of a batch, accepted and rejected; what has no rows is never opened. Raises OSError."""
        if checked.accepted.num_rows:
            self._write_accepted(schema, checked.accepted)
        if checked.rejected is not None:
            self._write_rejected(schema, checked.rejected)
            self._rules.setdefault(schema.output, Counter()).update(checked.counts)
        self._note(schema.output, checked)

    def _write_accepted(self, schema: OutputSchema, batch: pa.RecordBatch) -> None:
        writer = self._writer(schema, lineage_schema(arrow_schema(schema.columns)))
        writer.write(add_lineage(batch, self._lineage, row_first=self.accepted(schema.output)))
        self._accepted[schema.output] += batch.num_rows

    def _write_rejected(self, schema: OutputSchema, rejected: Rejected) -> None:
        kept = quarantine_schema(schema)
        self._writer(kept, arrow_schema(kept.columns)).write(self._evidence(kept, rejected))
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

    def _note(self, output: OutputName, checked: Checked) -> None:
        said = [f"{output}: {warning}" for warning in checked.warnings]
        if checked.filled:
            said.append(f"{output}: columns that the parser left out were filled with nulls: {_listed(checked.filled)}")
        if checked.dropped:
            said.append(f"{output}: columns that are not declared were not kept: {_listed(checked.dropped)}")
        for note in said:
            if len(self._notes) < NOTES_MAX:
                self._notes[note] = None

    def finish(self) -> tuple[StagedArtifact, ...]:
        """Make every artifact durable; return those of outputs with accepted rows, in declared order.

        All at once: each waits for the disk, and the disk makes several files durable in the time of one. Raises
        OSError; call `abandon` then.
        """
        finishing = {name: _FINISHERS.submit(writer.finish) for name, writer in self._open.items()}
        for name, each in finishing.items():
            if each.exception() is None:  # waits for it; what has begun is seen to its end
                self._finished[name] = each.result()
        for each in finishing.values():
            each.result()  # raises what went wrong first
        names = [schema.output for schema in self._dispatch.outputs]
        return tuple(self._finished[name] for name in names if name in self._finished)

    def evidence(self) -> tuple[StagedEvidence, ...]:
        """Return what is kept of rejected rows, in declared order; call after `finish`."""
        return tuple(
            self._staged_evidence(schema.output, self._finished[quarantine_schema(schema).output])
            for schema in self._dispatch.outputs
            if self._rejected[schema.output]
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
        """Remove everything, finished or not. Idempotent.

        What cannot be removed is told to the log only: it is hidden, and sweeping takes it when the lease is dead.
        """
        for output, writer in self._open.items():
            try:
                if output in self._finished:
                    self._sink.discard(self._finished[output].staged)
                else:
                    writer.abandon()
            except OSError as error:
                logger.warning("discard output %s of job %d: %s; left for sweeping", output, self._job, error)
        self._open.clear()

    def _writer(self, schema: OutputSchema, columns: pa.Schema) -> StageWriter:
        if schema.output not in self._open:
            self._open[schema.output] = self._sink.open_stage(self._identity(schema), columns)
        return self._open[schema.output]

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


def _repeated(text: str, rows: int) -> pa.Array[pa.Scalar[pa.DataType]]:
    # The stubs know one overload for each kind of scalar, none for this one.
    array: pa.Array[pa.Scalar[pa.DataType]] = pa.repeat(pa.scalar(text, pa.string()), rows)
    return array


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - COLUMNS_NAMED_MAX
    return ", ".join(shown(name) for name in names[:COLUMNS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
