"""Owns one simulated history of a home: a sentinel, executors, people, the network, the target, the disk, the clock.

Everything happens on one thread, in the order of simulated time, by the product's own code: log, handler, deciders,
folds, dispatcher, promoter, and what a start takes up. Executors, network, target and disk are doubles. After every
step the log is compared with what was promised (ledger.py). At the end everything is healed, and then

* every job has ended, nothing is staged any more, and what is in the target is what is recorded, to the digest;
* the log verifies, its fold is the state that was lived, and the tables that are folded from it say the same.
"""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any, Final, NoReturn
from unittest.mock import patch

from cli.dispatching import LEASE_SECONDS
from cli.fleet import SWEEP_SECONDS
from cli.promoter import AGAIN_SECONDS
from eventlog.errors import LogError, LogStorageError
from eventlog.frames import Frame
from eventlog.ids import JobId, LeaseId
from eventlog.reader import read_frames
from eventlog.verify import verify
from projections import tables
from reducers.fold import State, fold
from sinks.memory import MemorySink
from sinks.sink import StagedArtifact
from tests.cli.simulation.agenda import Agenda, Who
from tests.cli.simulation.executor import SimulatedExecutor, any_fate, calm_fate, good_fate
from tests.cli.simulation.house import ALONE, FOLDER, LEAVE_SECONDS, LOG_ID, PACKAGE, WORKERS, House
from tests.cli.simulation.ledger import Ledger
from tests.cli.simulation.network import Network
from tests.cli.simulation.persons import Persons
from tests.cli.simulation.target import Target
from tests.eventlog.simulated_disk import Crash, CrashError, Fail, SimulatedDisk
from tests.eventlog.simulation.world import still
from tests.support import picture

STEPS_MAX: Final = 200_000  # of one world; more is a loop that does not end
OPENINGS_MAX: Final = 10  # one after the other, each interrupted
SETTLE_SECONDS_MAX: Final = 200.0  # all waits are over by then: leases, polls, reconnections
DAY_SECONDS: Final = 86_400  # later, every retry is due
SEGMENT_BYTES: Final = (3000, 20_000, 64 * 1024 * 1024)
EXECUTORS_MAX: Final = 8  # that exist at once
START_SECONDS: Final = 15.0  # until somebody starts a sentinel again that could not start
LIVES_MAX: Final = 8  # of the sentinel, before nobody stops or kills it any more
FULL_BYTES: Final = 1000  # that are free on a disk that is full
ROOM_BYTES: Final = 10**12
FAULT_CHANGES_MAX: Final = 120  # how far ahead a fault of the disk is planned

WHILE_PROMOTING: Final[frozenset[Who]] = frozenset(
    {"network", "executor", "decider", "person", "fleet", "chance", "sentinel"}
)
WHILE_COMMITTING: Final[frozenset[Who]] = frozenset({"network", "executor"})


class ViolationError(AssertionError):
    """A promise was broken."""


