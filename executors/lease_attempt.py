"""Owns one attempt at a lease of several small jobs: one input after the other, in one guest as long as it lasts.

An input costs only itself. Its rows are held until it is done, its source is still what was dispatched and its sheet
adds up; only then do they join those of others, in one artifact for each output. An input with rejected rows has
artifacts of its own, as if it were alone: what becomes of them is for a policy to say, and no executor knows that. And
because one process may remember what it did before, a failure counts only in a fresh one: an input that fails in a
guest that has had others is tried again in one that has not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import Struct

from eventlog.ids import JobId
from executors.attempt import (
    Acknowledge,
    Ending,
    failed_by_us,
    sink_failed,
)
from executors.guest.host import GuestTimes
from executors.guest.parents import GuestParents
from executors.leased_input import LeasedInput, LeaseGuests
from executors.protocol import Aborted, Declined, Dispatch, Failed, FurtherReceipt, Receipt, Succeeded
from executors.shared_stages import SharedStages
from sinks.sink import Sink, StagedArtifact

logger = logging.getLogger("casparian.executor")

LEASE_HELD_BYTES_MAX: Final = 64 * 1024 * 1024  # of rows that wait to be written; then they are
RECEIPTS_BYTES_MAX: Final = 1024 * 1024  # of a lease: they are one message, and one frame of the log
STOP_SECONDS_MAX: Final = 2.0  # for the job at work to be over when its guest is killed
LEASE_SECONDS_MAX: Final = 10.0  # then what was not begun is given back: slow parsers gain nothing by sharing


class LeaseReceipts(Struct, frozen=True, kw_only=True):
    """How each job of a lease ended, in the order of the lease, and the artifacts that they share."""

    receipts: tuple[FurtherReceipt, ...]
    shared: tuple[StagedArtifact, ...]


class _Done(Struct, kw_only=True):
    """An input that is over, and how."""

    input: LeasedInput
    receipt: Receipt

    @property
    def shares(self) -> bool:
        return isinstance(self.receipt, Succeeded) and self.input.shares


class LeaseAttempt:
    """One attempt at a lease. `run` is called once; `stop`, `abort`, `drop`, `rows`, `bytes_read` from any thread."""

    def __init__(
        self,
        job: JobId,
        dispatch: Dispatch,
        *,
        sink_factory: Callable[[str], Sink],
        parents: GuestParents,
        times: GuestTimes | None = None,
    ) -> None:
        self.job = job  # the first one, by which the lease is called
        self.dispatch = dispatch
        self._inputs: dict[JobId, Dispatch] = {job: msgspec.structs.replace(dispatch, further=())}
        self._inputs |= {other.job: dispatch.of(other) for other in dispatch.further}
        self._sink_factory = sink_factory
        self._parents = parents
        self._guests = LeaseGuests(parents, times)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # whenever an input is over
        self._ending: Ending | None = None
        self._stops: dict[JobId, str] = {}
        self._gone: dict[JobId, None] = {}  # of the stopped ones, in the order in which they went
        self._closing = False  # the receipts are made: from here on a stop only takes note
        self._current: LeasedInput | None = None
        self._done: dict[JobId, _Done] = {}
        self._rows_done = 0
        self._shared: SharedStages | None = None
        self._written: set[JobId] = set()  # whose rows are in the shared artifacts
        self._held_bytes = 0
        self._receipts_bytes = 0

    def run(self, acknowledge: Acknowledge) -> LeaseReceipts | None:
        """Do the work and return the receipts; None if nobody waits for them (the lease is dead, or we leave).

        `acknowledge` is called once, with the first guest's pid; what it raises passes through, with nothing left
        behind. The calling thread must live as long as the attempt, see `start_guest`.
        """
        told: LeaseReceipts | None = None
        try:
            with self._guests:
                self._work(acknowledge)
            told = self._settled(self._receipts())
        finally:
            if told is None:
                self.discard()
        return told

    @property
    def rows(self) -> int:
        with self._lock:
            return self._rows_done + (self._current.rows if self._current is not None else 0)

    def bytes_read(self) -> int:
        """Return how many bytes the guests have read, as far as the system tells."""
        with self._lock:
            current = self._current
        return current.bytes_read() if current is not None else 0

    @property
    def stopped(self) -> tuple[JobId, ...]:
        """The jobs that are known to be stopped."""
        with self._lock:
            return tuple(self._stops)

    @property
    def gone(self) -> tuple[JobId, ...]:
        """The stopped jobs of which nothing runs and nothing is staged."""
        with self._lock:
            return tuple(self._gone)

    def stop(self, job: JobId, reason: str, *, lease: bool) -> bool:
        """End one job, or the lease; say whether the lease has the job. Returns when nothing of the job is left.

        Or after a while: what has joined the artifacts of others stays there, and is for the sentinel to refuse.
        """
        if job not in self._inputs:
            return False
        if lease:
            self.abort(reason)
            return True
        with self._changed:
            self._stops.setdefault(job, reason)
            current = self._current if self._current is not None and self._current.job == job else None
            if current is None and not self._closing and job not in self._written:
                self._drop(job)
        if current is not None:
            current.abort(reason)
            with self._changed:
                self._changed.wait_for(lambda: self._current is not current, STOP_SECONDS_MAX)
        return True

    def _drop(self, job: JobId) -> None:
        """Leave nothing of a stopped job that is not at work. Call with the lock."""
        if job in self._done:
            self._done[job].input.discard()
        self._gone[job] = None

    def abort(self, reason: str) -> None:
        """Kill the guest; every receipt will be Aborted."""
        self._end(Ending(reason=reason, report=True))

    def drop(self, reason: str) -> None:
        """Kill the guest; there will be no receipts."""
        self._end(Ending(reason=reason, report=False))

    def discard(self) -> None:
        """Remove all that was staged. Idempotent."""
        if self._shared is not None:
            self._shared.abandon()
        for done in self._done.values():
            done.input.discard()

    def _end(self, ending: Ending) -> None:
        with self._lock:
            self._ending = self._ending or ending
            current = self._current
        if current is not None:
            current.abort(ending.reason)

    def _work(self, acknowledge: Acknowledge) -> None:
        """Do the inputs in their order, until all are done, the lease is ended, or its bounds are reached."""
        once = _once(acknowledge)
        deadline = time.monotonic() + LEASE_SECONDS_MAX
        for job, dispatch in self._inputs.items():
            if self._ending is not None or time.monotonic() > deadline or self._receipts_bytes > RECEIPTS_BYTES_MAX:
                return
            done = self._try(job, dispatch, once)
            if done is not None and isinstance(done.receipt, Failed) and done.input.in_used_guest:
                self._guests.end()
                done = self._try(job, dispatch, once) or done
            if done is not None:
                self._take(done)

    def _try(self, job: JobId, dispatch: Dispatch, acknowledge: Acknowledge) -> _Done | None:
        """Do one input; None if its job is stopped before that."""
        one = LeasedInput(job, dispatch, guests=self._guests, sink_factory=self._sink_factory, parents=self._parents)
        with self._lock:
            if self._ending is not None or job in self._stops:
                return None
            self._current = one
        try:
            receipt = one.run(acknowledge)
        except _AcknowledgeError as failed:
            raise failed.error from None
        except Exception as error:  # noqa: BLE001  # of ours, in one job: the next may go well
            receipt = failed_by_us(error, job)
        assert receipt is not None, "an input is stopped with a receipt, whatever becomes of its lease"
        return self._over(_Done(input=one, receipt=receipt))

    def _over(self, done: _Done) -> _Done:
        """Take note that an input is not at work any more."""
        job = done.input.job
        with self._changed:
            self._current = None
            self._rows_done += done.input.rows
            self._done[job] = done
            if job in self._stops:  # the receipt is Aborted, unless the stop came too late for it
                self._drop(job)
            self._changed.notify_all()
        return done

    def _take(self, done: _Done) -> None:
        """Keep what became of an input; write what is held when it is too much."""
        self._receipts_bytes += len(msgspec.json.encode(done.receipt))
        if done.shares:
            self._held_bytes += done.input.held.bytes
            if self._held_bytes > LEASE_HELD_BYTES_MAX:
                self._write_held()
        else:
            done.input.held.batches.clear()  # they are staged, or of no use

    def _write_held(self) -> None:
        """Write the rows that wait into the shared artifacts."""
        with self._failing_together():
            self._write([done for job, done in self._done.items() if done.shares and self._claim(job)])
        self._held_bytes = 0

    def _claim(self, job: JobId) -> bool:
        """Take note that the rows of a job join those of others now, unless it is stopped or they have."""
        with self._lock:
            free = job not in self._written and job not in self._stops
            if free:
                self._written.add(job)
        return free

    @contextmanager
    def _failing_together(self) -> Iterator[None]:
        """Have all jobs fail that share artifacts, if these cannot be written; by an error of ours they wait again."""
        try:
            yield
        except OSError as error:
            self._fail_shared(sink_failed(error, doing=f"stage the outputs of its lease in {self.dispatch.sink_uri}"))
        except Exception as error:
            logger.exception("stage the outputs of the lease of job %d", self.job)
            why = f"the executor failed on its lease: {type(error).__name__}: {error}"[:1000]
            self._fail_shared(Aborted(reason=why))

    def _fail_shared(self, receipt: Receipt) -> None:
        for done in self._done.values():
            if done.shares:
                done.receipt = receipt
        if self._shared is not None:
            self._shared.abandon()
        self._shared = None
        self._written.clear()

    def _write(self, many: Sequence[_Done]) -> None:
        if many and self._shared is None:
            sink = self._sink_factory(self.dispatch.sink_uri)
            self._shared = SharedStages(sink, whose=f"the lease of job {self.job}")
        if self._shared is not None:
            self._shared.write((done.input.job, done.input.dispatch, done.input.held) for done in many)
        for done in many:
            done.input.held.batches.clear()

    def _receipts(self) -> LeaseReceipts:
        """Write and finish what is shared, and say how each job ended."""
        artifacts: tuple[StagedArtifact, ...] = ()
        with self._lock:
            self._closing = True
        if self._ending is None:
            self._write_held()
        if self._ending is None and self._shared is not None:
            with self._failing_together():
                artifacts = self._shared.finish(self.dispatch.outputs)
        told = tuple(self._told(job, artifacts) for job in self._inputs)
        return LeaseReceipts(receipts=told, shared=artifacts)

    def _told(self, job: JobId, artifacts: tuple[StagedArtifact, ...]) -> FurtherReceipt:
        done = self._done.get(job)
        begun = done.input.begun if done is not None else None
        begun_ago = None if begun is None else time.monotonic() - begun
        return FurtherReceipt(job=job, receipt=self._receipt(job, done, artifacts), begun_ago=begun_ago)

    def _receipt(self, job: JobId, done: _Done | None, artifacts: tuple[StagedArtifact, ...]) -> Receipt:
        if self._ending is not None:
            return Aborted(reason=self._ending.reason)
        if job in self._stops and job not in self._written:
            if done is not None:
                done.input.discard()
            return Aborted(reason=self._stops[job])
        if done is None:
            return Declined(reason="its lease had lasted long enough; it was not begun")
        if done.shares:
            assert isinstance(done.receipt, Succeeded) and self._shared is not None
            return msgspec.structs.replace(done.receipt, shares=self._shared.shares(job, artifacts))
        return done.receipt

    def _settled(self, told: LeaseReceipts) -> LeaseReceipts | None:
        """Return what is to be said, now that nobody can end the attempt any more."""
        with self._lock:
            ending = self._ending
        if ending is None:
            return told
        self.discard()
        if not ending.report:
            return None
        aborted = Aborted(reason=ending.reason)
        receipts = tuple(msgspec.structs.replace(each, receipt=aborted) for each in told.receipts)
        return LeaseReceipts(receipts=receipts, shared=())


class _AcknowledgeError(Exception):
    """What `acknowledge` raised: it concerns the lease, not the input during which it was called."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _once(acknowledge: Acknowledge) -> Acknowledge:
    """Return what calls `acknowledge` the first time only."""
    waiting: Iterator[Acknowledge] = iter([acknowledge])

    def call(guest_pid: int) -> None:
        for each in waiting:
            try:
                each(guest_pid)
            except Exception as error:
                raise _AcknowledgeError(error) from error

    return call
