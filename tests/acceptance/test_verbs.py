"""Every verb: help with an example, --json, guarded SQL, answers where nothing was run yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import COMMAND, Terminal

pytestmark = pytest.mark.acceptance

VERBS = [
    ("run",),
    ("sql",),
    ("jobs",),
    ("job", "show"),
    ("job", "retry"),
    ("job", "retry-all"),
    ("job", "priority"),
    ("job", "logs"),
    ("files",),
    ("balance",),
    ("outputs",),
    ("quarantine", "ls"),
    ("quarantine", "show"),
    ("quarantine", "sample"),
    ("quarantine", "export"),
    ("quarantine", "purge"),
    ("start",),
    ("stop",),
    ("status",),
    ("executors", "ls"),
    ("executors", "drain"),
    ("executors", "rm"),
    ("parser", "ls"),
    ("parser", "show"),
    ("parser", "trust"),
    ("parser", "revoke"),
    ("parser", "new"),
    ("parser", "keygen"),
    ("parser", "sign"),
    ("parser", "keys"),
    ("parser", "health"),
    ("parser", "resume"),
    ("replay",),
    ("record",),
    ("demo",),
    ("log", "verify"),
    ("log", "show"),
    ("log", "keygen"),
    ("log", "checkpoint"),
    ("log", "backup"),
    ("log", "repair"),
    ("log", "export"),
    ("log", "stats"),
    ("log", "tail"),
    ("log", "seal"),
    ("log", "fork"),
    ("schema", "infer"),
    ("schema", "show"),
    ("schema", "diff"),
    ("preview",),
    ("metrics",),
]


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
    "words",
    [
        ("jobs",),
        ("files",),
        ("balance",),
        ("replay",),
        ("log", "verify"),
        ("log", "show"),
        ("sql", "select 1"),
        ("metrics",),
        ("job", "show", "1"),
        ("job", "logs", "1"),
    ],
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
    assert {output["output_name"] for output in detail["outputs"]} == {
        "evtx_events",
        "evtx_eventdata_kv",
        "evtx_userdata_kv",
        "evtx_record_annotations",
        "evtx_files",
    }
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
    assert shown.code == 2
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
    shown = subprocess.run(
        ["sh", "-c", "casparian log show | head -1"],
        env=done.env | {"PATH": f"{Path(sys.executable).parent}:{done.env['PATH']}"},
        capture_output=True,
        check=False,
    )
    assert shown.stderr == b""
    assert b"WriterOpened" in shown.stdout


def test_a_full_disk_behind_stdout_is_a_sentence(done: Terminal) -> None:
    with Path("/dev/full").open("wb") as full:
        shown = subprocess.run([COMMAND, "jobs"], env=done.env, stdout=full, stderr=subprocess.PIPE, check=False)
    assert shown.returncode == 1
    assert b"Traceback" not in shown.stderr
    assert b"No space left" in shown.stderr


def test_a_terminal_that_knows_no_unicode_still_gets_an_answer(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "\u00fcn\u00ef.evtx", records=3)
    terminal.env |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    assert terminal.casparian("run", "evtx", tmp_path / "logs").code == 0
    assert "\\xfcn\\xef.evtx" in terminal.casparian("jobs").out


def test_next_steps_name_the_home_that_they_need(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    shown = terminal.casparian("run", "evtx", tmp_path / "logs", "--home", tmp_path / "other home")
    assert "--home" in shown.out.rsplit("next:", 1)[1]


def test_an_existing_folder_keeps_its_rights_when_it_becomes_a_home(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    (tmp_path / "mine").mkdir(mode=0o755)
    assert terminal.casparian("run", "evtx", tmp_path / "logs", "--home", tmp_path / "mine").code == 0
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o755
    assert terminal.casparian("jobs", "--home", "").code == 2


def test_a_case_written_to_two_targets_is_counted_once(done: Terminal, tmp_path: Path) -> None:
    assert done.casparian("run", "evtx", tmp_path / "logs", "--sink", f"parquet://{tmp_path}/second").code == 0
    assert done.sql("select count(*) from evtx_events") == [[3]]
    assert done.sql("select count(*) from evtx_events_all") == [[6]]


@pytest.mark.slow
def test_a_lost_output_is_never_reused_in_silence(done: Terminal, tmp_path: Path) -> None:
    (lost,) = done.out.glob("evtx_events_*.parquet")
    lost.unlink()
    asked = done.casparian("sql", "select count(*) from evtx_events")
    assert asked.code == 1
    assert f"{lost}: it is not there" in asked.err
    again = done.run_evtx(tmp_path / "logs")
    assert again.code == 5
    assert "it is not there" in again.json["files"][0]["reason"]
    elsewhere = done.casparian("run", "evtx", tmp_path / "logs", "--sink", f"parquet://{tmp_path}/second")
    assert elsewhere.code == 0
    assert done.sql("select count(*) from evtx_events") == [[3]]
