"""Owns one attempt at one job: source -> guest -> validation -> lineage -> staged outputs -> receipt.

Knows nothing of sockets or of the sentinel. What an attempt staged is removed again unless its receipt is Succeeded;
even then it may be discarded, until the sentinel has answered.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import blake3
import pyarrow as pa
from msgspec import Struct

from eventlog.events import BalanceSheet
from eventlog.ids import JobId, OutputName, path_bytes
from eventlog.schema import OutputSchema, schema_hash
from executors.failures import TransientKind, failure_class
from executors.guest.errors import GuestStartError
from executors.guest.frames import GuestBatch, GuestEnd, GuestFailure, GuestStatement, Statement
from executors.guest.guest_log import plain_text
from executors.guest.host import Guest, GuestOrders, GuestTimes, start_guest
from executors.guest.parents import GuestParents
from executors.protocol import Aborted, Declined, Dispatch, Failed, Receipt, Succeeded
from executors.rejected import Rejected
from executors.shape import HINTS, KINDS, sentence
from executors.validate import Checked, validate
from sinks.arrow_schema import arrow_schema
from sinks.lineage import Lineage, add_lineage, lineage_schema
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact, StageWriter

logger = logging.getLogger("casparian.executor")

ROW_ERROR_CHARS_MAX: Final = 1000
REHASH_BYTES: Final = 1024 * 1024
# The machine is full, not the job wrong: somebody else, or we a little later, can start it.
CAPACITY_ERRNOS: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

# Kept from job to job: Arrow gives each thread memory of its own, and a new one takes fresh pages from the system.
FINISHERS_MAX: Final = 4
_FINISHERS: Final = ThreadPoolExecutor(FINISHERS_MAX, thread_name_prefix="finish")

Acknowledge = Callable[[int], None]
"""Called once with the pid of the guest that works now; a dead lease is heard later, as a `drop`.

