"""Owns the sentinel of the simulation: the product's log, handler, dispatcher, promoter and start, without threads.

What waits for another thread in the product has that thread take its turn here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty
from typing import Any, Final, NoReturn, TypeVar

from msgspec import structs

from cli.dispatching import ACTOR, Dispatcher
from cli.fleet import SWEEP_SECONDS
from cli.promoter import Promoter
from cli.resuming import publish_committed, sweep
from commands.decide import Command
from commands.dispatch import plan_records
from commands.epoch import BeginEpoch
from commands.executor import LoseExecutor
from commands.handle import Handler, Outcome, ProcessManager
from commands.inbox import Request
from eventlog.errors import LogError
from eventlog.frames import Frame, Stamp, stamp_once
from eventlog.fsport import FsPort
from eventlog.ids import ExecutorId, LogId
from eventlog.log import Log
from executors.parser_catalog import ParserPackage
from reducers.fold import State
from tests.cli.simulation.agenda import Agenda
from tests.cli.simulation.ledger import Ledger
from tests.cli.simulation.target import URI, Target
from tests.eventlog.simulated_disk import ROOT
from tests.support import EVTX, deploy, trust

FOLDER: Final = ROOT / "home" / "log"
LOG_ID: Final = LogId("00112233445566778899aabbccddeeff")
LEAVE_SECONDS: Final = 5.0
TURNS_MAX: Final = 1000  # of the decider or the promoter, one after the other
WORKERS: Final = 2

T = TypeVar("T")

_deployed = deploy()
PACKAGE: Final = ParserPackage(
    name=EVTX,
    version=_deployed.version,
    file="/parser.py",
    patterns=(),
    outputs=_deployed.outputs,
    settings={},
    artifact_hash=_deployed.artifact_hash,
    env_hash=_deployed.env_hash,
    components=_deployed.components,
    description="",
    digests={},
)


TRUST: Final = trust(_deployed.artifact_hash, parser=EVTX)
ALONE: Final = structs.replace(PACKAGE, fresh_process=True)  # no two of its jobs share a lease


class Decider(Handler):
    """A handler whose thread is never started: whoever waits for it has it take its turn."""

    def __init__(self, log: Log, *, manager: ProcessManager, contradicted: Callable[[str], NoReturn]) -> None:
        super().__init__(log, manager=manager, actor=ACTOR)
        self._contradicted = contradicted

    def halt(self, fault: LogError) -> None:
        """Complain: here no log is ever put back, so whatever an executor was told of it must hold."""
        self._contradicted(f"an executor was told what is not so: {fault}")

    def turn(self) -> None:
        """Decide what waits; if nothing does, the log is marked idle."""
        self._turn([])

    @property
    def has_work(self) -> bool:
        return not self._inbox.empty()

    def submit(self, command: Command, *, actor: str, cause: int = 0, stamp: Stamp | None = None) -> Future[Outcome]:
        answer = _Answer(self)
        self._put([Request(command, actor, cause, answer, stamp)])
        return answer

    def inspect(self, look: Callable[[State], T]) -> T:
        if self.has_work:
            self.turn()
        return look(self._state)

    def known_state(self) -> State:
        """Return the state: everything is decided on this thread."""
        return self._state


class _Answer(Future[Outcome]):
    def __init__(self, decider: Decider) -> None:
        super().__init__()
        self._decider = decider

    def result(self, timeout: float | None = None) -> Outcome:
        for _ in range(TURNS_MAX):
            if self.done():
                break
            self._decider.turn()
        return super().result(timeout=0)


class Leaving(threading.Event):
    """The promoter's pause between two attempts: others go on meanwhile."""

    def __init__(self, pass_time: Callable[[float], None]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._pass_time(timeout or 0.0)
        return self.is_set()


class House:
    """One life of the sentinel, from its start to its end or crash."""

    def __init__(
        self,
        *,
        agenda: Agenda,
        target: Target,
        ledger: Ledger,
        fs: FsPort,
        segment_bytes: int,
        package: ParserPackage,
        builtin: bool,
        die: Callable[[str], NoReturn],
        contradicted: Callable[[str], NoReturn],
        held_up: Callable[[float], None],
        committing: Callable[[], None],
    ) -> None:
        self._agenda = agenda
        self._target = target
        self._builtin = builtin  # another parser runs only while a person trusts it
        self.stopping = False
        self.gone = False  # its process has ended
        self.log = Log.open(
            FOLDER, clock=agenda.wall, new_log_id=lambda: LOG_ID, version="simulated", purpose="simulation", die=die,
            ballast_bytes=0, segment_bytes=segment_bytes, ahead_bytes=0, fs=fs,
        )  # fmt: skip
        self.handler = Decider(self.log, manager=self._manage, contradicted=contradicted)
        self.promoter = Promoter(self.handler, open_sink=lambda _: target)
        self.promoter._leaving = Leaving(held_up)
        self.dispatcher = Dispatcher(self.handler, log=self.log, packages={EVTX: package}, workers=WORKERS)
        self.handler.replay(lambda frame: ledger.observe([frame]))
        ledger.require_agreement(self.handler.known_state())
        ledger.live = True
        for subscriber in (ledger.observe, self.promoter.observe, self.dispatcher.observe):
            self.handler.subscribe(subscriber)
        self._let_others_on(committing)

    def _let_others_on(self, committing: Callable[[], None]) -> None:
        """Have messages arrive while the disk works, before and after it has what was decided."""
        commit = self.log.commit

        def slow_commit(drafts: Any) -> list[Frame]:
            committing()
            frames = commit(drafts)
            committing()
            return frames

        self.log.commit = slow_commit  # type: ignore[method-assign]  # what it does takes time, that is all

    def _manage(self, state: State) -> list[Command]:
        return [*plan_records(state, now=self._agenda.wall()), *self.dispatcher.plan(state)]

    def resume(self) -> None:
        """Do what a start does, in its order."""
        self.handler.call(BeginEpoch(now=self._agenda.wall()), actor=ACTOR)
        self._deploy()
        self.sweep()
        publish_committed(self.handler, self.promoter, withhold=None)

    def _deploy(self) -> None:
        if self._builtin:
            self.handler.call(deploy(), actor=ACTOR)
        elif EVTX not in self.handler.known_state().parsers:
            stamp = stamp_once("0" * 16, b"trust")  # the log names who has none by chance
            self.handler.submit(TRUST, actor=ACTOR, stamp=stamp).result()
            outcome = self.handler.call(structs.replace(deploy(), builtin=False), actor=ACTOR)
            assert outcome.refused is None, outcome.refused

    def sweep(self) -> int:
        return sweep(self.handler, [URI], open_sink=lambda _: self._target, log_id=LOG_ID)

    def promote_next(self) -> bool:
        """Have the promoter do what is next; False if nothing is."""
        try:
            item = self.promoter._queue.get_nowait()
        except Empty:
            return False
        if item is not None:
            item()
        return True

    @property
    def promotions_wait(self) -> bool:
        return not self.promoter._queue.empty()

    def lose(self, executor: ExecutorId, reason: str, *, charged: bool) -> None:
        """Tell the log that an executor is gone, again while its disk is full, as `Fleet._tell_loss` does."""

        def check(done: Future[Outcome]) -> None:
            if done.exception() is not None and not self.stopping:
                self._agenda.plan(SWEEP_SECONDS, "fleet", lambda: self.lose(executor, reason, charged=charged))

        if not self.gone:
            lost = LoseExecutor(executor=executor, reason=reason, charged=charged, now=self._agenda.wall())
            self.handler.submit(lost, actor=ACTOR).add_done_callback(check)

    def finish(self) -> None:
        """End in order, once the executors have left: promote what is due, sweep, decide, close."""
        self.promoter._leaving.set()
        for _ in range(TURNS_MAX):
            if not self.promote_next():
                break
        self.sweep()
        if self.handler.has_work:
            self.handler.turn()
        self.log.close()
