"""A lasting sentinel, its executors and guests are killed, stopped and told to leave in every state of a job.

Runs are followed from other terminals meanwhile. Afterwards all is as if nobody had disturbed anything, and what any
terminal was told holds. CASPARIAN_KILL_SEED=N repeats what was drawn, as far as a machine repeats.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from executors.processes import is_alive
from tests.acceptance import driver, ledger
from tests.acceptance.crashes import Outcome, wait_for, write_mixed, write_source
from tests.acceptance.lasting import ROLES, LastingTerminal, freeze, heeds_signals, hurt
from tests.acceptance.terminal import RUN_SECONDS_MAX, Done, eventually, interrupt

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

SEED = int(os.environ.get("CASPARIAN_KILL_SEED", "0")) or random.SystemRandom().randrange(2**32)
STATES = ("queued", "dispatched", "running", "staging", "promoting", "waiting to be retried")
REACH_SECONDS_MAX = 30.0
REST_SECONDS = 0.3
DEEDS_MAX = 8


# --- in each state ----------------------------------------------------------------------------------------------------


class Cases(NamedTuple):
    """Files for each deed, a slow one and a quick one behind it, and what an undisturbed run over all leaves."""

    slow: list[Path]
    quick: list[Path]
    calm: Outcome

    @property
    def all(self) -> list[Path]:
        return [*self.slow, *self.quick]

    def of(self, state: str, number: int) -> list[Path]:
        """Return what to hand in so that the last job comes into the state."""
        return [self.slow[number], self.quick[number]] if state == "queued" else [self.slow[number]]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    folder = tmp_path_factory.mktemp("cases")
    slow = [write_source(folder / f"slow{n}.txt", "paced rest_ms=200", lines=30) for n in range(DEEDS_MAX)]
    quick = [write_source(folder / f"quick{n}.txt", "normal", lines=20) for n in range(DEEDS_MAX)]
    return Cases(slow, quick, _undisturbed([*slow, *quick], tmp_path_factory.mktemp("calm")))


class Reached(NamedTuple):
    """A job in some state, and the run that wants it."""

    job: int
    run: subprocess.Popen[bytes]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[LastingTerminal]:
    """One executor, one job a lease: who is at work on what is known."""
    terminal = LastingTerminal(tmp_path / "t", workers=1)
    terminal.go_on()
    try:
        yield terminal
    finally:
        terminal.end_all()


@contextmanager
def reached(terminal: LastingTerminal, cases: Cases, state: str, *, number: int) -> Iterator[Reached]:
    """Hand in a run and wait until its last job is in the state, which lasts as long as the block."""
    files = cases.of(state, number)
    job = terminal.jobs_queued() + len(files)
    if state == "promoting":
        terminal.hold.touch()
    run = terminal.follow(files)
    held: list[int] = []
    try:
        if state == "waiting to be retried":
            _await(terminal, run, "running", job)
            eventually(lambda: bool(hurt(terminal.victims("guest"), signal.SIGKILL)), what="a guest to kill")
        _await(terminal, run, state, job)
        if state in HOLDERS:
            held += hurt(terminal.victims(HOLDERS[state]), signal.SIGSTOP)
        yield Reached(job, run)
    finally:
        hurt(held, signal.SIGCONT)
        terminal.hold.unlink(missing_ok=True)


# Who is stopped so that the state lasts until something is done.
HOLDERS = {
    "queued": "guest",
    "dispatched": "executor",
    "running": "guest",
    "staging": "guest",
    "waiting to be retried": "executor",
}
MARKS = {
    "dispatched": "JobDispatched",
    "running": "JobStarted",
    "promoting": "OutputsCommitted",
    "waiting to be retried": "JobRequeued",
}


def _await(terminal: LastingTerminal, run: subprocess.Popen[bytes], state: str, job: int) -> None:
    def came() -> bool:
        match state:
            case "queued":
                return terminal.has_logged("JobStarted", job - 1)
            case "staging":
                return any(name.split("-")[1] == str(job) for name in terminal.staged())
            case _:
                return terminal.has_logged(MARKS[state], job)

    assert wait_for(came, run=run, seconds=REACH_SECONDS_MAX), f"job {job} was never seen {state}"


# Whom there is to hurt: a guest that waits for a file, or has given all of it, is none any more.
VICTIMS = dict.fromkeys(STATES, ROLES) | {
    "dispatched": ("sentinel", "executor"),
    "promoting": ("sentinel", "executor", "guest parent"),
    "waiting to be retried": ("sentinel", "executor"),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("state", STATES)
def test_a_kill_and_a_stop_of_each_process_in_each_state_of_a_job_lose_nothing(
    terminal: LastingTerminal, cases: Cases, state: str
) -> None:
    deeds = [(deed, role) for role in VICTIMS[state] for deed in ("kill -9", "stop")]
    for number, (deed, role) in enumerate(deeds):
        with reached(terminal, cases, state, number=number) as at:
            victims = terminal.victims(role)
            assert victims, f"{deed}: there is no {role} while a job is {state}"
            met = hurt(victims, signal.SIGKILL) if deed == "kill -9" else freeze(victims, REST_SECONDS)
            print(f"{state}: {deed} of {role} {met}")
        done = terminal.heard(at.run)
        if (deed, role) == ("kill -9", "sentinel"):
            assert done.json["error"]["code"] == "sentinel_gone", done.out
            terminal.go_on()
        else:
            assert done.code == 0, done.err
    assert terminal.jobs_queued() == len(deeds) * len(cases.of(state, 0)), "no file was made twice"
    _check_end(terminal, cases.all, cases.calm)


@pytest.mark.timeout(240)
def test_who_is_stopped_for_longer_than_a_lease_costs_at_most_an_attempt(
    terminal: LastingTerminal, cases: Cases
) -> None:
    """A silent executor is given up; a sentinel that was stopped itself gives up nobody for that."""
    requeued = {}
    for number, role in enumerate(ROLES):
        before = terminal.log_text().count(b'"type":"JobRequeued"')
        with reached(terminal, cases, "staging", number=number) as at:
            freeze(terminal.victims(role), driver.LEASE_SECONDS + 2)
        assert terminal.heard(at.run).code == 0
        requeued[role] = terminal.log_text().count(b'"type":"JobRequeued"') - before
    assert requeued == {"sentinel": 0, "executor": 1, "guest parent": 0, "guest": 0}
    _check_end(terminal, cases.all, cases.calm)


ANSWERS: dict[str, tuple[int, str, bool]] = {
    "queued": (0, "aborted", False),
    "dispatched": (0, "aborted", False),
    "running": (0, "aborted", False),
    "staging": (0, "aborted", False),
    "promoting": (4, "promoting", False),
    "waiting to be retried": (0, "aborted", False),
}


@pytest.mark.timeout(240)
def test_a_cancel_is_answered_as_the_state_of_its_job_demands(terminal: LastingTerminal, cases: Cases) -> None:
    """And once more when it has ended; the answer of each stands in the log."""
    stopped = set()
    for number, (state, expected) in enumerate(ANSWERS.items()):
        with reached(terminal, cases, state, number=number) as at:
            answered = terminal.cancel(at.job)
            assert _answer(answered) == expected, (state, answered.out)
        done = terminal.heard(at.run)
        end = "completed" if state == "promoting" else "aborted"
        assert done.code == int(end == "aborted"), done.err
        assert _answer(terminal.cancel(at.job)) == (0, end, True)
        assert terminal.has_logged("CancelAccepted", at.job) == (end == "aborted")
        assert terminal.staged() == []
        stopped |= {at.job} if end == "aborted" else set()
    assert {row[0] for row in terminal.sql("select job_id from cf_jobs where status = 'aborted'")} == stopped
    terminal.check_told()
    _check_end(terminal, cases.all, cases.calm)  # a cancel is of one job, not of its file


def _answer(done: Done) -> tuple[int, str, bool]:
    assert "error" not in done.json, done.out
    return done.code, done.json["state"], done.json["already"]


# --- at random --------------------------------------------------------------------------------------------------------

HOMES = 4
ROUNDS = 27
FILES_A_ROUND = 5
FOLLOWED_MAX = 3
TRIES_MAX = 3  # to find somebody of the role that was drawn
NOBODY: list[int] = []
GONE = ("not_found", "no_sentinel", "sentinel_gone")  # an executor, or a run that was the sentinel for itself
QUEUED_SECONDS_MAX = 3.0
MOMENT_SECONDS_MAX = 0.8
RESTS = (0.05, 0.2, 0.2, 0.5, 0.5, 1.0, driver.LEASE_SECONDS + 1)


class Mixed(NamedTuple):
    """Files of mixed modes, and what an undisturbed run over them leaves."""

    files: list[Path]
    calm: Outcome


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    folder = tmp_path_factory.mktemp("mixed") / "case"
    slow = [write_source(folder / f"slow{n:02}.txt", "paced rest_ms=150", lines=25) for n in range(ROUNDS)]
    lines = ("null", "partial", "empty", "prints", "permanent")
    more = [write_source(folder / f"more{n:02}.txt", lines[n % len(lines)], lines=25) for n in range(2 * len(lines))]
    files = [*slow, *more, *write_mixed(folder, good=ROUNDS * (FILES_A_ROUND - 1) - len(more) - 3)]
    random.Random(1).shuffle(files)
    return Mixed(files, _undisturbed(files, tmp_path_factory.mktemp("calm")))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("home", range(HOMES))
def test_rounds_of_kills_stops_and_cancels_end_as_if_nobody_had_disturbed_anything(
    tmp_path: Path, mixed: Mixed, home: int
) -> None:
    print(f"CASPARIAN_KILL_SEED={SEED} home {home}")
    terminal = LastingTerminal(tmp_path / "t")
    rounds = Rounds(terminal, mixed.files, random.Random(f"{SEED} {home}"))
    try:
        with ledger.watching(terminal.home, terminal.out, tmp_path / "ledger") as facts:
            for number in range(ROUNDS):
                rounds.play(number, by_hand=home % 2 == 1)
            rounds.settle()
            print(f"told instead of a report: {terminal.told.refusals}")
            _check_end(terminal, mixed.files, mixed.calm)
        assert facts.broken(terminal.home, terminal.out, jobs=terminal.completed()) == []
        assert any(fact.kind == "record" for fact in facts.facts())
        assert len(terminal.told) > ROUNDS
    finally:
        terminal.end_all()


class Rounds:
    """The rounds of one home: each hands in some files, waits for a moment, and does one thing."""

    def __init__(self, terminal: LastingTerminal, files: list[Path], draw: random.Random) -> None:
        self._terminal = terminal
        self._files = files
        self._draw = draw
        self._followed: list[subprocess.Popen[bytes]] = []
        self._by_hand: subprocess.Popen[bytes] | None = None

    def play(self, number: int, *, by_hand: bool) -> None:
        """One round, with an executor that was started by hand beside those of the sentinel or without."""
        self._terminal.go_on()
        if by_hand:
            self._start_by_hand()
        at = number * FILES_A_ROUND
        self._hand_in(self._files[at : at + FILES_A_ROUND], self._files[:at])
        self._await_moment()
        for _ in range(TRIES_MAX):
            deed, words = self._draw.choice(self._deeds())
            came_of_it = deed()
            print(f"round {number}: {words}: {came_of_it}, log {self._terminal.log_bytes()} bytes")
            if came_of_it != NOBODY:
                break
        self._collect(FOLLOWED_MAX)

    def _start_by_hand(self) -> None:
        """Have one that lives: it may have been killed, or sent away."""
        if self._by_hand is None or self._by_hand.poll() is not None:
            self._end_by_hand()
            self._by_hand = self._terminal.start("executor")

    def _end_by_hand(self) -> None:
        if (by_hand := self._by_hand) is not None:
            wait_for(lambda: heeds_signals(by_hand.pid), run=by_hand, seconds=QUEUED_SECONDS_MAX)
            by_hand.terminate()
            err = by_hand.communicate(timeout=RUN_SECONDS_MAX)[1].decode()
            assert by_hand.returncode in (0, -signal.SIGKILL), err
            assert "Traceback" not in err, err

    def settle(self) -> None:
        """Hear every terminal to its end, and have the sentinel and the parser go on."""
        self._collect(0)
        self._end_by_hand()
        self._terminal.go_on()
        resumed = self._terminal.casparian("parser", "resume", "fixture", "--json")
        assert resumed.code == 0, resumed.out

    def _hand_in(self, new: list[Path], old: list[Path]) -> None:
        """From one terminal or two, which may want the same."""
        draw, terminal = self._draw, self._terminal
        terminal.jobs_per_lease = draw.choice((1, 3, 200))
        again = draw.sample(old, min(len(old), draw.choice((0, 0, 3))))
        first = new[: draw.choice((3, len(new)))]
        second = [*new[len(first) :], *again] or draw.sample(new, draw.choice((0, 2)))
        self._followed += [terminal.follow(files) for files in (first, second) if files]

    def _await_moment(self) -> None:
        """Wait until something is queued, but for some rounds; then for some time, some bytes, or what is staged."""
        draw, terminal, last = self._draw, self._terminal, self._followed[-1]
        queued, log = terminal.jobs_queued(), terminal.log_bytes()
        if draw.random() < 0.8:
            wait_for(lambda: terminal.jobs_queued() > queued, run=last, seconds=QUEUED_SECONDS_MAX)
        at, more = time.monotonic() + draw.uniform(0, MOMENT_SECONDS_MAX), draw.randint(1, 12_000)
        moments: list[Callable[[], bool]] = [
            lambda: time.monotonic() >= at,
            lambda: terminal.log_bytes() >= log + more,
            lambda: terminal.staged() != [],
        ]
        wait_for(draw.choice(moments), run=last, seconds=MOMENT_SECONDS_MAX)

    def _deeds(self) -> list[tuple[Callable[[], Any], str]]:
        rest = self._draw.choice(RESTS)
        deeds: list[tuple[Callable[[], Any], str]] = []
        for role in ROLES:
            deeds.append((partial(self._hurt_one, role), f"kill -9 of one {role}"))
            deeds.append((partial(self._freeze_one, role, rest), f"one {role} stopped for {rest} s"))
        if (stranger := self._by_hand) is not None:
            deeds.append((partial(hurt, [stranger.pid], signal.SIGKILL), "kill -9 of an executor by hand"))
            deeds.append((partial(freeze, [stranger.pid], rest), f"an executor by hand stopped for {rest} s"))
        deeds += [
            (self._cancel, "cancel"),
            (self._cancel, "cancel"),
            (partial(self._part_with_executor, "drain"), "drain"),
            (partial(self._part_with_executor, "rm"), "rm"),
            (self._stop, "stop"),
            (self._kill_terminal, "kill -9 of a terminal"),
            (self._interrupt_terminal, "Ctrl-C in a terminal"),
        ]
        return deeds

    def _one(self, role: str) -> tuple[int, ...]:
        """One of this role: if nobody is, one that comes soon."""
        wait_for(lambda: bool(self._terminal.victims(role)), run=self._followed[-1], seconds=MOMENT_SECONDS_MAX)
        found = self._terminal.victims(role)
        return (self._draw.choice(found),) if found else ()

    def _hurt_one(self, role: str) -> list[int]:
        met = hurt(self._one(role), signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, met)), what="who was killed to be gone")
        return met

    def _freeze_one(self, role: str, seconds: float) -> list[int]:
        return freeze(self._one(role), seconds)

    def _cancel(self) -> str:
        """One of the youngest jobs. With the guests stopped meanwhile most of those are open when it comes."""
        self._one("guest")
        guests = hurt(self._terminal.victims("guest"), signal.SIGSTOP) if self._draw.random() < 0.7 else []
        job = max(1, self._terminal.jobs_queued() - self._draw.randrange(FILES_A_ROUND))
        answer = self._terminal.cancel(job).out
        hurt(guests, signal.SIGCONT)
        return answer[:100].strip()

    def _part_with_executor(self, word: str) -> str:
        listed = self._terminal.casparian("executors", "ls", "--json").json["executors"]
        if not listed:
            return "nobody is here"
        name = self._draw.choice(listed)["executor"]
        done = self._terminal.casparian("executors", word, name, "--reason", "a test", "--json")
        assert done.code == 0 or done.json["error"]["code"] in GONE, done.out
        return done.out.strip()

    def _stop(self) -> None:
        self._terminal.leave()

    def _kill_terminal(self) -> int:
        self._followed[-1].kill()
        return self._followed[-1].pid

    def _interrupt_terminal(self) -> str:
        last = self._followed[-1]
        if not wait_for(lambda: heeds_signals(last.pid), run=last, seconds=QUEUED_SECONDS_MAX):
            return "it was not there yet"
        interrupt(last)
        return str(last.pid)

    def _collect(self, left_max: int) -> None:
        """Hear those who have ended, and the oldest ones until no more are left."""
        for run in list(self._followed):
            if run.poll() is not None or len(self._followed) > left_max:
                self._followed.remove(run)
                self._terminal.heard(run)


# --- the end ----------------------------------------------------------------------------------------------------------


def _undisturbed(files: list[Path], folder: Path) -> Outcome:
    terminal = LastingTerminal(folder)
    terminal.jobs_per_lease = 200
    terminal.go_on()
    outcome = terminal.outcome(terminal.finish(files))
    terminal.leave()
    assert terminal.left_behind() == []
    return outcome


def _check_end(terminal: LastingTerminal, files: list[Path], calm: Outcome) -> None:
    """One more run that nobody disturbs, an orderly stop, and everything is looked at."""
    terminal.jobs_per_lease = 200
    done = terminal.finish(files)
    terminal.leave()
    terminal.check_whole(done, calm)
    terminal.check_told()
    checked = terminal.casparian("replay", "--check")
    assert checked.code == 0, checked.out
