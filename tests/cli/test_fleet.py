"""The processes of executors: real children, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import fleet as module
from cli.dispatching import Dispatcher
from cli.fleet import Fleet
from commands.handle import Handler
from eventlog.ids import LogId
from eventlog.log import Log
from executors.memory_transport import MemoryHub
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
    dispatcher = Dispatcher(handler, log=handler._log, packages={})
    made = Fleet(MemoryHub().server(), handler, dispatcher, scratch=tmp_path, command=command)
    made.start()
    return made


def test_stopping_twice_is_stopping_once(handler: Handler, tmp_path: Path) -> None:
    fleet = make(handler, tmp_path, command=("sleep", "60"))
    fleet.abort_running("enough")
    fleet.stop()
    fleet.stop()
    assert fleet.size == 0


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


def test_killing_now_takes_executors_and_the_whole_group_of_their_guests(handler: Handler, tmp_path: Path) -> None:
    # An executor with a guest in a group of its own, which has a child in turn: as start_guest makes them.
    guest = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"
    executor = (
        "import subprocess, sys, time;"
        f"g = subprocess.Popen([sys.executable, '-c', {guest!r}], start_new_session=True, stdout=subprocess.PIPE);"
        f"g.stdout.readline(); open({str(tmp_path / 'pid')!r}, 'w').write(str(g.pid)); time.sleep(60)"
    )
    fleet = make(handler, tmp_path, command=(sys.executable, "-c", executor))
    fleet.grow(1)
    eventually(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()), what="the guest")
    guest_pid = int((tmp_path / "pid").read_text())
    os.kill(guest_pid, signal.SIGSTOP)  # who cannot hear is killed all the same
    gone = subprocess.Popen(["sleep", "60"], start_new_session=True)
    fleet.kill_now()
    eventually(lambda: group(guest_pid) == [], seconds=5, what="the guest's group to be gone")
    assert gone.poll() is None, "what is not below an executor is left alone"
    os.killpg(gone.pid, signal.SIGKILL)
    gone.wait()
    fleet.stop()


def group(leader: int) -> list[int]:
    """Return the live processes of a group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == leader and fields[0] != "Z":
                members.append(int(entry.name))
    return members
