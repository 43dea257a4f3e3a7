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
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, Protocol

import blake3
from msgspec import Struct

from eventlog.events import BalanceSheet, SchemaMismatch
from eventlog.ids import JobId, OutputName, path_bytes
from eventlog.schema import OutputSchema
from executors.behind import Behind
from executors.failures import TransientKind, failure_class
from executors.guest.errors import GuestStartError, ParserChangedError
from executors.guest.frames import GuestBatch, GuestEnd, GuestFailure, GuestStatement
from executors.guest.host import Guest, GuestOrders, GuestTimes, start_guest
from executors.guest.parents import GuestParents
from executors.mismatch import mismatch_of
from executors.protocol import Aborted, Declined, Dispatch, Failed, Receipt, Succeeded
from executors.shape import HINTS, KINDS, sentence
from executors.stages import Stages
from executors.statements import CountRows, Statements, balance_sheets, misstated
from executors.validate import Checked, validate
from sinks.sink import Sink

logger = logging.getLogger("casparian.executor")

REHASH_BYTES: Final = 1024 * 1024
# The machine is full, not the job wrong: somebody else, or we a little later, can start it.
CAPACITY_ERRNOS: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

Acknowledge = Callable[[int], None]
"""Called once with the pid of the guest that works now; a dead lease is heard later, as a `drop`.

What is staged until then is hidden and bears this attempt's number, so that it is in nobody's way.
"""


class Ending(Struct, frozen=True, kw_only=True):
    """Why somebody else ended the attempt, and whether the sentinel wants to hear of it."""

    reason: str
    report: bool


class Rows(Protocol):
    """Takes the rows of one job as they come."""

    def seen(self, output: OutputName, /) -> int:
        """Return how many rows the parser has given for an output."""
        ...

    def write(self, schema: OutputSchema, checked: Checked, /) -> None:
        """Take the rows of a batch, accepted and rejected. Raises OSError."""
        ...


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
        self._mismatch: SchemaMismatch | None = None

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

    @property
    def stopped(self) -> tuple[JobId, ...]:
        """The jobs that are known to be stopped."""
        return (self.job,) if self._ending is not None else ()

    @property
    def gone(self) -> tuple[JobId, ...]:
        """The jobs of which nothing is left although the attempt goes on: of an attempt at one job, none."""
        return ()

    def stop(self, job: JobId, reason: str, *, lease: bool) -> bool:
        """End a job of the attempt, which has but one; say whether the attempt has it."""
        if job == self.job:
            self.abort(reason)
        return job == self.job

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
        rows = self._rows_in(sink)
        try:
            lent = self._take_guest()
        except ParserChangedError as error:
            return _refused("parser_changed", str(error.strerror), error.hint)
        except GuestStartError as error:
            return _not_started(error)
        with lent as guest:
            return self._run_guest(guest, rows, acknowledge)

    def _rows_in(self, sink: Sink) -> Rows:
        """Return what takes the rows as they come."""
        self._stages = Stages(sink, self.job, self.dispatch)
        return self._stages

    def _take_guest(self) -> AbstractContextManager[Guest]:
        """Return a guest that has its orders. Raises GuestStartError."""
        return start_guest(orders_of(self.dispatch), parents=self._parents, times=self._times)

    def _run_guest(self, guest: Guest, rows: Rows, acknowledge: Acknowledge) -> Receipt:
        with self._lock:
            self._guest = guest
            ended = self._ending is not None
        if ended:
            return _nothing_to_say()
        acknowledge(guest.pid)
        outcome = self._consume(guest, rows)
        if isinstance(outcome, GuestFailure):
            # A source that changed underneath explains a parser's failure better than the parser can.
            words = guest.last_words()
            return source_failure(self.dispatch) or _failed(outcome, log_tail=words, mismatch=self._mismatch)
        # If the source is still what was dispatched, and only then, its rows are staged.
        return source_failure(self.dispatch) or content_failure(self.dispatch) or self._staged(outcome)

    def _consume(self, guest: Guest, rows: Rows) -> Statements | GuestFailure | None:
        """Read the guest to its end. Returns its statements if it made some, or why the attempt fails.

        Batches are taken behind what is read of the guest: it goes on meanwhile. The first failure counts, in the order
        in which the guest has said things.
        """
        with Behind[GuestFailure]() as behind:
            outcome = self._read_to_end(guest, rows, behind)
            return behind.finish() or outcome

    def _read_to_end(self, guest: Guest, rows: Rows, behind: Behind[GuestFailure]) -> Statements | GuestFailure | None:
        statements: Statements | None = None
        for frame in guest.frames():
            if isinstance(frame, GuestBatch):
                failure = behind.do(partial(self._take, frame, rows), bytes_=frame.batch.nbytes)
                if failure is not None:
                    return failure
            elif isinstance(frame, GuestStatement):
                fault = misstated(frame.statements, self.dispatch.outputs, before=statements)
                if fault:
                    hint = "correct what the parser returns; report it to the parser's author"
                    return _failure("bad_statement", fault, hint)
                statements = frame.statements
            elif isinstance(frame, GuestFailure):
                return frame
            elif isinstance(frame, GuestEnd):
                break
        return statements

    def _take(self, frame: GuestBatch, rows: Rows) -> GuestFailure | None:
        """Validate a batch and write it to its stage; why the attempt fails if that cannot be done."""
        if self._ending is not None:  # its receipt is settled: nobody is to wait for what was read before
            return None
        schema = self.dispatch.outputs[frame.output]
        checked = validate(frame.batch, schema, row_first=rows.seen(schema.output))
        if not isinstance(checked, Checked):
            self._mismatch = mismatch_of(checked)
            return _failure(KINDS[type(checked)], sentence(checked), HINTS[type(checked)])
        try:
            rows.write(schema, checked)
        except OSError as error:
            return sink_failure(error, doing=f"stage {schema.output} in {self.dispatch.sink_uri}")
        self.rows += checked.accepted.num_rows
        return None

    def _staged(self, statements: Statements | None) -> Receipt:
        """Make the stages durable."""
        assert self._stages is not None, "an attempt that has rows has opened its stages"
        sheets = balance_sheets(statements, accepted=self._stages.accepted, rejected=self._stages.rejected)
        return durable(self._stages, self.dispatch, sheets)


