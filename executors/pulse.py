"""Owns what is said of a job while it lasts: that its guest runs, how far it is, and that it must stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from eventlog.ids import ExecutorId
from executors.attempt import Attempt
from executors.heard import Heard
from executors.lease_attempt import LeaseAttempt
from executors.link import LINK_ERRORS, Link, unexpected
from executors.protocol import Ack, Carry, Discard, Message, OpCode, Stop, Working, encode, payload
from executors.transport import Client
from executors.waits import WorkerTimes


class Work(Struct, kw_only=True):
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
        self._work: Work | None = None
        self._sleeps = False
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @contextmanager
    def over(self, attempt: Attempt | LeaseAttempt) -> Iterator[Work]:
        """Have the pulse beat for this attempt while the block runs; closing the connection ends the poll under way."""
        work = Work(attempt=attempt)
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

    def begun(self, work: Work, guest_pid: int) -> bool:
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

    def _next(self) -> Work | None:
        with self._changed:
            self._sleeps = True
            self._changed.wait_for(lambda: self._work is not None or self._closed.is_set())
            self._sleeps = False
            return None if self._closed.is_set() else self._work

    def _beat(self, work: Work, link: Link) -> None:
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
            raise unexpected(answer, "a heartbeat")
        return False


def tell_start(link: Link, work: Work) -> None:
    """Tell the sentinel that the guest runs, and drop the attempt if its lease is dead. Raises as Link.ask."""
    attempt = work.attempt
    ack = Ack(lease=attempt.dispatch.lease, guest_pid=work.guest_pid)
    answer = link.ask(encode(OpCode.DISPATCH_ACK, ack, job=attempt.job))
    if answer.op is OpCode.DISCARD:
        attempt.drop("the lease is dead")  # at once: it may be long until the guest gives rows
    elif answer.op is not OpCode.HEARTBEAT:
        raise unexpected(answer, f"the start of job {attempt.job}")
