"""The deciding thread, on a real log in a real folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from commands import handle, inbox
from commands.decide import Command
from commands.handle import Handler, Outcome
from eventlog.errors import LogFullError, LogRegressedError
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


def test_who_looks_all_the_time_does_not_keep_the_mark_away(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "IDLE_SECONDS", 0.2)
    handler = make()
    handler.start()
    seq = handler.call(deploy(), actor="x").seq
    for _ in range(500):
        handler.inspect(lambda state: state.seq)
        if max((entry.seq for frame in read_frames(folder) for entry in frame.records), default=0) >= seq:
            return
        time.sleep(0.02)
    pytest.fail("the last event was never shown to readers")


# --- a full disk ---


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a test say how many bytes are free on the log's disk."""
    free = [10**12]
    monkeypatch.setattr("eventlog.fsport.OS_FS.space", lambda _: (free[0], 10**12))
    monkeypatch.setattr("eventlog.reserve._LOOK_SECONDS", -1.0)
    return free


def test_commands_on_a_full_disk_are_refused_and_the_state_stays_that_of_the_log(
    make: Make, folder: Path, space: list[int]
) -> None:
    asked: list[int] = []

    def manager(state: State) -> list[Command]:
        asked.append(state.seq)
        return []

    handler = make(manager)
    handler.start()
    handler.call(deploy(), actor="x")
    before = handler.inspect(picture)
    space[0] = 0
    asked.clear()
    answers = [handler.submit(start(), actor="x"), handler.submit(join(), actor="x")]
    for answer in answers:
        with pytest.raises(LogFullError, match="Nothing of this batch was written"):
            answer.result(timeout=10)
    with pytest.raises(LogFullError):
        handler.refuse_full()
    assert handler.inspect(picture) == before
    assert asked == [], "a manager whose wishes cannot be granted is not asked for them"
    space[0] = 10**12
    assert handler.call(start(), actor="x").refused is None
    handler.refuse_full()
    assert handler.inspect(lambda state: list(state.runs)) == [1]
    after = handler.inspect(picture)
    log = handler._log
    fresh = Handler(log, manager=lambda _: (), actor="x")
    fresh.replay(lambda _: None)
    assert picture(fresh._state) == after


def test_room_comes_back_without_a_command(make: Make, space: list[int]) -> None:
    handler = make()
    handler.start()
    space[0] = 0
    with pytest.raises(LogFullError):
        handler.call(deploy(), actor="x")
    space[0] = 10**12
    handler.wake()
    handler.inspect(lambda state: state.seq)
    handler.inspect(lambda state: state.seq)
    handler.refuse_full()


# --- event loops ---


def test_tasks_of_one_turn_are_committed_in_one_batch_and_answered(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    whole = Log.commit

    def counted(self: Log, drafts: Sequence[object]) -> list[Frame]:
        batches.append(len(drafts))
        return whole(self, drafts)  # type: ignore[arg-type]  # the drafts are handed on as they came

    async def ask_all(handler: Handler) -> list[Outcome]:
        port = handler.port(actor="x")
        return await asyncio.gather(*(port.ask(command) for command in planned_run(1, 2, 3)))

    handler = make()
    handler.start()
    monkeypatch.setattr(Log, "commit", counted)
    outcomes = asyncio.run(ask_all(handler))
    assert [outcome.refused for outcome in outcomes] == [None] * len(outcomes)
    assert [outcome.seq for outcome in outcomes] == sorted({outcome.seq for outcome in outcomes})
    assert batches == [len(outcomes)]


def test_a_task_is_answered_only_when_its_events_are_durable(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    committed: list[int] = []
    whole = Log.commit

    def slow(self: Log, drafts: Sequence[object]) -> list[Frame]:
        time.sleep(0.2)
        frames = whole(self, drafts)  # type: ignore[arg-type]  # the drafts are handed on as they came
        committed.append(frames[-1].last)
        return frames

    async def ask(handler: Handler) -> Outcome:
        answer = handler.port(actor="x").ask(deploy())
        await asyncio.sleep(0.05)
        assert not answer.done()
        return await answer

    handler = make()
    handler.start()
    monkeypatch.setattr(Log, "commit", slow)
    assert asyncio.run(ask(handler)).seq == committed[0]


def test_a_task_or_thread_that_gives_up_does_not_end_the_decider(make: Make) -> None:
    async def give_up(handler: Handler) -> None:
        port = handler.port(actor="x")
        port.ask(deploy()).cancel()
        assert (await port.ask(start())).refused is None

    handler = make()
    given_up = handler.submit(deploy(), actor="x")
    assert given_up.cancel()
    handler.start()
    asyncio.run(give_up(handler))
    assert handler.call(join(), actor="x").refused is None


def test_an_event_loop_that_is_gone_does_not_end_the_decider(make: Make) -> None:
    async def leave(handler: Handler) -> None:
        handler.port(actor="x").ask(deploy())
        await asyncio.sleep(0)

    handler = make()
    asyncio.run(leave(handler))
    handler.start()
    assert handler.call(start(), actor="x").refused is None, "the parser was deployed before it"


def test_a_fault_and_a_full_disk_are_told_to_tasks_too(
    make: Make, space: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiskError(Exception):
        pass

    def refuse(self: Log, drafts: object) -> list[Frame]:
        raise DiskError

    async def ask(handler: Handler) -> Outcome:
        return await handler.port(actor="x").ask(deploy())

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    handler = make()
    handler.start()
    space[0] = 0
    with pytest.raises(LogFullError):
        asyncio.run(ask(handler))
    space[0] = 10**12
    monkeypatch.setattr(Log, "commit", refuse)
    for _ in range(2):
        with pytest.raises(DiskError):
            asyncio.run(ask(handler))


def test_an_event_loop_may_not_ask_without_bound(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "ASKED_COMMANDS_MAX", 2)

    async def ask(handler: Handler) -> None:
        port = handler.port(actor="x")
        answers = [port.ask(deploy()), port.ask(start())]
        with pytest.raises(asyncio.QueueFull):
            port.ask(join())
        handler.start()
        await asyncio.gather(*answers)
        assert (await port.ask(join())).refused is None

    asyncio.run(ask(make()))


def test_a_look_that_halts_ends_all_deciding_and_whoever_asks_is_told_why(make: Make, folder: Path) -> None:
    handler = make()
    handler.start()
    handler.call(deploy(), actor="test")
    before = list(read_frames(folder))
    looked: list[State | None] = []
    fault = LogRegressedError("The log is behind.", next_step="Restore it.")

    def halt(state: State | None) -> None:
        looked.append(state)
        handler.halt(fault)

    handler.look(halt)
    with pytest.raises(LogRegressedError):
        handler.inspect(lambda state: state.seq)
    with pytest.raises(LogRegressedError):
        handler.call(record(), actor="test")
    handler.look(looked.append)
    with pytest.raises(LogRegressedError):
        handler.refuse_dead()
    assert [state is None for state in looked] == [False, True]
    assert handler.submit(cancel(), actor="test").exception() is fault
    handler.stop()
    assert handler.at_rest() is None
    assert list(read_frames(folder)) == before
