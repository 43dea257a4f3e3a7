"""Promotions that cannot finish: shown as they are, completed by the next run, or given up by a person."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal, eventually
from tests.acceptance.test_cancel import assert_whole

pytestmark = pytest.mark.acceptance

# Runs `casparian` with a promoter that finds the target gone: the folder is moved away when the first commit comes.
MOVING = """
import os, sys
from cli import promoter
from cli.main import run

real = promoter.Promoter._promote
def moved(self, committed):
    if os.path.isdir(os.environ["MOVE_FROM"]):
        os.rename(os.environ["MOVE_FROM"], os.environ["MOVE_TO"])
    real(self, committed)
promoter.Promoter._promote = moved
run()
"""


def run_with_a_target_that_goes_away(terminal: Terminal, *, logs: int = 1) -> tuple[int, Any, str]:
    for number in range(logs):
        write_log(terminal.folder / "logs" / f"log{number}.evtx", records=3 + number, first_id=100 * number + 1)
    away = terminal.folder / "away"
    environment = terminal.env | {"MOVE_FROM": str(terminal.out), "MOVE_TO": str(away)}
    done = subprocess.run(
        [sys.executable, "-c", MOVING, "run", "evtx", "logs", "--sink", f"parquet://{terminal.out}", "--json"],
        env=environment, cwd=terminal.folder, capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout), done.stderr.decode()


@pytest.mark.slow
def test_a_promotion_that_cannot_finish_is_shown_and_completed_by_the_next_run(terminal: Terminal) -> None:
    code, report, err = run_with_a_target_that_goes_away(terminal)
    assert code == 1, err
    (file,) = report["files"]
    assert file["status"] == "promoting"
    assert "cannot be published" in file["reason"]
    assert "run again" in file["next_step"]
    assert err.count("the tables' folder cannot be used") == 1
    jobs = terminal.casparian("jobs", "--status", "promoting", "--json").json["jobs"]
    assert [job["job_id"] for job in jobs] == [1]
    assert terminal.sql("select count(*) from cf_materializations") == [[0]]
    (terminal.folder / "away").rename(terminal.out)
    again = terminal.run_evtx("logs")
    assert again.code == 0, again.err
    assert again.json["recovery"]["promoting"] == 1
    assert terminal.sql("select count(*) from evtx_events") == [[3]]
    assert terminal.sql("select count(*) from cf_jobs") == [[1]]
    assert_whole(terminal)


@pytest.mark.slow
def test_status_says_where_nothing_can_be_published_and_why(terminal: Terminal) -> None:
    run_with_a_target_that_goes_away(terminal)
    assert terminal.casparian("start", "--workers", "0").code == 0
    try:
        target = f"parquet://{terminal.out}"
        eventually(lambda: target in _unreachable(terminal), what="the sentinel to have tried", seconds=60)
        assert str(terminal.out) in _unreachable(terminal)[target]
        assert f"nothing can be published in {target}: " in terminal.casparian("status").out
        (terminal.folder / "away").rename(terminal.out)
        eventually(lambda: _unreachable(terminal) == {}, what="the target to be found again", seconds=90)
        eventually(lambda: terminal.sql("select status from cf_jobs") == [["completed"]], what="the job", seconds=60)
    finally:
        assert terminal.casparian("stop").code == 0


def _unreachable(terminal: Terminal) -> dict[str, str]:
    said: dict[str, str] = terminal.casparian("status", "--json").json["sentinel"]["unreachable"]
    return said


@pytest.mark.slow
def test_a_target_that_cannot_be_reached_cannot_be_abandoned(terminal: Terminal) -> None:
    run_with_a_target_that_goes_away(terminal)
    done = terminal.casparian("job", "abandon", "1", "--json")
    assert done.code == 4
    assert done.json["error"]["code"] == "sink_unavailable"
    assert str(terminal.out) in done.json["error"]["message"]
    assert terminal.sql("select status from cf_jobs") == [["promoting"]]
    late = terminal.casparian("job", "cancel", "1")
    assert late.code == 4
    assert "passed the commit point" in late.out
    (terminal.folder / "away").rename(terminal.out)
    assert terminal.run_evtx("logs").code == 0


@pytest.mark.slow
def test_a_target_that_is_back_lets_a_person_abandon(terminal: Terminal) -> None:
    run_with_a_target_that_goes_away(terminal)
    (terminal.folder / "away").rename(terminal.out)
    done = terminal.casparian("job", "abandon", "1", "--reason", "not this case")
    assert done.code == 0, done.err
    assert done.out.startswith("job 1: failed: abandoned by cli:")
    assert "not this case" in done.out
    assert terminal.listed() == []
    again = terminal.casparian("job", "abandon", "1")
    assert (again.code, again.out.splitlines()[0].startswith("job 1: already failed")) == (0, True)
    anew = terminal.run_evtx("logs")  # the key is free: the file is parsed anew
    assert anew.code == 0, anew.err
    assert anew.json["files"][0]["job"] == 2
    assert_whole(terminal)


def test_a_job_that_is_published_or_not_committed_is_not_abandoned(terminal: Terminal) -> None:
    write_log(terminal.folder / "logs" / "one.evtx", records=3)
    assert terminal.run_evtx("logs").code == 0
    done = terminal.casparian("job", "abandon", "1")
    assert done.code == 4
    assert done.out.startswith("job 1: already completed")
    assert done.out.splitlines()[-1] == "next: casparian job show 1"
    assert terminal.sql("select count(*) from evtx_events") == [[3]]


@pytest.mark.slow
def test_many_commits_to_one_lost_target_wait_once(terminal: Terminal) -> None:
    code, report, err = run_with_a_target_that_goes_away(terminal, logs=3)
    assert code == 1
    assert err.count("the tables' folder cannot be used") == 1
    assert {file["status"] for file in report["files"]} <= {"promoting", "transient"}
    assert float(str(report["seconds"])) < 100


@pytest.mark.slow
def test_a_folder_that_goes_away_in_the_middle_is_told_once_and_made_good_when_it_is_back(terminal: Terminal) -> None:
    for number in range(6):
        write_log(terminal.folder / "logs" / f"log{number}.evtx", records=20 + number, first_id=100 * number + 1)
    alone = ("--workers", "1", "--jobs-per-lease", "1")  # so that some are published before the folder goes away
    run = terminal.start("run", "evtx", "logs", "--sink", f"parquet://{terminal.out}", *alone, "--json")
    away = terminal.folder / "away"
    said = b""
    assert run.stderr is not None
    os.set_blocking(run.stderr.fileno(), False)

    def told() -> bool:
        nonlocal said
        assert run.stderr is not None
        said += run.stderr.read() or b""
        return b"the tables' folder cannot be used" in said

    try:
        eventually(lambda: bool(list(terminal.out.glob("*.parquet"))), what="the first table")
        terminal.out.rename(away)
        eventually(told, what="the run to say what is wrong")
        assert run.poll() is None
        away.rename(terminal.out)
        out, rest = run.communicate(timeout=110)
    finally:
        if run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
    assert run.returncode == 0, (said + rest).decode()
    assert (said + rest).count(b"the tables' folder cannot be used") == 1
    assert len(json.loads(out)["files"]) == 6
    assert_whole(terminal)
