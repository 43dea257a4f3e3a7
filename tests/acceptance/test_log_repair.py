"""A second copy of the log, by the verbs alone: made, verified, restored, and the first one mended from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def done(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal whose home holds one small run, with a key, a sealed segment and a copy of the log."""
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    assert terminal.run_evtx(tmp_path / "logs").code == 0
    assert terminal.casparian("log", "keygen").code == 0
    assert terminal.casparian("log", "seal").code == 0
    assert terminal.casparian("log", "backup", "copy").code == 0
    return terminal


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_backup_says_how_it_is_used_and_what_could_not_be_done(done: Terminal) -> None:
    assert f"log repair --from {done.folder / 'copy'}; " in done.casparian("log", "backup", "copy").out
    nowhere = done.casparian("log", "backup", "/proc/nowhere", "--json")
    assert (nowhere.code, nowhere.json["error"]["code"]) == (1, "io_error")
    assert nowhere.json["error"]["message"].startswith("log backup: /proc/nowhere: ")


@pytest.mark.slow
def test_a_backup_is_verified_and_restored(done: Terminal, tmp_path: Path) -> None:
    again = done.casparian("log", "backup", "copy", "--json")
    assert (again.code, again.json["backup"]["copied_files"], again.json["backup"]["verification"]["verdict"]) == (
        0, 0, "OK",
    )  # fmt: skip
    shown = done.casparian("log", "verify", "--log", "copy", "--json")
    ours = done.casparian("log", "verify", "--json").json
    assert (shown.code, shown.json["verdict"], shown.json["head_hash"]) == (0, "OK", ours["head_hash"])
    assert shown.json["signed"] == ours["signed"] > 0
    shutil.copytree(tmp_path / "copy", tmp_path / "home2" / "log")
    told = done.casparian("log", "show", "--home", tmp_path / "home2")
    assert told.out == done.casparian("log", "show").out
    assert done.casparian("log", "seal", "--home", tmp_path / "home2").code == 0
    assert done.casparian("log", "verify", "--log", "copy", "--home", "x").code == 2
    assert done.casparian("log", "verify", "--log", "logs").code == 1


def test_a_restored_home_checks_signatures_with_the_key_that_came_with_it(done: Terminal, tmp_path: Path) -> None:
    restored = ("--home", tmp_path / "home2")
    shutil.copytree(tmp_path / "copy", tmp_path / "home2" / "log")
    ours = done.casparian("log", "verify", "--json").json
    theirs = done.casparian("log", "verify", "--json", *restored).json
    assert (theirs["signed"], theirs["unchecked"]) == (ours["signed"], 0)
    second = done.casparian("log", "keygen", "--json", *restored)
    assert (second.code, second.json["error"]["code"]) == (1, "key_file"), "one log, one key"
    (tmp_path / "home2" / "log" / "case.pub").unlink()
    keyless = done.casparian("log", "verify", *restored)
    assert keyless.code == 0
    assert f"signatures up to record {ours['signed']} were not checked" in keyless.out


def test_a_key_that_lies_elsewhere_signs_seals_when_it_is_named(done: Terminal, tmp_path: Path) -> None:
    shutil.move(done.home / "keys" / "case.key", tmp_path / "stick.key")
    unsigned = done.casparian("log", "seal")
    assert "not signed: the home holds no private key" in unsigned.out
    asked = done.casparian("log", "checkpoint", "--json")
    assert "--signing-key" in asked.json["error"]["next_step"]
    named = done.casparian("log", "seal", "--signing-key", "stick.key", "--json")
    assert named.json == {"sealed": 1, "signed": True}
    verified = done.casparian("log", "verify", "--json").json
    assert (verified["verdict"], verified["signed"]) == ("OK", verified["sealed"])


def test_one_damaged_place_has_one_advice(done: Terminal) -> None:
    flip(next(done.home.glob("log/*.zst")))
    shown = done.casparian("log", "verify")
    assert shown.code == 5
    (advice,) = [line for line in shown.out.splitlines() if line.startswith("what to do: ")]
    assert "casparian log repair --from COPY" in advice
    assert "run `casparian log verify`" not in advice


def test_the_measure_of_a_damaged_log_says_that_it_is_not_the_whole(done: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "two.evtx", records=3)
    assert done.run_evtx(tmp_path / "logs").code == 0
    flip(next(done.home.glob("log/*.ndjson")))
    shown = done.casparian("log", "stats")
    assert shown.code == 5
    assert "the chain ends at byte" in shown.out
    assert "casparian log verify" in shown.err


def test_what_is_no_whole_raw_log_is_not_called_corrupt(done: Terminal, tmp_path: Path) -> None:
    assert done.casparian("log", "export", "slice", "--from", "5", "--to", "9").code == 0
    asked = done.casparian("log", "verify", "--log", "slice", "--json")
    assert (asked.code, asked.json["error"]["code"]) == (1, "slice")
    assert "verify.py" in asked.json["error"]["next_step"]
    verifier = tmp_path / "slice" / "verify.py"
    ran = subprocess.run([sys.executable, verifier, done.home / "log"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "is a sealed segment" in ran.stderr
    assert "casparian log export" in ran.stderr
    assert subprocess.run([sys.executable, verifier, tmp_path / "slice"], check=False).returncode == 0


def test_an_older_copy_in_place_of_the_log_has_regressed(done: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "two.evtx", records=3)
    assert done.run_evtx(tmp_path / "logs").code == 0
    shutil.rmtree(done.home / "log")
    shutil.copytree(tmp_path / "copy", done.home / "log")
    shown = done.casparian("log", "verify", "--json")
    assert (shown.code, shown.json["verdict"]) == (5, "REGRESSED")


def test_a_damaged_log_is_mended_and_tells_of_it(done: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "two.evtx", records=3)
    assert done.run_evtx(tmp_path / "logs").code == 0
    (sealed,) = (done.home / "log").glob("*.zst")
    flip(sealed)
    assert done.casparian("log", "verify").code == 5
    refused = done.run_evtx(tmp_path / "logs")
    assert refused.code == 5
    assert done.casparian("log", "backup", "copy").code == 5
    mended = done.casparian("log", "repair", "--from", "copy", "--json")
    assert mended.code == 0, mended.out
    (each,) = mended.json["repairs"]
    assert each["segment"] == sealed.name
    assert (done.home / "log" / "quarantine" / each["kept_as"]).exists()
    assert done.casparian("log", "verify").code == 0
    assert "LogRepaired" in done.casparian("log", "show", "--tail", "4").out
    assert "nothing to repair" in done.casparian("log", "repair", "--from", "copy").out
    assert done.run_evtx(tmp_path / "logs").code == 0


@pytest.mark.slow
def test_what_the_copy_does_not_cover_is_refused_with_the_way_out(done: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "two.evtx", records=3)
    assert done.run_evtx(tmp_path / "logs").code == 0
    last = max((done.home / "log").glob("*.ndjson"))
    flip(last)
    refused = done.casparian("log", "repair", "--from", "copy", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (5, "log_corrupt")
    assert "are provable" in refused.json["error"]["message"]
    assert "casparian log fork --from" in refused.json["error"]["next_step"]
    assert done.casparian("log", "repair", "--from", done.home / "log").code == 2
    assert done.casparian("log", "repair", "--from", "logs", "--json").json["error"]["code"] == "no_log"