def durable(stages: Stages, dispatch: Dispatch, sheets: tuple[BalanceSheet, ...]) -> Receipt:
    """Make what a job has staged durable, and say what it is."""
    try:
        staged = stages.finish()
    except OSError as error:
        return sink_failed(error, doing=f"finish the outputs in {dispatch.sink_uri}")
    sheet, *further = sheets
    return Succeeded(
        outputs=staged,
        empty=without_rows(dispatch, stages.accepted),
        evidence=stages.evidence(),
        sheet=sheet,
        further=tuple(further),
        notes=stages.notes,
    )


def without_rows(dispatch: Dispatch, accepted: CountRows) -> tuple[OutputName, ...]:
    """Return the declared outputs that have no row, in their order."""
    return tuple(schema.output for schema in dispatch.outputs if not accepted(schema.output))


def failed_by_us(error: Exception, job: JobId) -> Failed:
    """Return the receipt of a job on which the executor itself failed: it is that job's failure, told with its name."""
    logger.exception("run job %d", job, exc_info=error)
    kind = TransientKind.OUT_OF_MEMORY if isinstance(error, MemoryError) else "executor_error"
    return Failed(
        failure=failure_class(kind),
        kind=kind,
        reason=f"the executor failed on the job: {type(error).__name__}: {error}"[:1000],
        hint="see the executor's log for the trace, and report it",
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
    at_once = min(REHASH_BYTES, dispatch.size + 1)  # memory is taken for all that is asked for
    try:
        with open(path_bytes(dispatch.path), "rb", buffering=0) as source:  # noqa: PTH123 - the path is bytes
            while piece := source.read(at_once):
                hasher.update(piece)
    except OSError as error:
        return _source_changed(dispatch, f"cannot be read any more: {error.strerror}")
    if hasher.hexdigest() != dispatch.source_hash:
        return _source_changed(dispatch, "has other bytes than when it was scanned")
    return None


def orders_of(dispatch: Dispatch, *, more: bool = False) -> GuestOrders:
    """Return what a guest is told about a job; with `more` it may be told about others later."""
    return GuestOrders(
        parser_file=dispatch.parser_file,
        parser_digests=dispatch.parser_digests,
        source=path_bytes(dispatch.path),
        settings=dispatch.settings,
        outputs=tuple(schema.output for schema in dispatch.outputs),
        memory_bytes_max=dispatch.memory_bytes_max,
        seconds_max=dispatch.seconds_max,
        more=more,
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


def sink_failure(error: OSError, *, doing: str) -> GuestFailure:
    return _failure(
        TransientKind.SINK_UNAVAILABLE,
        f"{doing}: {error.strerror or error}",
        "see that the sink's folder exists, can be written and has space, then run again",
    )


def sink_failed(error: OSError, *, doing: str) -> Failed:
    """Return the receipt of a job whose sink gave out."""
    return _failed(sink_failure(error, doing=doing))


def _failure(kind: str, reason: str, hint: str) -> GuestFailure:
    return GuestFailure(failure=failure_class(kind), kind=kind, reason=reason, hint=hint)


def _refused(kind: str, reason: str, hint: str) -> Failed:
    """Return the receipt of a job that fails without its guest."""
    return _failed(_failure(kind, reason, hint))


def _failed(failure: GuestFailure, *, log_tail: str = "", mismatch: SchemaMismatch | None = None) -> Failed:
    return Failed(
        failure=failure.failure,
        kind=failure.kind,
        reason=failure.reason,
        hint=failure.hint,
        log_tail=log_tail,
        mismatch=mismatch,
    )


def _nothing_to_say() -> Receipt:
    """Return a receipt for an attempt that was ended already; the ending replaces it."""
    return Aborted(reason="ended before it began")