What is staged until then is hidden and bears this attempt's number, so that it is in nobody's way.
"""


class Ending(Struct, frozen=True, kw_only=True):
    """Why somebody else ended the attempt, and whether the sentinel wants to hear of it."""

    reason: str
    report: bool


class Attempt:
    """One attempt. `run` is called once; `abort`, `drop`, `rows` and `bytes_read` may be used from any thread."""

    def __init__(
        self,
        job: JobId,
        dispatch: Dispatch,
        *,
        sink_factory: Callable[[str], Sink],
        parents: GuestParents,
        times: GuestTimes | None = None,
    ) -> None:
        self.job = job
        self.dispatch = dispatch
        self.rows = 0
        self._sink_factory = sink_factory
        self._parents = parents
        self._times = times
        self._lock = threading.Lock()
        self._ending: Ending | None = None
        self._guest: Guest | None = None
        self._stages: Stages | None = None

    def run(self, acknowledge: Acknowledge) -> Receipt | None:
        """Do the work and return the receipt; None if nobody waits for one (the lease is dead, or we leave).

        What `acknowledge` raises passes through, with nothing left behind. The calling thread must live
        as long as the attempt, see `start_guest`.
        """
        receipt: Receipt | None = None
        try:
            receipt = self._settled(self._run(acknowledge))
        finally:
            if not isinstance(receipt, Succeeded):
                self.discard()
        return receipt

    def abort(self, reason: str) -> None:
        """Kill the guest; the receipt will be Aborted."""
        self._end(Ending(reason=reason, report=True))

    def drop(self, reason: str) -> None:
        """Kill the guest; there will be no receipt."""
        self._end(Ending(reason=reason, report=False))

    def discard(self) -> None:
        """Remove all that was staged. Idempotent."""
        if self._stages is not None:
            self._stages.abandon()

    def bytes_read(self) -> int:
        """Return how many bytes the guest has read, as far as the system tells."""
        with self._lock:
            return self._guest.bytes_read() if self._guest is not None else 0

    def _end(self, ending: Ending) -> None:
        with self._lock:
            self._ending = self._ending or ending
            guest = self._guest
        if guest is not None:
            guest.kill()

    def _settled(self, receipt: Receipt) -> Receipt | None:
        """Return what is to be said, now that nobody can end the attempt any more."""
        with self._lock:
            self._guest = None
            ending = self._ending
        if ending is None:
            return receipt
        return Aborted(reason=ending.reason) if ending.report else None

    def _run(self, acknowledge: Acknowledge) -> Receipt:
        dispatch = self.dispatch
        if (changed := source_failure(dispatch)) is not None:
            return changed
        try:
            sink = self._sink_factory(dispatch.sink_uri)
        except ValueError as error:
            return _refused("bad_sink", str(error), "start the run again with another sink")
        self._stages = Stages(sink, self.job, dispatch)
        try:
            guest = start_guest(_orders(dispatch), parents=self._parents, times=self._times)
        except GuestStartError as error:
            return _not_started(error)
        with guest:
            return self._run_guest(guest, self._stages, acknowledge)

    def _run_guest(self, guest: Guest, stages: Stages, acknowledge: Acknowledge) -> Receipt:
        with self._lock:
            self._guest = guest
            ended = self._ending is not None
        if ended:
            return _nothing_to_say()
        acknowledge(guest.pid)
        outcome = self._consume(guest, stages)
        if isinstance(outcome, GuestFailure):
            # A source that changed underneath explains a parser's failure better than the parser can.
            return source_failure(self.dispatch) or _failed(outcome, log_tail=guest.last_words())
        return self._finish(stages, outcome)

    def _consume(self, guest: Guest, stages: Stages) -> Statement | GuestFailure | None:
        """Read the guest to its end. Returns its statement if it made one, or why the attempt fails."""
        statement: Statement | None = None
        for frame in guest.frames():
            if isinstance(frame, GuestBatch):
                failure = self._take(frame, stages)
                if failure is not None:
                    return failure
            elif isinstance(frame, GuestStatement):
                if (failure := self._misstated(frame.statement, before=statement)) is not None:
                    return failure
                statement = frame.statement
            elif isinstance(frame, GuestFailure):
                return frame
            elif isinstance(frame, GuestEnd):
                break
        return statement

    def _take(self, frame: GuestBatch, stages: Stages) -> GuestFailure | None:
        """Validate a batch and write it to its stage; why the attempt fails if that cannot be done."""
        schema = self.dispatch.outputs[frame.output]
        checked = validate(frame.batch, schema, row_first=stages.rows(schema.output))
        if not isinstance(checked, Checked):
            return _failure(KINDS[type(checked)], sentence(checked), HINTS[type(checked)])
        if checked.rejected is not None:
            return _row_rejected(checked.rejected, schema.output)
        try:
            stages.write(schema, checked.accepted)
        except OSError as error:
            return _sink_failure(error, doing=f"stage {schema.output} in {self.dispatch.sink_uri}")
        self.rows += checked.accepted.num_rows
        return None

    def _misstated(self, statement: Statement, *, before: Statement | None) -> GuestFailure | None:
        declared = [schema.output for schema in self.dispatch.outputs]
        hint = "correct what the parser returns; report it to the parser's author"
        if before is not None:
            return _failure("bad_statement", "the parser stated its units twice", hint)
        if statement.ranges_total and not statement.ranges:
            return _failure("bad_statement", f"the parser counts {statement.ranges_total} places and names none", hint)
        if statement.output == "" and statement.accepted is None:
            reason = f"the parser states {statement.unit} and says neither whose rows they are nor how many it accepted"
            return _failure("bad_statement", reason, hint)
        if statement.output and statement.accepted is not None:
            reason = f"the parser states how many {statement.unit} it accepted, but the host counts {statement.output}"
            return _failure("bad_statement", reason, hint)
        if statement.output and statement.output not in declared:
            reason = f"the parser states units of {statement.output!r}, declared are: {', '.join(declared)}"
            return _failure("bad_statement", reason, hint)
        return None

    def _finish(self, stages: Stages, statement: Statement | None) -> Receipt:
        """Make the stages durable, if the source is still what was dispatched."""
        changed = source_failure(self.dispatch) or content_failure(self.dispatch)
        if changed is not None:
            return changed
        try:
            staged = stages.finish()
        except OSError as error:
            return _failed(_sink_failure(error, doing=f"finish the outputs in {self.dispatch.sink_uri}"))
        with_rows = {artifact.output for artifact in staged}
        return Succeeded(
            outputs=staged,
            empty=tuple(schema.output for schema in self.dispatch.outputs if schema.output not in with_rows),
            sheet=balance_sheet(statement, rows=stages.rows),
        )


class Stages:
    """The staged outputs of one attempt: opened when the first row comes, finished or removed together."""

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
        self._rows: dict[OutputName, int] = {}
        self._finished: dict[OutputName, StagedArtifact] = {}

    def rows(self, output: OutputName) -> int:
        """Return how many rows of an output were written."""
        return self._rows.get(output, 0)

    def write(self, schema: OutputSchema, batch: pa.RecordBatch) -> None:
        """Add the lineage and append; a batch without rows opens nothing. Raises OSError."""
        if batch.num_rows == 0:
            return
        output = schema.output
        if output not in self._open:
            columns = lineage_schema(arrow_schema(schema.columns))
            self._open[output] = self._sink.open_stage(self._identity(schema), columns)
        self._open[output].write(add_lineage(batch, self._lineage, row_first=self.rows(output)))
        self._rows[output] = self.rows(output) + batch.num_rows

    def finish(self) -> tuple[StagedArtifact, ...]:
        """Make every output with rows durable; in declared order. Raises OSError; call `abandon` then.

        All at once: each waits for the disk, and the disk makes several files durable in the time of one.
        """
        outputs = [schema.output for schema in self._dispatch.outputs if schema.output in self._open]
        finishing = {output: _FINISHERS.submit(self._open[output].finish) for output in outputs}
        for output, each in finishing.items():
            if each.exception() is None:  # waits for it; what has begun is seen to its end
                self._finished[output] = each.result()
        for each in finishing.values():
            each.result()  # raises what went wrong first, in declared order
        return tuple(self._finished.values())

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


def source_failure(dispatch: Dispatch) -> Failed | None:
    """Compare the source with what was dispatched by size, modification time and identity; why the attempt fails.

    The rows carry the hash of bytes that were read earlier: if these are other bytes, the rows would lie.
    """
    try:
        found = os.stat(path_bytes(dispatch.path))  # noqa: PTH116 - the path is bytes, which pathlib does not take
    except (FileNotFoundError, NotADirectoryError):
        return _source_changed(dispatch, "is no longer there")
    except OSError as error:
        return _refused(
            TransientKind.IO_ERROR if error.errno == errno.EIO else "source_unreadable",
            f"look at {dispatch.path}: {error.strerror}",
            "give this user the right to read it, or check its disk, then run again",
        )
    uid = f"unix:{found.st_dev}:{found.st_ino}"
    facts = {
        "size": (dispatch.size, found.st_size),
        "modification time": (dispatch.mtime_ns, found.st_mtime_ns),
        "identity": (dispatch.file_uid, uid),
    }
    if changed := [name for name, (before, now) in facts.items() if before != now]:
        return _source_changed(dispatch, f"has another {', '.join(changed)} than when it was scanned")
    return None


def content_failure(dispatch: Dispatch) -> Failed | None:
    """Read the source once more and compare its BLAKE3 with what was scanned; why the attempt fails.

    Size and times can be put back by whoever changes a file; the rows are published under the hash of its bytes, so
    the bytes are what is compared. Costs about a tenth of the decoding, from the page cache.
    """
    hasher = blake3.blake3()
    try:
        with open(path_bytes(dispatch.path), "rb", buffering=0) as source:  # noqa: PTH123 - the path is bytes
            while piece := source.read(REHASH_BYTES):
                hasher.update(piece)
    except OSError as error:
        return _source_changed(dispatch, f"cannot be read any more: {error.strerror}")
    if hasher.hexdigest() != dispatch.source_hash:
        return _source_changed(dispatch, "has other bytes than when it was scanned")
    return None


def balance_sheet(statement: Statement | None, *, rows: Callable[[OutputName], int]) -> BalanceSheet:
    """Join what the parser states with what the host wrote; without a statement the input is unaccounted."""
    if statement is None:
        return BalanceSheet(unit="", output="", found=0, written=0, quarantined=0, skipped=0, unreadable=0)
    ranges = statement.unreadable_ranges()
    return BalanceSheet(
        unit=statement.unit,
        output=statement.output,
        found=statement.found,
        written=rows(OutputName(statement.output)) if statement.output else statement.accepted or 0,
        quarantined=0,
        skipped=statement.skipped,
        unreadable=statement.unreadable,
        skips=statement.skipped_units(),
        ranges=ranges,
        ranges_total=max(statement.ranges_total, len(statement.ranges)),
    )


def _orders(dispatch: Dispatch) -> GuestOrders:
    return GuestOrders(
        parser_file=dispatch.parser_file,
        source=path_bytes(dispatch.path),
        settings=dispatch.settings,
        outputs=tuple(schema.output for schema in dispatch.outputs),
        memory_bytes_max=dispatch.memory_bytes_max,
        seconds_max=dispatch.seconds_max,
    )


def _not_started(error: GuestStartError) -> Receipt:
    if error.errno in CAPACITY_ERRNOS:
        return Declined(reason=str(error.strerror))
    return _refused(
        "orders_too_large" if error.errno == errno.E2BIG else TransientKind.GUEST_NOT_STARTED,
        str(error.strerror),
        "check the temporary folder and the Python of this installation, then run again",
    )


def _source_changed(dispatch: Dispatch, what: str) -> Failed:
    # Bytes do not change back: only a new scan can help.
    return _refused("source_changed", f"the source {dispatch.path} {what}", "run again: the file will be scanned anew")


def _row_rejected(rejected: Rejected, output: OutputName) -> GuestFailure:
    """Return why the attempt fails: the first row that was rejected."""
    code = str(rejected.rule_id[0]).rpartition(".")[2]
    row = plain_text(str(rejected.error_msg[0]), chars_max=ROW_ERROR_CHARS_MAX)
    hint = "declare a type that holds the value, or let the parser count the record as unreadable"
    return _failure(code, f"row {rejected.row_index[0]} of {output}: {row}", hint)


def _sink_failure(error: OSError, *, doing: str) -> GuestFailure:
    return _failure(
        TransientKind.SINK_UNAVAILABLE,
        f"{doing}: {error.strerror or error}",
        "see that the sink's folder exists, can be written and has space, then run again",
    )


def _failure(kind: str, reason: str, hint: str) -> GuestFailure:
    return GuestFailure(failure=failure_class(kind), kind=kind, reason=reason, hint=hint)


def _refused(kind: str, reason: str, hint: str) -> Failed:
    """Return the receipt of a job that fails without its guest."""
    return _failed(_failure(kind, reason, hint))


def _failed(failure: GuestFailure, *, log_tail: str = "") -> Failed:
    return Failed(
        failure=failure.failure, kind=failure.kind, reason=failure.reason, hint=failure.hint, log_tail=log_tail
    )


def _nothing_to_say() -> Receipt:
    """Return a receipt for an attempt that was ended already; the ending replaces it."""
    return Aborted(reason="ended before it began")
