"""A backup holds what was durable, also of a log that is written to and sealed meanwhile; damage does not spread."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from eventlog import backup
from eventlog.backup import Backup, back_up
from eventlog.chain import Segment, Waypoint, list_segments
from eventlog.compressed import sealed_path
from eventlog.errors import LogCorruptError, LogError, LogMissingError, LogRegressedError, OtherLogError
from eventlog.fork import fork_log
from eventlog.fsport import FsPort, OsFs
from eventlog.ids import LogId
from eventlog.keyfiles import PUBLIC_NAME, write_key_files
from eventlog.lock import this_process
from eventlog.reader import durable_end, durable_head, read_frames
from eventlog.recovery import Witness
from eventlog.signing import sign_head
from eventlog.verify import verify
from tests.eventlog.support import NOW, ROOT, abandon, append, draft, event, flip_bit, small_log
from tests.eventlog.test_seal_faults import at_every_call
from tests.eventlog.test_sealed_log import KEY, open_log, seal, written

HOLDER: Final = this_process(since=NOW, purpose="test")


def backed_up(folder: Path, target: Path, *, public_key: Path | None = None) -> Backup:
    made = back_up(folder, target, holder=HOLDER, public_key=public_key)
    assert made.verification.verdict == "OK", made.verification.findings
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "LOCK"}


def test_a_backup_holds_everything_and_repeated_only_what_is_new(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    seal(folder)
    write_key_files(KEY, private=tmp_path / "private", public=tmp_path / "public")
    sign_head(folder, KEY)
    first = backed_up(folder, target, public_key=tmp_path / "public")
    assert list(read_frames(target)) == list(read_frames(folder))
    assert (first.verification.signed, first.kept_files) == (verify(folder, key=KEY.verifying).signed, 0)
    assert (target / PUBLIC_NAME).read_bytes() == (tmp_path / "public").read_bytes()
    secret = (tmp_path / "private").read_bytes()
    assert all(secret not in data for data in contents(target).values())
    again = backed_up(folder, target, public_key=tmp_path / "public")
    assert (again.copied_files, again.copied_bytes, again.kept_files) == (0, 0, first.copied_files)
    log = open_log(folder)
    log.commit([draft(event(1))])
    log.close()
    grown = backed_up(folder, target)
    assert grown.copied_files == 2, "the last segment, and the one that the log went on in"
    assert list(read_frames(target)) == list(read_frames(folder))


def test_what_was_copied_raw_is_replaced_when_it_is_sealed(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    backed_up(folder, target)
    assert len(list(target.glob("*.ndjson"))) == len(list_segments(folder)) > 3
    seal(folder)
    backed_up(folder, target)
    assert sorted(path.name for path in target.glob("0*")) == sorted(path.name for path in folder.glob("0*"))


def test_a_cut_copy_is_found_because_it_says_where_it_ends(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    log = written(folder, frames=3)
    backed_up(folder, target)
    os.truncate(target / frames_file(target), 900)
    assert verify(target).verdict in ("REGRESSED", "CORRUPT")
    log.close()


def frames_file(folder: Path) -> str:
    return list_segments(folder)[-1].path.name


def test_a_log_whose_writer_died_is_copied_to_its_last_whole_commit(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    log = written(folder, frames=3)
    head = log.head
    abandon(log)
    append(folder / frames_file(folder), b'{"seq":')
    backed_up(folder, target)
    copied = durable_head(target)
    assert copied is not None
    assert copied.hash == head.hash


def test_a_folder_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    folder, other, third = tmp_path / "log", tmp_path / "other", tmp_path / "third"
    written(folder, frames=2).close()
    third.mkdir()
    (third / "notes.txt").write_text("mine")
    small_log(other, clean=True)
    flip_bit(other / "GENESIS.json", byte=50, bit=0)
    before = contents(other)
    for target in (other, third, third / "notes.txt"):
        with pytest.raises(OtherLogError):
            back_up(folder, target, holder=HOLDER)
    assert contents(other) == before
    assert [path.name for path in third.iterdir()] == ["notes.txt"]
    with pytest.raises(LogMissingError):
        back_up(tmp_path / "nothing", tmp_path / "new", holder=HOLDER)
    assert not (tmp_path / "new").exists()


def test_damage_does_not_spread_to_the_copy(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    seal(folder)
    backed_up(folder, target)
    before = contents(target)
    first = list_segments(folder)[1].first
    flip_bit(sealed_path(folder, first=first), byte=200, bit=2)
    with pytest.raises(LogCorruptError):
        back_up(folder, target, holder=HOLDER)
    assert contents(target) == before


def test_another_history_and_a_shorter_one_do_not_replace_the_copy(tmp_path: Path) -> None:
    folder, target, other = tmp_path / "log", tmp_path / "copy", tmp_path / "elsewhere"
    written(folder, frames=2).close()
    backed_up(folder, other)
    log = open_log(folder)
    log.commit([draft(event(7))])
    log.close()
    backed_up(folder, target)
    before = contents(target)
    with pytest.raises(LogRegressedError):
        back_up(other, target, holder=HOLDER)
    log = open_log(other)
    log.commit([draft(event(8), event(9), event(10), event(11))])
    log.close()
    with pytest.raises(OtherLogError, match="another history"):
        back_up(other, target, holder=HOLDER)
    assert contents(target) == before


def test_a_rotten_sealed_file_of_the_copy_is_copied_anew(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    seal(folder)
    backed_up(folder, target)
    flip_bit(sealed_path(target, first=list_segments(folder)[1].first), byte=200, bit=2)
    assert backed_up(folder, target).copied_files == 2


def test_46_a_backup_during_writes_rotation_and_sealing_is_never_corrupt(tmp_path: Path) -> None:
    folder, target, restored = tmp_path / "log", tmp_path / "copy", tmp_path / "restored"
    log = open_log(folder)
    done = threading.Event()

    def write() -> None:
        for number in range(400):
            log.commit([draft(event(number, "why " * 30))])
        done.set()

    def seal_all() -> None:
        while not done.is_set():
            seal(folder)

    threads = [threading.Thread(target=write), threading.Thread(target=seal_all)]
    for thread in threads:
        thread.start()
    seen = []
    while not done.is_set():
        seen.append(backed_up(folder, target).verification.head_seq)
        shutil.rmtree(restored, ignore_errors=True)
        shutil.copytree(target, restored)
        assert verify(restored).verdict == "OK"
        ahead = Witness(name="the read model", seq=log.head.seq, hash=log.head.hash)
        witnessed = verify(restored, witness_of=lambda _, ahead=ahead: ahead)  # type: ignore[misc]  # bound at once
        assert witnessed.verdict in ("OK", "REGRESSED")
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    assert len(list_segments(target)) > 3
    log.close()
    assert backed_up(folder, target).verification.head_hash == log.head.hash
    abandon(open_log(target))  # it opens


def test_46_the_last_segment_may_fill_and_be_sealed_after_its_end_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    log = written(folder, frames=8)

    def overtaken(folder: Path, *, fs: FsPort) -> tuple[Sequence[Segment], Waypoint]:
        found = durable_end(folder, fs=fs)
        for number in range(20):
            log.commit([draft(event(number, "why " * 30))])
        seal(folder)
        return found

    monkeypatch.setattr(backup, "durable_end", overtaken)
    for _ in range(3):
        backed_up(folder, target)
        assert not sealed_path(target, first=list_segments(target)[-1].first).exists()
    log.close()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_log_that_is_forked_while_it_is_copied_does_not_spoil_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    if not fresh:
        backed_up(folder, target)
        open_log(folder).close()
    before = contents(target) if target.exists() else {}
    forked: list[object] = []

    def end_then_fork(source: Path, *, fs: FsPort) -> tuple[Sequence[Segment], Waypoint]:
        found = durable_end(source, fs=fs)
        forked.append(fork_log(source, from_seq=11, reason="meanwhile", actor="test", log_id=LogId("f" * 32), now=NOW))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(backup, "durable_end", end_then_fork)
        with pytest.raises(LogError):
            back_up(folder, target, holder=HOLDER)
    assert forked
    if not fresh:
        assert contents(target) == before
        assert verify(target).verdict == "OK"
    backed_up(folder, tmp_path / "new")


def test_46_what_another_process_writes_is_copied_while_it_does(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    command = [sys.executable, "-m", "tests.eventlog.child", "acks", str(folder), "400"]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    heads: list[int] = []
    while writer.poll() is None and len(heads) < 1000:
        heads.append(backed_up(folder, target).verification.head_seq)
        time.sleep(0.01)
        os.read(writer.stdout.fileno(), 65536)
    writer.stdout.close()
    assert writer.wait() == 0
    assert heads == sorted(heads)
    assert backed_up(folder, target).verification.head_seq == 401


def test_a_fault_at_any_call_of_a_backup_leaves_what_the_next_one_completes(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target, older = quick / "log", quick / "copy", quick / "older"
    log = written(folder, frames=6)
    backed_up(folder, older)
    for number in range(8):
        log.commit([draft(event(number, "why " * 30))])
    log.close()
    seal(folder)
    before = list(read_frames(folder))
    shutil.copytree(older, target)

    def complete_it() -> None:
        backed_up(folder, target)
        assert list(read_frames(target)) == before
        shutil.rmtree(target)
        shutil.copytree(older, target)

    calls = at_every_call(monkeypatch, lambda: back_up(folder, target, holder=HOLDER), complete_it)
    assert calls > 30
    assert list(read_frames(folder)) == before


def test_a_log_that_lost_its_last_segments_does_not_replace_the_copy(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    backed_up(folder, target)
    before = contents(target)
    for segment in list_segments(folder)[-2:]:
        segment.path.unlink()
    (folder / "CLOSED").unlink()
    with pytest.raises(LogRegressedError, match="its copy at commit"):
        back_up(folder, target, holder=HOLDER)
    assert contents(target) == before


def test_a_seal_that_cannot_be_read_is_named_and_its_bytes_are_not_copied_as_raw_ones(tmp_path: Path) -> None:
    folder, target = tmp_path / "log", tmp_path / "copy"
    written(folder).close()
    seal(folder)
    first = list_segments(folder)[0].first
    manifest = folder / f"{first:020d}.seal"

    class Unreadable(OsFs):
        """Gives an error for the manifest when it is opened for the second time: the walk before it was well."""

        opened = 0

        def open(self, path: Path, flags: int) -> int:
            self.opened += path == manifest
            if path == manifest and self.opened == 2:
                raise OSError(errno.EIO, "Input/output error")
            return super().open(path, flags)

    with pytest.raises(LogCorruptError, match="Input/output error"):
        back_up(folder, target, holder=HOLDER, fs=Unreadable())
    (target / "00000000000000000099.ndjson.tmp").write_bytes(b"what a killed backup left")
    backed_up(folder, target)
    assert not list(target.glob("*.tmp"))
