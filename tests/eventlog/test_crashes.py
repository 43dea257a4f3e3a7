"""Every call of one life of the log, on the simulated disk, made the last one or made to fail; named by section 6."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from random import Random

import pytest

from eventlog.errors import LogCorruptError, LogError, LogStorageError
from eventlog.events import LogRecovered
from eventlog.frames import Frame
from eventlog.log import SEGMENT_BYTES, Log
from eventlog.reader import read_frames
from eventlog.recovery import POISON_NAME
from eventlog.verify import verify
from tests.eventlog.simulated_disk import ROOT, Crash, CrashError, Fail, Fault, Lie, Misdirect, Short, SimulatedDisk
from tests.eventlog.support import SEGMENT, StoppedError, abandon, draft, event, open_log

FOLDER = ROOT / "home" / "log"
SMALL = 1200  # bytes: the life below rotates twice
AHEAD = 500  # bytes of zeros: batches stand in them, reach behind them, and are cut from them
OUTCOMES = 4  # of a power cut, for each call
ENDS = (CrashError, StoppedError, LogError, OSError)


def opened(disk: SimulatedDisk, *, segment_bytes: int = SEGMENT_BYTES) -> Log:
    return open_log(FOLDER, fs=disk, segment_bytes=segment_bytes, ahead_bytes=AHEAD)


def live(disk: SimulatedDisk, acked: list[Frame], *, commits: int = 5) -> None:
    """Open the log, commit, mark and close it; `acked` gets each frame when it is acknowledged."""
    log = opened(disk, segment_bytes=SMALL)
    for number in range(commits):
        acked += log.commit([draft(event(number)), draft(event(number), event(number, "x" * 300))])
    log.mark()
    log.close()


def survives(disk: SimulatedDisk, acked: list[Frame], where: str) -> list[Frame]:
    """Prove that the log is whole, holds what was acknowledged, and opens once more as it was closed."""
    if "home/log/GENESIS.json" in disk.content(ROOT):
        assert verify(FOLDER, fs=disk).verdict in ("OK", "TORN"), where
    log = opened(disk, segment_bytes=SMALL)
    frames = list(log.replay())
    log.close()
    assert verify(FOLDER, fs=disk).verdict == "OK", where
    assert [frame for frame in frames if frame.hash in {each.hash for each in acked}] == acked, where
    assert list(read_frames(FOLDER, fs=disk))[: len(frames)] == frames, where
    return frames


def torn_disk(chance: Random) -> tuple[SimulatedDisk, list[Frame]]:
    """Return a disk on which a crash has torn the last batch, and what was acknowledged before it."""
    disk, acked = SimulatedDisk(chance), list[Frame]()
    log = opened(disk, segment_bytes=SMALL)
    for number in range(4):
        acked += log.commit([draft(event(number)), draft(event(number), event(number))])
    abandon(log)
    (name,) = [name for name in disk.content(FOLDER) if name.endswith(".ndjson")][-1:]
    disk.put(FOLDER / name, disk.content(FOLDER)[name] + b'{"seq":6,"type":"RunInt')
    return disk, acked


def fresh_disk(chance: Random) -> tuple[SimulatedDisk, list[Frame]]:
    return SimulatedDisk(chance), []


Start = Callable[[Random], tuple[SimulatedDisk, list[Frame]]]


def calls_of(start: Start) -> int:
    disk, acked = start(Random(0))
    before = len(disk.calls)
    live(disk, acked)
    return len(disk.calls) - before


def injected(start: Start, number: int, fault: Fault, seed: int) -> tuple[SimulatedDisk, list[Frame], str]:
    """Live with one fault at the `number`th call; return the disk, what was acknowledged, and where it was."""
    disk, acked = start(Random(seed))
    disk.faults[len(disk.calls) + number] = fault
    try:
        live(disk, acked)
    except ENDS:
        disk.crashed = True
    disk.restart()
    ((call, _),) = disk.met or [("none", fault)]
    disk.clear_faults()
    return disk, acked, f"{fault} at call {number}, {call}, seed {seed}"


@pytest.mark.parametrize("start", [fresh_disk, torn_disk])
def test_01_09_a_power_cut_at_any_call_in_any_order_of_what_was_not_synced(start: Start) -> None:
    count = calls_of(start)
    assert count > 100
    for number in range(1, count + 1):
        for seed in range(OUTCOMES):
            disk, acked, where = injected(start, number, Crash(), seed)
            disk.power_cut()
            assert _in_whole_frames(survives(disk, acked, where)), where


def _in_whole_frames(frames: list[Frame]) -> bool:
    """Return whether the frames of `live` are there whole: they have one record and two in turns."""
    sizes = [len(frame.records) for frame in frames if frame.actor != "log"]
    return sizes == [1, 2] * (len(sizes) // 2) + [1] * (len(sizes) % 2)


@pytest.mark.parametrize("start", [fresh_disk, torn_disk])
@pytest.mark.parametrize("number_of_error", [errno.EIO, errno.ENOSPC])
def test_02_11_an_error_at_any_call_reading_and_closing_included(start: Start, number_of_error: int) -> None:
    for number in range(1, calls_of(start) + 1):
        disk, acked, where = injected(start, number, Fail(number_of_error), number)
        assert _in_whole_frames(survives(disk, acked, where)), where
        disk.power_cut()
        survives(disk, acked, where)


def test_03_a_sync_that_fails_once_ends_the_process_and_the_next_one_writes_all_pages_again() -> None:
    disk, acked = SimulatedDisk(Random(3)), list[Frame]()
    log = opened(disk)
    acked += log.commit([draft(event(1))])
    before = disk.lstat(FOLDER / SEGMENT).st_ino
    disk.next_faults["sync_data"] = Fail(errno.EIO)
    with pytest.raises(StoppedError, match="Input/output error"):
        log.commit([draft(event(2))])
    log.close()
    assert POISON_NAME in disk.content(FOLDER)
    disk.restart()
    disk.clear_faults()
    survives(disk, acked, "after the failed sync")
    assert disk.lstat(FOLDER / SEGMENT).st_ino != before
    kept = disk.content(FOLDER)[SEGMENT]
    disk.power_cut()
    assert disk.content(FOLDER)[SEGMENT] == kept


def test_04_bytes_that_an_opening_read_from_memory_stay_when_the_power_goes() -> None:
    for seed in range(40):
        disk, acked = SimulatedDisk(Random(seed)), list[Frame]()
        log = opened(disk)
        acked += log.commit([draft(event(1))])
        disk.next_faults["sync_data"] = Crash()
        with pytest.raises(CrashError):
            log.commit([draft(event(2))])
        disk.restart()
        log = opened(disk)
        shown = list(log.replay())
        assert len(shown) == 4, "the epoch, what was acknowledged, what was not, the new epoch"
        disk.power_cut()
        survives(disk, shown, f"seed {seed}")


def test_04_an_opening_whose_own_sync_fails_is_not_believed_by_the_next() -> None:
    for seed in range(40):
        disk, acked = SimulatedDisk(Random(seed)), list[Frame]()
        log = opened(disk)
        acked += log.commit([draft(event(1))])
        disk.next_faults["sync_data"] = Crash()
        with pytest.raises(CrashError):
            log.commit([draft(event(2))])
        disk.restart()
        disk.next_faults["sync"] = Fail(errno.EIO)
        with pytest.raises(LogStorageError, match="before it is read"):
            opened(disk)
        disk.clear_faults()
        disk.restart()
        log = opened(disk)
        shown = list(log.replay())
        disk.power_cut()
        survives(disk, shown, f"seed {seed}")


def test_10_short_writes_of_any_length_are_continued() -> None:
    count = calls_of(fresh_disk)
    for number in range(1, count + 1):
        disk, acked, where = injected(fresh_disk, number, Short(1), number)
        assert len(acked) == 10, where
        survives(disk, acked, where)


def test_12_a_power_cut_between_a_new_segment_and_its_first_frame() -> None:
    for seed in range(60):
        disk, acked = SimulatedDisk(Random(seed)), list[Frame]()
        log = opened(disk, segment_bytes=1)
        acked += log.commit([draft(event(1))])
        made = len(disk.content(FOLDER))
        disk.change_faults[disk.changes + 1 + seed % 4] = Crash()  # two syncs, the write, its sync
        with pytest.raises(CrashError):
            log.commit([draft(event(2))])
        assert len(disk.content(FOLDER)) in (made, made + 1)
        disk.power_cut()
        disk.clear_faults()
        assert verify(FOLDER, fs=disk).verdict in ("OK", "TORN")
        log = opened(disk, segment_bytes=1)
        assert list(log.replay())[: len(acked) + 1][1:] == acked
        log.close()


def test_18_a_batch_that_lands_anywhere_but_at_the_end_is_found_by_its_writer_and_by_everybody_after() -> None:
    disk = SimulatedDisk(Random(18))
    log = opened(disk)
    for number in range(3):
        log.commit([draft(event(number))])
    end = log.head.bytes
    abandon(log)
    for offset in range(0, end, 7):
        disk, acked = SimulatedDisk(Random(offset)), list[Frame]()
        log = opened(disk)
        for number in range(3):
            acked += log.commit([draft(event(number))])
        assert log.head.bytes == end
        disk.next_faults["write"] = Misdirect(offset)
        log.commit([draft(event(4))])  # the disk says that all is well
        assert verify(FOLDER, fs=disk).verdict == "CORRUPT", offset
        with pytest.raises(StoppedError, match="somebody else wrote"):
            log.commit([draft(event(5))])
        log.close()
        disk.restart()
        with pytest.raises(LogCorruptError):
            opened(disk)
        assert verify(FOLDER, fs=disk).verdict == "CORRUPT", offset


def test_24_ten_events_are_there_or_not_for_tailers_too_wherever_their_append_ends() -> None:
    calls = _calls_of_ten()
    assert calls > 3
    for number in range(1, calls + 1):
        for seed in range(6):
            disk = SimulatedDisk(Random(seed))
            log = opened(disk)
            disk.faults[len(disk.calls) + number] = Crash()
            with pytest.raises(CrashError):
                _append_ten(log)
            disk.restart()
            disk.clear_faults()
            shown = _tens(read_frames(FOLDER, fs=disk))
            assert shown in (0, 10), (number, seed)
            disk.power_cut()
            again = opened(disk)
            there = _tens(again.replay())
            again.close()
            assert there in ((10,) if shown else (0, 10)), (number, seed)
            assert _tens(read_frames(FOLDER, fs=disk)) == there, (number, seed)


def _append_ten(log: Log) -> None:
    log.commit([draft(*[event(number) for number in range(10)])])
    log.mark()


def _calls_of_ten() -> int:
    disk = SimulatedDisk(Random(0))
    log = opened(disk)
    before = len(disk.calls)
    _append_ten(log)
    return len(disk.calls) - before


def _tens(frames: Iterable[Frame]) -> int:
    return sum(record.type == "RunInterrupted" for frame in frames for record in frame.records)


def test_25_a_slow_tailer_across_a_hundred_segments_is_shown_nothing_that_a_power_cut_takes() -> None:
    for seed in range(12):
        chance = Random(seed)
        disk = SimulatedDisk(chance)
        log = opened(disk, segment_bytes=1)
        shown: list[Frame] = []
        for number in range(100):
            if number == 99 - seed * 7:
                disk.change_faults[disk.changes + chance.randint(1, 5)] = Crash()
            try:
                log.commit([draft(event(number))])
            except CrashError:
                break
            if chance.random() < 0.1:
                shown += read_frames(FOLDER, from_seq=shown[-1].last + 1 if shown else 1, fs=disk)
        disk.restart()
        disk.clear_faults()
        shown += read_frames(FOLDER, from_seq=shown[-1].last + 1 if shown else 1, fs=disk)
        disk.power_cut()
        again = opened(disk, segment_bytes=1)
        assert list(again.replay())[: len(shown)] == shown, seed
        assert len(shown) > 90 - seed * 7
        again.close()


def test_19_a_recovery_that_is_interrupted_ten_times_ends_as_one_that_was_not() -> None:
    disk, acked = torn_disk(Random(0))
    log = opened(disk, segment_bytes=SMALL)
    wanted = _bytes(disk)
    abandon(log)
    for seed in range(60):
        chance = Random(seed)
        disk, acked = torn_disk(chance)
        for _ in range(10):
            disk.change_faults[disk.changes + chance.randint(1, 8)] = Crash()
            with pytest.raises(CrashError):
                opened(disk, segment_bytes=SMALL)
            disk.clear_faults()
            disk.restart()
            if chance.random() < 0.5:
                disk.power_cut()
        log = opened(disk, segment_bytes=SMALL)
        told = [each.data for frame in log.replay() for each in frame.events if isinstance(each.data, LogRecovered)]
        assert told, seed
        if log.epoch == 2 and len(told) == 1:
            assert _bytes(disk) == wanted, seed
        log.close()
        survives(disk, acked, f"seed {seed}")


def _bytes(disk: SimulatedDisk) -> dict[str, bytes]:
    return {name: data for name, data in disk.content(FOLDER).items() if name != "LOCK"}


def test_a_disk_that_lies_about_every_sync_is_found_out_by_a_later_frame_or_is_a_shorter_log() -> None:
    verdicts = set()
    for seed in range(200):
        disk, acked = SimulatedDisk(Random(seed)), list[Frame]()
        log = opened(disk)
        for number in range(3):
            disk.next_faults["sync_data"] = Lie()
            acked += log.commit([draft(event(number, "x" * 400))])
        disk.power_cut()
        disk.clear_faults()
        verdict = verify(FOLDER, fs=disk).verdict
        verdicts.add(verdict)
        if verdict in ("OK", "TORN"):
            log = opened(disk)
            frames = list(log.replay())[1:-1]
            assert frames == acked[: len(frames)], "never another history"
            log.close()
    assert verdicts == {"OK", "TORN", "CORRUPT"}
