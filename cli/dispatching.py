"""What executors are told and what they say: who waits for what, and which message is which command.

Rules of the domain are not here: what a message means is a command, what is handed out is `plan_dispatch`'s choice.
What is kept is volatile: who is asking right now, who is here (cli/roster.py), what is in use (cli/held_leases.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future

import msgspec

from cli import clock
from cli.conclusions import conclusion, is_refused
from cli.held_leases import HeldLease, HeldLeases
from cli.lease_terms import JobLimits, terms
from cli.question import Question, Reply
from cli.roster import STRANGERS_MAX, Roster
from cli.traffic import TrafficCount
from cli.vigil import Vigil
from cli.witnesses import Witnesses
from commands.attempt import ReleaseJob
from commands.dispatch import Offer, Sharing, plan_dispatch
from commands.executor import JoinExecutor, LoseExecutor
from commands.handle import Handler, Outcome
from commands.job import DispatchJob, StartJob, WithdrawJob
from commands.lease import DispatchLease
from eventlog.errors import LogError
from eventlog.events import (
    CancelAccepted,
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    JobAborted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    OutputsCommitted,
)
from eventlog.frames import Frame, stamp_once
from eventlog.ids import ExecutorId, JobId, LeaseId, ParserName, RunId
from eventlog.log import Log
from eventlog.sealed import HeadClaim
from executors import protocol
from executors.parser_catalog import ParserPackage
from executors.protocol import OpCode
from reducers.fold import State

LEASE_SECONDS = 30.0  # an executor that is not heard of for so long is killed and its job given to another
LOOK_SECONDS_MAX = 2.0  # between two sweeps; what is more is an absence of our own, and no silence of theirs
ACTOR = "sentinel"


class Dispatcher:
    """The sentinel's end of every conversation with an executor."""

    def __init__(
        self,
        handler: Handler,
        *,
        log: Log,
        packages: dict[ParserName, ParserPackage],
        workers: int = 1,
    ) -> None:
        """`workers` is among how many executors small jobs are divided, also while some of them are still starting."""
        self._handler = handler
        self._log_id = log.log_id
        self._epoch = log.epoch
        self._witnesses = Witnesses(log)
        self._packages = packages
        self._workers = workers
        self._limits: dict[RunId, JobLimits] = {}
        self._lock = threading.Lock()
        self._idle: dict[ExecutorId, Question] = {}
        self._held = HeldLeases()
        self._planned: dict[JobId, tuple[JobQueued, ParserPackage]] = {}
        self._swept = time.monotonic()
        self._roster = Roster()
        self._stopping = False
        self._soon: protocol.Prepare | None = None
        self._vigil = Vigil()
        self.traffic = TrafficCount("executors")

    def send_home(self, reason: str) -> None:
        """Answer every question with an abort, those that are to come too: guests are killed, executors leave."""
        with self._lock:
            self._stopping = True
            parked: list[tuple[JobId | None, Question]] = [(None, idle) for idle in self._idle.values()]
            parked += [(held.first, held.parked) for held in self._held if held.parked]
            self._idle.clear()
            for each in self._held:  # who hears nothing asks no other
                each.parked = None
        for job, question in parked:
            question.answer(OpCode.ABORT, protocol.Stop(reason=reason, again=True, lease=True), job)

    def await_jobs_of(self, package: ParserPackage) -> None:
        """Have executors that join from now on load a parser before they get a job of it."""
        self._soon = protocol.Prepare(parser_file=package.file, parser_digests=package.digests)

    def expect(self, executor: ExecutorId) -> None:
        """Have a place for an executor that we start, however many strangers are here."""
        with self._lock:
            self._roster.expect(executor)

    def remove(self, executor: ExecutorId) -> None:
        """Do not have it come again, whenever it speaks next."""
        with self._lock:
            self._roster.remove(executor)

    def forget(self, executor: ExecutorId) -> None:
        """Drop what an executor that has ended has asked and held."""
        with self._lock:
            parked: list[tuple[JobId | None, Question | None]] = [(None, self._idle.pop(executor, None))]
            self._roster.forget(executor)
            again = not self._roster.is_removed(executor)
            self._vigil.forget(executor)
            for held in self._held.of_executor(executor):
                parked.append((held.first, held.parked))
                for job in list(held.jobs):
                    self._held.end(job)
        for job_id, question in parked:
            _turn_away(question, job_id, again=again)

    def ended_strangers(self) -> list[ExecutorId]:
        """Return those executors that we have not started whose process has ended, until the log says so too."""
        return self._vigil.ended()

    def close(self) -> None:
        """Give back what watches over strangers, once no executor is spoken to any more."""
        self._vigil.close()

    def limit(self, run: RunId, limits: JobLimits) -> None:
        """Say what one guest of a run may use. Known until we end: a job that outlives us has the default's."""
        if limits != JobLimits():
            self._limits[run] = limits

    def in_flight(self, jobs: Collection[JobId]) -> tuple[int, int]:
        """Return how many rows those of the jobs that run have made, and bytes read; published, never logged."""
        with self._lock:
            return self._held.in_flight(jobs)

    def sweep(self) -> list[ExecutorId]:
        """Answer questions that have waited for POLL_SECONDS; return who was not heard for LEASE_SECONDS."""
        now = time.monotonic()
        due: list[tuple[JobId | None, Question]] = []
        with self._lock:
            self._forgive_absence(now)
            for executor, idle in list(self._idle.items()):
                if not idle.taken and now - idle.since >= protocol.POLL_SECONDS:
                    due.append((None, self._idle.pop(executor)))
            for held in self._held:
                if held.parked and now - held.parked.since >= protocol.POLL_SECONDS:
                    due.append((held.first, held.parked))
                    held.parked = None
            busy = {held.executor: held.heard for held in self._held}
            silent = [each for each, heard in (self._roster.heard() | busy).items() if now - heard >= LEASE_SECONDS]
        for job_id, question in due:
            question.answer(OpCode.HEARTBEAT, protocol.Carry(), job_id)
        return silent

    def _forgive_absence(self, now: float) -> None:
        """Do not count as silence that we were stopped: what executors said meanwhile is still to be read."""
        absent = max(0.0, now - self._swept - LOOK_SECONDS_MAX)
        self._swept = now
        if absent:
            self._roster.forgive(absent, now)
            self._held.forgive(absent, now)

    # --- what the log says (told by the deciding thread) --------------------------------------------------------------

    def plan(self, state: State) -> list[DispatchJob | DispatchLease | WithdrawJob]:
        """Return what to hand out to those who ask for work right now. The process manager of the handler.

        Which package an executor gets is settled here, with the job: whatever is put in its place meanwhile, what runs
        is the artifact under whose keys the rows are recorded.
        """
        if self._stopping or not state.jobs.queued:
            return []
        with self._lock:
            offers = [
                Offer(executor=executor, lease=parked.lease)
                for executor, parked in self._idle.items()
                if not parked.taken and (known := state.executors.get(executor)) is not None and not known.draining
            ]
            if not offers:
                return []
            packages = dict(self._packages)  # a copy: other threads add to it meanwhile
            artifacts = {name: package.artifact_hash for name, package in packages.items()}
            sharing = self._sharing(packages)
            commands = plan_dispatch(state, offers, now=clock.now(), sharing=sharing, artifacts=artifacts)
            for command in commands:
                if isinstance(command, WithdrawJob):
                    continue
                self._idle[command.executor].taken = True
                jobs = command.jobs if isinstance(command, DispatchLease) else (command.job,)
                for job in jobs:
                    spec = state.jobs.queued[job].spec
                    self._planned[job] = (spec, packages[spec.parser])
        return commands

    def _sharing(self, packages: dict[ParserName, ParserPackage]) -> Sharing:
        limits = dict(self._limits)  # a copy: other threads add to it meanwhile
        alone = frozenset(name for name, package in packages.items() if package.fresh_process)
        bounds = {run: each.jobs_per_lease for run, each in limits.items()}
        return Sharing(executors=self._workers, alone=alone, jobs_max_of=bounds)

    def observe(self, frames: Sequence[Frame]) -> None:
        """Send out what became durable: dispatches to the executors that asked, aborts to those at work."""
        self._witnesses.observe(frames)
        for frame in frames:
            handed_out = [record.data for record in frame.events if isinstance(record.data, JobDispatched)]
            if handed_out:
                self._send(handed_out)
            for record in frame.events:
                match record.data:
                    case CancelAccepted(job=job, reason=reason):
                        self._abort(job, reason)
                    case ExecutorJoined():
                        self._join(record.data)
                    case ExecutorDraining(executor=executor, reason=reason):
                        self._drain(executor, reason)
                    case ExecutorLost(executor=executor):
                        self.forget(executor)
                    case (
                        OutputsCommitted(job=job)
                        | JobFailed(job=job)
                        | JobAborted(job=job)
                        | JobRequeued(job=job)
                        | JobDeclined(job=job)
                    ):
                        with self._lock:
                            ended = self._held.end(job)
                        _turn_away(ended.parked if ended else None, job)
                    case _:
                        pass  # nothing to send: the other events tell of what this fleet did, or of other nouns

    def _join(self, joined: ExecutorJoined) -> None:
        with self._lock:
            is_stranger = self._roster.join(joined.executor, time.monotonic())
        if is_stranger:
            self._vigil.watch(joined.executor, pid=joined.pid, host=joined.host)

    def _send(self, handed_out: Sequence[JobDispatched]) -> None:
        """Tell an executor what it was given in one frame: all of one lease."""
        first = handed_out[0]
        assert all(each.lease == first.lease for each in handed_out)
        planned = [self._planned.pop(each.job) for each in handed_out]
        spec, package = planned[0]
        held = HeldLease(
            executor=first.executor,
            lease=first.lease,
            first=first.job,
            jobs={each.job for each in handed_out},
            heard=time.monotonic(),
        )
        with self._lock:
            parked = self._idle.pop(first.executor, None)
            self._held.add(held)
        if parked is None:  # it died meanwhile: its loss is on its way through the log
            return
        specs = [spec for spec, _package in planned]
        limits = self._limits.get(spec.run, JobLimits())
        message = terms(list(zip(handed_out, specs, strict=True)), package, limits, log_id=self._log_id)
        parked.answer(OpCode.DISPATCH, message, first.job)

    def _abort(self, job: JobId, reason: str) -> None:
        """Have the guest of a job killed: now if its heartbeat waits here, else when the next one comes."""
        with self._lock:
            held = self._held.of_job(job)
            parked = held.unpark() if held else None
            if held:
                held.stops[job] = reason
        if parked:
            parked.answer(OpCode.ABORT, protocol.Stop(reason=reason), job)

    # --- what executors say (called on the transport's thread) --------------------------------------------------------

    def receive(self, data: bytes, reply: Reply) -> None:
        """Take in one message; the handler of the executors' server."""
        self.traffic.received()

        def answer(message: bytes) -> None:
            reply(message)
            self.traffic.sent()

        try:
            self._route(protocol.decode(data), answer)
        except protocol.ProtocolError as error:
            self.traffic.error()
            answer(protocol.encode(OpCode.ERR, _fault(error)))

    def _route(self, message: protocol.Message, reply: Reply) -> None:
        match message.op:
            case OpCode.IDENTIFY:
                self._identify(protocol.payload(message, protocol.Identify), reply)
            case OpCode.HEARTBEAT if message.job == 0:
                executor = protocol.payload(message, protocol.Idle).executor
                self._park_idle(executor, self._question(executor, reply, clock.new_lease()))
                self._handler.wake()
            case OpCode.HEARTBEAT:
                self._park_working(message.job, protocol.payload(message, protocol.Working), reply)
            case OpCode.DISPATCH_ACK:
                ack = protocol.payload(message, protocol.Ack)
                self._heard(ack.lease)
                self._start(StartJob(job=message.job, lease=ack.lease, now=clock.now()), reply)
            case OpCode.CONCLUDE:
                self._conclude(message.job, protocol.payload(message, protocol.Conclude), reply)
            case _:
                raise protocol.ProtocolError(f"InvalidOpCode: {message.op.name} is not for the sentinel")

    def _identify(self, identify: protocol.Identify, reply: Reply) -> None:
        with self._lock:
            is_full = self._roster.is_full_for(identify.executor)
        if is_full:
            self.traffic.error()
            reply(protocol.encode(OpCode.ERR, protocol.Fault(code="unknown_executor", message=FULL)))
            return
        heard = self._witnesses.about_us(identify)
        if heard:
            self._handler.look(lambda state: self._hear(identify, heard, reply, halted=state is None))
        else:
            self._take_in(identify, reply)

    def _hear(self, identify: protocol.Identify, heard: Sequence[HeadClaim], reply: Reply, *, halted: bool) -> None:
        """Take in an executor that worked here before, unless the log is not the one that it was told of.

        On the deciding thread: nothing is appended meanwhile, and nothing any more if so.
        """
        fault: protocol.Fault | None = ENDING if halted else None
        if not halted:
            try:
                self._witnesses.hold(heard)
            except LogError as error:
                self._handler.halt(error)
                fault = protocol.Fault(code="stopping", message=str(error))
            except OSError as error:  # it comes again, and is not taken in before it could be heard
                fault = protocol.Fault(code="stopping", message=f"read the log to hear this executor: {error}")
        if fault is None:
            self._take_in(identify, reply)
        else:
            reply(protocol.encode(OpCode.ERR, fault))

    def _take_in(self, identify: protocol.Identify, reply: Reply) -> None:
        command = JoinExecutor(
            executor=identify.executor,
            pid=identify.pid,
            host=identify.host,
            version=identify.version,
            capacity=identify.capacity,
            now=clock.now(),
        )

        def welcome(_: Future[Outcome]) -> None:
            head = self._witnesses.head
            said = protocol.Welcome(log_id=self._log_id, epoch=self._epoch, head=head, prepare=self._soon)
            reply(protocol.encode(OpCode.IDENTIFY, said))

        self._handler.submit(command, actor=f"executor:{identify.executor}").add_done_callback(welcome)

    def _question(self, executor: ExecutorId, reply: Reply, lease: LeaseId, *, with_receipt: bool = False) -> Question:
        def head() -> protocol.LogHead | None:
            """Tell those only that we have welcomed: what another sentinel told one must not be overwritten unheard."""
            return self._witnesses.head if executor in self._roster else None

        return Question(reply, lease=lease, head=head, with_receipt=with_receipt)

    def _start(self, command: StartJob, reply: Reply) -> None:
        """Submit it; answer Carry, or Discard if the lease is dead, when that is durable."""

        def answer(done: Future[Outcome]) -> None:
            if done.exception() is not None:
                reply(protocol.encode(OpCode.ERR, ENDING, job=command.job))
            elif (refused := done.result().refused) is not None:
                reply(protocol.encode(OpCode.DISCARD, protocol.Discard(reason=refused.why), job=command.job))
            else:
                reply(protocol.encode(OpCode.HEARTBEAT, protocol.Carry(), job=command.job))

        self._handler.submit(command, actor="executor").add_done_callback(answer)

    def _park_idle(self, executor: ExecutorId, question: Question, *, concluding: LeaseId | None = None) -> None:
        self._release_dropped(executor, concluding)
        with self._lock:
            farewell = self._farewell(executor)
            if farewell is None:
                self._roster.hear(executor, time.monotonic())
                before, self._idle[executor] = self._idle.get(executor), question
                question.taken = before is not None and before.taken  # the job that is on its way goes to the newer one
        if farewell is None:
            _supersede(before)
            return
        question.then = lambda: self._lose(executor, farewell.reason)
        question.answer(OpCode.ABORT, farewell)

    def _farewell(self, executor: ExecutorId) -> protocol.Stop | None:
        """Return why an executor that asks for work gets none, ever; None where it may."""
        if self._stopping:
            return protocol.Stop(reason="the sentinel is leaving", again=True)
        return self._roster.farewell(executor)

    def _drain(self, executor: ExecutorId, reason: str) -> None:
        """Give it nothing more; one that waits for work leaves now, one that works when it asks for more."""
        with self._lock:
            self._roster.drain(executor, reason)
            parked = self._idle.pop(executor, None)
        if parked is not None:
            parked.then = lambda: self._lose(executor, reason)
            parked.answer(OpCode.ABORT, protocol.Stop(reason=reason))

    def _lose(self, executor: ExecutorId, reason: str) -> None:
        """Record that it has left, which it was told to when it held nothing."""
        lost = LoseExecutor(executor=executor, reason=reason, charged=False, now=clock.now())
        self._handler.submit(lost, actor=ACTOR)

    def _release_dropped(self, executor: ExecutorId, concluding: LeaseId | None) -> None:
        """Give back what an executor that asks for work still holds by the log: told to discard it, it did not report.

        A question that was late says the same of a live lease; then the job is made again, and its reports are stale.
        """
        with self._lock:
            dropped = [
                (job, held.lease)
                for held in self._held.of_executor(executor)
                if held.lease != concluding
                for job in sorted(held.jobs)
            ]
        for job, lease in dropped:
            self._give_back(job, lease, "its executor let go of it")

    def _give_back(self, job: JobId, lease: LeaseId, reason: str) -> None:
        release = ReleaseJob(job=job, lease=lease, declined=False, reason=reason, now=clock.now())
        self._handler.submit(release, actor=ACTOR)

    def _park_working(self, job: JobId, working: protocol.Working, reply: Reply) -> None:
        question = self._question(working.executor, reply, working.lease)
        stop: tuple[JobId, protocol.Stop] | None = None
        gone: list[JobId] = []
        before: Question | None = None
        with self._lock:
            held = self._held.get(working.lease)
            if held is None or self._stopping:
                stop = (job, protocol.Stop(reason="the sentinel is stopping", lease=True))
            else:
                held.heard, held.rows, held.bytes_read = time.monotonic(), working.rows, working.bytes_read
                stop = held.untold(working.stopped)
                before, held.parked = held.parked, None if stop else question
                gone = [job for job in working.gone if job in held.jobs and job in held.stops]
        _supersede(before, job)
        for each in gone:  # a cancel is complete when nothing of its job is left, however long its lease lasts
            self._give_back(each, working.lease, "it was stopped")
        if stop:
            question.answer(OpCode.ABORT, stop[1], stop[0])

    def _conclude(self, job: JobId, conclude: protocol.Conclude, reply: Reply) -> None:
        """Submit the receipts, with the starts that were not told; the executor has room for the next lease now.

        It is offered before they are decided, so that both can be in one batch.
        """
        command = conclusion(job, conclude, log_id=self._log_id, now=clock.now())
        # A lease is given once and concluded once: it names the receipts, however often and to whomever they come.
        stamp = stamp_once(conclude.lease, msgspec.json.encode((conclude.receipt, conclude.further, conclude.shared)))
        # From here on nothing may fail: what is parked is answered once, and by others.
        self._let_go(conclude.lease)
        question = self._question(conclude.executor, reply, clock.new_lease(), with_receipt=True)
        self._park_idle(conclude.executor, question, concluding=conclude.lease)

        def settle(done: Future[Outcome]) -> None:
            if done.exception() is not None:
                question.answer(OpCode.ERR, ENDING, job)
                question.settle(discard=False)
            else:
                question.settle(discard=is_refused(done.result()))

        self._handler.submit(command, actor="executor", stamp=stamp).add_done_callback(settle)

    def _let_go(self, lease: LeaseId) -> None:
        """Answer the heartbeat of a lease that has concluded: it would hold a context of the server for nothing."""
        with self._lock:
            held = self._held.get(lease)
            if held is None:
                return
            held.heard = time.monotonic()
            parked = held.unpark()
        if parked:
            parked.answer(OpCode.HEARTBEAT, protocol.Carry(), held.first)

    def _heard(self, lease: LeaseId) -> None:
        with self._lock:
            held = self._held.get(lease)
            if held is not None:
                held.heard = time.monotonic()


FULL = f"the sentinel has {STRANGERS_MAX} executors already that others have started"
ENDING = protocol.Fault(code="stopping", message="the sentinel is ending after a fault")


def _supersede(question: Question | None, job: JobId | None = None) -> None:
    """Answer a question that was asked again: left alone it would hold a context of the server for ever."""
    if question is not None:
        question.answer(OpCode.HEARTBEAT, protocol.Carry(), job)


def _turn_away(question: Question | None, job: JobId | None, *, again: bool = True) -> None:
    """Answer a question about what is over: without an answer it would hold a context of the server for ever."""
    if question is not None:
        over = protocol.Stop(reason="its lease is over", again=again, lease=job is not None)
        question.answer(OpCode.ABORT, over, job)


def _fault(error: protocol.ProtocolError) -> protocol.Fault:
    if str(error).startswith("VersionMismatch"):
        return protocol.Fault(code="version", message=str(error))
    return protocol.Fault(code="bad_message", message=str(error))
