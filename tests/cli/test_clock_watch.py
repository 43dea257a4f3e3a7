"""The watch over the wall clock: every step is told once, whatever the clock does, and stands in the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import clock
from cli.clock_watch import ClockWatch
from commands.epoch import BeginEpoch
from commands.executor import JoinExecutor
from commands.handle import Handler
from commands.wall_clock import STEP_US_MAX
from eventlog.events import ClockStepped
from eventlog.ids import ExecutorId, Instant, instant
from eventlog.reader import read_frames
from eventlog.verify import verify
from tests.eventlog.support import open_log

SECOND = 1_000_000
HOUR = 3600 * SECOND
START = datetime(2026, 1, 22, 10, 11, 12, tzinfo=UTC)


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.passed_us = 0
        self.set_by_us = 0

    def wall(self) -> Instant:
        return instant(START + timedelta(microseconds=self.passed_us + self.set_by_us))

    def steady_us(self) -> int:
        return 77 + self.passed_us


def watched() -> tuple[Clocks, ClockWatch]:
    clocks = Clocks()
    return clocks, ClockWatch(wall=clocks.wall, steady_us=clocks.steady_us)


def test_a_clock_that_goes_its_way_is_not_told_of() -> None:
    clocks, watch = watched()
    for _ in range(3):
        clocks.passed_us += 30 * 24 * HOUR  # a machine that slept: the steady clock counts that
        assert watch.steps() == []


@pytest.mark.parametrize("step_us", [-HOUR, HOUR, 10 * 365 * 24 * HOUR, -2 * SECOND, STEP_US_MAX + 1])
def test_a_step_is_told_once_as_it_was(step_us: int) -> None:
    clocks, watch = watched()
    clocks.passed_us += 5 * SECOND
    clocks.set_by_us += step_us
    (told,) = watch.steps()
    assert told.delta_us == step_us
    assert told.expected_at == instant(START + timedelta(seconds=5))
    assert told.now == clocks.wall()
    assert watch.steps() == []


def test_a_clock_that_stands_still_is_told_of() -> None:
    clocks, watch = watched()
    clocks.passed_us += 2 * SECOND
    clocks.set_by_us -= 2 * SECOND
    (told,) = watch.steps()
    assert told.delta_us == -2 * SECOND


def test_small_adjustments_are_told_of_when_they_add_up() -> None:
    clocks, watch = watched()
    told = []
    for _ in range(10):
        clocks.set_by_us += STEP_US_MAX // 4
        told += watch.steps()
    assert [each.delta_us for each in told] == [5 * STEP_US_MAX // 4] * 2


@given(st.lists(st.integers(-3 * HOUR, 3 * HOUR), max_size=20))
def test_what_was_told_and_what_is_left_add_up_to_what_was_set(steps: list[int]) -> None:
    clocks, watch = watched()
    told_us = 0
    for step in steps:
        clocks.passed_us += SECOND
        clocks.set_by_us += step
        told_us += sum(each.delta_us for each in watch.steps())
        assert abs(clocks.set_by_us - told_us) <= STEP_US_MAX


def test_the_steady_clock_of_this_machine_goes_forward() -> None:
    readings = [clock.steady_us() for _ in range(100)]
    assert readings == sorted(readings)
    assert readings[0] > 0


def test_34_a_clock_that_is_set_is_told_of_in_the_log_and_the_order_stays(tmp_path: Path) -> None:
    clocks, watch = watched()
    log = open_log(tmp_path / "log", clock=clocks.wall)
    handler = Handler(log, manager=lambda _: watch.steps(), actor="sentinel")
    handler.replay(lambda _: None)
    handler.start()
    handler.call(BeginEpoch(now=clocks.wall()), actor="cli:test")
    for number, step_us in enumerate((0, -HOUR, 0, 10 * 365 * 24 * HOUR)):
        clocks.set_by_us += step_us
        join = JoinExecutor(
            executor=ExecutorId(f"executor-{number}"), pid=1, host="here", version="1", capacity=1, now=clocks.wall()
        )
        handler.call(join, actor="cli:test")
    handler.stop()
    log.close()
    records = [record for frame in read_frames(tmp_path / "log") for record in frame.records]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [type(record.data).__name__ for record in records[1:]] == [
        "ExecutorJoined", "ExecutorJoined", "ClockStepped", "ExecutorJoined", "ExecutorJoined", "ClockStepped",
    ]  # fmt: skip
    steps = [record.data.delta_us for record in records if isinstance(record.data, ClockStepped)]
    assert steps == [-HOUR, 10 * 365 * 24 * HOUR]
    assert verify(tmp_path / "log").verdict == "OK"
