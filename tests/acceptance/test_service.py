"""A sentinel that lasts: runs are handed over to it, executors come and go, and an end of it loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli import clock
from cli.dispatching import LEASE_SECONDS
from eventlog.fsport import OS_FS
from eventlog.lock import LogLock, this_process
from tests.acceptance.crashes import FixtureTerminal, stopped_guest, write_source
from tests.acceptance.terminal import Done, Terminal, eventually, interrupt

pytestmark = pytest.mark.acceptance

LEAVE_SECONDS_MAX = 60
DIALS_SECONDS = 10  # what dialling an address where nobody listens would take, and more


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path)


@contextmanager
def sentinel(terminal: FixtureTerminal, *, workers: int = 2) -> Iterator[subprocess.Popen[bytes]]:
    """Have a sentinel in the foreground of another terminal; it is told to stop at the end, if it still runs."""
    process = terminal.start("-v", "sentinel", "--workers", str(workers))
    try:
        eventually(lambda: is_lasting(terminal), what="the sentinel to answer")
        yield process
        if process.poll() is None:
            done = terminal.casparian("stop")
            assert done.code == 0, done.err
            assert process.wait(LEAVE_SECONDS_MAX) == 0
    finally:
        process.kill()
        process.communicate(timeout=LEAVE_SECONDS_MAX)


def status(terminal: Terminal) -> dict[str, Any]:
    done = terminal.casparian("status", "--json")
    assert done.code == 0, done.err
    seen: dict[str, Any] = done.json
    return seen


def is_lasting(terminal: Terminal) -> bool:
    done = terminal.casparian("status", "--json")
    return done.code == 0 and done.json["sentinel"] is not None and bool(done.json["sentinel"]["lasting"])


def executors(terminal: Terminal) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = terminal.casparian("executors", "ls", "--json").json["executors"]
    return listed


def write_case(folder: Path, *, files: int, rest_ms: int = 0) -> Path:
    """Write files that differ; with a rest, each takes its guest five times that."""
    for number in range(files):
        line, lines = (f"paced rest_ms={rest_ms}", 41) if rest_ms else ("normal", 5)
        write_source(folder / f"{number:02}.txt", line, lines=lines + number, seed=len(folder.name))
    return folder


def ended(process: subprocess.Popen[bytes]) -> Done:
    out, err = process.communicate(timeout=LEAVE_SECONDS_MAX)
    return Done(subprocess.CompletedProcess(process.args, process.returncode, out, err))


def files_of(done: Done) -> dict[str, str]:
    return {Path(file["path"]).name: file["status"] for file in done.json["files"]}


def freeze(found: Callable[[], tuple[int, ...]], *, what: str) -> int:
    """Stop the first process that is found, and return its number."""
    eventually(lambda: bool(found()), what=what)
    pid = found()[0]
    os.kill(pid, signal.SIGSTOP)
    return pid


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_is_handed_over_and_tells_the_same_as_without_a_sentinel(tmp_path: Path) -> None:
    alone, served = FixtureTerminal(tmp_path / "alone"), FixtureTerminal(tmp_path / "served")
    case = write_case(tmp_path / "case", files=3)
    write_source(case / "broken.txt", "error", lines=3)
    calm = alone.outcome(alone.finish(case))
    with sentinel(served):
        done = served.casparian("-v", *served.words(case))
        assert "a sentinel is running: it carries this out" in done.err
        assert served.outcome(done) == calm
        again = served.finish(case)
        assert (again.json["reused"], again.json["failed"]) == (3, 1)
        assert status(served)["queue"]["completed"] == 3
    assert served.left_behind() == [str(served.home / "tmp" / "sentinel.log")] or served.left_behind() == []
    assert served.casparian("log", "verify").code == 0


@pytest.mark.slow
def test_two_terminals_run_at_once(terminal: FixtureTerminal) -> None:
    one = write_case(terminal.folder / "one", files=4, rest_ms=50)
    two = write_case(terminal.folder / "two!", files=4, rest_ms=50)
    with sentinel(terminal):
        runs = [terminal.begin(one), terminal.begin(two)]
        reports = [ended(run) for run in runs]
    assert [done.code for done in reports] == [0, 0], [done.err for done in reports]
    assert {done.json["run"] for done in reports} == {1, 2}
    assert all(set(files_of(done).values()) == {"success"} for done in reports)


@pytest.mark.slow
def test_two_terminals_run_the_same_folder_at_once_and_each_file_is_made_once(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=6, rest_ms=30)
    with sentinel(terminal):
        runs = [terminal.begin(case) for _ in range(3)]
        reports = [ended(run) for run in runs]
        assert [done.code for done in reports] == [0, 0, 0], [done.err for done in reports]
        assert all(set(files_of(done).values()) == {"success"} for done in reports)
        assert terminal.sql("select count(*) from cf_jobs") == [[6]]


@pytest.mark.slow
def test_an_interrupt_stops_the_jobs_of_its_own_run_only(terminal: FixtureTerminal) -> None:
    slow = write_case(terminal.folder / "slow", files=3, rest_ms=400)
    other = write_case(terminal.folder / "other", files=3, rest_ms=100)
    with sentinel(terminal):
        stopped = terminal.begin(slow)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the first job's start")
        goes_on = terminal.begin(other)
        eventually(lambda: b'"type":"RunPlanned","data":{"run":2' in terminal.log_text(), what="the second plan")
        interrupt(stopped)
        first, second = ended(stopped), ended(goes_on)
        assert status(terminal)["queue"]["queued"] == 0
    assert first.code == 130, first.err
    assert "aborted" in files_of(first).values()
    assert second.code == 0, second.err
    assert set(files_of(second).values()) == {"success"}


@pytest.mark.slow
def test_an_interrupt_leaves_the_jobs_that_another_terminal_waits_for(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=3, rest_ms=800)
    with sentinel(terminal, workers=1):
        stopped = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the first job's start")
        goes_on = terminal.begin(case)
        eventually(lambda: b'"type":"RunPlanned","data":{"run":2' in terminal.log_text(), what="the second plan")
        interrupt(stopped)
        first, second = ended(stopped), ended(goes_on)
        assert terminal.sql("select status, count(*) from cf_jobs group by all") == [["completed", 3]]
    assert (first.code, second.code) == (130, 0), (first.err, second.err)
    assert set(files_of(second).values()) == {"success"}


@pytest.mark.slow
def test_a_run_without_a_sentinel_takes_in_that_of_another_terminal(terminal: FixtureTerminal) -> None:
    one = write_case(terminal.folder / "one", files=2, rest_ms=300)
    two = write_case(terminal.folder / "two", files=4, rest_ms=300)
    first = terminal.begin(one, workers=1)
    eventually(lambda: terminal.has_logged("JobStarted", 1), what="the first job's start")
    second = terminal.begin(two, workers=1)
    done, other = ended(first), ended(second)
    assert (done.code, other.code) == (0, 0), (done.err, other.err)
    assert "staying for another terminal's run" in done.err
    assert other.json["found"] == 4
    assert terminal.left_behind() == []


def test_a_refusal_reaches_the_terminal_that_asked(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=1)
    with sentinel(terminal):
        refused = terminal.casparian("run", "fixtures", str(case), "--json")
        bad = terminal.casparian("run", "fixture", str(case), "--set", "nothing=1", "--json")
    assert refused.json["error"]["code"] == "unknown_parser"
    assert bad.json["error"]["code"] == "unknown_setting"


@pytest.mark.slow
def test_a_parser_of_ones_own_is_admitted_and_run(terminal: FixtureTerminal) -> None:
    assert terminal.casparian("parser", "new", "mine").code == 0
    write_source(terminal.folder / "a.txt", "normal", lines=3)
    with sentinel(terminal):
        refused = terminal.casparian("run", "./mine.py", "a.txt", "--json")
        assert refused.json["error"]["code"] == "untrusted_parser"
        assert terminal.casparian("parser", "trust", "./mine.py", "--reason", "wrote it").code == 0
        done = terminal.casparian("run", "./mine.py", "a.txt", "--sink", f"parquet://{terminal.out}", "--json")
        assert done.code == 0, done.err
        tried = terminal.casparian(
            "run", "--dev", "./mine.py", "a.txt", "--sink", f"parquet://{terminal.out}", "--json"
        )
        assert tried.code == 0, tried.err


# --- its end --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stop_gives_back_what_runs_and_the_next_sentinel_does_it(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=3, rest_ms=500)
    with sentinel(terminal, workers=1) as process:
        run = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the first job's start")
        assert terminal.casparian("stop", "--reason", "the disk is moved").code == 0
        said = process.communicate(timeout=LEAVE_SECONDS_MAX)[1].decode()
    assert "stopped by cli:" in said
    assert "the disk is moved; 3 jobs waiting for the next start" in said
    done = ended(run)
    assert done.code == 130, done.err
    assert status(terminal)["queue"]["queued"] == 3
    assert terminal.staged() == []
    with sentinel(terminal, workers=1):
        eventually(lambda: status(terminal)["queue"]["completed"] == 3, what="the jobs to be done")
        report = terminal.finish(case).json
        assert (report["reused"], report["recovery"]["waiting"]) == (3, 0), "what a start finds is no run's news"
    assert terminal.finish(case).json["reused"] == 3
    assert terminal.casparian("log", "verify").code == 0


@pytest.mark.slow
def test_a_killed_sentinel_is_told_and_the_next_one_goes_on(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=3, rest_ms=300)
    with sentinel(terminal, workers=1) as process:
        run = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the first job's start")
        process.kill()
        process.wait()
        done = ended(run)
    assert done.code == 1
    assert done.json["error"]["code"] == "sentinel_gone"
    eventually(lambda: terminal.processes() == [], what="all processes to be gone")
    told = terminal.casparian("status").out
    assert "nobody works: the next sentinel or run takes" in told
    assert "1 job stands as running or being published, but nobody works" in terminal.casparian("jobs").err
    assert "1 job stands as running" in terminal.casparian("job", "show", "1").err
    assert terminal.casparian("jobs", "--json").json["cut_off"] == 1
    assert terminal.casparian("job", "show", "1", "--json").json["cut_off"] is True
    assert terminal.finish(case).code == 0
    assert "nobody works" not in terminal.casparian("status").out
    assert terminal.casparian("job", "show", "1", "--json").json["cut_off"] is False
    terminal.check_whole(terminal.finish(case), terminal.outcome(terminal.finish(case)))


def test_start_and_stop_may_be_said_twice(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    assert terminal.casparian("stop").out == "no sentinel is running\n"
    first = terminal.casparian("start", "--workers", "1", "--json").json
    second = terminal.casparian("start", "--json").json
    assert (first["already"], second["already"]) == (False, True)
    assert first["pid"] == second["pid"] == status(terminal)["sentinel"]["pid"]
    assert terminal.casparian("stop", "--json").json == {"pid": first["pid"], "stopped": True}
    assert terminal.casparian("stop", "--json").json == {"pid": None, "stopped": False}
    assert terminal.processes() == []
    assert terminal.casparian("log", "verify").code == 0


def test_a_start_that_cannot_be_says_what_the_sentinel_said(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    assert terminal.casparian("start").code == 0
    assert terminal.casparian("stop").code == 0
    genesis = terminal.home / "log" / "GENESIS.json"
    genesis.write_bytes(genesis.read_bytes()[:-20])
    refused = terminal.casparian("start", "--json")
    assert refused.code == 5
    assert refused.json["error"]["code"] == "not_started"
    assert "GENESIS" in refused.json["error"]["message"]


def test_a_start_waits_for_whoever_holds_the_log_and_cannot_be_asked_yet_or_any_more(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    assert terminal.casparian("start").code == 0
    assert terminal.casparian("stop").code == 0
    holder = this_process(since=clock.now(), purpose="leaving")
    lock = LogLock.acquire(terminal.home / "log", holder, fs=OS_FS)
    start = terminal.start("start", "--workers", "1", "--json")
    with pytest.raises(subprocess.TimeoutExpired):
        start.wait(timeout=1.5)
    lock.release()
    assert ended(start).code == 0
    assert terminal.casparian("stop").code == 0


def test_what_holds_the_home_for_a_command_is_not_stopped_as_a_sentinel(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal) as (_run, _guest):
        stop = terminal.casparian("stop", "--json")
        start = terminal.casparian("start", "--json")
    assert (stop.code, stop.json["error"]["code"]) == (4, "not_lasting")
    assert (start.code, start.json["error"]["code"]) == (1, "home_in_use")


@pytest.mark.slow
def test_a_sentinel_that_was_stopped_by_a_signal_is_not_taken_for_none(terminal: FixtureTerminal) -> None:
    with sentinel(terminal) as process:
        process.send_signal(signal.SIGSTOP)
        seen = terminal.casparian("status")
        refused = terminal.casparian("stop", "--json")
        process.send_signal(signal.SIGCONT)
    assert f"process {process.pid} (sentinel) holds the log" in seen.out
    assert f"kill -CONT {process.pid}" in seen.out
    assert (refused.code, refused.json["error"]["code"]) == (1, "sentinel_silent")


# --- executors ------------------------------------------------------------------------------------------------------


@contextmanager
def by_hand(terminal: FixtureTerminal) -> Iterator[subprocess.Popen[bytes]]:
    process = terminal.start("executor")
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LEAVE_SECONDS_MAX)


def test_an_executor_that_was_started_by_hand_does_the_work_and_is_drained(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=3)
    with sentinel(terminal, workers=0), by_hand(terminal) as process:
        assert terminal.finish(case).code == 0
        (seen,) = executors(terminal)
        assert (seen["ours"], seen["draining"], seen["pid"]) == (False, False, process.pid)
        shortened, _, _ = seen["executor"].rpartition("-")
        drained = terminal.casparian("executors", "drain", shortened, "--reason", "enough", "--json")
        assert drained.json["executor"] == seen["executor"]
        done = ended(process)
        assert done.code == 0, done.err
        assert "enough" in done.err
        assert executors(terminal) == []
        assert terminal.casparian("executors", "drain", "executor-9", "--json").json["error"]["code"] == "not_found"


def test_an_executor_waits_for_a_sentinel_as_long_as_it_was_told_to(terminal: FixtureTerminal) -> None:
    began = time.monotonic()
    alone = terminal.casparian("executor", "--wait", "1")
    assert (alone.code, "nobody was there for 1 s" in alone.err) == (1, True)
    assert time.monotonic() - began < DIALS_SECONDS
    assert alone.err.splitlines()[-1].startswith("next:  casparian start")


@pytest.mark.slow
def test_an_executor_comes_back_to_the_next_sentinel(terminal: FixtureTerminal) -> None:
    with by_hand(terminal) as process:
        for number in range(2):
            with sentinel(terminal, workers=0):
                case = write_case(terminal.folder / f"case{number}", files=2)
                assert terminal.finish(case).code == 0
                assert [each["pid"] for each in executors(terminal)] == [process.pid]


@pytest.mark.slow
def test_a_frozen_executor_can_be_removed_and_its_job_is_done_by_another(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=1, rest_ms=300)
    with sentinel(terminal, workers=0), by_hand(terminal) as first:
        run = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the job's start")
        first.send_signal(signal.SIGSTOP)
        (seen,) = executors(terminal)
        assert seen["jobs"] == [1]
        assert terminal.casparian("executors", "rm", seen["executor"], "--reason", "frozen").code == 0
        with by_hand(terminal):
            done = ended(run)
            assert done.code == 0, done.err
        first.send_signal(signal.SIGCONT)
        late = ended(first)
        assert late.code == 0, "it was told that it is not wanted any more"
    assert terminal.sql("select attempt from cf_jobs") == [[2]]
    assert json.loads(terminal.casparian("log", "verify", "--json").out)["verdict"] == "OK"


@pytest.mark.slow
def test_the_job_of_a_killed_stranger_is_soon_done_by_another(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=1, rest_ms=300)
    with sentinel(terminal, workers=0), by_hand(terminal) as first:
        run = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the job's start")
        first.kill()
        eventually(lambda: executors(terminal) == [], what="its loss", seconds=LEASE_SECONDS / 3)
        with by_hand(terminal):
            done = ended(run)
            assert done.code == 0, done.err
    assert terminal.sql("select attempt from cf_jobs") == [[2]]
