"""Tests of opening after a crash or damage: what is torn is set aside, what is damaged is refused, nothing else."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog.recovery
from eventlog.errors import LogCorruptError, LogError, LogFormatError, LogRegressedError, LogStorageError
from eventlog.events import LogRecovered, WriterOpened
from eventlog.frames import Frame
from eventlog.fsport import FsPort
from eventlog.recovery import TAIL_BYTES_MAX
from eventlog.verify import verify
from tests.eventlog.support import (
    NOW,
    SEGMENT,
    append,
    crash_image,
    draft,
    event,
    flip_bit,
    frames_of,
    open_log,
    small_log,
    stdlib_frame,
)

SECTOR_BYTES = 512


def reopened(folder: Path) -> list[Frame]:
    """Open, replay and close a log; prove that it then verifies and opens again with the same frames."""
    log = open_log(folder)
    frames = list(log.replay())
    log.close()
    result = verify(folder)
    assert (result.verdict, result.clean_close) == ("OK", True), result
    log = open_log(folder)
    assert list(log.replay())[: len(frames)] == frames
    log.close()
    return frames


def refused(folder: Path, error: type[LogError], verdict: str) -> None:
    """Prove that a log is refused with this verdict and a next step, and that it is left as it was."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "LOCK"}
    assert verify(folder).verdict == verdict
    for _ in range(2):
        with pytest.raises(error) as caught:
            open_log(folder)
        assert caught.value.next_step
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "LOCK"} == before


def test_05_every_truncation_recovers_the_longest_committed_prefix(quick: Path) -> None:
    ends = small_log(quick / "whole")
    data = (quick / "whole" / SEGMENT).read_bytes()
    for length in range(len(data)):
        folder = crash_image(quick / "whole", quick / "cut")
        os.truncate(folder / SEGMENT, length)
        kept = [end for end in ends if end <= length]
        torn = length != (kept[-1] if kept else 0)
        assert verify(folder).verdict == ("TORN" if torn else "OK"), length
        log = open_log(folder)
        frames = list(log.replay())
        assert len(frames) == len(kept) + 1, length
        assert (folder / SEGMENT).read_bytes()[: sum(kept[-1:])] == data[: sum(kept[-1:])]
        assert (log.recovered is not None) == torn
        assert log.epoch == (2 if kept else 1)
        log.close()
        assert verify(folder).verdict == "OK"


