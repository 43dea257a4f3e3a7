"""Processes are killed at any moment; what was acknowledged holds, and the next run ends as if nothing had been.

The moments are drawn from a seed that is printed: CASPARIAN_KILL_SEED=N repeats them as far as a machine repeats.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.errors import EXIT_REFUSED
from tests.acceptance import ledger
from tests.acceptance.crashes import FixtureTerminal, Outcome, wait_for, write_every_mode, write_mixed, write_source
from tests.acceptance.ledger import Ledger
from tests.acceptance.terminal import Done, eventually

pytestmark = pytest.mark.acceptance

KILLS = 15  # of one campaign: one home, killed and run again and again
CAMPAIGNS = 4  # in `make test`: 60 kills
CAMPAIGNS_SLOW = 20  # in `make test-long`: 300 kills more
RUNS_MAX = 3 * KILLS  # some runs end before the moment of their kill
GOOD_FILES = KILLS + 2
FAILURES_THAT_PAUSE = 5  # in a row
MOMENT_SECONDS_MAX = 30.0
RUN_SECONDS_MAX = 90

Moment = Callable[[], bool]


class Mixed(NamedTuple):
    """A folder of mixed modes, and what an undisturbed run over it leaves."""

    files: list[Path]
    calm: Outcome


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    files = write_mixed(tmp_path_factory.mktemp("mixed") / "case", good=GOOD_FILES)
    return Mixed(files, _undisturbed(files, tmp_path_factory.mktemp("calm")))


@pytest.fixture(scope="session")
def every_mode(mixed: Mixed, tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    files = [*write_every_mode(mixed.files[0].parent), *mixed.files]
    return Mixed(files, _undisturbed(files, tmp_path_factory.mktemp("calm")))


def _undisturbed(files: list[Path], folder: Path) -> Outcome:
    terminal = FixtureTerminal(folder)
    outcome = terminal.outcome(terminal.finish(files))
    assert outcome.code == 5  # of the strictest file: a balance sheet that does not add up
    assert terminal.left_behind() == []
    return outcome


@pytest.mark.timeout(300)
@pytest.mark.parametrize("campaign", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CAMPAIGNS))])
@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path: Path, mixed: Mixed, campaign: int) -> None:
    _campaign(tmp_path, mixed, campaign)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("campaign", range(CAMPAIGNS, CAMPAIGNS + CAMPAIGNS_SLOW))
def test_a_run_over_every_mode_killed_at_random_moments_ends_as_an_undisturbed_one(
    tmp_path: Path, every_mode: Mixed, campaign: int
) -> None:
    _campaign(tmp_path, every_mode, campaign)


def _campaign(folder: Path, mixed: Mixed, campaign: int) -> None:
    """Kill KILLS runs over one home, look after each whether what was acknowledged holds, then run to the end.

    The first run is given a few of the files and each later one a file more, so that there is always new work.
    """
    seed = int(os.environ.get("CASPARIAN_KILL_SEED", random.getrandbits(32)))
    print(f"CASPARIAN_KILL_SEED={seed} campaign {campaign}")
    draw = random.Random(f"{seed} {campaign}")
    terminal = FixtureTerminal(folder / "t")
    kills = 0
    with ledger.watching(terminal.home, terminal.out, folder / "ledger") as facts:
        for _ in range(RUNS_MAX):
            kills += _kill_one(terminal, mixed.files[: len(mixed.files) - KILLS + kills], draw)
            _check_facts(terminal, facts)
            if kills == KILLS:
                break
        assert kills == KILLS, f"only {kills} of {RUNS_MAX} runs lived until the moment of their kill"
        done = terminal.finish(mixed.files)
        _check_facts(terminal, facts)
    assert any(fact.kind == "record" for fact in facts.facts())
    if done.code == EXIT_REFUSED and "is paused" in done.err:
        # By chance the files that fail have come in a row. Their parser is paused then, and a person has to look:
        # nothing ends as in an undisturbed run, and nothing is lost.
        print(done.err)
        assert terminal.log_text().count(b'"type":"JobFailed"') >= FAILURES_THAT_PAUSE
        assert terminal.sql("select path from cf_jobs where status = 'failed' and path like '%/good%'") == []
        terminal.check_sound()
    else:
        terminal.check_whole(done, mixed.calm)


def _kill_one(terminal: FixtureTerminal, files: list[Path], draw: random.Random) -> bool:
    """Start a run and kill its sentinel at a random moment; say whether it lived until then."""
    name, moment = _moment(terminal, draw)
    terminal.jobs_per_lease = draw.choice((1, 3, 200))
    run = terminal.begin(files, workers=draw.choice((1, 1, 2)))
    came = wait_for(moment, run=run, seconds=MOMENT_SECONDS_MAX)
    time.sleep(draw.choice((0.0, 0.0, draw.uniform(0, 0.05))))
    run.kill()  # harmless where it has ended by itself
    _, err = run.communicate(timeout=RUN_SECONDS_MAX)
    shared = f"{terminal.jobs_per_lease} a lease"
    print(f"killed at {name}: {came}, {run.returncode}, {shared}, log {terminal.log_bytes()} bytes")
    assert b"Traceback" not in err, err
    if run.returncode == -signal.SIGKILL:
        if draw.random() < 0.5:  # else the next run meets the executors of this one
            eventually(lambda: terminal.processes() == [], what="the executors to notice and leave")
        return True
    # As the files that it was given are: 1 if the one that was left is that which fails.
    assert run.returncode in (0, 1, 3, 4, 5), err
    return False


def _moment(terminal: FixtureTerminal, draw: random.Random) -> tuple[str, Moment]:
    """Draw when to kill: after some time, after some bytes of the log, some outputs, or at a staged file."""
    log, published = terminal.log_bytes(), len(list(terminal.out.glob("*.parquet")))
    kind = draw.choice(("time", "log", "log", "published", "staged"))
    if kind == "time":
        rest = draw.uniform(0.2, 2.0)
        at = time.monotonic() + rest
        return f"{rest} s", lambda: time.monotonic() >= at
    if kind == "log":
        more = draw.randint(1, 12_000)
        return f"log + {more}", lambda: terminal.log_bytes() >= log + more
    if kind == "published":
        return "published + 1", lambda: len(list(terminal.out.glob("*.parquet"))) > published
    return "staged", lambda: terminal.staged() != []


def _check_facts(terminal: FixtureTerminal, facts: Ledger) -> None:
    """Assert that what was acknowledged holds. The log may not be there yet when the first run was killed early."""
    if facts.facts():
        assert facts.broken(terminal.home, terminal.out, jobs=terminal.completed()) == []


# --- executors and guests: the run goes on ----------------------------------------------------------------------------

STATES = ("dispatched", "running", "staged", "committing")
FROZEN_SECONDS_MAX = 20.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ["executor", "guest"])
@pytest.mark.slow
def test_a_run_survives_the_kill_of_an_executor_or_guest_in_each_state_of_a_job(tmp_path: Path, role: str) -> None:
    """One run, one worker; each file's job is met in another state, with the sentinel stopped while it is killed."""
    files = [write_source(tmp_path / "case" / f"{state}.txt", "paced rest_ms=100", lines=30) for state in STATES]
    calm = FixtureTerminal(tmp_path / "calm")
    undisturbed = calm.outcome(calm.finish(files, workers=2))
    terminal = FixtureTerminal(tmp_path / "t")
    run = terminal.begin(files, workers=1)
    try:
        killed = {
            state: _kill_in(terminal, run, state=state, job=job, role=role) for job, state in enumerate(STATES, 1)
        }
    finally:
        out, err = run.communicate(timeout=RUN_SECONDS_MAX)
    assert b"Traceback" not in err, err
    done = Done(subprocess.CompletedProcess(run.args, run.returncode, out, err))
    terminal.check_whole(done, undisturbed)
    # Whoever dies before the report takes the attempt along; after it the job does not need them any more, but a retry
    # that was due by then may have been handed out with the answer. Guests that had ended when they were to be killed,
    # and a report that was on its way already, cost none.
    lost = [state for state, victims in killed.items() if victims]
    assert 1 <= terminal.log_text().count(b'"type":"JobRequeued"') <= len(lost), (killed, err)


