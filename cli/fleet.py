"""The sentinel's side of the executors: their processes, their parked questions, their leases.

Rules of the domain are not here: what a message means is a command, what is handed out is `plan_dispatch`'s choice.
This module keeps what is volatile: who is asking right now, who was heard last, which process is whose.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from msgspec import Struct

from cli import clock
from commands.dispatch import Offer, plan_dispatch
from commands.executor import JoinExecutor, LoseExecutor
from commands.handle import Handler, Outcome
from commands.job import CommitJob, DispatchJob, FailJob, ReleaseJob, StagedReport, StartJob
from eventlog.errors import LogFullError
from eventlog.events import (
    CancelAccepted,
    JobAborted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    OutputsCommitted,
)
from eventlog.frames import Frame
from eventlog.ids import ExecutorId, JobId, LeaseId, LogId, OutputName, ParserName
from executors import protocol
from executors.guest.limits import MEMORY_BYTES_MAX, SECONDS_MAX
from executors.parser_catalog import ParserPackage
from executors.processes import descendants
from executors.protocol import OpCode
from executors.transport import Server
from reducers.fold import State

logger = logging.getLogger("casparian.fleet")

LEASE_SECONDS = 30.0  # an executor that is not heard of for so long is killed and its job given to another
SWEEP_SECONDS = 0.5
TOLD_TIMES_MAX = 7200  # an hour of a full disk
LEAVE_SECONDS = 5.0  # how long executors get to leave before they are killed
LOSSES_MAX = 20  # of one fleet: a machine that ends every executor must not be fought for ever
ACTOR = "sentinel"
# -P: a folder named like one of our packages in the working directory must not shadow it.
WORKER = (sys.executable, "-P", "-m", "executors.worker")

Reply = Callable[[bytes], None]


class _Parked(Struct):
    """A question that waits for its answer. `taken` once a job was planned for it."""

    reply: Reply
    since: float
    lease: LeaseId
    taken: bool = False


class _Held(Struct):
    """A lease in use: when its executor was heard last, its parked heartbeat, and why it must stop, if it must."""

    executor: ExecutorId
    lease: LeaseId
    heard: float
    rows: int = 0
    bytes_read: int = 0
    stop: str = ""
    parked: _Parked | None = None


class JobLimits(Struct, frozen=True, kw_only=True):
    """What one guest may use: limits of a run, part of no key."""

    memory_bytes_max: int = MEMORY_BYTES_MAX
    seconds_max: float = SECONDS_MAX


class Progress(Struct, frozen=True):
    """What running jobs have done so far; published, never logged."""

    jobs: int
    rows: int


class Fleet:
    """Executor processes of one sentinel, spawned on this machine and reached over one server."""

    def __init__(
        self,
        server: Server,
        handler: Handler,
        *,
        log_id: LogId,
        epoch: int,
        packages: dict[ParserName, ParserPackage],
        scratch: Path,
        limits: JobLimits | None = None,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._worker = command
        self._limits = limits or JobLimits()
        self._scratch = scratch
        self._server = server
        self._handler = handler
        self._log_id = log_id
        self._epoch = epoch
        self._packages = packages
        self._lock = threading.Lock()
        self._idle: dict[ExecutorId, _Parked] = {}
        self._held: dict[JobId, _Held] = {}
        self._planned: dict[JobId, JobQueued] = {}
        self._children: dict[ExecutorId, subprocess.Popen[bytes]] = {}
        self._waiters: list[threading.Thread] = []
        self._number = 0
        self._losses = 0
        self._last_ending = ""
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_loop, name="fleet-sweeper", daemon=True)

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and watch; a second time changes nothing. Raises TransportError if the address is taken."""
        if not self._sweeper.is_alive():
            self._server.serve(self._receive)
            self._sweeper.start()

    def grow(self, workers: int) -> None:
        """Bring the number of executor processes to `workers`."""
        while len(self._children) < workers and not self._stopping.is_set() and not self.exhausted:
            self._spawn()

    @property
    def size(self) -> int:
        """How many executor processes are alive."""
        return len(self._children)

    @property
    def exhausted(self) -> str:
        """Return why no more executors are started: too many have ended by themselves; "" while there is hope."""
        return self._last_ending if self._losses >= LOSSES_MAX else ""

    def stop(self) -> None:
        """Tell every executor to leave, wait LEAVE_SECONDS, kill the rest, close the server."""
        self._stopping.set()
        self._stop_replies("the sentinel is leaving")
        deadline = time.monotonic() + LEAVE_SECONDS
        for child in list(self._children.values()):
            if child.stdin:
                child.stdin.close()  # the parent's pipe: its end tells the executor to leave, whatever it is doing
        for child in list(self._children.values()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
            if child.poll() is None:
                child.kill()
        for waiter in self._waiters:
            waiter.join(timeout=LEAVE_SECONDS)
        if self._sweeper.is_alive():
            self._sweeper.join(timeout=LEAVE_SECONDS)
        self._server.close()

    def kill_now(self) -> None:
        """Kill every executor and the whole process group of every guest, and wait for nothing. From any thread."""
        self._stopping.set()
        executors = [child.pid for child in list(self._children.values()) if child.returncode is None]
        below = descendants(executors)  # guest parents, guests and what they started, also if they are stopped
        for pid in (*executors, *below):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def abort_running(self, reason: str) -> None:
        """Have every guest killed; its executor answers with an explicit receipt."""
        self._stopping.set()
        self._stop_replies(reason)

    def _stop_replies(self, reason: str) -> None:
        with self._lock:
            parked = [(None, idle) for idle in self._idle.values()]
            held = [(job, held.parked) for job, held in self._held.items() if held.parked]
            self._idle.clear()
            for each in self._held.values():  # a question is answered once; one who hears nothing asks no other
                each.parked = None
        for job, question in [*parked, *held]:
            if question:
                self._answer(question, OpCode.ABORT, protocol.Stop(reason=reason), job)

    def _spawn(self) -> None:
        self._number += 1
        executor = clock.new_executor(self._number)
        command = [*self._worker, "--connect", self._server.address, "--executor", executor]
        # Guests keep their scratch folders where they can be found and removed after a kill: in the home.
        environment = {**os.environ, "TMPDIR": str(self._scratch)}
        child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
        self._children[executor] = child
        waiter = threading.Thread(target=self._wait, args=(executor, child), name=f"wait-{executor}", daemon=True)
        self._waiters.append(waiter)
        waiter.start()

    def _wait(self, executor: ExecutorId, child: subprocess.Popen[bytes]) -> None:
        """Wait for the process to end, tell the log, and put another in its place while there is work."""
        code = child.wait()
        if child.stdin:
            child.stdin.close()
        self._children.pop(executor, None)
        with self._lock:
            self._idle.pop(executor, None)
            for job in [job for job, held in self._held.items() if held.executor == executor]:
                del self._held[job]
        reason = _ending(code)
        self._tell_loss(executor, reason)
        if not self._stopping.is_set():  # `hire` puts another in its place while there is work
            with self._lock:
                self._losses += 1
                self._last_ending = f"{self._losses} executors ended by themselves, the last one {reason}"
            logger.warning("%s %s", executor, reason)

    def _tell_loss(self, executor: ExecutorId, reason: str) -> None:
        """Tell the log that an executor is gone, again while its disk is full: else its job is leased for ever."""
        charged = not self._stopping.is_set()
        for _ in range(TOLD_TIMES_MAX):
            lost = LoseExecutor(executor=executor, reason=reason, charged=charged, now=clock.now())
            try:
                self._handler.call(lost, actor=ACTOR)
                return
            except LogFullError:
                if self._stopping.wait(SWEEP_SECONDS):
                    return  # the next epoch finds the lease and gives the job back

    # --- what the log says (told by the deciding thread) --------------------------------------------------------------

    def plan(self, state: State) -> list[DispatchJob]:
        """Return what to hand out to those who ask for work right now. The process manager of the handler."""
        if self._stopping.is_set() or not state.jobs.queued:
            return []
        with self._lock:
            offers = [
                Offer(executor=executor, lease=parked.lease)
                for executor, parked in self._idle.items()
                if not parked.taken and executor in state.executors
            ]
            commands = plan_dispatch(state, offers, now=clock.now()) if offers else []
            for command in commands:
                self._idle[command.executor].taken = True
                self._planned[command.job] = state.jobs.queued[command.job].spec
        return commands

    def observe(self, frames: Sequence[Frame]) -> None:
        """Send out what became durable: dispatches to the executors that asked, aborts to those at work."""
        for frame in frames:
            for record in frame.events:
                match record.data:
                    case JobDispatched() as dispatched:
                        self._send(dispatched)
                    case CancelAccepted(job=job, reason=reason):
                        self._abort(job, reason)
                    case (
                        OutputsCommitted(job=job)
                        | JobFailed(job=job)
                        | JobAborted(job=job)
                        | JobRequeued(job=job)
                        | JobDeclined(job=job)
                    ):
                        with self._lock:
                            self._held.pop(job, None)
                    case _:
                        pass  # nothing to send: the other events tell of what this fleet did, or of other nouns

    def _send(self, dispatched: JobDispatched) -> None:
        spec = self._planned.pop(dispatched.job)
        with self._lock:
            parked = self._idle.pop(dispatched.executor, None)
            self._held[dispatched.job] = _Held(
                executor=dispatched.executor, lease=dispatched.lease, heard=time.monotonic()
            )
        package = self._packages.get(spec.parser)
        if parked is None or package is None:  # it died meanwhile: its loss is on its way through the log
            return
        message = protocol.Dispatch(
            lease=dispatched.lease,
            attempt=dispatched.attempt,
            log_id=self._log_id,
            path=spec.path,
            size=spec.size,
            mtime_ns=spec.mtime_ns,
            file_uid=spec.file_uid,
            source_hash=spec.source_hash,
            parser=spec.parser,
            parser_version=spec.parser_version,
            parser_file=package.file,
            settings=spec.settings,
            outputs=package.outputs,
            sink_uri=spec.sink_uri,
            dispatched_at=dispatched.dispatched_at,
            memory_bytes_max=self._limits.memory_bytes_max,
            seconds_max=self._limits.seconds_max,
        )
        self._answer(parked, OpCode.DISPATCH, message, dispatched.job)

    def _abort(self, job: JobId, reason: str) -> None:
        """Have the guest of a job killed: now if its heartbeat waits here, else when the next one comes."""
        with self._lock:
            held = self._held.get(job)
            parked = held.parked if held else None
            if held:
                held.parked = None
                held.stop = reason
        if parked:
            self._answer(parked, OpCode.ABORT, protocol.Stop(reason=reason), job)

    def progress(self) -> Progress:
        """Return what the running jobs report."""
        with self._lock:
            return Progress(len(self._held), sum(held.rows for held in self._held.values()))

    # --- what executors say (called on the transport's thread) --------------------------------------------------------

    def _receive(self, data: bytes, reply: Reply) -> None:
        try:
            self._route(protocol.decode(data), reply)
        except protocol.ProtocolError as error:
            reply(protocol.encode(OpCode.ERR, _fault(error)))

    def _route(self, message: protocol.Message, reply: Reply) -> None:
        match message.op:
            case OpCode.IDENTIFY:
                self._identify(protocol.payload(message, protocol.Identify), reply)
            case OpCode.HEARTBEAT if message.job == 0:
                self._park_idle(protocol.payload(message, protocol.Idle), reply)
            case OpCode.HEARTBEAT:
                self._park_working(message.job, protocol.payload(message, protocol.Working), reply)
            case OpCode.DISPATCH_ACK:
                ack = protocol.payload(message, protocol.Ack)
                self._heard(message.job, ack.lease)
                command = StartJob(job=message.job, lease=ack.lease, now=clock.now())
                self._ask(command, message.job, reply, _carry_unless_refused)
            case OpCode.CONCLUDE:
                self._conclude(message.job, protocol.payload(message, protocol.Conclude), reply)
            case _:
                raise protocol.ProtocolError(f"InvalidOpCode: {message.op.name} is not for the sentinel")

    def _identify(self, identify: protocol.Identify, reply: Reply) -> None:
        command = JoinExecutor(
            executor=identify.executor,
            pid=identify.pid,
            host=identify.host,
            version=identify.version,
            capacity=identify.capacity,
            now=clock.now(),
        )
        welcome = protocol.encode(OpCode.IDENTIFY, protocol.Welcome(log_id=self._log_id, epoch=self._epoch))
        answer = self._handler.submit(command, actor=f"executor:{identify.executor}")
        answer.add_done_callback(lambda _: reply(welcome))

    def _park_idle(self, idle: protocol.Idle, reply: Reply) -> None:
        self._release_dropped(idle)
        if self._stopping.is_set():
            reply(protocol.encode(OpCode.ABORT, protocol.Stop(reason="the sentinel is leaving")))
            return
        with self._lock:
            self._idle[idle.executor] = _Parked(reply=reply, since=time.monotonic(), lease=clock.new_lease())
        self._handler.wake()

    def _release_dropped(self, idle: protocol.Idle) -> None:
        """Give back what an executor that asks for work still holds by the log: told to discard it, it did not report.

        A question that was late says the same of a live lease; then the job is made again, and its reports are stale.
        """
        with self._lock:
            dropped = [
                (job, held.lease)
                for job, held in self._held.items()
                if held.executor == idle.executor and held.lease != idle.concluding
            ]
        for job, lease in dropped:
            reason = "its executor let go of it"
            release = ReleaseJob(job=job, lease=lease, declined=False, reason=reason, now=clock.now())
            self._handler.submit(release, actor=ACTOR)

    def _park_working(self, job: JobId, working: protocol.Working, reply: Reply) -> None:
        question = _Parked(reply=reply, since=time.monotonic(), lease=working.lease)
        with self._lock:
            held = self._held.get(job)
            live = held is not None and held.lease == working.lease and not self._stopping.is_set()
            stop = "" if live else "the sentinel is stopping"
            if held is not None and live:
                held.heard, held.rows, held.bytes_read = time.monotonic(), working.rows, working.bytes_read
                stop = held.stop
                held.parked = None if stop else question
        if stop:
            self._answer(question, OpCode.ABORT, protocol.Stop(reason=stop), job)

    def _conclude(self, job: JobId, conclude: protocol.Conclude, reply: Reply) -> None:
        self._heard(job, conclude.lease)
        self._let_go(job, conclude.lease)
        command = self._command(job, conclude)
        self._ask(command, job, reply, _carry_if_committed if isinstance(command, CommitJob) else _carry)

    def _let_go(self, job: JobId, lease: LeaseId) -> None:
        """Answer the heartbeat of a job that has concluded: it would hold a context of the server for nothing."""
        with self._lock:
            held = self._held.get(job)
            parked = held.parked if held and held.lease == lease else None
            if held and parked:
                held.parked = None
        if parked:
            self._answer(parked, OpCode.HEARTBEAT, protocol.Carry(), job)

    def _command(self, job: JobId, conclude: protocol.Conclude) -> CommitJob | FailJob | ReleaseJob:
        now, lease = clock.now(), conclude.lease
        match conclude.receipt:
            case protocol.Succeeded(outputs=outputs, empty=empty, sheet=sheet):
                reports = tuple(
                    StagedReport(
                        output=staged.output,
                        staged=staged.staged,
                        final=staged.final,
                        digest=staged.digest,
                        bytes=staged.bytes,
                        rows=staged.rows,
                        schema_hash=staged.schema_hash,
                    )
                    for staged in outputs
                )
                names = tuple(OutputName(name) for name in empty)
                return CommitJob(
                    job=job, lease=lease, log_id=self._log_id, outputs=reports, empty=names, sheet=sheet, now=now
                )
            case protocol.Failed() as failed:
                return FailJob(
                    job=job,
                    lease=lease,
                    failure=failed.failure,
                    kind=failed.kind,
                    reason=failed.reason,
                    hint=failed.hint,
                    log_tail=failed.log_tail,
                    sheet=failed.sheet,
                    now=now,
                )
            case protocol.Aborted(reason=reason):
                return ReleaseJob(job=job, lease=lease, declined=False, reason=reason, now=now)
            case protocol.Declined(reason=reason):
                return ReleaseJob(job=job, lease=lease, declined=True, reason=reason, now=now)

    def _ask(
        self,
        command: StartJob | CommitJob | FailJob | ReleaseJob,
        job: JobId,
        reply: Reply,
        judge: Callable[[Outcome], str],
    ) -> None:
        """Submit the command; answer Carry, or Discard with the reason that `judge` gives, when it is durable."""

        def answer(done: Future[Outcome]) -> None:
            if done.exception() is not None:
                fault = protocol.Fault(code="stopping", message="the sentinel is ending after a fault")
                reply(protocol.encode(OpCode.ERR, fault, job=job))
                return
            reason = judge(done.result())
            if reason:
                reply(protocol.encode(OpCode.DISCARD, protocol.Discard(reason=reason), job=job))
            else:
                reply(protocol.encode(OpCode.HEARTBEAT, protocol.Carry(), job=job))

        self._handler.submit(command, actor="executor").add_done_callback(answer)

    def _heard(self, job: JobId, lease: LeaseId) -> None:
        with self._lock:
            held = self._held.get(job)
            if held is not None and held.lease == lease:
                held.heard = time.monotonic()

    @staticmethod
    def _answer(
        question: _Parked, op: OpCode, payload: protocol.Dispatch | protocol.Stop | protocol.Carry, job: JobId | None
    ) -> None:
        question.reply(protocol.encode(op, payload, job=job))

    # --- time --------------------------------------------------------------------------------------------------------

    def _sweep_loop(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            self._sweep(time.monotonic())

    def _sweep(self, monotonic: float) -> None:
        """Answer questions that have waited for POLL_SECONDS; kill executors that were not heard for LEASE_SECONDS."""
        due: list[tuple[JobId | None, _Parked]] = []
        silent: list[ExecutorId] = []
        with self._lock:
            for executor, idle in list(self._idle.items()):
                if not idle.taken and monotonic - idle.since >= protocol.POLL_SECONDS:
                    due.append((None, self._idle.pop(executor)))
            for job, held in self._held.items():
                if held.parked and monotonic - held.parked.since >= protocol.POLL_SECONDS:
                    due.append((job, held.parked))
                    held.parked = None
                if monotonic - held.heard >= LEASE_SECONDS:
                    silent.append(held.executor)
        for job_id, question in due:
            self._answer(question, OpCode.HEARTBEAT, protocol.Carry(), job_id)
        for executor in silent:
            child = self._children.get(executor)
            if child is not None:
                logger.warning("%s was not heard for %d s and is killed", executor, LEASE_SECONDS)
                child.kill()


def _carry(_outcome: Outcome) -> str:
    return ""


def _carry_unless_refused(outcome: Outcome) -> str:
    return outcome.refused.why if outcome.refused else ""


def _carry_if_committed(outcome: Outcome) -> str:
    """Keep what was staged only if its commit point was passed, now or by an earlier copy of this report."""
    if outcome.refused:
        return outcome.refused.why
    if outcome.events and not any(isinstance(event, OutputsCommitted) for event in outcome.events):
        return "the commit was refused"
    return ""


def _fault(error: protocol.ProtocolError) -> protocol.Fault:
    if str(error).startswith("VersionMismatch"):
        return protocol.Fault(code="version", message=str(error))
    return protocol.Fault(code="bad_message", message=str(error))


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}"
    return "left" if code == 0 else f"ended with exit code {code}"
