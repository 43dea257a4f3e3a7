"""A part of the log for somebody who has nothing of ours: exported by the command, checked by Python alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def done(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal whose home holds one small run."""
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    assert terminal.run_evtx(tmp_path / "logs").code == 0
    return terminal


def test_a_slice_is_checked_by_python_alone_in_its_own_folder(done: Terminal, tmp_path: Path) -> None:
    key = done.casparian("log", "keygen", "--json").json["public_key"]
    assert done.casparian("log", "checkpoint").code == 0
    made = done.casparian("log", "export", "slice", "--from", "3", "--to", "6", "--json")
    assert (made.code, made.json["public_key"]) == (0, key)
    command = [sys.executable, "-I", "-S", "verify.py", ".", "--json", "--key", key]
    shown = subprocess.run(command, cwd=tmp_path / "slice", env={}, capture_output=True, timeout=60, check=False)
    report = json.loads(shown.stdout)
    assert (shown.returncode, report["verdict"]) == (0, "OK")
    assert (report["first_seq"], report["head_seq"]) == (made.json["slice"]["first"], made.json["slice"]["last"])
    assert report["signed"] == report["head_seq"]
    seed = (done.home / "keys" / "case.key").read_text().strip().rpartition("+")[2].encode()
    assert not any(seed in path.read_bytes() for path in (tmp_path / "slice").rglob("*") if path.is_file())


def test_a_whole_export_reads_as_the_log(done: Terminal, tmp_path: Path) -> None:
    assert done.casparian("log", "export", tmp_path / "home2" / "log").code == 0
    ours = done.casparian("log", "verify", "--json").json
    theirs = done.casparian("log", "verify", "--json", "--home", tmp_path / "home2").json
    assert (theirs["verdict"], theirs["head_hash"]) == ("OK", ours["head_hash"])
    table = done.casparian("log", "show", "--home", tmp_path / "home2")
    assert table.out == done.casparian("log", "show").out


def test_an_export_says_why_it_cannot_be(done: Terminal, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "evidence").write_text("mine")
    taken = done.casparian("log", "export", "taken", "--json")
    assert (taken.code, taken.json["error"]["code"]) == (1, "not_empty")
    assert done.casparian("log", "export", "x", "--from", "5", "--to", "4").code == 2
    beyond = done.casparian("log", "export", "x", "--from", "100000", "--json")
    assert (beyond.code, beyond.json["error"]["code"]) == (1, "not_found")
    assert "durable up to record" in beyond.json["error"]["message"]
    inside = done.casparian("log", "export", done.home / "log" / "x", "--json")
    assert inside.code == 2
    nothing = done.casparian("log", "export", "x", "--home", tmp_path / "nowhere", "--json")
    assert (nothing.code, nothing.json["error"]["code"]) == (1, "no_log")
    assert not (tmp_path / "x").exists()
