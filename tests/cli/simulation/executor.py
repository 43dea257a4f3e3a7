"""Owns the executor of the simulation: it speaks the protocol's bytes, by the rules of executors/executor_loop.py.

Two threads as there: one asks for work, works and reports; a pulse tells of a lease that lasts and hears what must be
stopped. What a guest would do is a `Fate`, drawn for each input.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from random import Random
from typing import Final, Literal

from msgspec import Struct, structs

from eventlog.events import BalanceSheet, BrokenRule, SkippedUnits, StagedEvidence
from eventlog.ids import ExecutorId, JobId, OutputName
from executors.errors import ExecutorRefusedError, ServerGoneError
from executors.failures import TransientKind, failure_class
from executors.heard import Heard
from executors.lease_attempt import LEASE_SECONDS_MAX
from executors.protocol import (
    Aborted,
    Ack,
    Carry,
    Conclude,
    Declined,
    Discard,
    Dispatch,
    Failed,
    Fault,
    FurtherReceipt,
    Identify,
    Idle,
    Message,
    OpCode,
    Receipt,
    Share,
    Stop,
    Succeeded,
    Welcome,
    Working,
    decode,
    encode,
    payload,
)
from executors.waits import GONE_SECONDS_MAX, POLL_GAP_SECONDS, PULSE_DELAY_SECONDS, REQUEST_SECONDS, RETRY_SECONDS
from sinks.sink import StagedArtifact
from tests.cli.simulation.agenda import Agenda
from tests.cli.simulation.network import Network
from tests.cli.simulation.scripts import Exchange, Played, Sleep, Wish
from tests.cli.simulation.target import REJECTED, ROWS, Target

FINISHING_SECONDS: Final = (0.02, 0.02, 3.0)  # what jobs share, while they may still be cancelled
RETURN_SECONDS: Final = 1.0  # between two visits, as cli/executor.py has it
Kind = Literal["rows", "rejected", "nothing", "unbalanced", "declined", "permanent", "transient", "unknown", "shape"]
KINDS: Final[tuple[Kind, ...]] = (
    "rows", "rows", "rows", "rows", "rejected", "nothing", "unbalanced", "declined",
    "permanent", "transient", "unknown", "shape",
)  # fmt: skip


FAILING: Final[tuple[Kind, ...]] = ("permanent", "transient", "unknown", "shape")


class Fate(Struct, frozen=True, kw_only=True):
    """How an attempt goes: how long until its guest runs, how long it then works, and what comes of it."""

    start_seconds: float
    work_seconds: float
    kind: Kind


def any_fate(chance: Random) -> Fate:
    """Return an attempt that may be short or last longer than a lease, and may end in any way."""
    return Fate(
        start_seconds=chance.choice((0.001, 0.05, 0.3)),
        work_seconds=chance.choice((0.001, 0.05, 0.5, 5.0, 5.0, 12.0, 40.0)) * (0.5 + chance.random()),
        kind=chance.choice(KINDS),
    )


def calm_fate(chance: Random) -> Fate:
    """Return an attempt that is short and mostly goes well, so that jobs of one lease share much."""
    kind = chance.choice(KINDS) if chance.random() < 0.2 else "rows"
    return Fate(start_seconds=0.001, work_seconds=chance.choice((0.001, 0.05, 0.5)), kind=kind)


def good_fate(_chance: Random) -> Fate:
    """Return an attempt that goes well, and soon."""
    return Fate(start_seconds=0.01, work_seconds=0.1, kind="rows")


HEADS: Final[dict[OpCode, type[Welcome | Dispatch | Carry | Stop]]] = {  # the answers that tell of the log
    OpCode.IDENTIFY: Welcome,
    OpCode.DISPATCH: Dispatch,
    OpCode.HEARTBEAT: Carry,
    OpCode.ABORT: Stop,
}
Ask = Generator[Wish, bytes | None, Message]


class _Work(Struct, kw_only=True):
    """The lease at hand, of one job or several. `ending`: why somebody else ended it, and whether that is reported.

    Of several jobs single ones are stopped (`stops`); of those that are `gone` nothing runs and nothing is staged.
    """

    job: JobId
    dispatch: Dispatch
    inputs: dict[JobId, Dispatch]
    staged: list[StagedArtifact] = []
    guest_runs_since: float | None = None
    beating: bool = False
    ending: tuple[str, bool] | None = None
    current: JobId | None = None
    stops: dict[JobId, str] = {}
    gone: dict[JobId, None] = {}
    done: dict[JobId, Receipt] = {}
    sharing: list[JobId] = []  # those that are done, and whose rows are to lie in artifacts of the lease
    written: set[JobId] = set()  # those whose rows do


class _Ended(Struct, frozen=True, kw_only=True):
    work: _Work
    receipts: tuple[FurtherReceipt, ...]
    shared: tuple[StagedArtifact, ...] = ()


class SimulatedExecutor:
    """One executor process: the sentinel's own, or one that a person has started, which comes back by itself."""

    def __init__(
        self,
        place: str,
        *,
        agenda: Agenda,
        network: Network,
        target: Target,
        chance: Random,
        fate: Callable[[Random], Fate],
        own: bool,
        left: Callable[[SimulatedExecutor], None],
    ) -> None:
        self.place = place
        self.agenda = agenda
        self.network = network
        self.own = own
        self.fate = fate
        self.name = ExecutorId(f"{place}-1")
        self.alive = True
        self._target = target
        self._chance = chance
        self._left = left
        self._visits = 0
        self._heard = Heard()
        self._frozen_until = 0.0
        self._leaving = False
        self._again = False
        self._main: Played | None = None
        self._main = Played(self, self._live(), self._end)

    @property
    def frozen_seconds(self) -> float:
        """How long it is still stopped."""
        return self._frozen_until - self.agenda.now

    def freeze(self, seconds: float) -> None:
        """Stop it for a while, as SIGSTOP does: it says nothing, and what it hears waits."""
        self._frozen_until = self.agenda.now + seconds

    def thaw(self) -> None:
        self._frozen_until = 0.0

    def kill(self) -> None:
        """End it at once; what it staged stays where it is."""
        if self.alive:
            self._end()

    def _end(self) -> None:
        self.alive = False
        self._left(self)

    def _live(self) -> Generator[Wish, bytes | None, None]:
        while True:  # ends when it is told to leave for good; a person's executor outlives its sentinels
            self._visits += 1
            self.name = ExecutorId(f"{self.place}-{self._visits}")
            self._leaving, self._again = False, False
            try:
                yield from self._visit()
            except ServerGoneError:
                self._again = True
            except ExecutorRefusedError as refused:
                self._again = refused.code == "stopping"
            if self.own or not self._again:
                return
            yield Sleep(RETURN_SECONDS)

    def _visit(self) -> Generator[Wish, bytes | None, None]:
        identity = Identify(
            executor=self.name, pid=1, host="here", version="simulated", capacity=1, heard=self._heard.heads
        )
        answer = yield from self._ask(encode(OpCode.IDENTIFY, identity))
        assert answer.op is OpCode.IDENTIFY
        ended: _Ended | None = None
        while not self._leaving:
            answer = yield from self._ask(self._question(ended))
            if ended is not None and answer.discard:
                self._discard(ended.work)
            ended = None
            if answer.op is OpCode.DISPATCH:
                ended = yield from self._job(answer.job, payload(answer, Dispatch))
            elif answer.op is OpCode.HEARTBEAT:
                yield Sleep(POLL_GAP_SECONDS)
            else:
                assert answer.op is OpCode.ABORT
                self._leaving, self._again = True, payload(answer, Stop).again
        if ended is not None:
            self._discard(ended.work)  # it was never told

    def _ask(self, message: bytes) -> Ask:
        """Ask until there is an answer, or until there was none for too long; as `Link.ask`."""
        gone_at: float | None = None
        while True:  # ends with an answer, or when the sentinel counts as gone
            data = yield Exchange(message, REQUEST_SECONDS)
            if data is not None:
                break
            gone_at = gone_at or self.agenda.now + GONE_SECONDS_MAX
            if self.agenda.now >= gone_at:
                raise ServerGoneError("nobody answers")
            yield Sleep(RETRY_SECONDS)
        answer = decode(data)
        if answer.op is OpCode.ERR:
            fault = payload(answer, Fault)
            raise ExecutorRefusedError(fault.code, fault.message)
        if answer.op in HEADS:
            self._heard.hear(payload(answer, HEADS[answer.op]).head)
        return answer

    def _question(self, ended: _Ended | None) -> bytes:
        if ended is None:
            return encode(OpCode.HEARTBEAT, Idle(executor=self.name))
        first, *further = ended.receipts
        said = Conclude(
            executor=self.name,
            lease=ended.work.dispatch.lease,
            receipt=first.receipt,
            begun_ago=first.begun_ago,
            further=tuple(further),
            shared=ended.shared,
        )
        return encode(OpCode.CONCLUDE, said, job=ended.work.job)

    # --- one lease ---

    def _job(self, job: JobId, dispatch: Dispatch) -> Generator[Wish, bytes | None, _Ended | None]:
        work = _Work(job=job, dispatch=dispatch, inputs=_inputs(job, dispatch))
        pulse = Played(self, self._pulse(work), lambda: None)
        try:
            ended = yield from self._lease(work) if dispatch.further else self._alone(work)
        except (ServerGoneError, ExecutorRefusedError):  # not `finally`, which would run in a process that was killed
            self._discard(work)
            raise
        finally:
            pulse.stop()
        if work.ending is None:
            return ended
        self._discard(work)
        aborted = Aborted(reason=work.ending[0])
        receipts = tuple(structs.replace(each, receipt=aborted) for each in ended.receipts)
        return _Ended(work=work, receipts=receipts) if work.ending[1] else None

    def _alone(self, work: _Work) -> Generator[Wish, bytes | None, _Ended]:
        receipt = yield from self._attempt(work)
        if not isinstance(receipt, Succeeded):
            self._discard(work)
        since = work.guest_runs_since
        begun_ago = None if since is None else self.agenda.now - since
        return _Ended(work=work, receipts=(FurtherReceipt(job=work.job, receipt=receipt, begun_ago=begun_ago),))

    def _attempt(self, work: _Work) -> Generator[Wish, bytes | None, Receipt]:
        fate = self.fate(self._chance)
        if (yield from self._held_up(work, fate.start_seconds)):
            return Aborted(reason="")
        if fate.kind == "declined":
            return Declined(reason="no process is to be had")
        yield from self._begun(work)
        try:
            stages = self._target.begin(work.job, work.dispatch, _outputs(fate.kind))
            if (yield from self._held_up(work, fate.work_seconds)):
                return Aborted(reason="")
            if fate.kind in FAILING:
                return _failed(fate.kind)
            work.staged += [self._target.finish(stage) for stage in stages]
        except OSError as error:
            return _failure(TransientKind.SINK_UNAVAILABLE, str(error))
        return _succeeded(work.dispatch, fate.kind, work.staged)

    def _begun(self, work: _Work) -> Generator[Wish, bytes | None, None]:
        """Take note that a guest runs; the pulse tells of the first one, or we, if it has begun without it."""
        if work.guest_runs_since is None:
            work.guest_runs_since = self.agenda.now
            if work.beating:
                yield from self._tell_start(work)

    # --- one of several jobs: executors/lease_attempt.py ---

    def _lease(self, work: _Work) -> Generator[Wish, bytes | None, _Ended]:
        """Do the inputs in their order; then the rows of those that went well lie together."""
        deadline = self.agenda.now + LEASE_SECONDS_MAX
        begun: dict[JobId, float] = {}
        for job in work.inputs:
            if work.ending is not None or self.agenda.now > deadline:
                break
            if job in work.stops:
                continue
            work.current = job
            begun[job] = self.agenda.now
            work.done[job] = yield from self._input(work, job)
            work.current = None
            if job in work.stops:
                self._drop(work, job)
        shared = yield from self._share(work)
        receipts = tuple(
            FurtherReceipt(job=job, receipt=self._receipt_of(work, job, shared), begun_ago=self._ago(begun.get(job)))
            for job in work.inputs
        )
        return _Ended(work=work, receipts=receipts, shared=shared)

    def _input(self, work: _Work, job: JobId) -> Generator[Wish, bytes | None, Receipt]:
        fate, dispatch = self.fate(self._chance), work.inputs[job]
        if (yield from self._held_up(work, fate.start_seconds)):
            return Aborted(reason="")
        if fate.kind == "declined":
            return Declined(reason="no process is to be had")
        yield from self._begun(work)
        if (yield from self._held_up(work, fate.work_seconds)):
            return Aborted(reason="")
        if fate.kind in FAILING or fate.kind == "unbalanced":
            return _failed(fate.kind)
        if fate.kind == "rows":
            work.sharing.append(job)
            return _succeeded(dispatch, "rows", _all_outputs(dispatch))
        try:
            staged = [self._target.finish(each) for each in self._target.begin(job, dispatch, _outputs(fate.kind))]
        except OSError as error:
            self._target.abandon(job, dispatch)
            return _failure(TransientKind.SINK_UNAVAILABLE, str(error))
        return _succeeded(dispatch, fate.kind, staged)

    def _share(self, work: _Work) -> Generator[Wish, bytes | None, tuple[StagedArtifact, ...]]:
        """Stage what jobs have in common; where that fails, they fail together."""
        work.sharing[:] = [job for job in work.sharing if job not in work.stops]
        if work.ending is not None or not work.sharing:
            return ()
        work.written.update(work.sharing)
        first = work.sharing[0]
        try:
            opened = self._target.begin(first, work.inputs[first], [(0, False), (1, False)], jobs=len(work.sharing))
            yield from self._held_up(work, self._chance.choice(FINISHING_SECONDS))
            return tuple(self._target.finish(each) for each in opened)
        except OSError as error:
            self._target.abandon(first, work.inputs[first])
            failed = _failure(TransientKind.SINK_UNAVAILABLE, str(error))
            work.done.update(dict.fromkeys(work.sharing, failed))
            work.sharing.clear()
            work.written.clear()
            return ()

    def _receipt_of(self, work: _Work, job: JobId, shared: tuple[StagedArtifact, ...]) -> Receipt:
        if work.ending is not None:
            return Aborted(reason=work.ending[0])
        if job in work.stops and job not in work.written:
            return Aborted(reason=work.stops[job])
        receipt = work.done.get(job)
        if receipt is None:
            return Declined(reason="it was not begun")
        if job not in work.sharing or not isinstance(receipt, Succeeded):
            return receipt
        place = work.sharing.index(job)
        shares = tuple(
            Share(staged=artifact.staged, row_first=place * rows, rows=rows)
            for artifact, rows in zip(shared, ROWS, strict=True)
        )
        return structs.replace(receipt, outputs=(), shares=shares)

    def _ago(self, moment: float | None) -> float | None:
        return None if moment is None else self.agenda.now - moment

    def _drop(self, work: _Work, job: JobId) -> None:
        """Leave nothing of a job that is stopped and not at work."""
        self._target.abandon(job, work.inputs[job])
        work.gone[job] = None

    def _held_up(self, work: _Work, seconds: float) -> Generator[Wish, bytes | None, bool]:
        """Let time pass; whether the attempt was ended meanwhile."""
        until = self.agenda.now + seconds
        while not self._is_stopped(work) and self.agenda.now < until:  # each sleep lasts until then, or was ended
            yield Sleep(until - self.agenda.now)
        return self._is_stopped(work)

    def _is_stopped(self, work: _Work) -> bool:
        return work.ending is not None or work.current in work.stops

    def _discard(self, work: _Work) -> None:
        for job, dispatch in work.inputs.items():
            self._target.abandon(job, dispatch)

    def _tell_start(self, work: _Work) -> Generator[Wish, bytes | None, None]:
        ack = Ack(lease=work.dispatch.lease, guest_pid=1)
        answer = yield from self._ask(encode(OpCode.DISPATCH_ACK, ack, job=work.job))
        if answer.op is OpCode.DISCARD:
            self._stop(work, "the lease is dead", report=False)

    def _stop(self, work: _Work, reason: str, *, report: bool) -> None:
        work.ending = work.ending or (reason, report)
        if self._main is not None:
            self._main.wake()

    # --- its pulse ---

    def _pulse(self, work: _Work) -> Generator[Wish, bytes | None, None]:
        yield Sleep(PULSE_DELAY_SECONDS)
        work.beating = True
        try:
            if work.guest_runs_since is not None:
                yield from self._tell_start(work)
            while (yield from self._beat(work)):
                yield Sleep(POLL_GAP_SECONDS)
        except (ServerGoneError, ExecutorRefusedError) as error:
            self._leave(work, str(error))

    def _beat(self, work: _Work) -> Generator[Wish, bytes | None, bool]:
        """Say that the job goes on; False when there is nothing more to hear."""
        lease, stopped, gone = work.dispatch.lease, tuple(work.stops), tuple(work.gone)
        said = Working(executor=self.name, lease=lease, rows=1, bytes_read=1, stopped=stopped, gone=gone)
        answer = yield from self._ask(encode(OpCode.HEARTBEAT, said, job=work.job))
        if answer.op is OpCode.HEARTBEAT:
            return True
        if answer.op is OpCode.DISCARD:
            self._stop(work, payload(answer, Discard).reason, report=False)
        else:
            return self._told_to_stop(work, answer.job, payload(answer, Stop))
        return False

    def _told_to_stop(self, work: _Work, job: JobId, stop: Stop) -> bool:
        """Stop a job, or the lease, or leave; whether there may be more to stop."""
        if job not in work.inputs:
            self._leave(work, stop.reason)
        elif stop.lease or not work.dispatch.further:
            self._stop(work, stop.reason, report=True)
        else:
            work.stops.setdefault(job, stop.reason)
            if work.current == job and self._main is not None:
                self._main.wake()
            elif job not in work.written:
                self._drop(work, job)
            return True
        return False

    def _leave(self, work: _Work, reason: str) -> None:
        """Leave; a person's executor looks for its sentinel again, because it was not told to by one."""
        self._leaving = self._again = True
        self._stop(work, reason, report=False)