def _kill_in(
    terminal: FixtureTerminal, run: subprocess.Popen[bytes], *, state: str, job: int, role: str
) -> tuple[int, ...]:
    """Stop the sentinel when the job is in the state, kill those of the role, let it go on; return who was killed."""
    came = wait_for(lambda: _in_state(terminal, state, job), run=run, seconds=FROZEN_SECONDS_MAX)
    assert came, f"job {job} was never seen {state}"
    os.kill(run.pid, signal.SIGSTOP)
    try:
        roles = terminal.roles()
        victims = roles.executors if role == "executor" else (*roles.guests, *roles.guest_parents)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.kill(run.pid, signal.SIGCONT)
    return victims


def _in_state(terminal: FixtureTerminal, state: str, job: int) -> bool:
    match state:
        case "staged":
            return any(name.split("-")[1] == str(job) for name in terminal.staged())
        case "dispatched":
            return terminal.has_logged("JobDispatched", job)
        case "running":
            return terminal.has_logged("JobStarted", job)
        case _:
            return terminal.has_logged("OutputsCommitted", job)


def test_guests_that_hang_or_flood_die_with_a_killed_sentinel(tmp_path: Path) -> None:
    files = [write_source(tmp_path / "case" / f"{mode}.txt", mode, lines=2) for mode in ("hang", "flood")]
    terminal = FixtureTerminal(tmp_path / "t")
    run = terminal.begin(files)
    assert wait_for(
        lambda: terminal.has_logged("JobStarted", 1) and terminal.has_logged("JobStarted", 2),
        run=run,
        seconds=MOMENT_SECONDS_MAX,
    )
    run.kill()
    run.communicate(timeout=RUN_SECONDS_MAX)
    eventually(lambda: terminal.processes() == [], what="executors and guests to be gone")


