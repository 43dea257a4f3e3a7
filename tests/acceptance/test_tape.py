"""Tapes by the installed command: what a command did can be given away, checked, explained and shown elsewhere."""

from __future__ import annotations

import getpass
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cli.replaying import entries_of
from eventlog.reader import read_frames
from fixtures.tapes import make
from reducers.tape_rules import validate
from tests.acceptance.conftest import write_log
from tests.acceptance.crashes import FixtureTerminal, stopped_guest
from tests.acceptance.terminal import Terminal, interrupt

pytestmark = pytest.mark.acceptance


@pytest.fixture
def case_folder(tmp_path: Path) -> Path:
    """Two logs of which one is damaged, under names that must not come out."""
    folder = tmp_path / "CANARY-client" / "CANARY-host"
    write_log(folder / "CANARY-one.evtx", records=3, host="CANARY-computer")
    (folder / "CANARY-two.evtx").write_bytes(b"CANARY-content")
    return folder


@pytest.fixture
def done(terminal: Terminal, case_folder: Path) -> Terminal:
    """A home with one run, of which `session.tape` is the tape."""
    sink = f"parquet://{terminal.folder / 'CANARY-out'}"
    run = terminal.casparian("--tape", "session.tape", "run", "evtx", case_folder, "--sink", sink)
    assert run.code == 1, run.err
    return terminal


def tape(terminal: Terminal, name: str = "session.tape") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (terminal.folder / name).read_text().splitlines()]


def types(terminal: Terminal, name: str) -> list[str]:
    return [line["event_name"]["type"] for line in tape(terminal, name)]


def test_a_run_is_taped_from_its_words_to_its_answer(done: Terminal) -> None:
    lines = tape(done)
    assert [lines[0]["event_name"]["name"], lines[1]["event_name"]["name"]] == ["TapeStarted", "run"]
    assert [lines[-2]["event_name"]["name"], lines[-1]["event_name"]["name"]] == ["CommandFailed", "TapeStopped"]
    assert lines[-2]["parent_id"] == lines[-2]["correlation_id"] == lines[1]["event_id"]
    shown = [json.loads(line) for line in done.casparian("log", "show", "--json").out.splitlines()]
    records = [
        (line["payload"]["log_seq"], line["event_name"]["name"]) for line in lines if "log_seq" in line["payload"]
    ]
    assert records == [(each["seq"], each["type"]) for each in shown]
    last = [frame for frame in read_frames(done.home / "log") if frame.records][-1]
    assert lines[0]["payload"]["log"] == {"from": 1, "to": last.last, "head": last.hash}
    assert done.casparian("tape", "validate", "session.tape").code == 0


@pytest.mark.slow
def test_no_byte_of_a_tape_tells_a_name_of_the_case_or_of_the_machine(done: Terminal) -> None:
    done.casparian("--tape", "sql.tape", "sql", "select 'CANARY-query' from evtx_events")
    done.casparian("--tape", "bad.tape", "sql", "select CANARY from CANARY-table")
    done.casparian("--tape", "typo.tape", "run", "CANARY-parser", "CANARY-case")
    done.casparian("--tape", "mistyped.tape", "run", "CANARYparser", str(done.folder))
    done.casparian("--tape", "words.tape", "CANARY-verb", "--CANARY=1")
    done.casparian("--tape", "home.tape", "jobs", "--home", str(done.folder / "CANARY-home"))
    assert done.casparian("tape", "export", "all.tape").code == 0
    written = sorted(done.folder.glob("*.tape"))
    assert len(written) == 8
    for path in written:
        text = path.read_text()
        assert "CANARY" not in text, path
        for secret in (socket.gethostname(), str(done.folder), f"cli:{getpass.getuser()}"):
            assert f'"{secret}' not in text, (path, secret)
        with entries_of(path) as entries:
            assert validate(entries).findings == (), path


def test_a_reading_verb_is_its_words_and_its_answer(done: Terminal) -> None:
    assert done.casparian("--tape", "read.tape", "jobs").code == 0
    assert types(done, "read.tape") == ["tape_started", "ui_command", "system_response", "tape_stopped"]
    assert tape(done, "read.tape")[0]["payload"]["log"] == {"from": 0, "to": 0, "head": ""}


@pytest.mark.slow
def test_a_second_run_is_taped_from_where_the_log_stood(done: Terminal, case_folder: Path) -> None:
    end = tape(done)[0]["payload"]["log"]["to"]
    done.casparian("--tape", "second.tape", "run", "evtx", case_folder, "--sink", f"parquet://{done.out}")
    assert tape(done, "second.tape")[0]["payload"]["log"]["from"] == end + 1
    assert done.casparian("tape", "validate", "second.tape").code == 0


