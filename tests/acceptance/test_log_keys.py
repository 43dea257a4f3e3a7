"""The signed head of a case, as a person makes, carries off and checks it, through the installed command."""

from __future__ import annotations

import shutil
import stat
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


def run_again(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "two.evtx", records=2)
    assert terminal.run_evtx(tmp_path / "logs").code == 0


def test_a_head_is_carried_off_and_holds_the_log_to_it(done: Terminal, tmp_path: Path) -> None:
    made = done.casparian("log", "keygen", "--json")
    assert made.code == 0
    private = Path(made.json["private_key_file"])
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    backup = tmp_path / "backup"
    shutil.copytree(done.home / "log", backup / "log")
    run_again(done, tmp_path)
    signed = done.casparian("log", "checkpoint", "--out", "head.note")
    assert (signed.code, signed.out) == (0, "")
    run_again(done, tmp_path)
    note = (tmp_path / "head.note").read_text()
    assert (done.home / "log" / "anchors" / "ANCHOR").read_text() == note
    size = int(note.split("\n")[1])

    checked = done.casparian("log", "verify", "--expect", "head.note", "--json")
    assert (checked.code, checked.json["verdict"], checked.json["signed"]) == (0, "OK", size)
    assert f"records 1 to {size} are under a signed head" in done.casparian("log", "verify").out

    behind = done.casparian(
        "log", "verify", "--home", backup, "--expect", "head.note", "--key", made.json["public_key"], "--json"
    )
    assert (behind.code, behind.json["verdict"]) == (5, "REGRESSED")

    bad = tmp_path / "bad.note"
    bad.write_text(note.replace(f"\n{size}\n", f"\n{size + 1}\n"))
    refused = done.casparian("log", "verify", "--expect", bad, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (5, "bad_signature")
    assert "does not fit its text" in refused.json["error"]["message"]


def test_a_key_is_never_written_over_and_never_printed(done: Terminal) -> None:
    made = done.casparian("log", "keygen")
    assert made.code == 0
    private = (done.home / "keys" / "case.key").read_text().strip()
    again = done.casparian("log", "keygen", "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "key_file")
    (done.home / "keys" / "case.pub").unlink()
    assert done.casparian("log", "keygen").code == 1
    assert (done.home / "keys" / "case.key").read_text().strip() == private
    signed = done.casparian("log", "checkpoint")
    seed = private.rpartition("+")[2]
    for shown in (made, again, signed):
        assert seed not in shown.out + shown.err
    (done.home / "keys" / "case.key").chmod(0o644)
    exposed = done.casparian("log", "checkpoint", "--json")
    assert (exposed.code, exposed.json["error"]["code"]) == (1, "key_file")
    assert "chmod 600" in exposed.json["error"]["next_step"]


@pytest.mark.slow
def test_a_private_key_off_the_machine_signs_when_it_is_named(done: Terminal, tmp_path: Path) -> None:
    assert done.casparian("log", "keygen", "--out", "stick/case.key").code == 0
    assert not (done.home / "keys" / "case.key").exists()
    missing = done.casparian("log", "checkpoint", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (1, "key_file")
    shown = done.casparian("log", "checkpoint", "--signing-key", "stick/case.key")
    assert shown.code == 0
    (tmp_path / "piped.note").write_text(shown.out)
    assert done.casparian("log", "verify", "--expect", "piped.note").code == 0
    (done.home / "keys" / "case.pub").unlink()
    keyless = done.casparian("log", "verify", "--expect", "piped.note", "--json")
    assert (keyless.code, keyless.json["error"]["code"]) == (2, "usage")
    named = ("--key", tmp_path / "stick" / "nothing")
    assert done.casparian("log", "verify", "--expect", "piped.note", *named, "--json").code == 5


def test_15c_a_home_behind_its_anchor_is_not_opened(done: Terminal, tmp_path: Path) -> None:
    """The older log and an older read model came back together from a backup, the anchor is newer."""
    assert done.casparian("log", "keygen").code == 0
    shutil.copytree(done.home, tmp_path / "backup")
    run_again(done, tmp_path)
    assert done.casparian("log", "checkpoint").code == 0
    shutil.copytree(done.home / "log" / "anchors", tmp_path / "backup" / "log" / "anchors")
    shutil.rmtree(done.home)
    (tmp_path / "backup").rename(done.home)
    shown = done.run_evtx(tmp_path / "logs", "--json")
    assert (shown.code, shown.json["error"]["code"]) == (5, "log_regressed")
    assert "anchors/ANCHOR" in shown.json["error"]["message"]
