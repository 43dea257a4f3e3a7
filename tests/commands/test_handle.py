"""The deciding thread, on a real log in a real folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from commands import handle
from commands.decide import Command
from commands.handle import Handler, Outcome
from eventlog.frames import Frame
from eventlog.ids import LogId
from eventlog.log import Log
from eventlog.reader import read_frames
from reducers.fold import State
from tests.support import (
    J1,
    LOG_ID,
    NOW,
    cancel,
    commit,
    deploy,
    dispatch,
    join,
    picture,
    plan,
    planned_run,
    promoted,
    record,
    start,
    started,
)

Make = Callable[..., Handler]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def open_log(folder: Path) -> Log:
    return Log.open(folder, clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="test", purpose="test")


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Make started handlers on the log; they and the log are closed at the end."""
    opened: list[tuple[Handler, Log]] = []

    def build(manager: handle.ProcessManager = lambda _: ()) -> Handler:
        log = open_log(folder)
        handler = Handler(log, manager=manager, actor="manager")
        handler.replay(lambda _: None)
        opened.append((handler, log))
        return handler

    yield build
    for handler, log in opened:
        handler.stop()
        log.close()


def test_an_answer_comes_when_the_events_are_in_the_log(make: Make, folder: Path) -> None:
    handler = make()
    handler.start()
    outcome = handler.call(deploy(), actor="cli:anna")
    assert [type(event).__name__ for event in outcome.events] == ["ParserDeployed"]
    handler.call(start(), actor="cli:anna")
    durable = [record.type for frame in read_frames(folder) for record in frame.records]
    assert "ParserDeployed" in durable


def test_a_persons_command_is_the_first_record_of_its_frame(make: Make, folder: Path) -> None:
    handler = make()
    handler.start()
    handler.call(deploy(), actor="cli:anna")
    handler.call(start(), actor="cli:anna")
    handler.call(record(1), actor="cli:anna", cause=3)
    handler.call(plan(1, 1), actor="cli:anna", cause=3)
    frame = next(frame for frame in read_frames(folder) if frame.records and frame.records[0].type == "StartRun")
    assert [entry.type for entry in frame.records] == ["StartRun", "RunStarted"]
    assert frame.actor == "cli:anna"
    assert frame.records[0].id


def test_a_refused_command_of_a_person_is_history_too(make: Make, folder: Path) -> None:
    handler = make()
    handler.start()
    refused = handler.call(cancel(99), actor="cli:anna").refused
    assert refused is not None
    assert refused.code == "not_found"
    handler.call(deploy(), actor="cli:anna")
    types = [entry.type for frame in read_frames(folder) for entry in frame.records]
    assert types[1:3] == ["CancelJob", "CommandRefused"]


def test_a_wish_that_is_fulfilled_already_writes_nothing(make: Make) -> None:
    handler = make()
    handler.start()
    first = handler.call(deploy(), actor="x")
    again = handler.call(deploy(), actor="x")
    assert again.events == ()
    assert again.seq == first.seq


def test_commands_that_wait_are_committed_in_one_batch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    whole = Log.commit

    def counted(self: Log, drafts: Sequence[object]) -> list[Frame]:
        batches.append(len(drafts))
        return whole(self, drafts)  # type: ignore[arg-type]  # the drafts are handed on as they came

    handler = make()
    monkeypatch.setattr(Log, "commit", counted)
    answers = [handler.submit(command, actor="x") for command in planned_run(1, 2, 3)]
    handler.start()
    assert all(answer.result(timeout=10).refused is None for answer in answers)
    assert batches == [len(answers)]


def test_each_decision_of_a_batch_sees_the_ones_before_it(make: Make) -> None:
    handler = make()
    history: list[Command] = [*planned_run(1), join(), dispatch(), started(), commit(), promoted()]
    answers = [handler.submit(command, actor="x") for command in history]
    handler.start()
    assert [answer.result(timeout=10).refused for answer in answers] == [None] * len(history)
    assert handler.inspect(lambda state: state.jobs.get(J1)) is None


def test_subscribers_are_told_before_the_answer_and_in_order(make: Make) -> None:
    handler = make()
    told: list[int] = []
    handler.subscribe(lambda frames: told.extend(frame.last for frame in frames))
    handler.start()
    outcome = handler.call(deploy(), actor="x")
    assert told[-1] == outcome.seq
    handler.call(start(), actor="x")
    assert told == sorted(told)


def test_the_process_manager_sees_every_change_and_its_wishes_are_decided(make: Make) -> None:
    def manager(state: State) -> list[Command]:
        return [dispatch()] if state.jobs.queued and state.executors else []

    handler = make(manager)
    handler.start()
    for command in [*planned_run(1), join()]:
        handler.call(command, actor="x")
    assert handler.inspect(lambda state: len(state.jobs.leased)) == 1


def test_a_new_process_knows_what_the_old_one_knew(make: Make, folder: Path) -> None:
    log = open_log(folder)
    first = Handler(log, manager=lambda _: (), actor="x")
    first.replay(lambda _: None)
    first.start()
    for command in [*planned_run(1, 2), join(), dispatch(), started(), commit()]:
        assert first.call(command, actor="x").refused is None
    before = first.inspect(picture)
    first.stop()
    log.close()
    second = make()
    second.start()
    after = second.inspect(picture)
    # The new epoch has one event of its own, which no noun handles.
    assert {**after, "seq": 0, "epoch": 0} == {**before, "seq": 0, "epoch": 0}
    assert after["epoch"] == before["epoch"] + 1


def test_a_fault_behind_a_decision_is_told_to_everybody_who_waits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class DiskError(Exception):
        pass

    def refuse(self: Log, drafts: object) -> list[Frame]:
        raise DiskError

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    handler = make()
    answers: list[Future[Outcome]] = [handler.submit(deploy(), actor="x"), handler.submit(start(), actor="x")]
    monkeypatch.setattr(Log, "commit", refuse)
    handler.start()
    for answer in answers:
        with pytest.raises(DiskError):
            answer.result(timeout=10)
    with pytest.raises(DiskError):
        handler.submit(deploy(), actor="x").result(timeout=10)


def test_idleness_leaves_a_mark_that_closes_the_tail(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "IDLE_SECONDS", 0.05)
    handler = make()
    handler.start()
    seq = handler.call(deploy(), actor="x").seq
    for _ in range(200):
        if max((entry.seq for frame in read_frames(folder) for entry in frame.records), default=0) >= seq:
            return
        time.sleep(0.05)
    pytest.fail("the last event was never shown to readers")
