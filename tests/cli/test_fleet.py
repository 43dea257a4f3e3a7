"""The sentinel's side of the executors, with real child processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import fleet as module
from cli.fleet import Fleet
from commands.handle import Handler
from eventlog.ids import LogId
from eventlog.log import Log
from executors.transport import MemoryHub
from tests.acceptance.terminal import eventually
from tests.support import LOG_ID, NOW


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[Handler]:
    log = Log.open(tmp_path / "log", clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="t", purpose="t")
    handler = Handler(log, manager=lambda _: (), actor="test")
    handler.replay(lambda _: None)
    handler.start()
    yield handler
    handler.stop()
    log.close()


def make(handler: Handler, tmp_path: Path, *, command: tuple[str, ...]) -> Fleet:
    server = MemoryHub().server()
    made = Fleet(server, handler, log_id=LOG_ID, epoch=1, packages={}, scratch=tmp_path, command=command)
    made.start()
    return made


def test_executors_that_never_stay_alive_are_given_up_with_a_reason(handler: Handler, tmp_path: Path) -> None:
    fleet = make(handler, tmp_path, command=(sys.executable, "-c", "raise SystemExit(3)"))

    def given_up() -> bool:
        fleet.grow(4)
        return bool(fleet.exhausted) and fleet.size == 0

    eventually(given_up, what="the fleet to be given up")
    assert "exit code 3" in fleet.exhausted
    fleet.grow(4)
    assert fleet.size == 0
    fleet.stop()


def test_a_fleet_leaves_no_process_behind(handler: Handler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.5)
    stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    fleet = make(handler, tmp_path, command=(sys.executable, "-c", stubborn))
    fleet.grow(2)
    assert fleet.size == 2
    fleet.stop()
    assert fleet.size == 0
