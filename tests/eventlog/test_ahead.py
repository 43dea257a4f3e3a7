"""Zeros that are written ahead: who meets them takes them for nothing, and they are gone where the end is told."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from eventlog.backup import back_up
from eventlog.chain import AHEAD_BYTES_MAX
from eventlog.events import LogRecovered
from eventlog.fork import fork_log
from eventlog.ids import LogId
from eventlog.lineage import alone
from eventlog.lock import this_process
from eventlog.log import Log
from eventlog.reader import read_frames
from eventlog.recovery import Witness
from eventlog.reserve import RESERVE_BYTES, kept_bytes
from eventlog.sealing import seal_full_segments
from eventlog.slices import export_slice
from eventlog.standalone.verify import check
from eventlog.stats import measure
from eventlog.verify import verify
from tests.eventlog.simulated_disk import ROOT, Fail, SimulatedDisk
from tests.eventlog.support import (
    LOG_ID,
    NOW,
    SEGMENT,
    StoppedError,
    abandon,
    append,
    crash_image,
    draft,
    event,
    frames_of,
    genesis_hash,
    open_log,
)

AHEAD = 4096
NEXT = "00000000000000000005.ndjson"  # the segment behind four records


def written(folder: Path, *, commits: int = 3) -> Log:
    """Return an open log with zeros ahead: its epoch's record and one for each commit."""
    log = open_log(folder, ahead_bytes=AHEAD)
    for number in range(commits):
        log.commit([draft(event(number))])
    return log


def killed(folder: Path, *, commits: int = 3) -> int:
    """Leave a log as a killed writer does; return where its last frame ends."""
    log = written(folder, commits=commits)
    abandon(log)
    return log.head.bytes


def size(folder: Path, name: str = SEGMENT) -> int:
    return (folder / name).stat().st_size


def verdicts(folder: Path) -> str:
    """Return the verdict that both verifiers come to."""
    fast, slow = verify(folder), check(folder)
    assert (fast.verdict, fast.head_hash) == (slow["verdict"], slow["head_hash"])
    return fast.verdict


# --- while it is written ---


def test_batches_overwrite_the_zeros_and_the_file_grows_in_steps(tmp_path: Path) -> None:
    log = open_log(tmp_path, ahead_bytes=AHEAD)
    assert size(tmp_path) == log.head.bytes, "an opening writes no zeros: it may be all that a full disk has room for"
    sizes = {size(tmp_path)}
    for number in range(30):
        log.commit([draft(event(number))])
        sizes.add(size(tmp_path))
        assert (tmp_path / SEGMENT).read_bytes()[log.head.bytes :].strip(b"\0") == b""
    assert len(sizes) < 8
    assert [record.seq for frame in log.replay() for record in frame.records] == list(range(1, 32))
    log.close()


def test_everybody_reads_the_log_as_if_it_ended_before_them(tmp_path: Path) -> None:
    log = written(tmp_path)
    frames = list(log.replay())
    assert size(tmp_path) > log.head.bytes
    assert list(read_frames(tmp_path)) == frames[:-1], "the last one is durable when the next one says so"
    (stats,) = measure(tmp_path).segments
    assert (stats.raw_bytes, stats.stored_bytes, stats.problem) == (log.head.bytes, log.head.bytes, "")
    assert verdicts(tmp_path) == "OK"
    assert verify(tmp_path).writer_active
    log.close()


def test_a_copy_and_a_slice_of_a_log_that_is_written_hold_none(tmp_path: Path) -> None:
    log = written(tmp_path / "log")
    said = back_up(tmp_path / "log", tmp_path / "copy", holder=this_process(since=NOW, purpose="test"))
    assert said.verification.verdict == "OK"
    export_slice(tmp_path / "log", tmp_path / "slice")
    for copied in (tmp_path / "copy" / SEGMENT, tmp_path / "slice" / SEGMENT):
        assert copied.read_bytes().endswith(b"}\n")
    log.close()


def test_a_full_segment_is_cut_before_there_is_a_next_one(tmp_path: Path) -> None:
    log = written(tmp_path)
    assert size(tmp_path) > log.head.bytes
    log.rotate()
    assert (tmp_path / SEGMENT).read_bytes().endswith(b"}\n")
    log.commit([draft(event(4))])
    assert size(tmp_path, NEXT) > log.head.bytes
    assert seal_full_segments(
        tmp_path, lineage=alone(LOG_ID, genesis_hash(tmp_path)), key=None, leave=lambda: False
    ) == 1  # fmt: skip
    assert verify(tmp_path).verdict == "OK"
    log.close()