def test_a_failing_command_is_taped_and_its_tape_says_why(terminal: Terminal) -> None:
    failed = terminal.casparian("--tape", "t.tape", "job", "show", "9", "--json")
    assert (failed.code, failed.json["error"]["code"]) == (1, "no_log")
    assert types(terminal, "t.tape") == ["tape_started", "ui_command", "error_event", "tape_stopped"]
    assert tape(terminal, "t.tape")[2]["payload"]["code"] == "no_log"
    usage = terminal.casparian("--tape", "u.tape", "jobs", "--limit", "none")
    assert usage.code == 2
    assert tape(terminal, "u.tape")[2]["payload"]["exit"] == 2


def test_an_interrupted_run_is_taped(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path)
    with stopped_guest(terminal, before=("--tape", "t.tape")) as (run, _):
        interrupt(run)
        _, err = run.communicate(timeout=60)
        assert run.returncode == 130, err
    assert tape(terminal, "t.tape")[-2]["payload"]["exit"] == 130
    assert terminal.casparian("tape", "validate", "t.tape").code == 0


def test_a_file_that_exists_is_refused_before_anything_is_done(terminal: Terminal, case_folder: Path) -> None:
    (terminal.folder / "mine").write_text("mine")
    for words in (("--tape", "mine", "run", "evtx", case_folder), ("tape", "export", "mine")):
        refused = terminal.casparian(*words)
        assert refused.code == 1
    assert (terminal.folder / "mine").read_text() == "mine"
    assert not terminal.home.exists()


@pytest.mark.slow
def test_screens_from_a_tape_are_the_live_ones_but_for_what_is_hashed(done: Terminal) -> None:
    for screen, verb in (("jobs", ("jobs",)), ("files", ("files",)), ("job", ("job", "show", "1"))):
        number = ("1",) if screen == "job" else ()
        live = done.casparian(*verb, "--json").json
        replayed = done.casparian("tape", "replay", "session.tape", screen, *number, "--json").json
        assert _kept(replayed) == _kept(live), screen
    assert "evtx_events: 3 rows" in done.casparian("tape", "replay", "session.tape", "job", "1").out


HIDDEN = {"path", "source_hash", "sha256", "file_uid", "mtime_ns", "error_reason", "error_hint",
          "error_kind", "unit", "log_tail", "sink_uri",
          "file", "digest", "materialization_key", "output_target_key", "reason", "refused_reason"}  # fmt: skip


def _kept(value: Any) -> Any:
    """Return what a tape keeps; lists of files are in the order of their paths, which are hashed."""
    if isinstance(value, dict):
        return {name: _kept(each) for name, each in value.items() if name not in HIDDEN}
    if isinstance(value, list):
        return sorted((_kept(each) for each in value), key=json.dumps)
    return value


def test_a_part_of_the_log_is_exported_and_says_which(done: Terminal) -> None:
    told = done.casparian("tape", "export", "part.tape", "--from", "3", "--to", "9", "--json").json
    assert (told["from"], told["to"]) == (3, 9)
    assert done.casparian("tape", "validate", "part.tape", "--json").json["valid"]
    explained = done.casparian("tape", "explain", "part.tape", "--format", "json").json
    assert explained["log"] == {"from": 3, "to": 9, "head": told["head"]}
    assert (done.folder / "part.tape").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("words", [("--from", "9000"), ("--to", "9000"), ("--from", "5", "--to", "4")])
def test_a_part_that_the_log_does_not_have_is_refused_and_leaves_no_file(
    done: Terminal, words: tuple[str, ...]
) -> None:
    refused = done.casparian("tape", "export", "none.tape", *words, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "not_found")
    assert not (done.folder / "none.tape").exists()


def test_a_spoiled_tape_is_told_with_exit_code_5(terminal: Terminal) -> None:
    path = make.FOLDER / "invalid" / "completes_twice.tape"
    checked = terminal.casparian("tape", "validate", path)
    assert checked.code == 5
    assert "line 18, seq 17: job 1 completes twice, first at log position 15" in checked.out
    assert terminal.casparian("tape", "validate", path, "--json").json["findings_total"] == 1
    for words in (("explain", path), ("replay", path, "jobs")):
        told = terminal.casparian("tape", *words)
        assert told.code == 5
        assert "does not validate" in told.err


def test_what_is_no_tape_is_said_without_a_trace(terminal: Terminal) -> None:
    (terminal.folder / "noise").write_bytes(os.urandom(3000))
    assert terminal.casparian("tape", "validate", "noise").code == 5
    assert terminal.casparian("tape", "explain", "noise").code == 5
    assert terminal.casparian("tape", "replay", "noise", "jobs").code == 5
    assert terminal.casparian("tape", "validate", "nowhere").code == 1
    assert terminal.casparian("tape", "replay", "noise", "job").code == 2
    assert terminal.casparian("tape", "export", "x.tape").code == 1


@pytest.mark.parametrize("verb", ["export", "validate", "explain", "replay"])
def test_help_has_an_example(terminal: Terminal, verb: str) -> None:
    assert f"casparian tape {verb}" in " ".join(terminal.casparian("tape", verb, "--help").out.split())
