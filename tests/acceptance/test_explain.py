"""Where did this come from, why was it not processed again: answered from the log, each line with its position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def done(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A home with one run over two logs."""
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    write_log(tmp_path / "logs" / "two.evtx", records=2, host="HOST2")
    assert terminal.run_evtx(tmp_path / "logs").code == 0
    return terminal


def records(terminal: Terminal) -> dict[int, Any]:
    return {each["seq"]: each for each in map(json.loads, terminal.casparian("log", "show", "--json").out.splitlines())}


def test_a_job_is_explained_with_the_records_that_it_cites(done: Terminal) -> None:
    told = done.casparian("explain", "job", "1", "--json").json
    log = records(done)
    assert [line["type"] for line in told["lines"]] == [log[line["seq"]]["type"] for line in told["lines"]]
    types = [line["type"] for line in told["lines"]]
    for wanted in ("StartRun", "FilesSeen", "RunPlanned", "JobQueued", "OutputsCommitted", "JobCompleted"):
        assert wanted in types
    human = done.casparian("explain", "job", "1").out
    (job,) = [line for line in told["lines"] if line["type"] == "JobQueued"]
    for fact in (job["facts"]["source_hash"], job["facts"]["artifact_hash"], job["facts"]["path"], "cli:"):
        assert fact in human
    assert human.splitlines()[0] == "job 1 completed: success"


def test_a_run_lists_what_became_of_its_files(done: Terminal, tmp_path: Path) -> None:
    told = done.casparian("explain", "run", "1", "--json").json
    assert [Path(file["path"]).name for file in told["files"]] == ["one.evtx", "two.evtx"]
    assert {file["outcome"] for file in told["files"]} == {"job 1 completed: success", "job 2 completed: success"}
    short = done.casparian("explain", "run", "1", "--limit", "1").out
    assert "2 files:\n" in short
    assert "  … and 1 more (casparian explain run 1 --limit 2)" in short.splitlines()
    done.run_evtx(tmp_path / "logs")
    again = done.casparian("explain", "run", "2").out
    assert again.count("its tables are those of an earlier run's job") == 2


def test_a_file_is_headed_by_how_it_stands_and_not_by_the_end_of_a_run(done: Terminal, tmp_path: Path) -> None:
    done.run_evtx(tmp_path / "logs")
    path = tmp_path / "logs" / "one.evtx"
    head = done.casparian("explain", "file", path).out.splitlines()[0]
    assert head == f"{path}: met last by run 2; job 1 completed: success"


@pytest.mark.slow
def test_a_reused_file_says_which_job_has_the_same_key(done: Terminal, tmp_path: Path) -> None:
    done.run_evtx(tmp_path / "logs")
    path = tmp_path / "logs" / "one.evtx"
    told = done.casparian("why", "decision", path, "--json").json
    assert {each["action"] for each in told["decisions"]} == {"reused"}
    assert all(component["same"] for each in told["decisions"] for component in each["components"])
    assert "every component of its key equals that of job" in done.casparian("explain", "decision", path).out


def test_a_changed_file_names_the_one_component_that_changed(done: Terminal, tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs" / "one.evtx", records=9)
    done.run_evtx(tmp_path / "logs")
    told = done.casparian("explain", "decision", path, "--json").json
    for each in told["decisions"]:
        assert each["action"] == "run"
        assert [c["name"] for c in each["components"] if not c["same"]] == ["source_hash"]


def test_a_published_file_is_explained_by_name_and_by_digest(done: Terminal) -> None:
    query = "select file, digest, job_id from cf_materializations where rows = 3 and output_name = 'evtx_events'"
    (row,) = done.sql(query)
    for name in (row[0], row[1], str(done.out / row[0])):
        told = done.casparian("explain", "output", name, "--json").json
        assert row[0] in told["answer"]
        assert {line["facts"]["job"] for line in told["lines"] if "job" in line["facts"]} == {row[2]}


def test_a_run_and_a_file_are_explained(done: Terminal, tmp_path: Path) -> None:
    assert "finished with exit code 0" in done.casparian("explain", "run", "1").out
    told = done.casparian("explain", "file", tmp_path / "logs" / "two.evtx", "--json").json
    assert told["lines"][-1]["type"] == "JobCompleted" or told["lines"][-1]["type"] == "RunFinished"


@pytest.mark.parametrize(
    "words", [("job", "99"), ("run", "99"), ("file", "nowhere"), ("decision", "no"), ("output", "x")]
)
def test_what_is_not_there_is_said_with_a_next_step(done: Terminal, words: tuple[str, str]) -> None:
    told = done.casparian("explain", *words, "--json")
    assert told.code == 1
    assert told.json["error"]["code"] == "not_found"
    assert told.json["error"]["next_step"]
