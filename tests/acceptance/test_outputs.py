"""Published files against the log: every byte is compared, and what is not as it was published is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def done(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal whose home holds one small run over two logs."""
    for name in ("one", "two"):
        write_log(tmp_path / "logs" / f"{name}.evtx", records=3)
    assert terminal.run_evtx(tmp_path / "logs").code == 0
    return terminal


def published(done: Terminal) -> list[Path]:
    return [Path(each["path"]) for each in done.casparian("outputs", "--json").json["outputs"]]


def test_what_is_as_published_is_well(done: Terminal) -> None:
    shown = done.casparian("outputs")
    paths = published(done)
    assert shown.code == 0
    assert f"{len(paths)} as published, 0 changed, 0 lost" in shown.out
    assert len(paths) == len(set(paths)) > 1
    assert sorted(paths) == sorted(path for path in done.out.iterdir() if path.suffix == ".parquet")


def test_a_published_file_with_one_other_byte_is_named(done: Terminal) -> None:
    victim = published(done)[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    shown = done.casparian("outputs", "--json")
    assert (shown.code, shown.json["wrong"]) == (5, 1)
    (wrong,) = [each for each in shown.json["outputs"] if each["state"] != "ok"]
    assert (wrong["state"], wrong["path"], wrong["bytes"]) == ("changed", str(victim), len(data))
    assert wrong["found"] != wrong["blake3"]
    told = done.casparian("outputs")
    assert str(victim) in told.out
    assert "--remake-lost" in told.out


def test_a_removed_file_is_lost_until_it_is_made_anew(done: Terminal, tmp_path: Path) -> None:
    victim = published(done)[0]
    victim.unlink()
    shown = done.casparian("outputs", "--json")
    assert shown.code == 5
    assert [each["path"] for each in shown.json["outputs"] if each["state"] == "lost"] == [str(victim)]
    assert done.run_evtx(tmp_path / "logs", options=["--remake-lost"]).code == 0
    assert done.casparian("outputs").code == 0


def test_a_case_without_tables_has_nothing_wrong(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    terminal.run_evtx(tmp_path / "logs")
    shown = terminal.casparian("outputs")
    assert shown.code == 0
    assert "published: 0 files" in shown.out
