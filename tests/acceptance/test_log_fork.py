"""A home whose log is damaged goes on as a fork of it, by the command alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import clock
from eventlog.fsport import OS_FS
from eventlog.lock import LogLock, this_process
from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def done(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal whose home holds one small run."""
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    assert terminal.run_evtx(tmp_path / "logs").code == 0
    return terminal


@pytest.mark.slow
def test_26_a_damaged_home_goes_on_as_a_fork(done: Terminal, tmp_path: Path) -> None:
    old = done.casparian("log", "verify", "--json").json
    key = done.casparian("log", "keygen", "--json").json["public_key"]
    assert done.casparian("log", "checkpoint", "--out", "old.note").code == 0
    (segment,) = (done.home / "log").glob("*.ndjson")
    data = segment.read_bytes()
    segment.write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])
    assert done.run_evtx(tmp_path / "logs").code == 5
    damaged = done.casparian("log", "verify", "--json").json
    assert damaged["verdict"] == "CORRUPT"

    ahead = done.casparian("log", "fork", "--from", str(old["head_seq"]), "--reason", "lost", "--json")
    assert (ahead.code, ahead.json["error"]["code"]) == (4, "fork_refused")
    assert str(damaged["head_seq"]) in ahead.json["error"]["next_step"]
    forked = done.casparian("log", "fork", "--from", str(damaged["head_seq"]), "--reason", "no copy", "--json")
    assert (forked.code, forked.json["old_log_id"], forked.json["seq"]) == (0, old["log_id"], damaged["head_seq"])

    fork = done.casparian("log", "verify", "--json")
    assert (fork.code, fork.json["verdict"], fork.json["log_id"]) == (0, "OK", forked.json["log_id"])
    assert old["log_id"] in done.casparian("log", "verify").out
    told = done.casparian("log", "show", "--from", str(damaged["head_seq"] + 1), "--json").out.splitlines()[0]
    assert '"type":"LogForked"' in told
    assert done.run_evtx(tmp_path / "logs").code == 0
    assert done.sql("SELECT count(*) FROM evtx_events") == [[3]]
    assert done.casparian("balance").code == 0
    assert done.casparian("replay", "--check").code == 0

    assert done.casparian("log", "checkpoint", "--json").json["error"]["code"] == "bad_note"
    again = done.casparian("log", "keygen", "--json").json["error"]
    assert again["code"] == "key_file"
    assert "move both its files away" in again["next_step"]
    for name in ("case.key", "case.pub"):
        (done.home / "keys" / name).rename(tmp_path / name)
    assert done.casparian("log", "keygen", "--json").json["public_key"] != key
    earlier = done.casparian("log", "verify", "--expect", "old.note", "--json").json["error"]
    assert f"was forked from that one behind record {damaged['head_seq']}" in earlier["message"]
    assert "--log COPY" in earlier["next_step"]
    assert done.casparian("log", "checkpoint").code == 0
    assert done.casparian("log", "verify").code == 0


def test_a_fork_says_why_it_cannot_be(done: Terminal, tmp_path: Path) -> None:
    empty = done.casparian("log", "fork", "--from", "1", "--reason", " ", "--json")
    assert (empty.code, empty.json["error"]["code"]) == (4, "fork_refused")
    none = done.casparian("log", "fork", "--from", "1", "--reason", "x", "--json", "--home", tmp_path / "none")
    assert (none.code, none.json["error"]["code"]) == (1, "no_log")
    assert not (tmp_path / "none").exists()
    lock = LogLock.acquire(done.home / "log", this_process(since=clock.now(), purpose="run"), fs=OS_FS)
    busy = done.casparian("log", "fork", "--from", "1", "--reason", "x", "--json")
    lock.release()
    assert (busy.code, busy.json["error"]["code"]) == (1, "home_in_use")
    assert done.casparian("log", "verify").code == 0