def test_what_was_torn_off_is_kept_and_told(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    path = tmp_path / "log" / SEGMENT
    os.truncate(path, ends[-1] - 10)
    damaged = path.read_bytes()
    log = open_log(tmp_path / "log")
    frame = list(log.replay())[-1]
    recovered, opened = (record.data for record in frame.records)
    removed = hashlib.sha256(damaged[ends[-2] :]).hexdigest()
    assert isinstance(opened, WriterOpened)
    assert isinstance(recovered, LogRecovered)
    assert recovered == log.recovered
    assert recovered.kept_as == f"{SEGMENT}.2.{removed[:12]}"
    assert (recovered.kept_bytes, recovered.removed_bytes) == (ends[-2], len(damaged) - ends[-2])
    assert (recovered.segment, recovered.removed_sha256) == (SEGMENT, removed)
    assert (tmp_path / "log" / "quarantine" / recovered.kept_as).read_bytes() == damaged
    log.close()


def test_06_every_flipped_bit_is_reported_and_none_before_the_last_frame_is_torn(quick: Path) -> None:
    folder = quick / "log"
    ends = small_log(folder, frames=2)
    for byte, bit in itertools.product(range(ends[-1]), range(8)):
        flip_bit(folder / SEGMENT, byte=byte, bit=bit)
        verdict = verify(folder).verdict
        flip_bit(folder / SEGMENT, byte=byte, bit=bit)
        assert verdict in (("CORRUPT",) if byte < ends[-2] else ("TORN", "CORRUPT")), (byte, bit, verdict)
    assert verify(folder).verdict == "OK"


@pytest.mark.parametrize("name", [SEGMENT, "GENESIS.json", "CLOSED"])
def test_every_damaged_byte_after_a_clean_close_is_corrupt(quick: Path, name: str) -> None:
    folder = quick / "log"
    small_log(folder, frames=1, clean=True)
    size = (folder / name).stat().st_size
    for byte in range(size):
        bit = byte % 8
        flip_bit(folder / name, byte=byte, bit=bit)
        assert verify(folder).verdict == "CORRUPT", (byte, bit)
        if byte % 50 == 0:
            refused(folder, LogCorruptError, "CORRUPT")
        flip_bit(folder / name, byte=byte, bit=bit)
    assert len(reopened(folder)) == 4


def test_truncation_after_a_clean_close_is_never_taken_for_torn(quick: Path) -> None:
    ends = small_log(quick / "whole", clean=True)
    for length in range(0, ends[-1], 17):
        folder = crash_image(quick / "whole", quick / "cut")
        os.truncate(folder / SEGMENT, length)
        assert verify(folder).verdict == "CORRUPT" if length not in [0, *ends] else "REGRESSED"
    for length in [0, *ends[:-1]]:
        folder = crash_image(quick / "whole", quick / "cut")
        os.truncate(folder / SEGMENT, length)
        refused(folder, LogRegressedError, "REGRESSED")


@pytest.mark.parametrize("garbage", [b"\0" * 4096, b"x", b"\n", b'{"seq":'], ids=["zeros", "byte", "newline", "line"])
def test_garbage_after_a_clean_close_is_corrupt(tmp_path: Path, garbage: bytes) -> None:
    small_log(tmp_path / "log", clean=True)
    append(tmp_path / "log" / SEGMENT, garbage)
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def test_a_whole_frame_after_a_clean_close_is_corrupt(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    head = verify(tmp_path / "log")
    frame, _ = stdlib_frame(
        prev=head.head_hash, commit=head.commits + 1, first=head.head_seq + 1, records=[], durable=head.head_seq
    )
    append(tmp_path / "log" / SEGMENT, frame)
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 4096 + b"{",
        b"\xff" * 4096,
        b'{"seq":99,"type":"JobQ',
        b"\n\n\n",
        b'{"commit":1' * 500,
        b'{"commit":5,"first":5,"last":5,"bytes":0,"ts":"',
    ],
    ids=["zeros and more", "ones", "half a line", "newlines", "commit starts", "half a commit line"],
)
def test_08_a_tail_that_is_no_frame_is_torn(tmp_path: Path, tail: bytes) -> None:
    ends = small_log(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, tail)
    assert verify(tmp_path / "log").verdict == "TORN"
    frames = reopened(tmp_path / "log")
    assert len(frames) == len(ends) + 1


