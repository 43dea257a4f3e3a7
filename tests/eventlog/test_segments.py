"""Tests of a log of many segments: rotation, and what is missing, moved, doubled or damaged among them."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eventlog.chain import list_segments
from eventlog.errors import LogCorruptError, LogRegressedError
from eventlog.events import LogRecovered
from eventlog.frames import Frame
from eventlog.fsport import OS_FS
from eventlog.log import SEGMENT_BYTES, Log
from eventlog.reader import durable_head, read_frames
from eventlog.recovery import WAYPOINT_COMMITS
from eventlog.verify import verify
from tests.eventlog.support import (
    SEGMENT,
    StoppedError,
    abandon,
    append,
    crash_image,
    draft,
    event,
    flip_bit,
    frames_of,
    open_log,
    small_log,
)
from tests.eventlog.test_recovery import refused, reopened

SMALL = 2000  # bytes; three to four frames


def opened(folder: Path) -> Log:
    return open_log(folder, segment_bytes=SMALL)


def rotated_log(folder: Path, *, frames: int = 12, clean: bool = False) -> list[Path]:
    """Make a log of several segments, as after a crash if not `clean`; return its segments in order."""
    live = folder.with_name(folder.name + "-live")
    log = opened(live)
    for number in range(1, frames + 1):
        log.commit([draft(event(number))])
    if clean:
        log.close()
    crash_image(live, folder)
    log.close()
    shutil.rmtree(live)
    return [segment.path for segment in list_segments(folder)]


# --- rotation ---


def test_a_segment_takes_what_fits_and_its_successor_is_named_after_the_next_record(tmp_path: Path) -> None:
    paths = rotated_log(tmp_path / "log")
    assert len(paths) >= 4
    sizes = [path.stat().st_size for path in paths]
    seq = 1
    for path, size, successor in zip(paths, sizes, [*paths[1:], None], strict=True):
        frames = list(frames_of(path.read_bytes()))
        assert path.name == f"{seq:020d}.ndjson"
        assert size <= SMALL
        if successor is not None:
            assert size + len(next(frames_of(successor.read_bytes()))) > SMALL
        seq += len(frames)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)


def test_the_bytes_of_a_rotated_log_are_those_of_one_segment(tmp_path: Path) -> None:
    paths = rotated_log(tmp_path / "many")
    small_log(tmp_path / "one", frames=12)
    opened_line = len(next(frames_of(paths[0].read_bytes())).split(b"\n")[0])
    many, one = b"".join(path.read_bytes() for path in paths), (tmp_path / "one" / SEGMENT).read_bytes()
    assert len(many) == len(one)
    assert many[:opened_line] == one[:opened_line], "no event tells of a rotation"


def test_the_bound_is_64_mib_and_a_batch_over_it_is_a_segment_of_its_own(tmp_path: Path) -> None:
    assert SEGMENT_BYTES == 64 * 1024 * 1024
    log = open_log(tmp_path / "log", segment_bytes=1)
    for number in (1, 2, 3):
        log.commit([draft(event(number), event(number)), draft(event(number))])
        log.mark()
    log.close()
    seqs = [segment.first for segment in list_segments(tmp_path / "log")]
    assert seqs == [1, 2, 5, 8, 11], "a mark opens a segment, and what follows it stays there: it has no seq of its own"
    assert verify(tmp_path / "log").verdict == "OK"


def test_a_rotated_log_is_replayed_read_verified_and_closed_as_one(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    committed: list[Frame] = []
    for number in range(1, 31):
        committed += log.commit([draft(event(number))])
        assert list(log.replay(2)) == committed
        assert list(log.replay(number + 1)) == committed[-1:]
    log.close()
    assert list(read_frames(tmp_path / "log"))[1:31] == committed
    head = durable_head(tmp_path / "log")
    assert head == log.head
    result = verify(tmp_path / "log")
    assert (result.verdict, result.clean_close, result.segments) == ("OK", True, len(list_segments(tmp_path / "log")))
    assert result.segments > 6
    again = opened(tmp_path / "log")
    assert list(again.replay())[1:31] == committed
    assert again.head.commit == head.commit + 1
    again.close()


def test_a_replay_that_runs_while_the_log_rotates_ends_where_it_was_asked_for(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    before = log.commit([draft(event(number)) for number in range(5)])
    frames = log.replay(2)
    first = next(frames)
    for number in range(20):
        log.commit([draft(event(number))])
    assert [first, *frames] == before
    log.close()


def test_replay_starts_from_the_nearest_waypoint_in_whatever_segment_it_is(quick: Path) -> None:
    log = open_log(quick / "log", segment_bytes=300_000)
    for _ in range(5):
        log.commit([draft(event(number)) for number in range(500)])
    log.close()
    log = open_log(quick / "log", segment_bytes=300_000)
    assert log.head.commit > 2 * WAYPOINT_COMMITS
    assert len(list_segments(quick / "log")) > 3
    for path in sorted((quick / "log").glob("*.ndjson"))[:2]:
        path.rename(path.with_suffix(".away"))
    assert [frame.first for frame in log.replay(2400)][:2] == [2400, 2401]
    abandon(log)


def test_25_a_reader_follows_a_writer_across_rotations_and_never_sees_damage(quick: Path) -> None:
    log = opened(quick / "log")
    told: list[int] = []
    ended = threading.Event()

    def follow() -> None:
        while not ended.is_set():
            told[:] = [frame.last for frame in read_frames(quick / "log")]
            assert told == list(range(1, len(told) + 1))
            assert verify(quick / "log").verdict == "OK"

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        for number in range(400):
            log.commit([draft(event(number))])
        ended.set()
        following.result(timeout=60)
    log.close()
    assert len(list(read_frames(quick / "log"))) == 402, "the epoch, the commits, the mark"


def test_46_a_copy_that_is_taken_while_the_log_is_written_is_ok_or_torn_and_never_corrupt(quick: Path) -> None:
    log = open_log(quick / "log", segment_bytes=3000)
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            if done.is_set():
                return
            log.commit([draft(*[event(number, "x" * (number % 700))] * (1 + number % 3))])
            time.sleep(0.002)  # or the log grows faster than it is copied

    writer = threading.Thread(target=write)
    writer.start()
    verdicts: Counter[str] = Counter()
    try:
        for number in range(12):
            while log.head.commit < 4 * number and writer.is_alive():
                time.sleep(0.001)
            shown = sum(1 for _ in read_frames(quick / "log"))
            copy = quick / f"copy-{number}"
            copy.mkdir()
            for path in sorted((quick / "log").iterdir()):  # the names first, then the files in their order
                shutil.copy(path, copy / path.name)
            verdicts[verify(copy).verdict] += 1
            restored = open_log(copy)
            assert sum(1 for _ in restored.replay()) > shown, "what was durable before is in it, and the new epoch"
            restored.close()
            assert verify(copy).verdict == "OK"
            shutil.rmtree(copy)
    finally:
        done.set()
        writer.join(timeout=60)
    assert set(verdicts) <= {"OK", "TORN"}, verdicts
    assert len(list_segments(quick / "log")) > 2
    log.close()


def test_a_segment_that_cannot_be_made_ends_the_process_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path / "log")
    acked: list[Frame] = []

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(StoppedError, match="Nothing of this batch was acknowledged"):
        for number in range(10):
            if number == 2:
                monkeypatch.setattr(OS_FS, "sync", refuse)
            acked += log.commit([draft(event(number))])
    monkeypatch.undo()
    log.close()
    assert acked
    assert reopened(tmp_path / "log")[1 : len(acked) + 1] == acked


def test_a_crash_between_the_new_segment_and_its_first_frame_is_no_damage(tmp_path: Path) -> None:
    paths = rotated_log(tmp_path / "log")
    seqs = verify(tmp_path / "log").head_seq
    (tmp_path / "log" / f"{seqs + 1:020d}.ndjson").touch()
    assert verify(tmp_path / "log").verdict == "OK"
    assert len(reopened(tmp_path / "log")) == 14
    assert len(list_segments(tmp_path / "log")) == len(paths) + 1


def test_a_repair_is_told_although_its_epoch_begins_in_a_new_segment(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    paths = rotated_log(folder)
    end = paths[-1].stat().st_size
    append(paths[-1], b"first tear")
    abandon(open_log(folder, segment_bytes=1))
    successor = list_segments(folder)[-1].path
    assert successor != paths[-1]
    os.truncate(successor, 100)  # the crash that tore the epoch's frame
    log = opened(folder)
    told = [record.data for record in list(log.replay())[-1].events if isinstance(record.data, LogRecovered)]
    assert [(data.segment, data.kept_bytes, data.removed_bytes) for data in told] == [
        (paths[-1].name, end, len(b"first tear")),
        (successor.name, 0, 100),
    ]
    log.close()
    assert verify(folder).verdict == "OK"


# --- 13: missing, renamed, swapped, doubled, no file at all ---


def _missing(paths: list[Path], index: int) -> str:
    paths[index].unlink()
    return paths[index].name


def _renamed(paths: list[Path], index: int) -> str:
    paths[index].rename(paths[index].with_name(f"{9999:020d}.ndjson"))
    return paths[index].name if index < len(paths) - 1 else f"{9999:020d}.ndjson"


def _swapped(paths: list[Path], index: int) -> str:
    other = paths[index - 1]
    paths[index].rename(paths[index].with_suffix(".swap"))
    other.rename(paths[index])
    paths[index].with_suffix(".swap").rename(other)
    return min(other, paths[index]).name


def _doubled(paths: list[Path], index: int) -> str:
    double = paths[index].with_name(f"{int(paths[index].stem) + 1:020d}.ndjson")
    shutil.copyfile(paths[index], double)
    return double.name


def _linked(paths: list[Path], index: int) -> str:
    paths[index].rename(paths[index].with_suffix(".away"))
    paths[index].symlink_to(paths[index].with_suffix(".away"))
    return paths[index].name


def _piped(paths: list[Path], index: int) -> str:
    paths[index].unlink()
    os.mkfifo(paths[index])
    return paths[index].name


def _folder(paths: list[Path], index: int) -> str:
    paths[index].unlink()
    paths[index].mkdir()
    return paths[index].name


def image(folder: Path) -> dict[str, str | None]:
    """Return what is in a folder without following or waiting for anything."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else None
        for path in folder.iterdir()
        if path.name != "LOCK"
    }