def _outputs(kind: Kind) -> list[tuple[int, bool]]:
    """Return what an attempt stages: (the number of an output, whether it is its rejected rows)."""
    match kind:
        case "nothing":
            return []
        case "rejected":
            return [(0, False), (0, True)]
        case _:
            return [(0, False), (1, False)]


def _inputs(job: JobId, dispatch: Dispatch) -> dict[JobId, Dispatch]:
    return {job: dispatch, **{other.job: dispatch.of(other) for other in dispatch.further}}


def _all_outputs(dispatch: Dispatch) -> list[OutputName]:
    return [schema.output for schema in dispatch.outputs]


def _succeeded(dispatch: Dispatch, kind: Kind, staged: Sequence[StagedArtifact | OutputName]) -> Succeeded:
    """Return the receipt of an attempt that staged this; names stand for rows that will lie among those of others."""
    names = _all_outputs(dispatch)
    artifacts = [each for each in staged if isinstance(each, StagedArtifact)]
    outputs = tuple(each for each in artifacts if each.output in names)
    evidence = tuple(_evidence(each, names[0]) for each in artifacts if each.output not in names)
    made = {each.output if isinstance(each, StagedArtifact) else each for each in staged}
    written = ROWS[0] if names[0] in made else 0
    rejected = REJECTED if evidence else 0
    skipped = 0 if written else 3
    sheet = BalanceSheet(
        unit="records",
        output=names[0],
        found=written + rejected + skipped + (kind == "unbalanced"),
        written=written,
        quarantined=rejected,
        skipped=skipped,
        skips=(SkippedUnits(count=skipped, reason="comments"),) if skipped else (),
        unreadable=0,
    )
    empty = tuple(name for name in names if name not in made)
    return Succeeded(outputs=outputs, empty=empty, evidence=evidence, sheet=sheet)


def _evidence(staged: StagedArtifact, output: OutputName) -> StagedEvidence:
    return StagedEvidence(
        output=output,
        staged=staged.staged,
        final=staged.final,
        digest=staged.digest,
        bytes=staged.bytes,
        rows=REJECTED,
        accepted=ROWS[0],
        schema_hash=staged.schema_hash,
        rules=(BrokenRule(column="event_id", code="format_invalid", rows=REJECTED),),
    )


def _failed(kind: Kind) -> Failed:
    words = {"transient": TransientKind.OUT_OF_MEMORY, "unknown": "guest_died", "shape": "schema_mismatch"}
    return _failure(words.get(kind, "parser_error"), f"it was to fail: {kind}")


def _failure(kind: str, reason: str) -> Failed:
    return Failed(failure=failure_class(kind), kind=kind, reason=reason, hint="look at it")
