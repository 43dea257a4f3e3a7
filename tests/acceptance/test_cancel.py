"""Stopping work: one job from another terminal, a whole run by its signals, at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.crashes import FixtureTerminal, stopped_guest, write_logs
from tests.acceptance.terminal import Done, Terminal, eventually, interrupt

pytestmark = pytest.mark.acceptance

SEED = int(os.environ.get("CASPARIAN_TEST_SEED", "0")) or random.SystemRandom().randrange(2**32)


def chances(number: int) -> random.Random:
    """Return chances that the printed seed repeats: they differ from one run of the tests to the next."""
    print(f"CASPARIAN_TEST_SEED={SEED}")
    return random.Random(SEED + number)


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path)


def run_logs(terminal: FixtureTerminal) -> Done:
    return terminal.finish(terminal.folder / "logs")


def sockets(terminal: Terminal) -> list[str]:
    """Return the control and executor sockets of this terminal's home that are there."""
    announced = terminal.home / "tmp" / "control.address"
    return [announced.read_text()] if announced.exists() else []


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def log_types(terminal: Terminal) -> list[str]:
    lines = terminal.casparian("log", "show", "--json").out.splitlines()
    return [json.loads(line)["type"] for line in lines]


def assert_whole(terminal: Terminal) -> None:
    """Nothing is left running, staged or listening, and the log is sound."""
    eventually(lambda: terminal.processes() == [], what="all processes to be gone")
    assert terminal.staged() == []
    assert sockets(terminal) == []
    verified = terminal.casparian("log", "verify")
    assert verified.code == 0, verified.out


@pytest.mark.slow
def test_a_job_whose_guest_parent_is_stopped_is_cancelled_within_a_second(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal, logs=2) as (run, guest):
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the job's start")
        (parent,) = terminal.roles().guest_parents
        os.kill(parent, signal.SIGSTOP)
        assert terminal.casparian("job", "cancel", "1").code == 0
        eventually(lambda: terminal.has_logged("JobAborted", 1), seconds=1, what="the job's end")
        assert not is_alive(guest)
        assert not is_alive(parent)
        run.communicate(timeout=90)
        assert terminal.has_logged("JobCompleted", 2)  # by a guest of another parent
    assert_whole(terminal)


def test_a_running_job_is_cancelled_from_another_terminal(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal) as (run, guest):
        began = time.monotonic()
        done = terminal.casparian("job", "cancel", "1", "--reason", "wrong folder")
        seconds = time.monotonic() - began
        assert not is_alive(guest)
        assert done.code == 0, done.err
        first, last, rest = done.out.splitlines()
        assert first == "job 1: aborting"
        assert last.startswith("job 1: aborted: cancelled by cli:")
        assert last.endswith(": wrong folder")
        assert rest == "  nothing of it was published"
        out, err = run.communicate(timeout=90)
        assert seconds < 5, "the command itself has to start"
    report = json.loads(out)
    assert run.returncode == 1, err
    (file,) = report["files"]
    assert (file["action"], file["status"], file["outputs"]) == ("failed", "aborted", [])
    assert "cancelled by cli:" in file["reason"]
    assert b"job 1: cancelled by cli:" in err
    assert terminal.sql("select status, error_reason like '%wrong folder' from cf_jobs") == [["aborted", True]]
    assert "OutputsCommitted" not in log_types(terminal)
    assert not list(terminal.out.glob("*.parquet"))
    assert_whole(terminal)


def test_the_guest_is_gone_within_half_a_second_of_the_request(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal) as (run, guest):
        cancel = terminal.start("job", "cancel", "1", "--json")
        eventually(lambda: "CancelAccepted" in log_types_now(terminal), what="the cancel in the log")
        accepted = time.monotonic()
        eventually(lambda: not is_alive(guest), what="the guest to be killed")
        assert time.monotonic() - accepted < 0.5
        out, err = cancel.communicate(timeout=90)
        assert json.loads(out) | {"reason": ""} == {
            "job": 1, "state": "aborted", "already": False, "reason": "", "outputs": [], "exit": 0,
            "next_step": "",
        }, err  # fmt: skip
        run.communicate(timeout=90)


