"""The queue through the command line: what is made again, what goes first, and a parser that pauses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.crashes import FixtureTerminal, stopped_guest, write_source
from tests.acceptance.terminal import eventually

pytestmark = pytest.mark.acceptance


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path)


def jobs(terminal: FixtureTerminal, *options: str) -> list[dict[str, Any]]:
    """Return the jobs, oldest first."""
    listed: list[dict[str, Any]] = json.loads(terminal.casparian("jobs", "--json", *options).out)["jobs"]
    return listed[::-1]


def failing(terminal: FixtureTerminal, count: int, line: str = "bad_shape") -> Path:
    folder = terminal.folder / "logs"
    for number in range(count):
        write_source(folder / f"bad{number}.txt", line, lines=3, seed=number)
    return folder


@pytest.mark.slow
def test_a_failure_that_nobody_knows_is_tried_twice_and_says_all(terminal: FixtureTerminal) -> None:
    assert terminal.finish(failing(terminal, 1, "error")).code == 1
    shown = terminal.casparian("job", "show", "1").out
    for words in (
        "bad0.txt",
        "fixture",
        "attempt   2 of 2",
        "unknown, parser_error: KeyError",
        "nobody knows the cause, and it failed again",
        "casparian job retry 1",
        "Traceback",
    ):
        assert words in shown
    detail = json.loads(terminal.casparian("job", "show", "1", "--json").out)
    assert [event["job_seq"] for event in detail["events"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [event["type"] for event in detail["events"]][3] == "JobRequeued"
    letters = terminal.sql("select job_id, attempts, reason from cf_dead_letters")
    assert letters == [[1, 2, "failed again"]]


@pytest.mark.slow
def test_a_job_is_made_again_by_the_next_run_whatever_that_is_for(terminal: FixtureTerminal) -> None:
    terminal.finish(failing(terminal, 1))
    told = terminal.casparian("job", "retry", "1", "--reason", "mended")
    assert told.code == 0
    assert "job 1 is made again as job 2" in told.out
    assert "nobody is at work: it waits for `casparian start`, or for the next run" in told.out
    assert told.out.splitlines()[-1].startswith("next: casparian start")  # a run would need the target of the job
    again = json.loads(terminal.casparian("job", "retry", "1", "--json").out)
    assert (again["answer"], again["exit"]) == ("already_queued", 0)
    other = write_source(terminal.folder / "other" / "good.txt", "normal", lines=3)
    done = terminal.finish(other)
    assert done.code == 0
    assert "1 job of earlier runs waited: this run makes it as well" in done.err
    assert "of 1 job of earlier runs: 1 failed; casparian jobs" in done.err
    assert [(job["status"], job["retry_of"]) for job in jobs(terminal)] == [
        ("failed", None),
        ("failed", 1),
        ("completed", None),
    ]


@pytest.mark.slow
def test_what_exists_is_not_made_again_and_what_never_was_is_not_found(terminal: FixtureTerminal) -> None:
    terminal.finish(write_source(terminal.folder / "logs" / "good.txt", "normal", lines=3))
    done = terminal.casparian("job", "retry", "1", "--json")
    assert json.loads(done.out)["answer"] == "already_completed"
    assert done.code == 0
    assert terminal.casparian("job", "retry", "7").code == 1
    assert "nothing to make again" in terminal.casparian("job", "retry-all").out


@pytest.mark.slow
def test_a_series_of_broken_promises_pauses_the_parser_until_a_person_resumes_it(terminal: FixtureTerminal) -> None:
    folder = failing(terminal, 8)
    done = terminal.finish(folder, workers=1)
    assert done.code == 4
    assert "fixture is paused" in done.err
    assert len(jobs(terminal, "--status", "queued")) == 3
    health = terminal.casparian("parser", "health", "--json")
    assert health.code == 4
    (row,) = [each for each in json.loads(health.out)["parsers"] if each["parser"] == "fixture"]
    assert (row["state"], row["failures"], row["waiting"], row["dead_letters"]) == ("paused", 5, 3, 5)
    assert row["last_failed_file"].endswith("bad4.txt")
    refused = terminal.finish(folder)
    assert (refused.code, "casparian parser health" in refused.err) == (4, True)
    assert json.loads(terminal.casparian("parser", "resume", "fixture", "--json").out)["already"] is False
    assert json.loads(terminal.casparian("parser", "resume", "fixture", "--json").out)["already"] is True
    assert terminal.casparian("parser", "health").code == 0
    assert terminal.casparian("replay", "--check").code == 0


@pytest.mark.slow
def test_damaged_files_pause_nothing_and_neither_does_trying_them_again(terminal: FixtureTerminal) -> None:
    folder = failing(terminal, 7, "permanent")
    assert terminal.finish(folder).code == 1
    told = json.loads(terminal.casparian("job", "retry-all", "--dead", "--json").out)
    assert [each["job"] for each in told["queued"]] == list(range(1, 8))
    assert terminal.finish(folder).code == 1
    assert terminal.casparian("parser", "health").code == 0
    assert {job["status"] for job in jobs(terminal)} == {"failed"}


@pytest.mark.slow
def test_the_higher_priority_is_made_first_also_during_a_run(terminal: FixtureTerminal) -> None:
    with stopped_guest(terminal, logs=4) as (run, guest):
        waiting = [job["job_id"] for job in jobs(terminal, "--status", "queued")]
        assert terminal.casparian("job", "priority", str(waiting[-1]), "9").code == 0
        query = "select job_id from cf_processing_queue where status = 'queued' order by priority desc, job_id"
        ordered = [[job] for job in (waiting[-1], *waiting[:-1])]
        eventually(lambda: terminal.sql(query) == ordered, what="the priority to be read")
        assert terminal.casparian("job", "retry", str(waiting[0]), "--json").json["answer"] == "already_queued"
        os.kill(guest, signal.SIGCONT)
        run.communicate(timeout=90)
    started = terminal.sql("select job_id from cf_jobs where started_at is not null order by started_at")
    assert [row[0] for row in started][1] == waiting[-1]


def test_a_run_s_jobs_have_the_priority_that_it_was_given(terminal: FixtureTerminal) -> None:
    logs = write_source(terminal.folder / "logs" / "good.txt", "normal", lines=3)
    assert terminal.casparian(*terminal.words(logs), "--priority", "7").code == 0
    assert [job["priority"] for job in jobs(terminal)] == [7]
