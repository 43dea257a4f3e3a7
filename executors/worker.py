"""Owns the executor process: asks the sentinel for jobs, runs one at a time, reports. Holds no state that matters.

`python -m executors.worker --connect ADDRESS --executor ID`, started with a pipe as its standard input: when that ends,
the executor kills its guest and leaves. So it does on SIGTERM, when told to, and when the sentinel cannot be reached.
When the thread that started it ends, the kernel kills it, because a stopped executor hears none of these. SIGINT is
ignored: a person's Ctrl-C is for the sentinel to decide about.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from casparian import __version__, leave
from eventlog.ids import ExecutorId, JobId
from executors.attempt import Attempt, failed_by_us
from executors.errors import ExecutorRefusedError, ServerGoneError, TransportError
from executors.guest.code import ParserCode
from executors.guest.host import GuestTimes
from executors.guest.parents import GuestParents
from executors.heard import Heard
from executors.lease_attempt import LeaseAttempt
from executors.processes import die_with_parent
from executors.protocol import (
    POLL_SECONDS,
    Ack,
    Carry,
    Conclude,
    Discard,
    Dispatch,
    Fault,
    FurtherReceipt,
    Identify,
    Idle,
    Message,
    OpCode,
    ProtocolError,
    Receipt,
    Stop,
    Welcome,
    Working,
    decode,
    encode,
    payload,
)
from executors.transport import Client
from sinks.sink import Sink, StagedArtifact

logger = logging.getLogger("casparian.executor")

REQUEST_SECONDS: Final = POLL_SECONDS + 2.0  # the sentinel answers a long poll after POLL_SECONDS
GONE_SECONDS_MAX: Final = 10.0  # without an answer, before the sentinel counts as gone
RETRY_SECONDS: Final = 0.25  # between two attempts to reach it
POLL_GAP_SECONDS: Final = 0.05  # between two polls, should the sentinel answer at once
PULSE_DELAY_SECONDS: Final = 0.1  # a job over by then has no pulse; till then, or twice that, no cancel is heard
SINKS_MAX: Final = 16  # that are kept open
LEAVE_SECONDS_MAX: Final = 15.0  # for the main thread to clean up, before the process is ended

LINK_ERRORS: Final = (ServerGoneError, ExecutorRefusedError, ProtocolError)


class WorkerTimes(Struct, frozen=True, kw_only=True):
    """How long an executor waits, in seconds; tests make it short."""

    request: float = REQUEST_SECONDS
    gone_max: float = GONE_SECONDS_MAX
    retry: float = RETRY_SECONDS
    poll_gap: float = POLL_GAP_SECONDS
    pulse_delay: float = PULSE_DELAY_SECONDS
    guest: GuestTimes = GuestTimes()


class Link:
    """One connection to the sentinel, made again after a failure. For any thread."""

    def __init__(self, client_factory: Callable[[], Client], times: WorkerTimes) -> None:
        self._client_factory = client_factory
        self._times = times
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._client: Client | None = None

    def ask(self, message: bytes) -> Message:
        """Return the answer, asking again until there is one.

        Asking again is safe: whoever is asked knows jobs by their leases. Raises ServerGoneError when there was no
        answer for `gone_max` seconds after the first failure, or when the link is closed; ExecutorRefusedError if the
        answer is a fault; ProtocolError if it makes no sense.
        """
        gone_at: float | None = None
        client: Client | None = None
        while True:
            try:
                client = self._connected()
                answer = decode(client.request(message, timeout_seconds=self._times.request))
                break
            except TransportError as error:
                self._disconnect(client)
                gone_at = gone_at or time.monotonic() + self._times.gone_max
                if time.monotonic() >= gone_at or self._closed.wait(self._times.retry):
                    raise ServerGoneError(
                        f"ask the sentinel: {error}; see whether it still runs, it starts executors as it needs them"
                    ) from error
        if answer.op is OpCode.ERR:
            fault = payload(answer, Fault)
            raise ExecutorRefusedError(fault.code, fault.message)
        return answer

    def close(self) -> None:
        """End the connection and every wait on it. Idempotent."""
        self._closed.set()
        with self._lock:
            client = self._client
        self._disconnect(client)

    def _connected(self) -> Client:
        with self._lock:
            if self._closed.is_set():
                raise ServerGoneError("ask the sentinel: this executor is leaving")
            if self._client is None:
                self._client = self._client_factory()
            return self._client

    def _disconnect(self, client: Client | None) -> None:
        """Close a client that failed, unless another thread has met its failure already."""
        with self._lock:
            mine = client is not None and self._client is client
            if mine:
                self._client = None
        if mine and client is not None:
            client.close()


class _Work(Struct, kw_only=True):
    """The job or lease that an executor is on. `beating`: it lasts long enough for a word; its start is told too."""

    attempt: Attempt | LeaseAttempt
    guest_pid: int = 0
    begun: float | None = None  # on the monotonic clock: when its guest ran
    beating: bool = False
    link: Link | None = None
    over: bool = False

    def begun_ago(self) -> float | None:
        return None if self.begun is None else time.monotonic() - self.begun


class Pulse:
    """Tells the sentinel of a job that lasts: that it was begun, how far it is; and hears that it must stop.

    On a thread and a connection of its own, so that a stop is heard while the job's thread is busy. A job that is over
    within the delay costs it nothing, not even waking the thread.
    """

    def __init__(
        self,
        executor: ExecutorId,
        client_factory: Callable[[], Client],
        times: WorkerTimes,
        *,
        heard: Heard,
        must_leave: Callable[[str], None],
    ) -> None:
        self._executor = executor
        self._client_factory = client_factory
        self._times = times
        self._log_heard = heard
        self._must_leave = must_leave
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._work: _Work | None = None
        self._sleeps = False
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @contextmanager
    def over(self, attempt: Attempt | LeaseAttempt) -> Iterator[_Work]:
        """Have the pulse beat for this attempt while the block runs; closing the connection ends the poll under way."""
        work = _Work(attempt=attempt)
        with self._changed:
            self._work = work
            if self._sleeps:
                self._changed.notify()
        try:
            yield work
        finally:
            with self._changed:
                work.over, self._work = True, None
            if work.link is not None:
                work.link.close()

    def begun(self, work: _Work, guest_pid: int) -> bool:
        """Take note that the guest runs; whether that is to be told now, because the pulse has begun without it."""
        with self._changed:
            work.guest_pid, work.begun = guest_pid, time.monotonic()
            return work.beating

    def close(self) -> None:
        """End the thread, without waiting for it. Idempotent."""
        self._closed.set()
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._closed.wait(self._times.pulse_delay)
            with self._changed:
                if work.over:
                    continue
                work.beating, work.link = True, Link(self._client_factory, self._times)
            self._beat(work, work.link)

    def _next(self) -> _Work | None:
        with self._changed:
            self._sleeps = True
            self._changed.wait_for(lambda: self._work is not None or self._closed.is_set())
            self._sleeps = False
            return None if self._closed.is_set() else self._work

    def _beat(self, work: _Work, link: Link) -> None:
        try:
            if work.begun is not None:
                tell_start(link, work)
            while not work.over and self._heard(link.ask(self._working(work.attempt)), work.attempt):
                self._closed.wait(self._times.poll_gap)
        except LINK_ERRORS as error:
            if not work.over:
                self._must_leave(str(error))

    def _working(self, attempt: Attempt | LeaseAttempt) -> bytes:
        return encode(
            OpCode.HEARTBEAT,
            Working(
                executor=self._executor,
                lease=attempt.dispatch.lease,
                rows=attempt.rows,
                bytes_read=attempt.bytes_read(),
                stopped=attempt.stopped,
                gone=attempt.gone,
            ),
            job=attempt.job,
        )

    def _heard(self, answer: Message, attempt: Attempt | LeaseAttempt) -> bool:
        """Do what the sentinel says; False if there is nothing more to hear."""
        if answer.op is OpCode.HEARTBEAT:
            self._log_heard.hear(payload(answer, Carry).head)
            return True
        if answer.op is OpCode.ABORT:
            stop = payload(answer, Stop)
            self._log_heard.hear(stop.head)
            if attempt.stop(answer.job, stop.reason, lease=stop.lease):
                return isinstance(attempt, LeaseAttempt) and not stop.lease  # then others of it may be stopped, too
            self._must_leave(stop.reason)
        elif answer.op is OpCode.DISCARD:
            attempt.drop(payload(answer, Discard).reason)
        else:
            raise _unexpected(answer, "a heartbeat")
        return False


def tell_start(link: Link, work: _Work) -> None:
    """Tell the sentinel that the guest runs, and drop the attempt if its lease is dead. Raises as Link.ask."""
    attempt = work.attempt
    ack = Ack(lease=attempt.dispatch.lease, guest_pid=work.guest_pid)
    answer = link.ask(encode(OpCode.DISPATCH_ACK, ack, job=attempt.job))
    if answer.op is OpCode.DISCARD:
        attempt.drop("the lease is dead")  # at once: it may be long until the guest gives rows
    elif answer.op is not OpCode.HEARTBEAT:
        raise _unexpected(answer, f"the start of job {attempt.job}")


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
            raise _unexpected(answer, "its name")
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
            raise _unexpected(answer, "a wish for work")
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

    def _receipt(self, attempt: Attempt, work: _Work) -> Receipt | None:
        try:
            return attempt.run(lambda guest_pid: self._begun(work, guest_pid))
        except LINK_ERRORS:
            raise
        # An error of ours in one job is that job's failure, told with its name; the next job may go well.
        except Exception as error:  # noqa: BLE001
            return failed_by_us(error, attempt.job)

    def _begun(self, work: _Work, guest_pid: int) -> None:
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


def _unexpected(answer: Message, said: str) -> ProtocolError:
    return ProtocolError(f"UnexpectedAnswer: the sentinel answered {answer.op.name} to {said}")


# --- the process ----------------------------------------------------------------------------------------------------


def make_worker(executor: ExecutorId, address: str, *, heard: Heard | None = None) -> Worker:
    """Return a worker of one slot for this process, which asks the sentinel at an address.

    `heard` is what the process was told before of logs, and takes in what this worker is told.
    """
    from executors.nng_transport import NngClient
    from sinks.uri import open_sink

    identity = Identify(executor=executor, pid=os.getpid(), host=socket.gethostname(), version=__version__, capacity=1)
    # A sink is its canonical URI, parsed: the jobs of a run name the same one again and again.
    sinks = lru_cache(SINKS_MAX)(open_sink)
    return Worker(identity=identity, client_factory=lambda: NngClient(address), sink_factory=sinks, heard=heard)


def main(arguments: list[str] | None = None) -> int:
    """Run an executor as this process. Returns 0 when it left as told, 1 with a sentence on stderr otherwise."""
    options = _options(arguments)
    die_with_parent()  # one that ended before has closed the pipe
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_scratch()
    worker = make_worker(ExecutorId(options.executor), options.connect)
    finished = _watch(worker)
    try:
        worker.run()
    except LINK_ERRORS as error:
        print(f"executor {options.executor}: {error}", file=sys.stderr)
        return 1
    finally:
        finished.set()
    return 0


def take_scratch() -> None:
    """Take TMPDIR for the temporary folder unseen: else the library tries it out with a file, which a kill leaves."""
    tempfile.tempdir = os.environ.get("TMPDIR")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m executors.worker", description="Run one executor.")
    parser.add_argument("--connect", required=True, metavar="ADDRESS", help="where the sentinel listens")
    parser.add_argument("--executor", required=True, metavar="ID", help="the name under which it works")
    return parser.parse_args(arguments)


def _watch(worker: Worker) -> threading.Event:
    """Have a thread wait for the parent's end and for SIGTERM; set the returned event when `run` has ended.

    Python runs signal handlers on the main thread, which may be waiting inside nng: the wake-up descriptor is written
    at once and from any state.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    finished = threading.Event()
    threading.Thread(
        target=_leave_when_told, args=(worker, wake_read, finished), name="parent watch", daemon=True
    ).start()
    return finished


def _leave_when_told(worker: Worker, wake: int, finished: threading.Event) -> None:
    worker.leave(_reason_to_leave(wake))
    if not finished.wait(LEAVE_SECONDS_MAX):
        # The kernel kills the guest along with us; what is staged is hidden, and swept later.
        os._exit(1)


def _reason_to_leave(wake: int) -> str:
    """Wait until the parent's pipe ends or SIGTERM comes. Without a bound: it lasts as long as the process."""
    stdin = 0
    poll = select.poll()
    poll.register(stdin, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _event in poll.poll()}
        if wake in ready and signal.SIGTERM in os.read(wake, 4096):
            return "told to leave by SIGTERM"
        if stdin in ready and not _has_input(stdin):
            return "the parent has ended"


def _has_input(descriptor: int) -> bool:
    """Read away what a parent may write; False at its end."""
    try:
        return bool(os.read(descriptor, 4096))
    except OSError:
        return False


if __name__ == "__main__":
    leave(main())
