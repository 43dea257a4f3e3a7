"""`casparian replay`: the read model made anew and checked, and one that mends itself, with real processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import COMMAND, Terminal, eventually

pytestmark = pytest.mark.acceptance


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    for number in range(4):
        write_log(folder / f"log{number}.evtx", records=3 + number, first_id=100 * number + 1)
    return folder


@pytest.fixture
def done(terminal: Terminal, logs: Path) -> Terminal:
    """A terminal whose home holds one run."""
    assert terminal.run_evtx(logs).code == 0
    return terminal


def model(terminal: Terminal) -> Path:
    return terminal.home / "readmodel" / "casparian_flow.duckdb"


def digests(terminal: Terminal) -> dict[str, str]:
    """Return the digests of a read model that agrees with its log, without that of the position."""
    checked = terminal.casparian("replay", "--check", "--json")
    assert checked.code == 0, checked.out + checked.err
    assert checked.json["verdict"] == "same"
    return {name: digest for name, digest in checked.json["digests"].items() if name != "cf_checkpoint"}


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def test_a_deleted_read_model_comes_back_with_the_same_digests(done: Terminal) -> None:
    before = digests(done)
    shutil.rmtree(done.home / "readmodel")
    assert done.casparian("replay", "--check").code == 1
    replayed = done.casparian("replay", "--json")
    assert replayed.code == 0
    assert replayed.json["rows"]["cf_jobs"] == 4
    assert replayed.json["events"] > replayed.json["rows"]["cf_job_events"] >= 4 * 6
    assert digests(done) == before


def test_replay_tells_its_speed_and_the_rows_of_every_table(done: Terminal) -> None:
    shown = done.casparian("replay")
    assert shown.code == 0
    assert "events/s" in shown.out
    assert [line.split()[1] for line in shown.out.splitlines() if line.startswith("cf_output_mat")] == [
        "20"
    ]  # five outputs of each of four jobs


@pytest.mark.slow
def test_one_changed_cell_is_named_and_is_exit_code_5(done: Terminal) -> None:
    with duckdb.connect(str(model(done))) as connection:
        connection.execute("UPDATE cf_jobs SET written = written + 1 WHERE job_id = 3")
    shown = done.casparian("replay", "--check")
    assert shown.code == 5
    assert "different: cf_jobs, job_id 3" in shown.out
    assert "written: read model 6, log 5" in shown.out
    assert "casparian replay" in shown.err
    told = done.casparian("replay", "--check", "--json").json
    assert [(each["table"], each["key"], list(each["in_file"])) for each in told["differences"]] == [
        ("cf_jobs", {"job_id": 3}, ["written"])
    ]
    assert done.casparian("replay").code == 0
    assert done.casparian("replay", "--check").code == 0


@pytest.mark.slow
def test_a_damaged_read_model_is_mended_by_the_next_run_which_says_so(done: Terminal, logs: Path) -> None:
    before = done.sql("select job_id, status, written from cf_jobs order by all")
    model(done).write_bytes(os.urandom(50_000))
    assert done.sql("select job_id, status, written from cf_jobs order by all") == before
    again = done.run_evtx(logs)
    assert again.code == 0
    assert "read model: rebuilt from the log (its file was damaged)" in again.err
    assert {file["action"] for file in again.json["files"]} == {"reused"}
    assert "read model" not in done.run_evtx(logs).err
    digests(done)


def test_a_missing_read_model_is_told_of_but_not_in_a_new_home(terminal: Terminal, logs: Path) -> None:
    assert "read model" not in terminal.run_evtx(logs).err
    shutil.rmtree(terminal.home / "readmodel")
    assert "rebuilt from the log (its file was missing)" in terminal.run_evtx(logs).err


def test_a_read_model_of_another_home_is_replaced(done: Terminal, logs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert done.casparian("run", "evtx", logs, "--home", other).code == 0
    for name in ("casparian_flow.duckdb", "CLOSED"):
        shutil.copy2(other / "readmodel" / name, done.home / "readmodel" / name)
    again = done.run_evtx(logs)
    assert again.code == 0
    assert "rebuilt from the log (it was of another log" in again.err
    digests(done)


@pytest.mark.slow
def test_no_flipped_byte_makes_a_command_crash_or_lie(done: Terminal, logs: Path) -> None:
    right = done.sql("select job_id, status, found, written from cf_jobs order by all")
    chance = random.Random(7)
    for number in range(8):
        size = model(done).stat().st_size
        flip(model(done), chance.randrange(size if number % 2 else 12_288))
        assert done.sql("select job_id, status, found, written from cf_jobs order by all") == right
        assert done.casparian("log", "verify").code == 0
        again = done.run_evtx(logs)
        assert again.code == 0
        assert {file["action"] for file in again.json["files"]} == {"reused"}


@pytest.mark.slow
def test_replay_that_is_killed_leaves_a_whole_read_model(done: Terminal, logs: Path) -> None:
    before = digests(done)
    began = time.monotonic()
    assert done.casparian("replay").code == 0
    seconds = time.monotonic() - began
    for step in range(8):
        replaying = done.start("replay")
        time.sleep(seconds * (0.3 + 0.1 * step))
        replaying.kill()
        replaying.communicate()
        assert digests(done) == before
    (model(done).parent / "casparian_flow.duckdb.building").write_bytes(b"half of a file")
    assert done.run_evtx(logs).code == 0
    assert sorted(path.name for path in model(done).parent.iterdir()) == ["CLOSED", "casparian_flow.duckdb"]


@pytest.mark.slow
def test_check_beside_a_writer_says_that_it_must_wait(done: Terminal, many_logs: Path) -> None:
    running = done.start("run", "evtx", many_logs, "--workers", "1", "--sink", f"parquet://{done.out}")
    write_ahead = model(done).with_name("casparian_flow.duckdb.wal")
    eventually(write_ahead.exists, what="the run to write the read model")
    os.kill(running.pid, signal.SIGSTOP)
    checked = done.casparian("replay", "--check", "--json")
    replayed = done.casparian("replay", "--json")
    os.kill(running.pid, signal.SIGCONT)
    running.communicate()
    assert (checked.code, checked.json["error"]["code"]) == (1, "read_model_in_use")
    assert "wait" in checked.json["error"]["next_step"]
    assert (replayed.code, replayed.json["error"]["code"]) == (1, "home_in_use")


def test_42_a_read_model_ahead_of_the_log_is_never_replayed_away(done: Terminal, logs: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(done.home / "log", older)
    write_log(logs / "more.evtx", records=9)
    done.run_evtx(logs)
    shutil.rmtree(done.home / "log")
    shutil.copytree(older, done.home / "log")
    replayed = done.casparian("replay", "--json")
    assert (replayed.code, replayed.json["error"]["code"]) == (5, "log_regressed")
    assert done.casparian("replay", "--check").code == 1


def test_reading_where_nothing_was_run_makes_nothing(terminal: Terminal) -> None:
    for words in (("replay",), ("replay", "--check")):
        shown = terminal.casparian(*words, "--json")
        assert (shown.code, shown.json["error"]["code"]) == (1, "no_log")
    assert not terminal.home.exists()


def test_the_help_names_an_example() -> None:
    shown = subprocess.run([COMMAND, "replay", "--help"], capture_output=True, check=True)
    assert b"casparian replay --check" in shown.stdout


def test_the_json_of_a_replay_is_one_object(done: Terminal) -> None:
    shown = done.casparian("replay", "--json")
    assert json.loads(shown.out).keys() == {"events", "seconds", "events_per_second", "rows"}