def test_a_commit_line_that_does_not_fit_its_frame_is_no_witness(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    head = verify(tmp_path / "log")
    frame, digest = stdlib_frame(prev="f" * 64, commit=99, first=99, records=[], durable=head.head_seq + 50)
    append(tmp_path / "log" / SEGMENT, b"\0" * 64 + frame.replace(digest.encode(), b"0" * 64))
    assert verify(tmp_path / "log").verdict == "TORN"
    assert len(reopened(tmp_path / "log")) == len(ends) + 1


def test_a_frame_that_lacks_only_its_line_break_is_torn(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    os.truncate(tmp_path / "log" / SEGMENT, ends[-1] - 1)
    assert verify(tmp_path / "log").verdict == "TORN"
    assert len(reopened(tmp_path / "log")) == len(ends)


def test_a_tail_longer_than_a_batch_can_be_is_corrupt(quick: Path) -> None:
    small_log(quick / "log")
    ends = (quick / "log" / SEGMENT).stat().st_size
    os.truncate(quick / "log" / SEGMENT, ends + TAIL_BYTES_MAX - 1)
    append(quick / "log" / SEGMENT, b"x")
    assert verify(quick / "log").verdict == "TORN"
    append(quick / "log" / SEGMENT, b"x")
    refused(quick / "log", LogCorruptError, "CORRUPT")


def test_08_frames_of_another_log_are_torn_off(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    frame, _ = stdlib_frame(
        prev=verify(tmp_path / "log").head_hash,
        commit=5,
        first=5,
        records=[("RunInterrupted", {"run": 1, "reason": "", "interrupted_at": NOW})],
        durable=4,
        log_id="f" * 32,
    )
    append(tmp_path / "log" / SEGMENT, frame)
    assert verify(tmp_path / "log").verdict == "TORN"
    assert len(reopened(tmp_path / "log")) == len(ends) + 1


def test_the_genesis_of_another_log_is_corrupt_and_not_an_empty_log(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    small_log(tmp_path / "other")
    genesis = tmp_path / "other" / "GENESIS.json"
    fields = json.loads(genesis.read_bytes()) | {"log_id": "f" * 32}
    start = json.dumps(fields, separators=(",", ":")).encode().split(b'"hash"')[0]
    digest = hashlib.sha256(b"casparian.genesis.v1\0" + start).hexdigest().encode()
    (tmp_path / "log" / "GENESIS.json").write_bytes(start + b'"hash":"' + digest + b'"}\n')
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def test_a_format_of_a_later_version_is_refused(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    genesis = tmp_path / "log" / "GENESIS.json"
    fields = json.loads(genesis.read_bytes()) | {"incompat": ["zeros"]}
    start = json.dumps(fields, separators=(",", ":")).encode().split(b'"hash"')[0]
    digest = hashlib.sha256(b"casparian.genesis.v1\0" + start).hexdigest().encode()
    genesis.write_bytes(start + b'"hash":"' + digest + b'"}\n')
    refused(tmp_path / "log", LogFormatError, "UNKNOWN-TYPE")


def rearranged(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = folder / SEGMENT
    path.write_bytes(b"".join(change(list(frames_of(path.read_bytes())))))


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: [*frames, frames[-1]],
        lambda frames: [*frames, frames[0]],
        lambda frames: [*frames[:2], *frames[1:]],
        lambda frames: [frames[0], frames[2], frames[1], *frames[3:]],
        lambda frames: [frames[0], *frames[2:]],
        lambda frames: frames[1:],
        lambda frames: frames[::-1],
    ],
    ids=["last twice", "first again", "one twice", "swapped", "one missing", "first missing", "reversed"],
)
def test_rearranged_frames_are_corrupt(tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    small_log(tmp_path / "log", frames=4)
    rearranged(tmp_path / "log", change)
    refused(tmp_path / "log", LogCorruptError, "CORRUPT")


def test_a_mark_that_stands_there_twice_is_corrupt(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.mark()
    folder = crash_image(tmp_path / "log", tmp_path / "crash")
    log.close()
    rearranged(folder, lambda frames: [*frames, frames[-1]])
    refused(folder, LogCorruptError, "CORRUPT")


@pytest.mark.parametrize(
    "change", [{"prev": "0" * 64}, {"first": 6}, {"commit": 5, "first": 6}], ids=["link", "seq", "commit and seq"]
)
def test_an_undamaged_frame_that_does_not_continue_the_chain_is_not_taken(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    ends = small_log(tmp_path / "log")
    fields: dict[str, Any] = {"prev": verify(tmp_path / "log").head_hash, "commit": 5, "first": 5, "durable": 4}
    fields["records"] = [("RunInterrupted", {"run": 1, "reason": "", "interrupted_at": NOW})]
    fields.update(change)
    frame, _ = stdlib_frame(**fields)
    append(tmp_path / "log" / SEGMENT, frame)
    assert verify(tmp_path / "log").verdict == "TORN"
    assert len(reopened(tmp_path / "log")) == len(ends) + 1


def test_damage_to_a_mark_before_a_later_frame_is_corrupt(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.mark()
    begin = (tmp_path / "log" / SEGMENT).read_bytes().index(b'{"commit":2')
    log.commit([draft(event(1))])
    folder = crash_image(tmp_path / "log", tmp_path / "crash")
    log.close()
    flip_bit(folder / SEGMENT, byte=begin + 20, bit=0)
    refused(folder, LogCorruptError, "CORRUPT")


def batch_log(folder: Path) -> tuple[int, int]:
    """Make a crashed log that ends in a batch of several frames; return where the batch begins and ends."""
    log = open_log(folder.with_name("live"))
    log.commit([draft(event(1, "durable " * 60))])
    log.commit([draft(event(2, "durable " * 60))])
    begin = log.head.bytes
    log.commit([draft(event(number, "in flight " * 10)) for number in range(5)])
    end = log.head.bytes
    crash_image(folder.with_name("live"), folder)
    log.close()
    return begin, end


def zeroed(data: bytes, sectors: tuple[int, ...]) -> bytes:
    changed = bytearray(data)
    for sector in sectors:
        stop = min((sector + 1) * SECTOR_BYTES, len(data))
        changed[sector * SECTOR_BYTES : stop] = bytes(stop - sector * SECTOR_BYTES)
    return bytes(changed)


def test_07_every_combination_of_lost_sectors_in_the_last_unsynced_batch_is_torn(quick: Path) -> None:
    begin, end = batch_log(quick / "log")
    path = quick / "log" / SEGMENT
    data = path.read_bytes()
    sectors = range(-(-begin // SECTOR_BYTES), -(-end // SECTOR_BYTES))
    assert len(sectors) >= 5
    for count in range(1, len(sectors) + 1):
        for lost in itertools.combinations(sectors, count):
            path.write_bytes(zeroed(data, lost))
            assert verify(quick / "log").verdict == "TORN", lost
    assert len(reopened(quick / "log")) >= 4


def test_07_every_lost_sector_in_a_durable_batch_is_corrupt(quick: Path) -> None:
    begin, _ = batch_log(quick / "log")
    path = quick / "log" / SEGMENT
    data = path.read_bytes()
    for sector in range(-(-begin // SECTOR_BYTES)):
        path.write_bytes(zeroed(data, (sector,)))
        refused(quick / "log", LogCorruptError, "CORRUPT")


def test_random_damage_to_durable_bytes_is_never_torn(quick: Path) -> None:
    chance = random.Random(7)
    ends = small_log(quick / "log", frames=6)
    path = quick / "log" / SEGMENT
    data = path.read_bytes()
    for _ in range(300):
        start = chance.randrange(ends[-3])
        length = chance.randrange(1, ends[-3] - start + 1)
        noise = chance.choice([b"\0" * length, chance.randbytes(length), b""])
        path.write_bytes(data[:start] + noise + data[start + length :])
        assert verify(quick / "log").verdict == "CORRUPT", (start, length, noise[:4])


# --- crashes of the opening itself ---


def test_a_crash_after_the_first_segment_or_the_genesis_was_created_is_a_new_log(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    os.truncate(tmp_path / "log" / SEGMENT, 0)
    (tmp_path / "log" / "GENESIS.json.tmp").write_bytes(b'{"form')
    assert len(reopened(crash_image(tmp_path / "log", tmp_path / "with-genesis"))) == 1
    (tmp_path / "log" / "GENESIS.json").unlink()
    assert len(reopened(tmp_path / "log")) == 1
    assert not (tmp_path / "log" / "GENESIS.json.tmp").exists()


def test_a_poison_note_makes_the_next_opening_copy_forward(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    path = tmp_path / "log" / SEGMENT
    (tmp_path / "log" / "POISON").write_text("a sync failed")
    data, inode = path.read_bytes(), path.stat().st_ino
    log = open_log(tmp_path / "log")
    assert path.stat().st_ino != inode
    assert path.read_bytes()[: ends[-1]] == data
    assert log.recovered is None
    assert not (tmp_path / "log" / "POISON").exists()
    log.close()
    assert verify(tmp_path / "log").verdict == "OK"


class CrashError(BaseException):
    """The process ends here, as far as the disk can tell."""


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """End the process, so to speak, instead of the `number`th call that changes the disk; returns the calls so far."""
    calls: list[str] = []

    def guarded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise CrashError(name)
            return call(*args, **options)

        return wrapper

    for name in ("fsync", "fdatasync", "link", "rename", "unlink", "mkdir", "write", "pwrite", "ftruncate"):
        monkeypatch.setattr(os, name, guarded(name, getattr(os, name)))
    return calls


def content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "LOCK")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_recovery_that_crashes_anywhere_ends_as_if_it_had_not(quick: Path) -> None:
    ends = small_log(quick / "torn")
    os.truncate(quick / "torn" / SEGMENT, ends[-1] - 5)
    (quick / "torn" / "POISON").write_text("a sync failed")
    uninterrupted = crash_image(quick / "torn", quick / "uninterrupted")
    log = open_log(uninterrupted)
    wanted = content(uninterrupted)
    log.close()
    crashes = 0
    for number in range(1, 60):
        folder = crash_image(quick / "torn", quick / "crashed")
        with pytest.MonkeyPatch.context() as patch:
            calls = crash_at(patch, number)
            try:
                open_log(folder).close()
            except CrashError:
                crashes += 1
            if len(calls) < number:
                break  # it came to its end
        repaired = [name for name in content(folder) if "quarantine" in name]
        log = open_log(folder)
        events = [record.data for frame in log.replay() for record in frame.events]
        assert sum(isinstance(data, LogRecovered) for data in events) == 1, (number, calls)
        if log.epoch == 2:
            assert content(folder) == wanted, (number, calls, repaired)
        log.close()
        assert verify(folder).verdict == "OK"
    assert 12 <= crashes < 59, "recovery has at least that many steps, and all were tried"


def test_recovery_syncs_what_it_keeps_before_it_replaces_anything(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, b"torn")
    with pytest.MonkeyPatch.context() as patch:
        calls = crash_at(patch, 0)
        log = open_log(tmp_path / "log")
    log.close()
    lock = ["write", "ftruncate"]
    read = ["fsync", "fsync"]  # the segment and the folder, before they are believed
    set_aside = ["mkdir", "fsync", "link", "fsync", "fsync"]  # the kept file, then its folder
    copy_forward = ["write", "fsync", "rename", "fsync"]
    no_longer_closed = ["fsync"]
    append_ = ["pwrite", "fdatasync"]
    assert [name for name in calls if name != "unlink"] == [
        *lock, *read, *set_aside, *copy_forward, *no_longer_closed, *append_,
    ]  # fmt: skip


def test_ten_crashes_in_a_row_change_nothing_more(quick: Path) -> None:
    ends = small_log(quick / "log")
    os.truncate(quick / "log" / SEGMENT, ends[-1] - 5)
    for _ in range(10):
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, 9)
            with pytest.raises(CrashError):
                open_log(quick / "log")
    frames = reopened(quick / "log")
    assert [record.type for record in frames[-1].events] == ["LogRecovered", "WriterOpened"]


def test_a_torn_epoch_opening_is_told_together_with_what_it_had_repaired(quick: Path) -> None:
    ends = small_log(quick / "log")
    append(quick / "log" / SEGMENT, b"first tear")
    log = open_log(quick / "log")
    crash_image(quick / "log", quick / "crashed")
    log.close()
    shutil.rmtree(quick / "log")
    os.truncate(quick / "crashed" / SEGMENT, ends[-1] + 100)
    log = open_log(quick / "crashed")
    events = [record.data for record in list(log.replay())[-1].events]
    assert sorted(data.removed_bytes for data in events if isinstance(data, LogRecovered)) == [len(b"first tear"), 100]
    log.close()
    assert verify(quick / "crashed").verdict == "OK"


def test_a_quarantine_beside_an_older_copy_of_the_log_is_not_told_again(quick: Path) -> None:
    ends = small_log(quick / "log", frames=5)
    (quick / "log" / "quarantine").mkdir()
    (quick / "log" / "quarantine" / f"{SEGMENT}.2.0123456789ab").write_bytes(b"something else")
    log = open_log(quick / "log")
    assert log.recovered is None
    assert len(list(log.replay())) == len(ends) + 1
    log.close()


def test_a_quarantined_name_that_is_another_file_is_not_overwritten(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, b"torn")
    kept_as = tmp_path / "log" / "quarantine" / f"{SEGMENT}.2.{hashlib.sha256(b'torn').hexdigest()[:12]}"
    kept_as.parent.mkdir()
    kept_as.write_bytes(b"something else")
    with pytest.raises(LogStorageError, match="is another file"):
        open_log(tmp_path / "log")
    assert kept_as.read_bytes() == b"something else"
    assert verify(tmp_path / "log").verdict == "TORN"


def test_a_copy_that_does_not_read_back_leaves_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_log(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, b"torn")
    before = (tmp_path / "log" / SEGMENT).read_bytes()

    def lose_the_end(source: Path, target: Path, *, size: int, fs: FsPort) -> None:
        target.write_bytes(source.read_bytes()[: size - 1])

    monkeypatch.setattr(eventlog.recovery, "copy_prefix_durably", lose_the_end)
    with pytest.raises(LogStorageError, match="does not read back"):
        open_log(tmp_path / "log")
    assert (tmp_path / "log" / SEGMENT).read_bytes() == before
    monkeypatch.undo()
    reopened(tmp_path / "log")


def test_frames_that_claim_more_bytes_than_there_are_do_not_stall_the_opening(quick: Path) -> None:
    small_log(quick / "log")
    claim, _ = stdlib_frame(prev="0" * 64, commit=9, first=9, records=[], durable=0, log_id="f" * 32)
    claim = claim.replace(b'"bytes":0', b'"bytes":4194304')
    append(quick / "log" / SEGMENT, b"\0" * 4194304 + claim * 5000)
    started = time.monotonic()
    refused(quick / "log", LogCorruptError, "CORRUPT")
    assert time.monotonic() - started < 20
