"""The sentinel's side of the executors, with real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from cli import fleet as module
from cli.fleet import Fleet, JobLimits
from commands.handle import Handler
from commands.job import DispatchJob
from eventlog.ids import ExecutorId, JobId, LogId, ParserName
from eventlog.log import Log
from executors import protocol
from executors.parser_catalog import ParserPackage, builtin_parsers
from executors.protocol import Ack, Dispatch, Identify, Idle, OpCode, Stop, Working
from executors.transport import MemoryClient, MemoryHub
from reducers.fold import State
from tests.acceptance.terminal import eventually
from tests.support import LOG_ID, NOW, cancel, planned_run

FLEETS: dict[int, Fleet] = {}  # by handler: the manager is named before the fleet is there


def manage(handler: object, state: State) -> Sequence[DispatchJob]:
    fleet = FLEETS.get(id(handler))
    return fleet.plan(state) if fleet else ()


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[Handler]:
    log = Log.open(tmp_path / "log", clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="t", purpose="t")
    handler = Handler(log, manager=lambda state: manage(handler, state), actor="test")
    handler.replay(lambda _: None)
    handler.start()
    yield handler
    handler.stop()
    FLEETS.pop(id(handler), None)
    log.close()


def make(
    handler: Handler,
    tmp_path: Path,
    *,
    command: tuple[str, ...] = ("false",),
    hub: MemoryHub | None = None,
    packages: dict[ParserName, ParserPackage] | None = None,
    limits: JobLimits | None = None,
) -> Fleet:
    server = (hub or MemoryHub()).server()
    made = Fleet(
        server,
        handler,
        log_id=LOG_ID,
        epoch=1,
        packages=packages or {},
        scratch=tmp_path,
        command=command,
        limits=limits,
    )
    made.start()
    FLEETS[id(handler)] = made
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


# --- an executor that is played by the test ---------------------------------------------------------------------------

E = ExecutorId("executor-9")


class Played:
    """Speaks as an executor does."""

    def __init__(self, hub: MemoryHub) -> None:
        self._client: MemoryClient = hub.client()
        self.ask(OpCode.IDENTIFY, Identify(executor=E, pid=os.getpid(), host="h", version="t", capacity=1))

    def ask(self, op: OpCode, payload: Struct, job: int = 0) -> protocol.Message:
        data = protocol.encode(op, payload, job=JobId(job))
        return protocol.decode(self._client.request(data, timeout_seconds=20))

    def take_job(self) -> tuple[JobId, Dispatch]:
        answer = self.ask(OpCode.HEARTBEAT, Idle(executor=E))
        assert answer.op is OpCode.DISPATCH
        return answer.job, protocol.payload(answer, Dispatch)


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def fleet(handler: Handler, tmp_path: Path, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)
    limits = JobLimits(memory_bytes_max=123, seconds_max=4.5)
    made = make(handler, tmp_path, hub=hub, packages=builtin_parsers(), limits=limits)
    handler.subscribe(made.observe)
    for command in planned_run(1):
        assert handler.call(command, actor="test").refused is None
    yield made
    made.stop()


def test_a_dispatch_carries_the_limits_of_the_run(fleet: Fleet, hub: MemoryHub) -> None:
    _, dispatch = Played(hub).take_job()
    assert (dispatch.memory_bytes_max, dispatch.seconds_max) == (123, 4.5)


def test_a_cancel_between_two_heartbeats_is_heard_with_the_next(fleet: Fleet, handler: Handler, hub: MemoryHub) -> None:
    executor = Played(hub)
    job, dispatch = executor.take_job()
    executor.ask(OpCode.DISPATCH_ACK, Ack(lease=dispatch.lease, guest_pid=1), job)
    assert handler.call(cancel(), actor="test").refused is None
    for _ in range(2):  # also when the first answer was lost
        answer = executor.ask(OpCode.HEARTBEAT, Working(executor=E, lease=dispatch.lease, rows=0, bytes_read=0), job)
        assert (answer.op, answer.job) == (OpCode.ABORT, job)
        assert protocol.payload(answer, Stop).reason == "Cancelled by user"


def test_a_job_that_is_cancelled_before_it_starts_ends_when_its_executor_asks_for_work_again(
    fleet: Fleet, handler: Handler, hub: MemoryHub
) -> None:
    executor = Played(hub)
    job, dispatch = executor.take_job()
    assert handler.call(cancel(), actor="test").refused is None
    assert executor.ask(OpCode.DISPATCH_ACK, Ack(lease=dispatch.lease, guest_pid=1), job).op is OpCode.DISCARD
    assert handler.inspect(lambda state: len(state.jobs.leased)) == 1
    fleet.abort_running("enough")  # answers the question below at once
    executor.ask(OpCode.HEARTBEAT, Idle(executor=E))
    assert handler.inspect(lambda state: state.jobs.get(job)) is None


def test_an_executor_that_asks_for_work_while_its_receipt_is_under_way_keeps_that_lease(
    fleet: Fleet, handler: Handler, hub: MemoryHub
) -> None:
    executor = Played(hub)
    job, dispatch = executor.take_job()
    executor.ask(OpCode.DISPATCH_ACK, Ack(lease=dispatch.lease, guest_pid=1), job)
    fleet.abort_running("enough")  # answers the questions below at once
    executor.ask(OpCode.HEARTBEAT, Idle(executor=E, concluding=dispatch.lease))
    assert handler.inspect(lambda state: len(state.jobs.leased)) == 1
    executor.ask(OpCode.HEARTBEAT, Idle(executor=E))
    assert handler.inspect(lambda state: len(state.jobs.leased)) == 0


def test_leaving_twice_answers_every_question_once(fleet: Fleet, handler: Handler, hub: MemoryHub) -> None:
    executor = Played(hub)
    job, dispatch = executor.take_job()
    fleet.abort_running("enough")
    answer = executor.ask(OpCode.HEARTBEAT, Working(executor=E, lease=dispatch.lease, rows=0, bytes_read=0), job)
    assert answer.op is OpCode.ABORT
    fleet.stop()
    fleet.stop()


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
