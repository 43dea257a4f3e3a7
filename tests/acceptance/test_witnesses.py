"""An executor that outlives its sentinel knows what it was told: real processes, homes that are put back as a whole."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.crashes import FixtureTerminal
from tests.acceptance.terminal import Done, eventually
from tests.acceptance.test_service import LEAVE_SECONDS_MAX, ended, executors, is_lasting, sentinel, write_case

pytestmark = pytest.mark.acceptance


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path)


@pytest.fixture
def witness(terminal: FixtureTerminal) -> Iterator[subprocess.Popen[bytes]]:
    """Have an executor that waits for sentinels as long as the test takes."""
    process = terminal.start("executor", "--wait", "600")
    yield process
    process.kill()
    process.communicate(timeout=LEAVE_SECONDS_MAX)


def case(terminal: FixtureTerminal, number: int, *, rest_ms: int = 0) -> Path:
    """Write two files that no case of another number has."""
    return write_case(terminal.folder / ("x" * number), files=2, rest_ms=rest_ms)


def work(terminal: FixtureTerminal, number: int) -> None:
    """Have a case made by whoever is there."""
    done = terminal.finish(case(terminal, number))
    assert done.code == 0, done.err


@contextmanager
def killed(terminal: FixtureTerminal) -> Iterator[None]:
    """Have a sentinel that is killed at the end, with no time for anything."""
    with sentinel(terminal, workers=0) as process:
        yield
        process.send_signal(signal.SIGKILL)
        process.wait(LEAVE_SECONDS_MAX)


@contextmanager
def stopped(terminal: FixtureTerminal) -> Iterator[None]:
    with sentinel(terminal, workers=0):
        yield


Life = Callable[[FixtureTerminal], AbstractContextManager[None]]


def put_back(terminal: FixtureTerminal, ending: Life) -> None:
    """Work, copy home and tables, work on, and put the copies in their place, so that nothing in them tells of it."""
    with stopped(terminal):
        work(terminal, 1)
    older = terminal.folder / "older"
    for folder in (terminal.home, terminal.out):
        shutil.copytree(folder, older / folder.name)
    with ending(terminal):
        work(terminal, 2)
    for folder in (terminal.home, terminal.out):
        shutil.rmtree(folder)
        (older / folder.name).rename(folder)


def regressed(done: Done) -> str:
    """Require that a command says so, and with which exit code; return its words."""
    assert done.code == 5, (done.out, done.err)
    words = done.out + done.err
    assert "REGRESSED" in words
    return words


@pytest.mark.slow
def test_15b_a_home_that_was_put_back_is_found_out_by_an_executor_that_was_told_of_more(
    terminal: FixtureTerminal, witness: subprocess.Popen[bytes]
) -> None:
    put_back(terminal, stopped)
    before = terminal.casparian("log", "verify", "--json").json
    assert before["verdict"] == "OK", "nothing in the home can tell"
    words = regressed(ended(terminal.start("sentinel", "--workers", "0")))
    assert f"(process {witness.pid}) was told of record" in words
    assert "and the log ends at record" in words
    assert all(verb in words for verb in ("casparian log verify", "casparian log fork"))
    for verb in (["status"], ["run", "fixture", str(terminal.folder / "xx")], ["log", "verify"], ["jobs"]):
        assert f"(process {witness.pid})" in regressed(terminal.casparian(*verb))
    refused = terminal.casparian("start", "--json")
    regressed(refused)
    assert "put the copy in the place of log/" in refused.json["error"]["next_step"]
    go_on_as_a_fork(terminal, witness, seq=before["head_seq"])


def go_on_as_a_fork(terminal: FixtureTerminal, witness: subprocess.Popen[bytes], *, seq: int) -> None:
    forked = terminal.casparian("log", "fork", "--from", str(seq), "--reason", "no copy has more", "--json")
    assert forked.code == 0, forked.err
    assert "WITNESS" in forked.json["kept_aside"]
    for number in (3, 4):  # what it hears of the fork holds for the next start, too
        with sentinel(terminal, workers=0):
            work(terminal, number)
            assert [each["pid"] for each in executors(terminal)] == [witness.pid]
    verified = terminal.casparian("log", "verify", "--json")
    assert (verified.code, verified.json["verdict"]) == (0, "OK")


@pytest.mark.slow
def test_15b_a_copy_that_has_what_an_executor_was_told_is_the_other_way_out(
    terminal: FixtureTerminal, witness: subprocess.Popen[bytes]
) -> None:
    @contextmanager
    def copied(terminal: FixtureTerminal) -> Iterator[None]:
        with killed(terminal):
            yield
        assert terminal.casparian("log", "backup", terminal.folder / "copy").code == 0

    put_back(terminal, copied)
    regressed(ended(terminal.start("sentinel", "--workers", "0")))
    for name in ("log", "readmodel"):
        (terminal.home / name).rename(terminal.folder / f"kept {name}")
    (terminal.folder / "copy").rename(terminal.home / "log")
    with sentinel(terminal, workers=0):
        work(terminal, 3)
        assert [each["pid"] for each in executors(terminal)] == [witness.pid]
    assert terminal.casparian("log", "verify").code == 0


@pytest.mark.slow
def test_15b_a_run_in_a_home_that_was_put_back_ends_when_the_executor_comes(
    terminal: FixtureTerminal, witness: subprocess.Popen[bytes]
) -> None:
    """The log has outgrown by then what the executor was told: what it knows is the commit at that place."""
    put_back(terminal, stopped)
    witness.send_signal(signal.SIGSTOP)
    for number in (3, 4, 5):
        work(terminal, number)
    witness.send_signal(signal.SIGCONT)
    done = ended(terminal.begin(case(terminal, 6, rest_ms=2000), workers=1))
    assert "the log has another history there" in regressed(done)
    assert done.json["error"]["code"] == "log_regressed"
    eventually(lambda: [pid for pid, _ in terminal.processes()] == [witness.pid], what="the others to be gone")
    assert "another history" in regressed(terminal.casparian("log", "verify"))


@pytest.mark.slow
def test_sentinels_that_are_stopped_and_killed_agree_with_what_an_executor_was_told(
    terminal: FixtureTerminal, witness: subprocess.Popen[bytes]
) -> None:
    for number, ending in enumerate((killed, stopped, killed, killed, stopped)):
        with ending(terminal):
            work(terminal, 2 * number + 1)
            run = terminal.begin(case(terminal, 2 * number + 2, rest_ms=60))
            job = 4 * number + 3
            eventually(lambda job=job: terminal.has_logged("JobStarted", job), what="a job that is cut")  # type: ignore[misc]  # bound at once
            if ending is stopped:
                assert ended(run).code == 0
        if ending is killed:
            ended(run)
    assert not (terminal.home / "log" / "WITNESS").exists()
    with sentinel(terminal, workers=0):
        eventually(lambda: [each["pid"] for each in executors(terminal)] == [witness.pid], what="the executor")
        assert is_lasting(terminal)
    assert terminal.casparian("log", "verify").code == 0
