"""Every verb: help with an example, --json, guarded SQL, answers where nothing was run yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance

VERBS = [("run",), ("sql",), ("jobs",), ("job", "show"), ("files",), ("log", "verify"), ("log", "show")]


@pytest.fixture
def done(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal whose home holds one small run."""
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    assert terminal.run_evtx(tmp_path / "logs").code == 0
    return terminal


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_with_an_example(terminal: Terminal, verb: tuple[str, ...]) -> None:
    shown = terminal.casparian(*verb, "--help")
    assert shown.code == 0
    assert "Example" in shown.out
    assert "--json" in shown.out


def test_the_version_is_told_without_a_home(terminal: Terminal) -> None:
    assert terminal.casparian("--version").out.startswith("casparian ")
    assert not terminal.home.exists()


@pytest.mark.parametrize(
    "words", [("jobs",), ("files",), ("log", "verify"), ("log", "show"), ("sql", "select 1"), ("job", "show", "1")]
)
def test_reading_a_home_where_nothing_was_run_says_so_and_makes_nothing(
    terminal: Terminal, words: tuple[str, ...]
) -> None:
    shown = terminal.casparian(*words, "--json")
    assert shown.code == 1
    assert shown.json["error"]["code"] == "no_log"
    assert not terminal.home.exists()


@pytest.mark.parametrize("words", [(), ("nonsense",), ("run",), ("job", "show", "x"), ("jobs", "--status", "lost")])
def test_wrong_usage_is_exit_code_2(terminal: Terminal, words: tuple[str, ...]) -> None:
    assert terminal.casparian(*words).code == 2


def test_a_job_that_is_not_there_says_so(done: Terminal) -> None:
    shown = done.casparian("job", "show", "99", "--json")
    assert shown.code == 1
    assert shown.json["error"]["code"] == "not_found"


def test_a_job_shows_what_it_read_made_and_accounted_for(done: Terminal) -> None:
    detail = done.casparian("job", "show", "1", "--json").json
    assert detail["job"]["found"] == 3
    assert [event["job_seq"] for event in detail["events"]] == list(range(1, len(detail["events"]) + 1))
    assert {output["output_name"] for output in detail["outputs"]} == {"evtx_events", "evtx_files"}
    human = done.casparian("job", "show", "1").out
    assert "3 records found = 3 written + 0 quarantined + 0 skipped + 0 unreadable" in human


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "copy (select 1) to '/tmp/casparian-leak.csv'",
        "attach '/tmp/x.db'",
        "create table t as select 1",
        "select 1; select 2",
        "set memory_limit='1GB'",
        "pragma database_list",
        "install httpfs",
        "",
    ],
)
def test_sql_reads_the_case_and_nothing_else(done: Terminal, query: str) -> None:
    shown = done.casparian("sql", query, "--json")
    assert shown.code in (1, 2)
    assert shown.json["error"]["message"]
    assert not Path("/tmp/casparian-leak.csv").exists()


def test_sql_names_the_tables_when_one_is_not_known(done: Terminal) -> None:
    shown = done.casparian("sql", "select * from evtx_event")
    assert shown.code == 1
    assert "evtx_events" in shown.err


def test_sql_reads_a_query_from_stdin(done: Terminal) -> None:
    shown = done.casparian("sql", "-", "--json", stdin="select count(*) from evtx_events")
    assert shown.json["rows"] == [[3]]


def test_sql_says_when_there_are_more_rows(done: Terminal) -> None:
    shown = done.casparian("sql", "select event_record_id from evtx_events", "--limit", "2", "--json")
    assert shown.json["truncated"] is True
    assert len(shown.json["rows"]) == 2


def test_current_and_all_rows_can_be_told_apart(done: Terminal) -> None:
    assert done.sql("select count(*) from evtx_events_all") == [[3]]
    assert done.sql("select count(*) from outputs.evtx__evtx_events") == [[3]]


def test_a_deleted_read_model_costs_nothing_but_time(done: Terminal, tmp_path: Path) -> None:
    for path in (done.home / "readmodel").iterdir():
        path.unlink()
    assert done.sql("select count(*) from cf_jobs") == [[1]]
    again = done.run_evtx(tmp_path / "logs")
    assert again.json["files"][0]["action"] == "reused"


def test_output_can_be_cut_off_by_a_reader_that_leaves(done: Terminal) -> None:
    import subprocess

    shown = subprocess.run(
        ["sh", "-c", "casparian log show | head -1"],
        env=done.env | {"PATH": f"{Path(__import__('sys').executable).parent}:{done.env['PATH']}"},
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in shown.stderr
    assert b"WriterOpened" in shown.stdout