def test_a_stopped_executor_dies_with_a_killed_sentinel(tmp_path: Path) -> None:
    file = write_source(tmp_path / "case" / "hang.txt", "hang", lines=2)
    terminal = FixtureTerminal(tmp_path / "t")
    run = terminal.begin(file, workers=1)
    assert wait_for(lambda: terminal.has_logged("JobStarted", 1), run=run, seconds=MOMENT_SECONDS_MAX)
    (executor,) = terminal.roles().executors
    os.kill(executor, signal.SIGSTOP)
    run.kill()
    run.communicate(timeout=RUN_SECONDS_MAX)
    eventually(lambda: terminal.processes() == [], what="the stopped executor and its guest to be gone")


def test_what_a_parser_writes_beside_its_outputs_is_neither_read_nor_removed(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    terminal.out.mkdir()
    source = write_source(tmp_path / "case" / "one.txt", f"writes_elsewhere folder={terminal.out}", lines=9)
    assert terminal.finish(source).code == 0
    strangers = {".stage", ".00000000-1-1-lines.stage", "lines_0000000000000000.parquet"}
    assert set(terminal.listed()) == {*strangers, *terminal.recorded()}
    assert terminal.sql("select count(*) from lines") == [[9]]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_input_that_runs_out_of_memory_each_time_fails_after_its_retries(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    files = [write_source(tmp_path / "case" / f"{mode}.txt", mode, lines=2) for mode in ("oom", "normal")]
    run = terminal.begin(files)
    out, err = run.communicate(timeout=200)
    done = Done(subprocess.CompletedProcess(run.args, run.returncode, out, err))
    assert done.code == 1
    assert {Path(file["path"]).stem: file["action"] for file in done.json["files"]} == {
        "oom": "failed",
        "normal": "run",
    }
    assert terminal.left_behind() == []
