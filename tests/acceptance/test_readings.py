"""Several readings of one content, readings that are lost, and targets whose disk is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance

XML = ("--set", "raw_xml=true")


@pytest.fixture
def log(terminal: Terminal) -> Path:
    return write_log(terminal.folder / "logs" / "one.evtx", records=3)


def has_xml(terminal: Terminal) -> list[list[object]]:
    return terminal.sql("select count(*), count(raw_event_xml) from evtx_events")


@pytest.mark.slow
def test_the_tables_show_the_reading_that_was_asked_for_last_and_say_so(terminal: Terminal, log: Path) -> None:
    assert terminal.run_evtx(log).code == 0
    assert terminal.run_evtx(log, options=XML).code == 0
    assert has_xml(terminal) == [[3, 3]]
    again = terminal.casparian("run", "evtx", log, "--sink", f"parquet://{terminal.out}")
    assert again.code == 0
    assert "1 file reused an earlier reading, which the tables show now in place of the later one" in again.out
    assert has_xml(terminal) == [[3, 0]]
    assert terminal.sql("select count(*), count(distinct _cf_job_id) from evtx_events_all") == [[6, 2]]
    asked = terminal.casparian("sql", "select count(*) from evtx_events")
    assert "evtx_events shows one reading of each content" in asked.err
    assert "1 of 1 with raw_xml false; 0 of 1 with raw_xml true" in asked.err
    assert terminal.run_evtx(log).json["shown_again"] == 0  # it is shown already
    assert terminal.casparian("replay", "--check").code == 0


@pytest.mark.slow
def test_the_same_reading_in_two_targets_is_shown_once_from_the_target_asked_for_last(
    terminal: Terminal, log: Path
) -> None:
    assert terminal.run_evtx(log).code == 0
    other = terminal.casparian("run", "evtx", log, "--sink", f"parquet://{terminal.folder}/other")
    assert other.code == 0
    assert terminal.sql("select count(*) from evtx_events") == [[3]]
    (terminal.folder / "other").rename(terminal.folder / "away")
    assert terminal.casparian("sql", "select * from evtx_events").code == 1
    assert terminal.run_evtx(log).json["shown_again"] == 1
    assert terminal.sql("select count(*) from evtx_events") == [[3]]


@pytest.mark.slow
def test_a_lost_output_is_told_until_a_person_has_it_made_anew(terminal: Terminal, log: Path) -> None:
    (made,) = terminal.run_evtx(log).json["files"]
    Path(next(output["path"] for output in made["outputs"] if output["path"])).unlink()
    told = terminal.casparian("run", "evtx", log, "--sink", f"parquet://{terminal.out}")
    assert told.code == 5
    (command,) = [line for line in told.out.splitlines() if "make it anew: " in line]
    words = command.partition("make it anew: casparian ")[2].split()
    remade = terminal.casparian(*words, "--json")
    assert remade.code == 0, remade.err
    assert [(file["action"], file["job"]) for file in remade.json["files"]] == [("run", 2)]
    assert terminal.sql("select count(*) from evtx_events") == [[3]]
    why = terminal.casparian("explain", "decision", log)
    assert "run, because what job 1 recorded [" in why.out
    assert "] was declared lost [" in why.out
    assert terminal.run_evtx(log).json["files"][0]["action"] == "reused"
    assert terminal.casparian("log", "verify").code == 0
    assert terminal.casparian("replay", "--check").code == 0


@pytest.mark.slow
def test_a_folder_that_lost_its_mark_and_its_tables_is_refused(terminal: Terminal, log: Path) -> None:
    assert terminal.run_evtx(log).code == 0
    terminal.out.rename(terminal.folder / "disk")
    terminal.out.mkdir()
    refused = terminal.run_evtx(log)
    assert (refused.code, refused.json["error"]["code"]) == (1, "target_without_mark")
    assert "may not be mounted" in refused.err
    assert list(terminal.out.iterdir()) == []
    assert terminal.sql("select count(*) from cf_runs") == [[1]]
    terminal.out.rmdir()
    (terminal.folder / "disk").rename(terminal.out)
    assert terminal.run_evtx(log).json["files"][0]["action"] == "reused"


def test_a_folder_that_lost_only_its_mark_is_marked_again(terminal: Terminal, log: Path) -> None:
    assert terminal.run_evtx(log).code == 0
    (terminal.out / ".casparian").unlink()
    assert terminal.run_evtx(log).code == 0
    assert (terminal.out / ".casparian").is_file()


@pytest.mark.slow
def test_a_folder_that_was_emptied_is_filled_anew_on_a_persons_word(terminal: Terminal, log: Path) -> None:
    assert terminal.run_evtx(log).code == 0
    terminal.out.rename(terminal.folder / "trash")
    done = terminal.run_evtx(log, options=("--remake-lost",))
    assert done.code == 0, done.err
    assert done.json["files"][0]["action"] == "run"
    assert terminal.sql("select count(*) from evtx_events") == [[3]]