class World:
    """One history. `run` lives it; everything in it follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.agenda = Agenda()
        self.disk = SimulatedDisk(self.chance)
        self.target = Target(self)
        self.unwanted: set[JobId] = set()  # whose promotion a person wanted to be abandoned
        self.ledger = self._new_ledger()
        self.network = Network(self.agenda, self.chance, self.complain)
        self.story: list[str] = []
        self.seen: Counter[str] = Counter()  # what has happened, for tests that ask whether enough does
        self.persons = Persons(
            self.agenda, self.chance, house=lambda: self.house, ledger=lambda: self.ledger, complain=self.complain,
            story=self.story,
        )  # fmt: skip
        self.house: House | None = None
        self.executors: list[SimulatedExecutor] = []
        self._hired = 0
        self._healed = False
        self._faulty = self.chance.random() < 0.6  # whether the sentinel dies of its disk and of chance
        self._restless = self.chance.choice((0.5, 2.0, 6.0))  # seconds between two things that people do
        self._package = self.chance.choice((ALONE, PACKAGE))
        self._builtin = self.chance.random() < 0.5
        self._fates = self.chance.choice((any_fate, calm_fate))
        self._executors_max = self.chance.choice((2, EXECUTORS_MAX))  # few have leases of many jobs
        self._segment_bytes = self.chance.choice(SEGMENT_BYTES)
        self._horizon = self.chance.choice((5.0, 20.0, 60.0))
        self._happenings = self._some_happenings()
        self.steps = 0
        self._leases = self._lives = 0
        self._promoting = self._committing = False
        self._turn_planned = self._promotion_planned = self._look_planned = False
        self._violation: ViolationError | None = None

    def run(self) -> None:
        """Live it, heal everything, let it settle, and look at what is left. Raises ViolationError."""
        with self._in_our_time():
            self._start()
            for _ in range(self.chance.choice((0, 1, 1, 3))):
                self._hire(own=False)
            self._plan_chance()
            self.agenda.plan(0.0, "person", self._person)
            self._live_until(self._horizon)
            self._heal()
            self._settle()
            self._restart()
            self._settle()
            self._end()

    def violation(self, what: str) -> ViolationError:
        """Return the error that says what was broken, and the one command that shows it again."""
        story = "\n".join(self.story[-40:])
        again = f"python -m tests.cli.simulation --seed {self.seed}"
        return ViolationError(f"seed {self.seed}, {self.agenda.now:.3f} s: {what}\n{story}\nTo see it again: {again}")

    def digest(self) -> str:
        """Return the SHA-256 of the log that is left: one for each seed."""
        return hashlib.sha256(repr(sorted(self.ledger.hashes.items())).encode()).hexdigest()

    def complain(self, what: str) -> NoReturn:
        """Say that a promise was broken. Kept as well: a future's callback swallows what it raises."""
        self._violation = self._violation or self.violation(what)
        raise self._violation

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self.complain(what)

    def _tell(self, what: str) -> None:
        self.story.append(f"{self.agenda.now:.3f} {what}")
        self.seen[what.split(" ", maxsplit=1)[0]] += 1

    @contextmanager
    def _in_our_time(self) -> Iterator[None]:
        """Have the product read our clock, and take its leases from us."""
        with ExitStack() as stack:
            stack.enter_context(still(self.disk))
            stack.enter_context(patch("cli.dispatching.time", self.agenda))
            stack.enter_context(patch("cli.question.time", self.agenda))
            stack.enter_context(patch("cli.dispatching.clock", self))
            stack.enter_context(patch("cli.promoter.clock", self))
            stack.enter_context(patch("commands.handle.IDLE_SECONDS", 0.0))
            yield

    # --- what the product takes for cli/clock.py ---

    def now(self) -> str:
        return self.agenda.wall()

    def new_lease(self) -> LeaseId:
        self._leases += 1
        return LeaseId(f"lease-{self._leases:08d}")

    # --- time ---

    def _live_until(self, moment: float) -> None:
        while (action := self.agenda.take(moment)) is not None:
            self._do(action)
        self.agenda.now = max(self.agenda.now, moment)

    def _do(self, action: Any) -> None:
        """Take one step; one that ends the sentinel's process ends with it."""
        self.steps += 1
        self._require(self.steps < STEPS_MAX, "it goes on without end")
        try:
            action()
        except CrashError as end:
            self._sentinel_died(str(end))
        if self._violation is not None:
            raise self._violation
        self._plan_turns()

    def _plan_turns(self) -> None:
        """Have the decider and the promoter take their turns, soon, where they have something to do."""
        house = self.house
        if house is None:
            return
        if house.handler.has_work and not self._turn_planned and not self._committing:
            self._turn_planned = True
            self.agenda.plan(self.chance.random() * 0.01, "decider", lambda: self._decide(house))
        if house.promotions_wait and not self._promotion_planned and not self._promoting:
            self._promotion_planned = True
            self.agenda.plan(self.chance.random() * 0.05, "promoter", lambda: self._promote(house))
        if house.promoter.stuck and not self._look_planned:
            self._look_planned = True
            self.agenda.plan(AGAIN_SECONDS, "promoter", lambda: self._look_again(house))

    def _decide(self, house: House) -> None:
        self._turn_planned = False
        if self.house is house:
            house.handler.turn()
            self.ledger.require_agreement(house.handler.known_state())

    def _promote(self, house: House) -> None:
        self._promotion_planned = False
        self._have_promoted(house, house.promote_next)

    def _look_again(self, house: House) -> None:
        self._look_planned = False
        self._have_promoted(house, house.promoter.look_again)

    def _have_promoted(self, house: House, act: Callable[[], object]) -> None:
        if self.house is not house or self._promoting:
            return
        self._promoting = True
        try:
            act()
        finally:
            self._promoting = False

    # --- while somebody is held up, others go on ---

    def held_up(self, seconds: float = 0.0) -> None:
        """Let time pass for the promoter, who waits for the target or to try again."""
        wait = 0.0 if self._healed else seconds or self.chance.choice((0.0, 0.0, 0.01, 1.0))
        self._meanwhile(wait, WHILE_PROMOTING)

    def _committing_now(self) -> None:
        if self.chance.random() < 0.3:
            self._committing = True
            try:
                self._meanwhile(self.chance.choice((0.0, 0.005, 0.1)), WHILE_COMMITTING)
            finally:
                self._committing = False

    def _meanwhile(self, seconds: float, who: frozenset[Who]) -> None:
        until = self.agenda.now + seconds
        while (action := self.agenda.take(until, who)) is not None:
            self.steps += 1
            self._require(self.steps < STEPS_MAX, "it goes on without end")
            action()
            if self._violation is not None:
                raise self._violation
            self._plan_turns()
        self.agenda.now = max(self.agenda.now, until)

    # --- the sentinel ---

    def _new_ledger(self) -> Ledger:
        return Ledger(self.complain, self.rows_staged, self.unwanted)

    def rows_staged(self, staged: str) -> int | None:
        """Return how many rows are staged under a name, durably; None if nothing is."""
        return self.target.rows[staged] if self.target.staged.get(staged) else None

    def _start(self) -> None:
        """Start a sentinel, whatever it takes: starts are interrupted too."""
        for attempt in range(OPENINGS_MAX):
            if self._faulty and not self._healed and self._lives < LIVES_MAX and attempt < OPENINGS_MAX - 1:
                self._plan_disk_fault()
            try:
                self._start_once()
                return
            except CrashError as end:
                self._process_ended(str(end))
            except (LogError, OSError) as error:
                excused = bool(self.disk.met) or self.disk.free_bytes <= FULL_BYTES
                self._require(excused, f"an undamaged log was refused: {error}")
                self._process_ended(str(error))
                if self.disk.free_bytes <= FULL_BYTES:
                    self.agenda.plan(START_SECONDS, "sentinel", self._come_back)
                    return
        self.complain("the sentinel could not be started")

    def _start_once(self) -> None:
        ledger = self._new_ledger()
        self._lives += 1
        self._tell("start")
        house = House(
            agenda=self.agenda,
            target=self.target,
            ledger=ledger,
            fs=self.disk,
            segment_bytes=self._segment_bytes,
            package=self._package,
            builtin=self._builtin,
            die=self._die,
            contradicted=self.complain,
            held_up=self.held_up,
            committing=self._committing_now,
        )
        self._require(ledger.follows(self.ledger), "what was acknowledged is not in the log")
        self.ledger = ledger
        self.house = house
        house.resume()
        self.network.listen(house.dispatcher.receive)
        self._plan_sweep(house)

    def _die(self, message: str) -> NoReturn:
        self._tell(f"exit 70: {message}")
        self.disk.crashed = True
        raise CrashError(message)

    def may_crash(self, where: str) -> None:
        """End the sentinel's process here, sometimes."""
        mortal = self._faulty and not self._healed and self._lives < LIVES_MAX
        if mortal and self.house is not None and self.chance.random() < 0.02:
            self.disk.crashed = True
            raise CrashError(where)

    def _sentinel_died(self, where: str) -> None:
        """Take the sentinel away, at once; another one is started in a while."""
        self._process_ended(where)
        self.agenda.plan(self.chance.choice((0.5, 3.0, 15.0)), "sentinel", self._come_back)

    def _come_back(self) -> None:
        if self.house is None:
            self._start()

    def _process_ended(self, where: str) -> None:
        self._tell(f"died: {where}")
        if self.house is not None:
            self.house.gone = True
        self.house = None
        self._turn_planned = self._promotion_planned = self._look_planned = False
        self._promoting = self._committing = False
        self.network.hang_up()
        self.disk.restart()
        self.disk.clear_faults()
        for executor in [each for each in self.executors if each.own]:
            executor.kill()  # the kernel sees to it
        if self.chance.random() < 0.3 and not self._healed:
            self._tell("power cut")
            self.disk.power_cut()
            for executor in list(self.executors):
                executor.kill()
            self.target.lose_unfinished()

    def _plan_disk_fault(self) -> None:
        if self.chance.random() < 0.5 and not self.disk.change_faults:
            fault = self.chance.choice((Crash(), Crash(), Fail(errno.EIO)))
            self.disk.change_faults[self.disk.changes + 1 + self.chance.randrange(FAULT_CHANGES_MAX)] = fault

    def _stop(self) -> None:
        """Stop the sentinel in order: executors are sent home, waited for, killed; then it ends."""
        house = self.house
        if house is None:
            return
        self._tell("stop")
        house.stopping = True
        house.dispatcher.send_home("the sentinel is leaving")
        self._live_until_gone(house)
        if self.house is not house:
            return  # it died of something meanwhile
        self.network.hang_up()
        for executor in [each for each in self.executors if each.own]:
            executor.kill()
        try:
            house.finish()
        except (CrashError, LogStorageError) as end:  # the latter when CLOSED cannot be written: the log is whole
            self._process_ended(str(end))
            return
        self.house = None
        self._turn_planned = self._promotion_planned = self._look_planned = False
        self.disk.restart()

    def _live_until_gone(self, house: House) -> None:
        """Wait for our executors to leave, for a while; nobody else stops or starts anything then."""
        until = self.agenda.now + LEAVE_SECONDS
        while any(each.own for each in self.executors) and self.house is house:
            action = self.agenda.take(until)
            if action is None:
                break
            self._do(action)

    def _restart(self) -> None:
        self._stop()
        self._start()

    # --- executors ---

    def _hire(self, *, own: bool) -> None:
        if len(self.executors) >= self._executors_max:
            return
        self._hired += 1
        executor = SimulatedExecutor(
            f"{'own' if own else 'hand'}-{self._hired}",
            agenda=self.agenda,
            network=self.network,
            target=self.target,
            chance=self.chance,
            fate=self._fate,
            own=own,
            left=self._executor_left,
        )
        if executor.alive:
            self.executors.append(executor)

    def _fate(self, chance: Random) -> Any:
        return good_fate(chance) if self._healed else self._fates(chance)

    def _executor_left(self, executor: SimulatedExecutor) -> None:
        """Tell the log of a child that has ended; nobody tells of others."""
        if executor in self.executors:
            self.executors.remove(executor)
        if executor.own and self.house is not None:
            self.house.dispatcher.forget(executor.name)
            self.house.lose(executor.name, "it ended", charged=True)

    def _plan_sweep(self, house: House) -> None:
        self.agenda.plan(SWEEP_SECONDS, "fleet", lambda: self._sweep(house))

    def _sweep(self, house: House) -> None:
        """Do what the fleet's thread does: give up who is silent, hire who is needed."""
        if self.house is not house:
            return
        for name in house.dispatcher.sweep():
            child = next((each for each in self.executors if each.own and each.name == name), None)
            self._tell(f"silent {name}")
            if child is not None:
                child.kill()
            else:
                house.lose(name, f"not heard for {LEASE_SECONDS:g} s", charged=True)
        self.network.require_answers()
        own = sum(each.own for each in self.executors)
        if self.ledger.open_jobs() and own < WORKERS and not house.stopping:
            self._hire(own=True)
        self._plan_sweep(house)

    # --- what people and chance do ---

    def _person(self) -> None:
        if self._healed:
            return
        if self.house is not None:
            self.persons.act(self.house)
        self.agenda.plan(self._restless * (0.2 + self.chance.random()), "person", self._person)

    def _plan_chance(self) -> None:
        self.agenda.plan(self.chance.random() * 2 * self._restless, "chance", self._happen)

    def _some_happenings(self) -> list[Callable[[], None]]:
        """Return what goes wrong here: not all of it, because much of one thing shows what a little of all hides."""
        every = (
            self._kill_executor, self._freeze_executor, self._cut_executor, self._start_by_hand, self._lose_target,
            self._close_target, self._set_clock, self._kill_sentinel, self._stop_for_a_while, self._fill_disk,
            self._verify_alive,
        )  # fmt: skip
        return self.chance.sample(every, self.chance.randint(1, len(every)))

    def _happen(self) -> None:
        """Let something go wrong."""
        if self._healed:
            return
        self._plan_chance()
        happening = self.chance.choice(self._happenings)
        happening()

    def _some_executor(self) -> SimulatedExecutor | None:
        return self.chance.choice(self.executors) if self.executors else None

    def _kill_executor(self) -> None:
        if (executor := self._some_executor()) is not None:
            self._tell(f"kill {executor.name}")
            executor.kill()

    def _freeze_executor(self) -> None:
        if (executor := self._some_executor()) is not None:
            seconds = self.chance.choice((2.0, 15.0, LEASE_SECONDS * 1.5))
            self._tell(f"freeze {executor.name} for {seconds} s")
            executor.freeze(seconds)

    def _cut_executor(self) -> None:
        if (executor := self._some_executor()) is not None:
            seconds = self.chance.choice((2.0, 12.0, LEASE_SECONDS * 1.5))
            self._tell(f"cut {executor.name} off for {seconds} s")
            self.network.cut(executor.place, seconds)

    def _start_by_hand(self) -> None:
        self._tell("hire by hand")
        self._hire(own=False)

    def _lose_target(self) -> None:
        self.target.away = not self.target.away
        self._tell(f"target {'away' if self.target.away else 'back'}")

    def _close_target(self) -> None:
        self.target.closed = not self.target.closed
        self._tell(f"target {'closed' if self.target.closed else 'open'}")

    def _fill_disk(self) -> None:
        full = self.disk.free_bytes > FULL_BYTES
        self.disk.free_bytes = FULL_BYTES if full else ROOM_BYTES
        self._tell(f"disk {'full' if full else 'has room'}")

    def _set_clock(self) -> None:
        seconds = self.chance.choice((-3600, -20, 20, 3600))
        self._tell(f"clock set by {seconds} s")
        self.agenda.set_clock(seconds)

    def _kill_sentinel(self) -> None:
        if self.house is not None and self._faulty and self._lives < LIVES_MAX:
            self.disk.crashed = True
            raise CrashError("killed")

    def _stop_for_a_while(self) -> None:
        """Stop the sentinel in order, when nobody is inside of it."""
        lasts = self._lives >= LIVES_MAX
        if not lasts and not self._promoting and self.house is not None and not self.house.stopping:
            self._stop()
            self.agenda.plan(self.chance.choice((0.5, 20.0)), "sentinel", self._come_back)

    def _verify_alive(self) -> None:
        """Verify the log while it is written."""
        if self.house is not None and not self._faulty:
            result = verify(FOLDER, fs=self.disk)
            self._require((result.verdict, result.writer_active) == ("OK", True), f"verified alive as {result}")
            self._tell("verified alive")

    # --- Watcher: what the target tells of ---

    def after_promotion(self, artifact: StagedArtifact) -> None:
        known = artifact.final in self.ledger.finals
        self._require(known, f"{artifact.final} is published, and its commit is not durable")
        if not self._healed and self._lose_target in self._happenings and self.chance.random() < 0.1:
            self.target.away = True  # between two artifacts of one commit, mostly

    def before_removal(self, staged: str) -> None:
        waits = staged in self.ledger.stages
        self._require(not waits, f"{staged} is removed, and jobs {self.ledger.stages.get(staged)} wait to publish it")

    # --- the end ---

    def _heal(self) -> None:
        """Let nothing more go wrong, and everything that waits for a time be due."""
        self._tell("heal")
        self._healed = True
        self.disk.clear_faults()
        self.network.heal()
        self.target.away = self.target.closed = False
        self.disk.free_bytes = ROOM_BYTES
        self.agenda.set_clock(DAY_SECONDS)
        for executor in self.executors:
            executor.thaw()
        if self.house is None:
            self._start()

    def _settle(self) -> None:
        """Wait until every job has ended, also one whose target was away."""
        until = self.agenda.now + SETTLE_SECONDS_MAX
        while self.agenda.now < until and not self._is_settled():
            if self.house is not None and self.ledger.paused:
                self.persons.resume_parser(self.house)
            if self.house is not None and self.ledger.has_untrusted:
                self.persons.trust_parser(self.house)
            self._live_until(self.agenda.now + 2.0)
        self._require(self._is_settled(), f"jobs {sorted(self.ledger.open_jobs())} do not end")

    def _is_settled(self) -> bool:
        house = self.house
        if house is None:
            return False
        return not self.ledger.open_jobs() and not house.handler.has_work and not house.promotions_wait

    def _end(self) -> None:
        """Look at what is left, when the last sentinel has closed the log."""
        self._require(self.house is not None and not self.ledger.open_jobs(), "jobs wait though nothing is in the way")
        for executor in list(self.executors):
            self.network.cut(executor.place, DAY_SECONDS)
            executor.kill()
        self._live_until(self.agenda.now + 1.0)
        assert self.house is not None
        lived = picture(self.house.handler.known_state())
        self._stop()
        self._require_clean_target()
        self._require_true_log(lived)

    def _require_clean_target(self) -> None:
        staged = MemorySink.staged_names(self.target, LOG_ID)
        self._require(not staged, f"{staged} are staged, and nobody waits for them")
        there = {name: self.target.digest_of(name) for name in self.target.published}
        self._require(there == self.ledger.files, f"there is {there}, recorded is {self.ledger.files}")

    def _require_true_log(self, lived: Any) -> None:
        """Require that the log is whole, and that all that is folded from it says the same."""
        result = verify(FOLDER, fs=self.disk)
        self._require((result.verdict, result.clean_close) == ("OK", True), f"verified closed as {result.findings}")
        frames = list(read_frames(FOLDER, from_seq=1, fs=self.disk))
        self._require(picture(_folded(frames)) == lived, "replay is not what was lived")
        work = tables.fold(tables.Work(), [(record.seq, record.data) for frame in frames for record in frame.records])
        said = {job: row.status for job, row in work.jobs.items()}
        known = {job: each.standing for job, each in self.ledger.jobs.items()}
        self._require(said == known, f"the tables say {said}, the log {known}")
        files = {row.file for row in tables.recorded_rows(work) if row.file}
        files |= {row.file for row in tables.quarantine_rows(work)}
        self._require(files == self.target.published.keys(), f"the tables name {files}")


def _folded(frames: Sequence[Frame]) -> State:
    state = State()
    for frame in frames:
        fold(state, frame.records)
    return state
