"""The snapshots of a home: left at a clean end when enough has happened, gone on from where they fit."""

from __future__ import annotations

import logging
import shutil
import time
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

import reducers
from benchmarks.history import history_of
from cli import clock, snapshots
from cli.home import Home
from cli.sentinel import Sentinel
from cli.snapshots import Snapshots, code_digest
from commands.handle import Handler
from eventlog.frames import FrameDraft
from eventlog.ids import Seq
from eventlog.log import Log
from eventlog.verify import verify
from reducers.fold import State, fold
from reducers.snapshot import freeze, thaw


def open_log(home: Home, kept: Snapshots | None = None) -> Log:
    return Log.open(
        home.log, clock=clock.now, new_log_id=clock.new_log_id, version="test", purpose="test", ballast_bytes=0,
        snapshot_of=kept.choose if kept is not None else lambda _: None,
    )  # fmt: skip


def lived(home: Home, *, events: int) -> Snapshots:
    """Append a history to a new log and leave a snapshot at its end."""
    log = open_log(home)
    history = list(islice(history_of(log.log_id), events))
    log.commit([FrameDraft(events=tuple(history[at : at + 3]), actor="test") for at in range(0, events, 3)])
    kept = Snapshots(home)
    kept.leave(log, folded(log))
    log.close()
    return kept


def folded(log: Log, start: State | None = None) -> State:
    handler = Handler(log, manager=lambda _: (), actor="test")
    handler.replay(lambda _: None, start=start, observed=Seq(10**9))
    state = handler.at_rest()
    assert state is not None
    return state


def snapshot_files(home: Home) -> list[Path]:
    return sorted(home.snapshots.iterdir()) if home.snapshots.is_dir() else []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(snapshots, "BYTES_MIN", 40_000)
    return Home(tmp_path / "home")


def test_40_the_state_after_a_snapshot_is_that_of_the_whole_log(home: Home) -> None:
    lived(home, events=200)
    kept = Snapshots(home)
    log = open_log(home, kept)
    assert kept.state is not None
    assert kept.doubts == ()
    assert freeze(folded(log, kept.state)) == freeze(folded(log))
    log.close()


def test_only_what_is_after_the_snapshot_is_read(home: Home) -> None:
    lived(home, events=200)
    kept = Snapshots(home)
    log = open_log(home, kept)
    assert kept.state is not None
    at, seen = kept.state.seq, list[int]()
    handler = Handler(log, manager=lambda _: (), actor="test")
    handler.replay(lambda frame: seen.append(frame.first), start=kept.state, observed=at)
    assert min(seen) > at
    log.close()


def test_who_has_seen_less_than_the_snapshot_is_shown_the_rest(home: Home) -> None:
    lived(home, events=200)
    kept = Snapshots(home)
    log = open_log(home, kept)
    seen: list[int] = []
    handler = Handler(log, manager=lambda _: (), actor="test")
    handler.replay(lambda frame: seen.append(frame.last), start=kept.state, observed=Seq(50))
    assert 51 <= min(seen) <= 53
    state = handler.at_rest()
    assert state is not None
    assert freeze(state) == freeze(folded(log))
    log.close()


def test_too_little_since_the_last_one_leaves_none(home: Home) -> None:
    lived(home, events=2)
    assert snapshot_files(home) == []


def test_one_of_other_code_is_told_of_and_not_used(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(home, events=200)
    monkeypatch.setattr(snapshots, "code_digest", lambda: "another version")
    kept = Snapshots(home)
    open_log(home, kept).close()
    assert (kept.state, len(kept.doubts)) == (None, 1)
    assert "it was made by other code than this" in kept.doubts[0]


def test_a_state_that_cannot_be_read_is_told_of_and_not_used(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "freeze", lambda _: b"\xc1")
    lived(home, events=200)
    kept = Snapshots(home)
    open_log(home, kept).close()
    assert (kept.state, len(kept.doubts)) == (None, 1)


def test_a_change_of_the_code_changes_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest()
    copy = tmp_path / "reducers"
    shutil.copytree(Path(next(iter(reducers.__path__))), copy)
    monkeypatch.setattr(reducers, "__path__", [str(copy)])
    assert code_digest() == before
    (copy / "job.py").write_text((copy / "job.py").read_text() + "\n")
    assert code_digest() != before


def test_a_snapshot_that_cannot_be_written_is_told_and_nothing_more(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.root.mkdir()
    home.snapshots.write_text("a file in the folder's place")
    with caplog.at_level(logging.WARNING):
        lived(home, events=200)
    assert "leave a snapshot at record" in caplog.text


def test_a_home_leaves_one_and_goes_on_from_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BYTES_MIN", 1)
    with Sentinel(home, purpose="test"):
        pass
    (first,) = snapshot_files(home)
    with Sentinel(home, purpose="test") as second:
        assert second.snapshots.state is not None
        assert second.recovery.snapshots == ()
        live = second.handler.inspect(freeze)
        log_id = second.log_id
    assert first in snapshot_files(home)
    log = open_log(home)
    whole = State()
    for frame in log.replay():
        if frame.last <= thaw(live).seq:
            fold(whole, frame.records)
    assert (freeze(whole), log.log_id) == (live, log_id)
    log.close()


EVENTS_SMALL, EVENTS_LARGE = 40_000, 200_000


def opening_seconds(home: Home, *, with_snapshot: bool) -> float:
    """Return how long it takes until the log is open and its state is known."""
    began = time.monotonic()
    kept = Snapshots(home) if with_snapshot else None
    log = open_log(home, kept)
    state = folded(log, kept.state if kept is not None else None)
    seconds = time.monotonic() - began
    assert state.seq == log.head.seq
    assert kept is None or kept.state is not None
    log.close()
    return seconds


def peak_bytes(home: Home) -> int:
    """Return the most memory that an audit of the log holds at once."""
    tracemalloc.start()
    try:
        assert verify(home.log).verdict == "OK"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_47_a_log_five_times_as_long_opens_as_fast_from_its_snapshot_and_is_verified_in_the_same_memory(
    tmp_path: Path,
) -> None:
    small, large = Home(tmp_path / "small"), Home(tmp_path / "large")
    lived(small, events=EVENTS_SMALL)
    lived(large, events=EVENTS_LARGE)
    rounds = [
        (opening_seconds(large, with_snapshot=True), opening_seconds(large, with_snapshot=False)) for _ in range(2)
    ]
    fast, slow = (min(times) for times in zip(*rounds, strict=True))
    assert fast < slow / 4, (fast, slow)  # about a tenth; what is held is that it does not grow with the log
    assert peak_bytes(large) < 1.5 * peak_bytes(small) + 1_000_000
