"""Owns one simulated history: what is done to the log, what was promised of it, and whether that was kept.

A history is some lives of the writer. In each life producers give commands, the handler decides and commits them, a
projector reads what is durable. Calls of the disk fail, are cut short, or are the last one of the process; between two
lives the machine stays up or loses its power. After every end:

* the verdict fits: OK or TORN, and TORN exactly if the opening then tells of a repair;
* what was acknowledged, or shown by an opening or to the projector, is there, in place, unchanged;
* of what was given and not acknowledged only whole frames are there, the first ones of the batch in flight;
* the projector is never ahead of the log, and its fold, the handler's and that of the whole log are one state;
* two openings in a row differ by their epoch's frame only.

A disk that lies about a sync may lose what was acknowledged; then the log must not contradict itself, and must refuse
to open where the projector has seen more than there is.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, Final, NoReturn
from unittest.mock import patch

from commands.decide import Command
from commands.executor import JoinExecutor, LoseExecutor
from commands.handle import Handler, Outcome
from eventlog.errors import LogError, LogFullError, LogMissingError
from eventlog.events import CancelJob, Record
from eventlog.frames import Frame, FrameDraft, Stamp, stamp_once
from eventlog.ids import ExecutorId, Instant, JobId, LogId
from eventlog.lock import LockHolder, _held
from eventlog.log import Log
from eventlog.reader import read_frames
from eventlog.recovery import Witness
from eventlog.verify import verify
from reducers.fold import State, fold
from tests.eventlog.simulated_disk import ROOT, Crash, CrashError, Fail, Fault, Lie, Short, SimulatedDisk

LIVES_MAX: Final = 5
STEPS_MAX: Final = 12  # of one life
OPENINGS_MAX: Final = 12  # one after the other, each interrupted
FAULT_CALLS_MAX: Final = 100  # how far ahead a fault is planned
FAULT_CHANGES_MAX: Final = 16
FOLDER: Final = ROOT / "home" / "log"
LOG_ID: Final = LogId("00112233445566778899aabbccddeeff")
SEGMENT_BYTES: Final = (1, 700, 3000, 64 * 1024 * 1024)
AHEAD_BYTES: Final = (0, 300, 4000)


_NO_COLLECTION: Final = SimpleNamespace(
    **dict.fromkeys(("collect", "freeze", "disable", "enable", "unfreeze"), lambda: 0)
)


Request = tuple[Command, str, Stamp]


class ViolationError(AssertionError):
    """The log broke its promise."""


class World:
    """One history. `run` lives it; everything in it follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.disk = SimulatedDisk(self.chance)
        self.lies = self.chance.random() < 0.1
        self.segment_bytes = self.chance.choice(SEGMENT_BYTES)
        self.ahead_bytes = self.chance.choice(AHEAD_BYTES)
        self.ballast_bytes = self.chance.choice((0, 4096))
        self.known: dict[int, str] = {}  # commit -> hash, of all that was acknowledged or shown
        self.in_flight: list[tuple[Record, ...]] = []  # what was given to the log and not acknowledged, by frame
        self.projected = State()
        self.witness = Witness(name="the projector", seq=0, hash="")
        self.quarantined: set[str] = set()
        self.ticks = 0
        self.refused = False  # by a log that a lying disk has damaged
        self.sent: list[Request] = []
        self.outcomes: dict[Stamp, Outcome] = {}  # of those that brought something about, the first time
        self.story: list[str] = []  # what was done, for who looks into a violation

    def run(self) -> None:
        """Live all lives, then look at what is left. Raises ViolationError."""
        with still(self.disk):
            for _ in range(self.chance.randint(1, LIVES_MAX)):
                self._life()
                if self.refused:
                    return
            if not self.lies:
                self._end()

    def violation(self, what: str) -> ViolationError:
        """Return the error that says what was broken, and the one command that shows it again."""
        story = "\n".join(self.story[-30:])
        again = f"python -m tests.eventlog.simulation --seed {self.seed}"
        return ViolationError(f"seed {self.seed}: {what}\n{story}\nTo see it again: {again}")

    def digest(self) -> str:
        """Return the SHA-256 over every call that was made of the disk and what it holds: one for each seed."""
        text = "\n".join([*self.disk.calls, *(f"{name} {data!r}" for name, data in self.disk.content(ROOT).items())])
        return hashlib.sha256(text.encode()).hexdigest()

    # --- one life of the writer ---

    def _life(self) -> None:
        try:
            life = self._open()
            if life is None:
                return
            for _ in range(self.chance.randint(1, STEPS_MAX)):
                self._plan_fault()
                self._step(life)
            self._project()
            if self.chance.random() < 0.4:
                self.story.append("close")
                life.log.close()
            else:
                self.disk.crashed = True
        except (CrashError, LogError, OSError) as end:  # an error that nobody handles ends a process too
            self.story.append(f"end of the process at call {len(self.disk.calls)}: {type(end).__name__} {end}")
        self._interrupt()

    def _interrupt(self) -> None:
        """End the process; the machine may lose its power then."""
        self.disk.restart()
        self._excuse_double_fault()
        self.disk.clear_faults()
        if self.chance.random() < 0.3:
            self._project_what_is_left()
        if self.chance.random() < 0.6:
            self.story.append("power cut")
            self.disk.power_cut()

    def _open(self) -> _Life | None:
        """Open the log, whatever it takes: openings are interrupted too. None if a lying disk has made it refuse."""
        for attempt in range(OPENINGS_MAX):
            if attempt < OPENINGS_MAX - 1:
                self._plan_fault()
            try:
                return self._open_once()
            except (CrashError, LogError, OSError) as error:
                self.story.append(f"opening ended at call {len(self.disk.calls)}: {type(error).__name__} {error}")
                faulty = self.disk.crashed or self._faults_met()
                if not faulty and self.lies:
                    self.refused = True
                    return None
                self._require(faulty, f"an undamaged log was refused: {error}")
                self._interrupt()
        raise self.violation("the log could not be opened")

    def _open_once(self) -> _Life:
        verdict = "" if self.disk.faults or self.disk.change_faults else self._verdict()
        self.story.append(f"open, verified as {verdict or 'not at all'}")
        segments = sorted((name, data) for name, data in self.disk.content(ROOT).items() if name.endswith(".ndjson"))
        if segments and segments[-1][1].endswith(b"\0"):
            self.story.append("zeros stand behind the end")
        log = Log.open(
            FOLDER,
            clock=self._now,
            new_log_id=lambda: LOG_ID,
            version="simulated",
            purpose="simulation",
            witness_of=lambda _: self.witness,
            die=self._die,
            ballast_bytes=self.ballast_bytes,
            segment_bytes=self.segment_bytes,
            ahead_bytes=self.ahead_bytes,
            fs=self.disk,
        )
        if verdict:
            self._check_repair(log, verdict)
        handler = Handler(log, manager=lambda _: (), actor="sentinel")
        life = _Life(log, handler)
        handler.subscribe(self._acknowledge)
        frames: list[Frame] = []
        handler.replay(frames.append)
        self._check_history(frames)
        log.commit = self._recorded(log.commit)  # type: ignore[method-assign]  # what goes in, beside what comes out
        return life

    def _check_repair(self, log: Log, verdict: str) -> None:
        """Compare the verdict with the repair; one from before was made by an opening that could not tell of it."""
        repair = log.recovered
        self._require(verdict == "OK" or repair is not None, "verified as TORN, and no repair was told")
        fresh = repair is not None and repair.kept_as not in self.quarantined
        self._require(verdict == "TORN" or not fresh, f"verified as OK, and repaired: {repair}")

    def _verdict(self) -> str:
        """Verify what is there; a log that does not exist yet has no verdict."""
        content = self.disk.content(FOLDER) if self.disk.is_folder(FOLDER) else {}
        self.quarantined = {name.removeprefix("quarantine/") for name in content if name.startswith("quarantine/")}
        if "GENESIS.json" not in content:
            self._require(self.lies or not self.known, "the genesis is gone")
            return ""
        result = verify(FOLDER, witness_of=lambda _: self.witness, fs=self.disk)
        self._require(self.lies or result.verdict in ("OK", "TORN"), f"verified as {result.verdict}: {result.findings}")
        return result.verdict if result.verdict in ("OK", "TORN") else ""

    def _check_history(self, frames: Sequence[Frame]) -> None:
        """Compare the log with what was promised of it; from here on all of it is promised."""
        hashes = {frame.commit: frame.hash for frame in frames}
        self._require([*hashes] == list(range(1, len(frames) + 1)), "the commits have gaps")
        seqs = [record.seq for frame in frames for record in frame.records]
        self._require(seqs == list(range(1, len(seqs) + 1)), "the records have gaps")
        lost = [commit for commit, hash_ in self.known.items() if hashes.get(commit) != hash_]
        self._require(self.lies or not lost, f"commits {lost} were acknowledged or shown and are gone or changed")
        self._require(
            lost == sorted(self.known)[len(self.known) - len(lost) :], f"commits {lost} are gone from between"
        )
        new = [_records(frame) for frame in frames if frame.commit not in self.known and frame.actor != "log"]
        self._require(bool(lost) or new == self.in_flight[: len(new)], "there are frames that nobody gave")
        self.in_flight.clear()
        self.known = hashes

    # --- what happens in a life ---

    def _step(self, life: _Life) -> None:
        chosen = self.chance.random()
        if chosen < 0.6:
            self._give(life)
        elif chosen < 0.7:
            self.story.append("idle mark")
            life.log.mark()
        elif chosen < 0.9:
            self._project()
        elif chosen < 0.95:
            self._fill_the_disk(life)
        else:
            self._look(life)

    def _give(self, life: _Life) -> None:
        """Have some producers give commands, and the handler decide them in one turn."""
        requests = [self._request() for _ in range(self.chance.randint(1, 6))]
        answers = [life.handler.submit(command, actor=actor, stamp=stamp) for command, actor, stamp in requests]
        self.story.append(f"give {len(answers)} commands")
        life.handler._turn([])
        for request, answer in zip(requests, answers, strict=True):
            self._require(answer.done(), "a command was not answered in its turn")
            self._require_the_old_outcome(request, answer)

    def _request(self) -> Request:
        """Return a new request, or one that was sent before: its answer may have been lost."""
        if self.sent and self.chance.random() < 0.2:
            return self.chance.choice(self.sent)
        command, actor = self._command()
        stamp = stamp_once(f"{self.chance.getrandbits(64):016x}", repr(command).encode())
        self.sent.append((command, actor, stamp))
        return self.sent[-1]

    def _require_the_old_outcome(self, request: Request, answer: Future[Outcome]) -> None:
        if answer.exception() is not None or not answer.result().events:
            return  # it brought nothing about, so it may be decided again
        stamp, outcome = request[2], answer.result()
        first = self.outcomes.setdefault(stamp, outcome)
        self._require(
            self.lies or outcome == first, f"request {stamp.producer} was carried out twice: {first} then {outcome}"
        )

    def _command(self) -> tuple[Command, str]:
        executor = ExecutorId(f"executor-{self.chance.randrange(8)}")
        text = "x" * self.chance.choice((0, 10, 300, 1500))
        match self.chance.randrange(5):
            case 0:
                return LoseExecutor(executor=executor, reason=text, charged=False, now=self._now()), "sentinel"
            case 1:
                return CancelJob(job=JobId(99), reason=text, now=self._now()), "cli:anna"  # refused, and logged
            case _:
                return JoinExecutor(
                    executor=executor, pid=1, host=text, version="1", capacity=1, now=self._now()
                ), f"executor:{executor}"  # fmt: skip

    def _fill_the_disk(self, life: _Life) -> None:
        """Let the disk be full for a turn: commands are refused, nothing is written, and it goes on after it."""
        self.disk.free_bytes = 1000
        before = life.log.head
        answer = life.handler.submit(self._command()[0], actor="executor:full")
        life.handler._turn([])
        self._require(isinstance(answer.exception(), LogFullError), "a full disk refused nothing")
        self._require(life.log.head == before, "a refused command moved the head")
        self.disk.free_bytes = 10**12
        self.story.append("the disk was full")

    def _project(self) -> None:
        """Have the projector take in what is durable; its own store keeps every checkpoint."""
        for frame in read_frames(FOLDER, from_seq=self.witness.seq + 1, fs=self.disk):
            known = self.known.get(frame.commit, frame.hash)
            self._require(known == frame.hash, f"commit {frame.commit} was shown and is another one")
            if frame.first > frame.last:
                continue
            self.known[frame.commit] = frame.hash
            fold(self.projected, frame.records)
            self.witness = Witness(name="the projector", seq=frame.last, hash=frame.hash)
        self.story.append(f"project up to {self.witness.seq}")

    def _project_what_is_left(self) -> None:
        """Have the projector read between two lives of the writer, what is in memory only included."""
        try:
            self._project()
        except LogMissingError:
            self._require(self.lies or not self.known, "the genesis is gone")
        except LogError as error:
            self._require(self.lies, f"an undamaged log was refused to a reader: {error}")

    def _look(self, life: _Life) -> None:
        """Verify the log while it is written, and replay it beside its handler."""
        result = verify(FOLDER, fs=self.disk)
        if self._faults_met():
            return  # what could not be read is no verdict over the log
        self._require((result.verdict, result.writer_active) == ("OK", True), f"verified alive as {result}")
        self._require(result.head_hash == life.log.head.hash, "the head that is verified is not the writer's")
        self._require(_picture(_folded(life.log)) == _picture(life.handler._state), "replay is not what was lived")

    def _end(self) -> None:
        """Open and close twice without faults: the second time adds its epoch only, and all folds agree."""
        self.disk.clear_faults()
        contents: list[dict[str, bytes]] = []
        for _ in range(2):
            life = self._open_once()
            state = _picture(life.handler._state)
            life.log.close()
            result = verify(FOLDER, witness_of=lambda _: self.witness, fs=self.disk)
            self._require((result.verdict, result.clean_close) == ("OK", True), f"verified closed as {result.findings}")
            contents.append(self.disk.content(FOLDER))
            self.disk.restart()
        first, second = ({name: data for name, data in each.items() if _stays(name)} for each in contents)
        self._require(all(second[name].startswith(data) for name, data in first.items()), "an opening changed bytes")
        added = len(b"".join(second.values())) - len(b"".join(first.values()))
        self._require(added < 2000, f"an opening in order added {added} bytes")
        self._project()
        self._require(_picture(self.projected) == state, "the projector's fold is not the handler's")

    # --- faults ---

    def _plan_fault(self) -> None:
        """Plan what goes wrong soon, or nothing; what was planned before and not met still stands."""
        if self.chance.random() < 0.6:
            return
        number = self.chance.choice((errno.EIO, errno.ENOSPC))
        faults: list[Fault] = [Crash(), Crash(), Fail(number), Short(self.chance.randrange(1, 900))]
        fault = Lie() if self.lies and self.chance.random() < 0.5 else self.chance.choice(faults)
        if self.chance.random() < 0.2:
            self.disk.faults[self.disk.next_call() + self.chance.randrange(FAULT_CALLS_MAX)] = fault
        else:
            self.disk.change_faults[self.disk.changes + 1 + self.chance.randrange(FAULT_CHANGES_MAX)] = fault

    def _faults_met(self) -> bool:
        return any(isinstance(fault, Fail) for _, fault in self.disk.met)

    def _die(self, message: str) -> NoReturn:
        """End the process, as the product does: nothing runs after it."""
        self.story.append(f"exit 70: {message}")
        foreign = "somebody else" in message
        self._require(not foreign or self._faults_met(), f"the log took its own bytes for another's: {message}")
        self.disk.crashed = True
        raise CrashError(message)

    def _excuse_double_fault(self) -> None:
        """Expect no more than of a lying disk when a sync failed and then what was to tell of it: nobody knows it."""
        failed = any(call.startswith("sync") and isinstance(fault, Fail) for call, fault in self.disk.met)
        if failed and len(self.disk.met) > 1 and "home/log/POISON" not in self.disk.content(ROOT):
            self.lies = True

    # --- clock, acknowledgements, complaints ---

    def _now(self) -> Instant:
        """Return a time that goes forward, stands, or is set back: nothing may depend on it."""
        self.ticks = max(0, self.ticks + self.chance.choice((0, 1, 1, 1000, -50)))
        return Instant(f"2026-01-22T10:{self.ticks // 60_000 % 60:02d}:{self.ticks // 1000 % 60:02d}.123456Z")

    def _recorded(self, commit: Callable[[Sequence[FrameDraft]], list[Frame]]) -> Callable[..., list[Frame]]:
        def recorded(drafts: Sequence[FrameDraft]) -> list[Frame]:
            self.in_flight = [(*((each.command,) if each.command else ()), *each.events) for each in drafts]
            frames = commit(drafts)
            self.in_flight = []
            return frames

        return recorded

    def _acknowledge(self, frames: Sequence[Frame]) -> None:
        self.known.update({frame.commit: frame.hash for frame in frames})

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise self.violation(what)


