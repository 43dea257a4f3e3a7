"""`job logs`: a job's life in sentences, the last words of its guest, and with -f as it goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from cli.pace import STALL_SECONDS
from tests.acceptance.crashes import FixtureTerminal, write_source
from tests.acceptance.terminal import eventually
from tests.acceptance.test_service import LEAVE_SECONDS_MAX, ended, freeze, sentinel, write_case

pytestmark = pytest.mark.acceptance


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path)


def types(text: str) -> list[str]:
    return [json.loads(line)["type"] for line in text.splitlines()]


def test_a_life_is_told_in_order_and_no_other_jobs(terminal: FixtureTerminal) -> None:
    assert terminal.finish(write_case(terminal.folder / "case", files=2)).code == 0
    as_json = terminal.casparian("job", "logs", "1", "--json")
    told = [json.loads(line) for line in as_json.out.splitlines()]
    assert [each["type"] for each in told][:2] == ["JobQueued", "JobDispatched"]
    assert told[-1]["type"] == "JobCompleted"
    assert {each["data"]["job"] for each in told} == {1}
    assert [each["seq"] for each in told] == sorted(each["seq"] for each in told)
    shown = terminal.casparian("job", "logs", "1")
    assert shown.code == 0
    assert len(shown.out.splitlines()) == len(told)
    assert all(each["says"] in line for each, line in zip(told, shown.out.splitlines(), strict=True))


def test_the_last_words_of_a_guest_that_failed_are_told(terminal: FixtureTerminal) -> None:
    write_source(terminal.folder / "case" / "broken.txt", "error", lines=3)
    assert terminal.finish(terminal.folder / "case").json["failed"] == 1
    shown = terminal.casparian("job", "logs", "1")
    words = terminal.casparian("job", "show", "1", "--json").json["job"]["log_tail"]
    assert words
    assert "the guest's last words:" in shown.out
    assert words.split("\n")[-1].strip() in shown.out


def test_following_ends_with_the_job(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=1, rest_ms=300)
    with sentinel(terminal, workers=1):
        run = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the job's start")
        follower = terminal.start("job", "logs", "1", "-f", "--json")
        followed = ended(follower)
        run.communicate(timeout=LEAVE_SECONDS_MAX)
    assert followed.code == 0, followed.err
    assert types(followed.out)[0] == "JobQueued"
    assert types(followed.out)[-1] == "JobCompleted"


@pytest.mark.slow
def test_without_f_an_open_job_is_told_so_far(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=1, rest_ms=4000)
    with sentinel(terminal, workers=1):
        run = terminal.begin(case)
        eventually(lambda: terminal.has_logged("JobStarted", 1), what="the job's start")
        told = types(terminal.casparian("job", "logs", "1", "--json").out)
        assert terminal.casparian("job", "cancel", "1").code == 0
        run.communicate(timeout=LEAVE_SECONDS_MAX)
    assert told[0] == "JobQueued"
    assert "JobCompleted" not in told


def test_a_job_that_is_not_there_says_so(terminal: FixtureTerminal) -> None:
    assert terminal.finish(write_case(terminal.folder / "case", files=1)).code == 0
    for words in (("99",), ("99", "-f")):
        refused = terminal.casparian("job", "logs", *words, "--json")
        assert (refused.code, refused.json["error"]["code"]) == (1, "not_found")


@pytest.mark.slow
def test_a_run_that_stalls_says_on_what(terminal: FixtureTerminal) -> None:
    case = write_case(terminal.folder / "case", files=1, rest_ms=300)
    with sentinel(terminal, workers=1):
        run = terminal.begin(case)
        guest = freeze(lambda: terminal.roles().guests, what="a guest at work")
        time.sleep(STALL_SECONDS + 8)  # the last sign of progress may come a heartbeat late
        os.kill(guest, signal.SIGCONT)
        done = ended(run)
    assert done.code == 0, done.err
    assert done.err.count("no progress for 30 s: job 1 on ") == 1
    assert "(fixture " in done.err
    assert "attempt 1); casparian job logs 1" in done.err
