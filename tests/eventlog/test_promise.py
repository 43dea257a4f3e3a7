"""What an append promises, under crowds, signals and crashes: once, in one order, whole or not at all."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog.errors import LogCorruptError
from eventlog.frames import Frame
from eventlog.reader import read_frames
from eventlog.verify import verify
from tests.eventlog.support import (
    NOW,
    SEGMENT,
    abandon,
    append,
    crash_image,
    draft,
    event,
    frames_of,
    open_log,
    small_log,
)

THREADS = 64
COMMITS = 6


def test_21_a_crowd_of_threads_gets_one_gapless_order_and_each_its_own_events(quick: Path) -> None:
    log = open_log(quick / "log")
    told: dict[int, list[Frame]] = {}
    calls: list[tuple[int, int, int, int]] = []  # first and last commit, when it was asked, when it was answered

    def work(number: int) -> None:
        chance = random.Random(number)
        told[number] = []
        for _ in range(COMMITS):
            batch = [draft(*[event(number)] * chance.randrange(1, 5)) for _ in range(chance.randrange(1, 4))]
            asked = time.monotonic_ns()
            frames = log.commit(batch)
            calls.append((frames[0].commit, frames[-1].commit, asked, time.monotonic_ns()))
            told[number] += frames

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    log.close()
    logged = {frame.commit: frame for frame in read_frames(quick / "log")}
    seqs = [record.seq for _, frame in sorted(logged.items()) for record in frame.records]
    assert seqs == list(range(1, len(seqs) + 1))
    for number, frames in told.items():
        assert [frame.commit for frame in frames] == sorted(frame.commit for frame in frames), "its own order is kept"
        assert all(logged[frame.commit] == frame for frame in frames)
        assert {record.data for frame in frames for record in frame.records} == {event(number)}
    assert sum(len(frames) for frames in told.values()) == len(logged) - 2, "and the epoch and the mark"
    _require_linear(calls)
    assert verify(quick / "log").verdict == "OK"


def _require_linear(calls: list[tuple[int, int, int, int]]) -> None:
    """Prove that the order of the log is one in which each call took its place between question and answer."""
    latest_asked, due = 0, 2  # commit 1 opens the epoch
    for first, last, asked, answered in sorted(calls):
        assert first == due, "the frames of a call stand together"
        assert answered >= latest_asked, "a call that was answered before another was asked stands before it"
        latest_asked, due = max(latest_asked, asked), last + 1


def test_24_a_frame_of_ten_is_seen_whole_or_not_at_all_wherever_its_write_ends(quick: Path) -> None:
    log = open_log(quick / "live")
    begin = log.head.bytes
    log.commit([draft(*[event(number) for number in range(10)])])
    end = log.head.bytes
    log.mark()  # only with it may readers know that the ten are durable
    crash_image(quick / "live", quick / "whole")
    log.close()
    for length in range(begin, (quick / "whole" / SEGMENT).stat().st_size + 1, 7):
        folder = crash_image(quick / "whole", quick / "cut")
        os.truncate(folder / SEGMENT, length)
        assert _seen(read_frames(folder)) in (0, 10), length
        log = open_log(folder)
        assert _seen(log.replay()) == (10 if length >= end else 0), length
        log.close()
        assert _seen(read_frames(folder)) == (10 if length >= end else 0), length


def _seen(frames: Iterator[Frame]) -> int:
    return sum(record.type == "RunInterrupted" for frame in frames for record in frame.records)


def test_10_signals_that_interrupt_every_call_change_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        frames = [frame for number in range(100) for frame in log.commit([draft(event(number, "x" * 5000))])]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(rung) > 5
    assert list(log.replay(2)) == frames
    log.close()
    assert verify(tmp_path / "log").verdict == "OK"


def test_20_a_note_of_a_holder_whose_pid_lives_again_is_no_lock(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    holder = {
        "pid": os.getpid(),
        "boot_id": "",
        "host": "h",
        "since": NOW,
        "purpose": "long ago, by this pid",
    }
    (tmp_path / "log" / "LOCK").write_text(json.dumps(holder))
    log = open_log(tmp_path / "log")
    written = json.loads((tmp_path / "log" / "LOCK").read_text())
    assert (written["pid"], written["purpose"]) == (os.getpid(), "test"), "all of the old note is written over"
    log.close()


def test_08_frames_of_an_earlier_end_of_the_same_log_are_never_taken_again(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    data = (tmp_path / "log" / SEGMENT).read_bytes()
    lost = list(frames_of(data))[-1]
    os.truncate(tmp_path / "log" / SEGMENT, ends[-2])
    log = open_log(tmp_path / "log")  # goes on from before it, in a new epoch
    log.commit([draft(event(9))])
    abandon(log)
    append(tmp_path / "log" / SEGMENT, lost)  # an old block that comes back
    assert verify(tmp_path / "log").verdict == "CORRUPT"
    with pytest.raises(LogCorruptError, match="stands here a second time"):
        open_log(tmp_path / "log")