class _Life:
    """An open log and its handler, whose thread is never started: the simulation takes its turns."""

    def __init__(self, log: Log, handler: Handler) -> None:
        self.log = log
        self.handler = handler


def _records(frame: Frame) -> tuple[Record, ...]:
    return tuple(record.data for record in frame.records)


def _folded(log: Log) -> State:
    state = State()
    for frame in log.replay():
        fold(state, frame.records)
    return state


def _picture(state: State) -> tuple[Any, ...]:
    """Return what the commands of the simulation can change."""
    return state.seq, state.epoch, dict(state.changed), dict(state.executors)


def _stays(name: str) -> bool:
    """Return whether an opening may only add to this file."""
    return name not in ("LOCK", "CLOSED", "BALLAST")


@contextmanager
def still(disk: SimulatedDisk) -> Iterator[None]:
    """Take out what differs from one process or moment to another, and the collection of garbage at every opening."""
    with (
        patch("eventlog.log.this_process", _holder),
        patch("eventlog.reserve._LOOK_SECONDS", -1.0),
        patch("commands.handle.gc", _NO_COLLECTION),
    ):
        yield
    for lock in [lock for lock in _held if lock._fs is disk]:  # of processes that have ended
        _held.discard(lock)


def _holder(*, since: Instant, purpose: str) -> LockHolder:
    return LockHolder(pid=1, boot_id="boot", host="host", since=since, purpose=purpose)