def log_types_now(terminal: Terminal) -> str:
    """Return the bytes of the log, committed or not."""
    return "".join(path.read_text(errors="replace") for path in (terminal.home / "log").glob("*.ndjson"))


@pytest.mark.slow
def test_a_cancelled_job_spoils_no_other_job_of_its_run(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal, logs=4) as (run, _):
        queued = terminal.casparian("job", "cancel", "4", "--json")  # it waits as long as the guest of job 1 is frozen
        assert queued.code == 0, queued.err
        assert terminal.casparian("job", "cancel", "1").code == 0
        out, _ = run.communicate(timeout=90)
    report = json.loads(out)
    assert run.returncode == report["exit"] == 1
    assert [file["action"] for file in report["files"]] == ["failed", "run", "run", "failed"]
    assert (report["failed"], report["stopped"]) == (2, 2), "a script can tell what went wrong from what was stopped"
    assert_whole(terminal)
    again = run_logs(terminal)  # a cancel is of one job, not of the file: the next run parses it
    assert again.code == 0, again.err
    assert [file["action"] for file in again.json["files"]] == ["run", "reused", "reused", "run"]


@pytest.mark.slow
def test_a_job_that_has_ended_says_already(terminal: FixtureTerminal) -> None:
    write_logs(terminal, slow=0, quick=1)
    run_logs(terminal)
    done = terminal.casparian("job", "cancel", "1")
    assert done.code == 0
    assert done.out.splitlines()[0] == "job 1: already completed"
    assert "published lines: 5 rows" in done.out
    answer = terminal.casparian("job", "cancel", "1", "--json").json
    assert (answer["state"], answer["already"], bool(answer["outputs"])) == ("completed", True, True)
    assert terminal.sql("select count(*) from lines") == [[5]]


@pytest.mark.slow
def test_a_job_that_never_was_is_named(terminal: FixtureTerminal) -> None:
    missing = terminal.casparian("job", "cancel", "7")
    assert missing.code == 1
    assert not terminal.home.exists(), "asking makes no home"
    write_logs(terminal, slow=0, quick=1)
    run_logs(terminal)
    for word in ("cancel", "abandon"):
        done = terminal.casparian("job", word, "7", "--json")
        assert (done.code, done.json["error"]["code"]) == (1, "not_found")


@pytest.mark.slow
def test_a_job_left_open_by_a_crash_is_cancelled_without_a_run(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal, logs=2) as (run, _):
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=90)
        eventually(lambda: terminal.processes() == [], what="the executor and its guest to be gone")
    done = terminal.casparian("job", "cancel", "1")
    assert done.code == 0, done.err
    assert "job 1: aborted: cancelled by cli:" in done.out
    assert "1 earlier run had not ended" in done.err
    assert "left by an earlier run, not for this command: 2 jobs waiting" in done.err
    assert terminal.sql("select job_id, status from cf_jobs order by 1") == [[1, "aborted"], [2, "queued"]]
    assert_whole(terminal)
    again = run_logs(terminal)
    assert again.code == 0, again.err
    assert again.json["recovery"]["requeued"] == 1 == again.json["resumed"]