def test_the_cut_is_on_the_disk_before_the_next_segment_and_before_the_clean_end_are() -> None:
    disk = SimulatedDisk(Random(0))
    log = open_log(ROOT / "log", fs=disk, ahead_bytes=AHEAD)
    for leave in (log.rotate, log.close):
        log.commit([draft(event(1))])
        before = len(disk.calls)
        leave()
        calls = disk.calls[before:]
        cut = calls.index("truncate")
        told = next(index for index, call in enumerate(calls) if call.startswith("open "))
        assert (calls[cut + 1], cut + 1 < told) == ("sync", True)


def test_none_are_written_behind_the_bound_of_a_segment(tmp_path: Path) -> None:
    log = open_log(tmp_path, ahead_bytes=AHEAD, segment_bytes=2000)
    while log.full_segments == 0:  # a few commits
        log.commit([draft(event(1))])
        assert max(size(tmp_path, path.name) for path in tmp_path.glob("*.ndjson")) <= 2000
    log.close()


def test_none_are_written_where_the_disk_has_no_room_beside_the_reserve() -> None:
    disk = SimulatedDisk(Random(0))
    log = open_log(ROOT / "log", fs=disk, ahead_bytes=AHEAD)
    disk.free_bytes = kept_bytes(10**12, RESERVE_BYTES) + AHEAD - 1
    log._reserve._looked_at = 0.0
    log.commit([draft(event(1))])
    assert len(disk.content(ROOT / "log")[SEGMENT]) == log.head.bytes
    log.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_where_they_cannot_be_written_for_want_of_room_the_log_works_without(number: int) -> None:
    disk = SimulatedDisk(Random(0))
    log = open_log(ROOT / "log", fs=disk, ahead_bytes=AHEAD)
    disk.change_faults[disk.changes + 2] = Fail(number)
    (frame,) = log.commit([draft(event(1))])
    assert [call for call, _ in disk.met] == ["write"]
    assert len(disk.content(ROOT / "log")[SEGMENT]) == log.head.bytes
    log.close()
    assert frame in list(read_frames(ROOT / "log", fs=disk))


def test_a_disk_that_fails_to_write_them_ends_the_process() -> None:
    disk = SimulatedDisk(Random(0))
    log = open_log(ROOT / "log", fs=disk, ahead_bytes=AHEAD)
    disk.change_faults[disk.changes + 2] = Fail(errno.EIO)
    with pytest.raises(StoppedError, match="Input/output error"):
        log.commit([draft(event(1))])


# --- somebody else ---


def test_20_a_foreign_append_behind_the_zeros_is_noticed_before_the_next_write(tmp_path: Path) -> None:
    log = written(tmp_path)
    append(tmp_path / SEGMENT, b"\0" * 10)
    with pytest.raises(StoppedError, match="somebody else wrote to it"):
        log.commit([draft(event(9))])


def test_20_a_foreign_frame_over_the_zeros_is_noticed_before_the_next_write(tmp_path: Path) -> None:
    log = written(tmp_path)
    with (tmp_path / SEGMENT).open("r+b") as file:
        file.seek(log.head.bytes)
        file.write(b'{"seq":')
    with pytest.raises(StoppedError, match="somebody else wrote to it"):
        log.commit([draft(event(9))])


# --- after a crash ---


def test_a_clean_close_leaves_none(tmp_path: Path) -> None:
    log = written(tmp_path)
    log.close()
    assert size(tmp_path) == log.head.bytes
    assert verify(tmp_path).clean_close


@pytest.mark.parametrize("ahead_bytes", [0, AHEAD])
def test_what_a_killed_writer_left_is_whole_and_written_over(tmp_path: Path, ahead_bytes: int) -> None:
    end = killed(tmp_path)
    assert size(tmp_path) > end
    assert verdicts(tmp_path) == "OK"
    log = open_log(tmp_path, ahead_bytes=ahead_bytes)
    assert log.recovered is None
    (frame,) = log.commit([draft(event(9))])
    assert frame in list(log.replay())
    assert (tmp_path / SEGMENT).read_bytes()[end - 2 : end + 2] == b'}\n{"'
    log.close()
    assert verdicts(tmp_path) == "OK"


