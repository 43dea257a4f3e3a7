"""Owns the executor of the simulation: it speaks the protocol's bytes, by the rules of executors/worker.py.

Two threads as there: one asks for work, works and reports; a pulse tells of a job that lasts and hears that it must
stop. What a guest would do is a `Fate`, drawn for each attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import Final, Literal

from msgspec import Struct

from eventlog.events import BalanceSheet, BrokenRule, SkippedUnits, StagedEvidence
from eventlog.ids import ExecutorId, JobId, OutputName
from executors.errors import ExecutorRefusedError, ServerGoneError
from executors.failures import TransientKind, failure_class
from executors.protocol import (
    Aborted,
    Ack,
    Conclude,
    Declined,
    Discard,
    Dispatch,
    Failed,
    Identify,
    Idle,
    Message,
    OpCode,
    Receipt,
    Stop,
    Succeeded,
    Working,
    decode,
    encode,
    payload,
)
from executors.worker import GONE_SECONDS_MAX, POLL_GAP_SECONDS, PULSE_DELAY_SECONDS, REQUEST_SECONDS, RETRY_SECONDS
from sinks.sink import StagedArtifact
from tests.cli.simulation.agenda import Agenda
from tests.cli.simulation.network import Network
from tests.cli.simulation.scripts import Exchange, Played, Sleep, Wish
from tests.cli.simulation.target import Target

RETURN_SECONDS: Final = 1.0  # between two visits, as cli/executor.py has it
Kind = Literal["rows", "rejected", "nothing", "unbalanced", "declined", "permanent", "transient", "unknown", "shape"]
KINDS: Final[tuple[Kind, ...]] = (
    "rows", "rows", "rows", "rows", "rejected", "nothing", "unbalanced", "declined",
    "permanent", "transient", "unknown", "shape",
)  # fmt: skip


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


def good_fate(_chance: Random) -> Fate:
    """Return an attempt that goes well, and soon."""
    return Fate(start_seconds=0.01, work_seconds=0.1, kind="rows")


Ask = Generator[Wish, bytes | None, Message]


class _Work(Struct, kw_only=True):
    """The attempt at hand. `ending`: why somebody else ended it, and whether that is reported."""

    job: JobId
    dispatch: Dispatch
    fate: Fate
    staged: list[StagedArtifact] = []
    guest_runs_since: float | None = None
    beating: bool = False
    ending: tuple[str, bool] | None = None


class _Ended(Struct, frozen=True, kw_only=True):
    work: _Work
    receipt: Receipt
    begun_ago: float | None


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
            except ExecutorRefusedError:
                return
            if self.own or not self._again:
                return
            yield Sleep(RETURN_SECONDS)

    def _visit(self) -> Generator[Wish, bytes | None, None]:
        identity = Identify(executor=self.name, pid=1, host="here", version="simulated", capacity=1)
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
            raise ExecutorRefusedError("the sentinel refuses us")
        return answer

    def _question(self, ended: _Ended | None) -> bytes:
        if ended is None:
            return encode(OpCode.HEARTBEAT, Idle(executor=self.name))
        lease = ended.work.dispatch.lease
        said = Conclude(executor=self.name, lease=lease, receipt=ended.receipt, begun_ago=ended.begun_ago)
        return encode(OpCode.CONCLUDE, said, job=ended.work.job)

    # --- one job ---

    def _job(self, job: JobId, dispatch: Dispatch) -> Generator[Wish, bytes | None, _Ended | None]:
        work = _Work(job=job, dispatch=dispatch, fate=self.fate(self._chance), staged=[])
        pulse = Played(self, self._pulse(work), lambda: None)
        try:
            receipt = yield from self._attempt(work)
        except (ServerGoneError, ExecutorRefusedError):  # not `finally`, which would run in a process that was killed
            self._discard(work)
            raise
        finally:
            pulse.stop()
        if work.ending is not None:
            receipt = Aborted(reason=work.ending[0])
        if not isinstance(receipt, Succeeded):
            self._discard(work)
        if work.ending is not None and not work.ending[1]:
            return None
        since = work.guest_runs_since
        return _Ended(work=work, receipt=receipt, begun_ago=None if since is None else self.agenda.now - since)

    def _attempt(self, work: _Work) -> Generator[Wish, bytes | None, Receipt]:
        if (yield from self._held_up(work, work.fate.start_seconds)):
            return Aborted(reason="")
        if work.fate.kind == "declined":
            return Declined(reason="no process is to be had")
        work.guest_runs_since = self.agenda.now
        if work.beating:
            yield from self._tell_start(work)
        try:
            stages = self._target.begin(work.job, work.dispatch, _outputs(work.fate.kind))
            if (yield from self._held_up(work, work.fate.work_seconds)):
                return Aborted(reason="")
            if work.fate.kind in ("permanent", "transient", "unknown", "shape"):
                return _failed(work.fate.kind)
            work.staged += [self._target.finish(stage) for stage in stages]
        except OSError as error:
            return _failure(TransientKind.SINK_UNAVAILABLE, str(error))
        return _succeeded(work)

    def _held_up(self, work: _Work, seconds: float) -> Generator[Wish, bytes | None, bool]:
        """Let time pass; whether the attempt was ended meanwhile."""
        until = self.agenda.now + seconds
        while work.ending is None and self.agenda.now < until:  # each sleep lasts until then, or was ended
            yield Sleep(until - self.agenda.now)
        return work.ending is not None

    def _discard(self, work: _Work) -> None:
        self._target.abandon(work.job, work.dispatch)

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
        said = Working(executor=self.name, lease=work.dispatch.lease, rows=1, bytes_read=1)
        answer = yield from self._ask(encode(OpCode.HEARTBEAT, said, job=work.job))
        if answer.op is OpCode.HEARTBEAT:
            return True
        if answer.op is OpCode.DISCARD:
            self._stop(work, payload(answer, Discard).reason, report=False)
        elif answer.job == work.job:
            self._stop(work, payload(answer, Stop).reason, report=True)
        else:
            self._leave(work, payload(answer, Stop).reason)
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


ROWS: Final = 10
REJECTED: Final = 1


def _succeeded(work: _Work) -> Succeeded:
    names = [schema.output for schema in work.dispatch.outputs]
    outputs = tuple(each for each in work.staged if each.output in names)
    evidence = tuple(_evidence(each, names[0]) for each in work.staged if each.output not in names)
    lacking = tuple(name for name in names if name not in {each.output for each in outputs})
    written = ROWS if outputs else 0
    rejected = REJECTED if evidence else 0
    found = written + rejected + (0 if outputs else 3) + (work.fate.kind == "unbalanced")
    sheet = BalanceSheet(
        unit="records",
        output=names[0],
        found=found,
        written=written,
        quarantined=rejected,
        skipped=0 if outputs else 3,
        skips=() if outputs else (SkippedUnits(count=3, reason="comments"),),
        unreadable=0,
    )
    return Succeeded(outputs=outputs, empty=lacking, evidence=evidence, sheet=sheet)


def _evidence(staged: StagedArtifact, output: OutputName) -> StagedEvidence:
    return StagedEvidence(
        output=output,
        staged=staged.staged,
        final=staged.final,
        digest=staged.digest,
        bytes=staged.bytes,
        rows=REJECTED,
        accepted=ROWS,
        schema_hash=staged.schema_hash,
        rules=(BrokenRule(column="event_id", code="format_invalid", rows=REJECTED),),
    )


def _failed(kind: Kind) -> Failed:
    words = {"transient": TransientKind.OUT_OF_MEMORY, "unknown": "guest_died", "shape": "schema_mismatch"}
    return _failure(words.get(kind, "parser_error"), f"it was to fail: {kind}")


def _failure(kind: str, reason: str) -> Failed:
    return Failed(failure=failure_class(kind), kind=kind, reason=reason, hint="look at it")