CHANGES = [_missing, _renamed, _swapped, _doubled, _linked, _piped, _folder]
PLACES = ["start", "middle", "end"]


@pytest.mark.parametrize(
    ("change", "where"),
    [each for each in itertools.product(CHANGES, PLACES) if each != (_missing, "end")],  # that one is below
)
def test_13_a_segment_that_is_not_what_it_was_is_corrupt_with_its_name(
    tmp_path: Path, change: Callable[[list[Path], int], str], where: str
) -> None:
    paths = rotated_log(tmp_path / "log")
    index = {"start": 0, "middle": len(paths) // 2, "end": len(paths) - 1}[where]
    name = change(paths, index)
    before = image(tmp_path / "log")
    result = verify(tmp_path / "log")
    assert result.verdict == "CORRUPT"
    said = " ".join(f"{each.segment} {each.expected} {each.actual}" for each in result.findings)
    assert name in said
    with pytest.raises(LogCorruptError, match=name) as caught:
        opened(tmp_path / "log")
    assert caught.value.next_step
    assert image(tmp_path / "log") == before
    with pytest.raises(LogCorruptError):
        list(read_frames(tmp_path / "log"))


def test_13_a_missing_last_segment_is_regressed_after_a_clean_close_with_its_name(tmp_path: Path) -> None:
    paths = rotated_log(tmp_path / "log", clean=True)
    paths[-1].unlink()
    (finding,) = verify(tmp_path / "log").findings
    assert paths[-1].name in finding.expected
    refused(tmp_path / "log", LogRegressedError, "REGRESSED")


# --- 14: damage before the last segment ---


def test_14_any_damage_in_the_second_to_last_segment_is_corrupt_and_never_torn(quick: Path) -> None:
    paths = rotated_log(quick / "log")
    path, data = paths[-2], paths[-2].read_bytes()
    for byte in range(0, len(data), 7):
        flip_bit(path, byte=byte, bit=byte % 8)
        assert verify(quick / "log").verdict == "CORRUPT", byte
        path.write_bytes(data)
    for size in range(0, len(data), 50):
        path.write_bytes(data[:size])
        refused(quick / "log", LogCorruptError, "CORRUPT")
        (finding,) = verify(quick / "log").findings
        assert path.name in (finding.segment, finding.expected)
    path.write_bytes(data + b"more")
    refused(quick / "log", LogCorruptError, "CORRUPT")


def test_14_the_tail_of_a_full_segment_was_durable_although_its_successor_is_empty(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    (tmp_path / "log" / f"{5:020d}.ndjson").touch()
    assert verify(tmp_path / "log").verdict == "OK"
    path = tmp_path / "log" / SEGMENT
    os.truncate(path, path.stat().st_size - 1)
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def cut_into_segments(folder: Path, ends: list[int]) -> list[Path]:
    """Cut the one segment after each frame; the last frame's segment stays active."""
    data = (folder / SEGMENT).read_bytes()
    (folder / SEGMENT).unlink()
    paths = []
    for seq, (begin, end) in enumerate(zip([0, *ends], ends, strict=False), start=1):
        paths.append(folder / f"{seq:020d}.ndjson")
        paths[-1].write_bytes(data[begin:end])
    return paths


def test_contiguous_segments_are_one_log(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    whole = reopened(crash_image(tmp_path / "log", tmp_path / "one"))
    paths = cut_into_segments(tmp_path / "log", ends)
    result = verify(tmp_path / "log")
    assert (result.verdict, result.segments, result.commits) == ("OK", 4, 4)
    frames = reopened(tmp_path / "log")
    assert frames[:4] == whole[:4]
    assert paths[-1].read_bytes().count(b'{"commit":') > 1, "the last segment is the one that is written"


def test_a_torn_end_of_the_last_of_several_segments_is_copied_forward(tmp_path: Path) -> None:
    paths = cut_into_segments(tmp_path / "log", small_log(tmp_path / "log"))
    append(paths[-1], b'{"seq":5')
    assert len(reopened(tmp_path / "log")) == 5


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_segment_is_corrupt(tmp_path: Path, index: int) -> None:
    paths = cut_into_segments(tmp_path / "log", small_log(tmp_path / "log"))
    paths[index].unlink()
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("kept", [0, -1, -200])
def test_a_shortened_segment_that_is_not_the_last_is_corrupt(tmp_path: Path, index: int, kept: int) -> None:
    paths = cut_into_segments(tmp_path / "log", small_log(tmp_path / "log"))
    paths[index].write_bytes(paths[index].read_bytes()[:kept])
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def test_renamed_segments_are_corrupt(tmp_path: Path) -> None:
    paths = cut_into_segments(tmp_path / "log", small_log(tmp_path / "log"))
    paths[1].rename(tmp_path / "swap")
    paths[2].rename(paths[1])
    (tmp_path / "swap").rename(paths[2])
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def test_a_segment_under_a_wrong_number_is_corrupt(tmp_path: Path) -> None:
    paths = cut_into_segments(tmp_path / "log", small_log(tmp_path / "log"))
    paths[-1].rename(tmp_path / "log" / f"{9:020d}.ndjson")
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def test_a_missing_last_segment_after_a_clean_close_is_regressed(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log", clean=True)
    paths = cut_into_segments(tmp_path / "log", ends[:-1])
    paths[-1].unlink()
    refused(tmp_path / "log", LogRegressedError, "REGRESSED")


def test_no_segment_at_all_is_not_a_new_log(tmp_path: Path) -> None:
    small_log(tmp_path / "crashed")
    (tmp_path / "crashed" / SEGMENT).unlink()
    refused(tmp_path / "crashed", LogCorruptError, "CORRUPT")
    small_log(tmp_path / "closed", clean=True)
    (tmp_path / "closed" / SEGMENT).unlink()
    refused(tmp_path / "closed", LogRegressedError, "REGRESSED")


def test_no_genesis_is_not_a_new_log(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    (tmp_path / "log" / "GENESIS.json").unlink()
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_segment_that_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    small_log(tmp_path / "log")
    path = tmp_path / "log" / SEGMENT
    path.rename(tmp_path / "away")
    if kind == "link":
        path.symlink_to(tmp_path / "away")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert verify(tmp_path / "log").verdict == "CORRUPT"
    with pytest.raises(LogCorruptError):
        open_log(tmp_path / "log")
