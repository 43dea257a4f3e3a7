"""Owns the executor's loop: asks the sentinel for jobs, runs one at a time, reports. Holds no state that matters.

Which process it runs in, and what ends that, is executors/worker.py's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from eventlog.ids import JobId
from executors.attempt import Attempt, failed_by_us
from executors.errors import ServerGoneError
from executors.guest.code import ParserCode
from executors.guest.parents import GuestParents
from executors.heard import Heard
from executors.lease_attempt import LeaseAttempt
from executors.link import LINK_ERRORS, Link, unexpected
from executors.protocol import (
    Carry,
    Conclude,
    Dispatch,
    FurtherReceipt,
    Identify,
    Idle,
    OpCode,
    Receipt,
    Stop,
    Welcome,
    encode,
    payload,
)
from executors.pulse import Pulse, Work, tell_start
from executors.transport import Client
from executors.waits import WorkerTimes
from sinks.sink import Sink, StagedArtifact


class _Ended(Struct, frozen=True, kw_only=True):
    """A job or lease that is over and has to be told; the receipts are in its order."""

    attempt: Attempt | LeaseAttempt
    receipts: tuple[FurtherReceipt, ...]
    shared: tuple[StagedArtifact, ...] = ()


class Worker:
    """The executor's loop. `run` belongs to one thread, which starts the guests and outlives them; `leave` to any."""

    def __init__(
        self,
        *,
        identity: Identify,
        client_factory: Callable[[], Client],
        sink_factory: Callable[[str], Sink],
        times: WorkerTimes | None = None,
        heard: Heard | None = None,
    ) -> None:
        self._identity = identity
        self._heard = heard or Heard()
        self._sink_factory = sink_factory
        self._times = times or WorkerTimes()
        self._link = Link(client_factory, self._times)
        self._parents = GuestParents()
        self._pulse = Pulse(identity.executor, client_factory, self._times, heard=self._heard, must_leave=self.leave)
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._reason = ""
        self._attempt: Attempt | LeaseAttempt | None = None
        self.wanted_again = False  # it was told to leave for a while only
        self.was_welcome = False

    def run(self) -> str:
        """Work until told to leave; return why.

        Raises ServerGoneError, ExecutorRefusedError if the sentinel does not want this executor, ProtocolError.
        """
        try:
            self._identify()
            self._pulse.start()
            self._work()
        except ServerGoneError:
            if not self._leaving.is_set():
                raise
        finally:
            self._parents.close()
            self._link.close()
            self._pulse.close()
        return self._reason

    def leave(self, reason: str) -> None:
        """Kill the guest, if there is one, and end `run`; the job is not reported. The first reason stands."""
        with self._lock:
            self._reason = self._reason or reason
            self._leaving.set()
            attempt = self._attempt
        if attempt is not None:
            attempt.drop(reason)
        self._link.close()

    def _identify(self) -> None:
        answer = self._link.ask(encode(OpCode.IDENTIFY, replace(self._identity, heard=self._heard.heads)))
        if answer.op is not OpCode.IDENTIFY:
            raise unexpected(answer, "its name")
        welcome = payload(answer, Welcome)
        self._heard.hear(welcome.head)
        self.was_welcome = True
        if (soon := welcome.prepare) is not None:
            self._parents.prepare(ParserCode(file=soon.parser_file, digests=soon.parser_digests))

    def _work(self) -> None:
        ended: _Ended | None = None
        while not self._leaving.is_set():
            ended = self._take_turn(ended)
        if ended is not None:
            ended.attempt.discard()  # it was never told, so nobody can publish it

    def _take_turn(self, ended: _Ended | None) -> _Ended | None:
        """Tell how the last job ended and ask for the next in one question; do what the answer says."""
        answer = self._link.ask(self._question(ended))
        # If the answer is lost, the outputs stay: the sentinel may have committed them. Sweeping knows.
        if ended is not None and answer.discard:
            ended.attempt.discard()
        if answer.op is OpCode.DISPATCH:
            dispatch = payload(answer, Dispatch)
            self._heard.hear(dispatch.head)
            return self._run_job(answer.job, dispatch)
        if answer.op is OpCode.HEARTBEAT:
            self._heard.hear(payload(answer, Carry).head)
            self._leaving.wait(self._times.poll_gap)
        elif answer.op is OpCode.ABORT:
            stop = payload(answer, Stop)
            self._heard.hear(stop.head)
            self.wanted_again = stop.again
            self.leave(stop.reason)
        else:
            raise unexpected(answer, "a wish for work")
        return None

    def _question(self, ended: _Ended | None) -> bytes:
        executor = self._identity.executor
        if ended is None:
            return encode(OpCode.HEARTBEAT, Idle(executor=executor))
        first, *further = ended.receipts
        conclude = Conclude(
            executor=executor,
            lease=ended.attempt.dispatch.lease,
            receipt=first.receipt,
            begun_ago=first.begun_ago,
            further=tuple(further),
            shared=ended.shared,
        )
        return encode(OpCode.CONCLUDE, conclude, job=ended.attempt.job)

    def _run_job(self, job: JobId, dispatch: Dispatch) -> _Ended | None:
        if dispatch.further:
            return self._run_lease(job, dispatch)
        attempt = Attempt(
            job, dispatch, sink_factory=self._sink_factory, parents=self._parents, times=self._times.guest
        )
        with self._current(attempt), self._pulse.over(attempt) as work:
            receipt = self._receipt(attempt, work)
        if receipt is None:
            return None
        told = FurtherReceipt(job=job, receipt=receipt, begun_ago=work.begun_ago())
        return _Ended(attempt=attempt, receipts=(told,))

    def _run_lease(self, job: JobId, dispatch: Dispatch) -> _Ended | None:
        attempt = LeaseAttempt(
            job, dispatch, sink_factory=self._sink_factory, parents=self._parents, times=self._times.guest
        )
        with self._current(attempt), self._pulse.over(attempt) as work:
            told = attempt.run(lambda guest_pid: self._begun(work, guest_pid))
        return None if told is None else _Ended(attempt=attempt, receipts=told.receipts, shared=told.shared)

    def _receipt(self, attempt: Attempt, work: Work) -> Receipt | None:
        try:
            return attempt.run(lambda guest_pid: self._begun(work, guest_pid))
        except LINK_ERRORS:
            raise
        # An error of ours in one job is that job's failure, told with its name; the next job may go well.
        except Exception as error:  # noqa: BLE001
            return failed_by_us(error, attempt.job)

    def _begun(self, work: Work, guest_pid: int) -> None:
        if self._pulse.begun(work, guest_pid):
            tell_start(self._link, work)

    @contextmanager
    def _current(self, attempt: Attempt | LeaseAttempt) -> Iterator[None]:
        with self._lock:
            self._attempt = attempt
            leaving = self._leaving.is_set()
        if leaving:
            attempt.drop(self._reason)
        try:
            yield
        finally:
            with self._lock:
                self._attempt = None