@pytest.mark.slow
def test_what_a_start_finds_is_told(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal, logs=2) as (run, _):
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=90)
        eventually(lambda: terminal.processes() == [], what="the executor and its guest to be gone")
    done = run_logs(terminal)
    recovery = done.json["recovery"]
    assert (recovery["requeued"], recovery["interrupted_runs"]) == (2, 1)
    assert recovery["sockets_removed"] >= 1
    assert "removed what an earlier run left behind:" in done.err
    assert run_logs(terminal).json["recovery"] == {
        "requeued": 0, "waiting": 0, "promoting": 0, "interrupted_runs": 0, "withdrawn": 0, "stages_removed": 0,
        "sockets_removed": 0, "scratch_removed": 0, "log": "", "log_kept_as": "", "read_model": "",
        "snapshots": [],
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_every_polite_signal_ends_the_run_with_receipts(terminal: FixtureTerminal, number: signal.Signals) -> None:
    with stopped_guest(terminal, logs=3) as (run, guest):
        os.kill(run.pid, number)
        out, err = run.communicate(timeout=90)
        assert run.returncode == 130, err
        assert not is_alive(guest)
    report = json.loads(out)
    assert report["exit"] == 130
    assert "was interrupted: " in report["interrupted"]
    assert {file["status"] for file in report["files"]} == {"aborted"}
    assert b"Traceback" not in err
    assert terminal.sql("select distinct status from cf_jobs") == [["aborted"]]
    assert "RunInterrupted" in log_types(terminal)
    assert_whole(terminal)


@pytest.mark.slow
def test_ctrl_c_twice_leaves_at_once_and_the_next_run_finishes(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal, logs=3, workers=2) as (run, guest):
        executors = [pid for pid, words in terminal.processes() if "executors.worker" in words]
        os.kill(executors[0], signal.SIGSTOP)  # an executor that would never answer
        interrupt(run)
        time.sleep(0.3)
        assert run.poll() is None, "the first Ctrl-C waits for receipts"
        began = time.monotonic()
        interrupt(run)
        with_third = subprocess.Popen(["kill", "-INT", str(run.pid)], stderr=subprocess.DEVNULL)
        _, err = run.communicate(timeout=90)
        seconds = time.monotonic() - began
        with_third.wait()
        assert run.returncode == 130, err
        assert seconds < 1.0  # about 0.1 on a quiet machine
        assert b"Traceback" not in err
        eventually(lambda: terminal.processes() == [], seconds=2, what="executors and guests to be gone")
        assert not is_alive(guest)
    assert terminal.casparian("log", "verify").code == 0
    again = run_logs(terminal)
    assert again.code == 0, again.err
    assert_whole(terminal)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_a_cancel_at_any_moment_leaves_everything_in_agreement(terminal: FixtureTerminal, number: int) -> None:
    chance = chances(number)
    write_logs(terminal, slow=2, quick=6)
    run = terminal.begin(terminal.folder / "logs")
    eventually(lambda: bool(terminal.roles().guests), what="a guest")
    answers = {}
    for job in chance.sample(range(1, 9), 4):
        time.sleep(chance.uniform(0.0, 0.4))
        answers[job] = terminal.casparian("job", "cancel", str(job), "--json")
    out, err = run.communicate(timeout=90)
    assert b"Traceback" not in err
    report = json.loads(out)
    status = {row[0]: row[1] for row in terminal.sql("select job_id, status from cf_jobs")}
    recorded = {row[0] for row in terminal.sql("select distinct job_id from cf_materializations")}
    assert set(status.values()) <= {"completed", "aborted"}
    assert recorded == {job for job, word in status.items() if word == "completed"}
    for job, answer in answers.items():
        assert answer.code in (0, 4), answer.err
        assert answer.json["state"] == status[job]
        if answer.code == 0 and not answer.json["already"]:
            assert status[job] == "aborted"
    files = terminal.sql("select file from cf_materializations where file <> ''")
    assert terminal.listed() == sorted(row[0] for row in files)
    assert [file["action"] == "failed" for file in report["files"]] == [
        status[file["job"]] == "aborted" for file in report["files"]
    ]
    assert run.returncode == report["exit"] == int("aborted" in status.values())
    assert_whole(terminal)
    assert run_logs(terminal).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_a_run_stopped_at_any_moment_is_finished_by_the_next(terminal: FixtureTerminal, number: int) -> None:
    chance = chances(number)
    write_logs(terminal, slow=2, quick=6)
    run = terminal.begin(terminal.folder / "logs")
    eventually((terminal.home / "log" / "GENESIS.json").exists, what="the log")
    time.sleep(chance.uniform(0.0, 2.5))
    for _ in range(chance.choice([1, 1, 2, 3])):
        if run.poll() is None:
            interrupt(run)
            time.sleep(chance.uniform(0.0, 0.3))
    _, err = run.communicate(timeout=90)
    assert run.returncode in (0, 130), err
    assert b"Traceback" not in err
    eventually(lambda: terminal.processes() == [], what="all processes to be gone")
    assert terminal.casparian("log", "verify").code == 0
    again = run_logs(terminal)
    assert again.code == 0, again.err
    assert terminal.sql("select count(*) from lines") == [[2 * 30 + sum(5 + n for n in range(6))]]
    assert_whole(terminal)