def test_a_log_without_any_goes_on_with_them(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.commit([draft(event(1))])
    abandon(log)
    log = open_log(tmp_path, ahead_bytes=AHEAD)
    log.commit([draft(event(2))])
    assert size(tmp_path) > log.head.bytes
    log.close()
    assert verdicts(tmp_path) == "OK"


def test_a_torn_frame_before_them_is_torn_at_every_length(quick: Path) -> None:
    end = killed(quick / "log")
    data = (quick / "log" / SEGMENT).read_bytes()
    last = len(list(frames_of(data[:end]))[-1])
    for lost in range(1, last):
        image = crash_image(quick / "log", quick / "image")
        (image / SEGMENT).write_bytes(data[: end - lost] + bytes(len(data) - end + lost))
        assert verdicts(image) == "TORN", lost
        log = open_log(image, ahead_bytes=AHEAD)
        assert isinstance(log.recovered, LogRecovered)
        assert log.recovered.removed_bytes == last - lost, "the zeros are no part of what was lost"
        assert log.recovered.kept_bytes == end - last
        log.close()
        assert verdicts(image) == "OK"


def test_lost_sectors_of_the_last_batch_are_torn_and_of_a_durable_one_corrupt(tmp_path: Path) -> None:
    end = killed(tmp_path / "log", commits=6)
    data = (tmp_path / "log" / SEGMENT).read_bytes()
    starts = [0]
    for frame in frames_of(data[:end]):
        starts.append(starts[-1] + len(frame))
    for start, stop in pairwise(starts[1:]):  # behind the first commit
        hole = bytearray(data)
        hole[start + 10 : stop - 10] = bytes(stop - start - 20)
        (tmp_path / "log" / SEGMENT).write_bytes(hole)
        assert verdicts(tmp_path / "log") == ("TORN" if stop == end else "CORRUPT"), start


def test_zeros_behind_a_clean_end_are_corrupt(tmp_path: Path) -> None:
    written(tmp_path).close()
    append(tmp_path / SEGMENT, b"\0")
    assert verdicts(tmp_path) == "CORRUPT"


def test_zeros_in_place_of_the_last_frames_of_a_clean_end_are_corrupt(tmp_path: Path) -> None:
    log = written(tmp_path)
    before = log.head.bytes
    log.close()
    data = (tmp_path / SEGMENT).read_bytes()
    (tmp_path / SEGMENT).write_bytes(data[:before] + bytes(len(data) - before))
    assert verdicts(tmp_path) == "CORRUPT"


def test_zeros_in_place_of_the_last_frames_after_a_crash_are_seen_by_a_witness_alone(tmp_path: Path) -> None:
    """No frame knows of those behind it: `verify` says up to where somebody does."""
    log = written(tmp_path / "log")
    last = log.head
    abandon(log)
    path = tmp_path / "log" / SEGMENT
    frames = list(frames_of(path.read_bytes()[: last.bytes]))
    kept = last.bytes - len(frames[-1])
    zeroed = path.read_bytes()[:kept] + bytes(path.stat().st_size - kept)
    whole = verify(tmp_path / "log", witness_of=lambda _: Witness(name="a test", seq=last.seq, hash=last.hash))
    assert (whole.verdict, whole.head_seq, whole.witnessed) == ("OK", last.seq, last.seq)
    path.write_bytes(zeroed)
    alone = verify(tmp_path / "log")
    assert (alone.verdict, alone.head_seq, alone.witnessed) == ("OK", last.seq - 1, 0)
    seen = verify(tmp_path / "log", witness_of=lambda _: Witness(name="a test", seq=last.seq, hash=last.hash))
    assert (seen.verdict, seen.witnessed) == ("REGRESSED", 0)


def test_zeros_at_the_end_of_a_segment_that_has_a_successor_are_corrupt(tmp_path: Path) -> None:
    log = written(tmp_path)
    log.rotate()
    log.commit([draft(event(4))])
    abandon(log)
    assert verdicts(tmp_path) == "OK"
    append(tmp_path / SEGMENT, b"\0")
    assert verdicts(tmp_path) == "CORRUPT"


def test_08_more_zeros_than_are_ever_written_are_corrupt(tmp_path: Path) -> None:
    end = killed(tmp_path)
    os.truncate(tmp_path / SEGMENT, end + AHEAD_BYTES_MAX)
    assert verdicts(tmp_path) == "OK"
    os.truncate(tmp_path / SEGMENT, end + AHEAD_BYTES_MAX + 1)
    assert verdicts(tmp_path) == "CORRUPT"


def test_a_fork_from_the_last_record_cuts_them(tmp_path: Path) -> None:
    end = killed(tmp_path)
    fork_log(tmp_path, from_seq=4, reason="a test", actor="cli:test", log_id=LogId("e" * 32), now=NOW)
    assert size(tmp_path) == end
    open_log(tmp_path, ahead_bytes=AHEAD).close()
    assert verdicts(tmp_path) == "OK"
