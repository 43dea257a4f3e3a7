"""One contract for every FsPort, run on the real and on the simulated file system; then what only the second can do."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from eventlog.files import (
    copy_prefix_durably,
    create_durably,
    created,
    exists,
    make_folder,
    opened_regular,
    read_small,
    remove_durably,
    sync_file,
    sync_folder,
    write_all,
    write_all_at,
    write_durably,
)
from eventlog.fsport import OS_FS, FsPort
from tests.eventlog.simulated_disk import (
    ROOT,
    SECTOR_BYTES,
    Crash,
    CrashError,
    Fail,
    Lie,
    Short,
    SimulatedDisk,
)

APPEND = os.O_WRONLY | os.O_APPEND
Place = tuple[FsPort, Path]


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give a file system and an empty folder on it."""
    fs, folder = (OS_FS, tmp_path / "log") if request.param == "real" else (SimulatedDisk(), ROOT / "log")
    make_folder(folder, fs=fs)
    return fs, folder


def put(place: Place, name: str, data: bytes) -> Path:
    fs, folder = place
    write_durably(folder / name, data, fs=fs)
    return folder / name


# --- the contract ---


def test_appended_bytes_are_read_back_from_any_offset(place: Place) -> None:
    fs, folder = place
    fd = create_durably(folder / "a", fs=fs)
    assert fs.write(fd, b"hello ") == 6
    assert fs.write(fd, memoryview(b"world")) == 5
    fs.sync_data(fd)
    assert fs.fstat(fd).st_size == 11
    fs.close(fd)
    with opened_regular(folder / "a", fs=fs) as reading:
        assert [fs.read(reading, size, at) for size, at in ((5, 0), (100, 6), (5, 11), (5, 99))] == [
            b"hello", b"world", b"", b"",
        ]  # fmt: skip


def test_a_file_is_created_exclusively_once(place: Place) -> None:
    fs, folder = place
    fs.close(create_durably(folder / "a", fs=fs))
    with pytest.raises(FileExistsError):
        create_durably(folder / "a", fs=fs)


def test_a_write_without_append_goes_over_what_is_there_and_a_created_file_is_emptied(place: Place) -> None:
    fs, _ = place
    path = put(place, "a", b"abcdef")
    fd = fs.open(path, os.O_RDWR)
    write_all(fd, b"xy", fs=fs)
    write_all(fd, b"z", fs=fs)
    assert fs.read(fd, 9, 0) == b"xyzdef"
    fs.truncate(fd, 4)
    assert fs.read(fd, 9, 0) == b"xyzd"
    fs.truncate(fd, 6)
    assert fs.read(fd, 9, 0) == b"xyzd\0\0"
    fs.close(fd)
    with created(path, fs=fs):
        assert fs.lstat(path).st_size == 0


def test_a_write_at_an_offset_goes_there_and_moves_no_position(place: Place) -> None:
    fs, folder = place
    fd = create_durably(folder / "a", fs=fs)
    assert fs.write_at(fd, b"late", 6) == 4
    assert fs.write(fd, b"first") == 5
    write_all_at(fd, b"!", 5, fs=fs)
    assert fs.write(fd, b"?") == 1
    assert fs.read(fd, 99, 0) == b"first?late"
    fs.close(fd)


def test_a_rename_takes_the_place_and_keeps_the_file(place: Place) -> None:
    fs, folder = place
    old, new = put(place, "old", b"old"), put(place, "new", b"new")
    identity = fs.lstat(new).st_ino
    fs.rename(new, old)
    assert sorted(fs.names(folder)) == ["old"]
    assert (read_small(old, fs=fs), fs.lstat(old).st_ino) == (b"new", identity)


def test_a_link_is_the_same_file_and_stays_when_the_first_name_goes(place: Place) -> None:
    fs, folder = place
    path = put(place, "a", b"bytes")
    fs.link(path, folder / "b")
    assert fs.lstat(path).st_ino == fs.lstat(folder / "b").st_ino
    with pytest.raises(FileExistsError):
        fs.link(path, folder / "b")
    remove_durably(path, fs=fs)
    remove_durably(path, fs=fs)
    assert (exists(path, fs=fs), read_small(folder / "b", fs=fs)) == (False, b"bytes")


def test_an_open_file_outlives_its_name(place: Place) -> None:
    fs, _ = place
    path = put(place, "a", b"bytes")
    with opened_regular(path, fs=fs) as fd:
        fs.unlink(path)
        assert fs.read(fd, 9, 0) == b"bytes"


def test_a_prefix_is_copied_and_a_source_that_is_too_short_refused(place: Place) -> None:
    fs, folder = place
    path = put(place, "a", b"x" * 1000)
    copy_prefix_durably(path, folder / "b", size=700, fs=fs)
    assert read_small(folder / "b", fs=fs) == b"x" * 700
    with pytest.raises(OSError, match="became shorter"):
        copy_prefix_durably(path, folder / "b", size=1001, fs=fs)


def test_folders_are_made_with_their_parents_and_told_from_files(place: Place) -> None:
    fs, folder = place
    make_folder(folder / "a" / "b", fs=fs)
    make_folder(folder / "a" / "b", fs=fs)
    fs.make_folder(folder / "a")
    path = put(place, "file", b"")
    assert [fs.is_folder(each) for each in (folder, folder / "a" / "b", path, folder / "none")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert stat.S_ISDIR(fs.lstat(folder).st_mode)
    assert stat.S_ISREG(fs.lstat(path).st_mode)
    with pytest.raises(OSError, match="not a regular file"):
        read_small(folder / "a", fs=fs)
    assert not exists(path / "under", fs=fs)


def test_a_lock_belongs_to_the_open_file_and_goes_with_it(place: Place) -> None:
    fs, _ = place
    path = put(place, "LOCK", b"")
    first, second = fs.open(path, os.O_RDWR), fs.open(path, os.O_RDONLY)
    fs.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for operation in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        with pytest.raises(BlockingIOError):
            fs.flock(second, operation | fcntl.LOCK_NB)
    fs.flock(first, fcntl.LOCK_UN)
    fs.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fs.flock(first, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fs.close(second)
    fs.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fs.close(first)
    last = fs.open(path, os.O_RDWR)
    fs.flock(last, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fs.close(last)


@pytest.mark.parametrize(
    ("number", "call"),
    [
        (errno.ENOENT, lambda fs, folder: fs.open(folder / "none", os.O_RDONLY)),
        (errno.ENOENT, lambda fs, folder: fs.lstat(folder / "none")),
        (errno.ENOENT, lambda fs, folder: fs.place(folder / "none")),
        (errno.ENOENT, lambda fs, folder: fs.unlink(folder / "none")),
        (errno.ENOENT, lambda fs, folder: fs.rename(folder / "none", folder / "b")),
        (errno.ENOENT, lambda fs, folder: fs.link(folder / "none", folder / "b")),
        (errno.ENOENT, lambda fs, folder: fs.names(folder / "none")),
        (errno.ENOTDIR, lambda fs, folder: fs.open(folder / "file", os.O_RDONLY | os.O_DIRECTORY)),
        (errno.ENOTDIR, lambda fs, folder: fs.lstat(folder / "file" / "under")),
        (errno.ENOTDIR, lambda fs, folder: fs.place(folder / "file" / "under")),
        (errno.EISDIR, lambda fs, folder: fs.open(folder, os.O_WRONLY)),
        (errno.EBADF, lambda fs, folder: fs.write(fs.open(folder / "file", os.O_RDONLY), b"x")),
        (errno.EBADF, lambda fs, folder: fs.write_at(fs.open(folder / "file", os.O_RDONLY), b"x", 0)),
        (errno.EBADF, lambda fs, folder: fs.read(fs.open(folder / "file", APPEND), 1, 0)),
        (errno.EEXIST, lambda fs, folder: fs.make_folder(folder / "file")),
    ],
)
def test_what_cannot_be_done_is_refused_alike(place: Place, number: int, call: Callable[..., Any]) -> None:
    put(place, "file", b"bytes")
    with pytest.raises(OSError) as caught:
        call(*place)
    assert caught.value.errno == number


def test_space_is_told_and_taken(place: Place) -> None:
    fs, folder = place
    free, total = fs.space(folder)
    assert 0 <= free <= total
    with created(folder / "BALLAST", fs=fs) as fd:
        fs.allocate(fd, 4096)
        fs.forget(fd)
        assert fs.fstat(fd).st_size == 4096


def _append(fs: FsPort, path: Path, data: bytes) -> None:
    fd = fs.open(path, APPEND)
    write_all(fd, data, fs=fs)
    fs.close(fd)


def _write_at(fs: FsPort, path: Path, data: bytes, offset: int) -> None:
    fd = fs.open(path, os.O_RDWR)
    write_all_at(fd, data, offset, fs=fs)
    fs.close(fd)


def _cut(fs: FsPort, path: Path, size: int) -> None:
    fd = fs.open(path, os.O_RDWR)
    fs.truncate(fd, size)
    fs.close(fd)


def _create(fs: FsPort, path: Path) -> None:
    fs.close(create_durably(path, fs=fs))


def _size(fs: FsPort, path: Path) -> int:
    return fs.lstat(path).st_size


def _random_steps(place: Place, seed: int) -> list[object]:
    """Do what chance says with four names, and return everything that can be seen of it."""
    fs, folder = place
    chance, seen = Random(seed), list[object]()
    for _ in range(60):
        one, other = (folder / chance.choice("abcd") for _ in range(2))
        data, size = chance.randbytes(chance.randrange(9)), chance.randrange(12)

        steps: list[Callable[[], object]] = [
            partial(_append, fs, one, data),
            partial(_cut, fs, one, size),
            partial(_write_at, fs, one, data, size),
            partial(_create, fs, one),
            partial(write_durably, one, data, fs=fs),
            partial(fs.rename, one, other),
            partial(fs.link, one, other),
            partial(fs.unlink, one),
            partial(_size, fs, one),
            partial(sync_file, one, fs=fs),
        ]
        try:
            seen.append(chance.choice(steps)())
        except OSError as error:
            seen.append(error.errno)
        seen.append(sorted((name, read_small(folder / name, fs=fs)) for name in fs.names(folder)))
    return seen


@pytest.mark.parametrize("seed", range(20))
def test_both_file_systems_do_the_same_in_any_order_of_calls(quick: Path, seed: int) -> None:
    simulated = SimulatedDisk()
    make_folder(ROOT / "log", fs=simulated)
    assert _random_steps((OS_FS, quick), seed) == _random_steps((simulated, ROOT / "log"), seed)


# --- what only the simulated disk does ---


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    make_folder(ROOT / "log", fs=disk)
    return disk


def after_power_cuts(make: Callable[[SimulatedDisk], object], *, name: str) -> set[bytes | None]:
    """Return everything that a file may hold after a power cut behind what `make` does; None is no such file."""
    found: set[bytes | None] = set()
    for seed in range(200):
        disk = SimulatedDisk(Random(seed))
        make_folder(ROOT / "log", fs=disk)
        make(disk)
        disk.power_cut()
        found.add(disk.content(ROOT / "log").get(name))
    return found


def test_what_is_not_synced_is_lost_torn_or_kept(disk: SimulatedDisk) -> None:
    data = b"a" * SECTOR_BYTES + b"b" * SECTOR_BYTES + b"c" * 7

    def append(disk: SimulatedDisk) -> None:
        fd = create_durably(ROOT / "log" / "a", fs=disk)
        write_all(fd, data, fs=disk)

    a, b, c = data[:SECTOR_BYTES], data[SECTOR_BYTES : 2 * SECTOR_BYTES], data[2 * SECTOR_BYTES :]
    hole = bytes(SECTOR_BYTES)
    assert {b"", data, a, a + b, a + hole + c, hole + b, hole + b + bytes(7)} <= after_power_cuts(append, name="a")


def test_what_is_synced_stays_and_its_name_only_with_its_folder(disk: SimulatedDisk) -> None:
    def without_folder(disk: SimulatedDisk) -> None:
        with created(ROOT / "log" / "a", fs=disk) as fd:
            write_all(fd, b"bytes", fs=disk)
            disk.sync_data(fd)

    def with_folder(disk: SimulatedDisk) -> None:
        without_folder(disk)
        sync_folder(ROOT / "log", fs=disk)

    assert after_power_cuts(without_folder, name="a") == {None, b"bytes"}
    assert after_power_cuts(with_folder, name="a") == {b"bytes"}


def test_a_rename_may_survive_the_data_that_it_was_to_bring(disk: SimulatedDisk) -> None:
    def without_sync(disk: SimulatedDisk) -> None:
        write_durably(ROOT / "log" / "a", b"old", fs=disk)
        with created(ROOT / "log" / "a.tmp", fs=disk) as fd:
            write_all(fd, b"new", fs=disk)
        disk.rename(ROOT / "log" / "a.tmp", ROOT / "log" / "a")

    assert {b"", b"old", b"new"} <= after_power_cuts(without_sync, name="a")
    durably = after_power_cuts(lambda disk: write_durably(ROOT / "log" / "a", b"new", fs=disk), name="a")
    assert durably == {b"new"}


def test_a_failed_sync_leaves_bytes_that_are_read_and_never_reach_the_disk(disk: SimulatedDisk) -> None:
    def fail_then_sync(disk: SimulatedDisk) -> None:
        fd = create_durably(ROOT / "log" / "a", fs=disk)
        write_all(fd, b"bytes", fs=disk)
        disk.faults[disk.next_call()] = Fail(errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            disk.sync_data(fd)
        disk.sync_data(fd)
        assert disk.content(ROOT / "log")["a"] == b"bytes"

    assert b"" in after_power_cuts(fail_then_sync, name="a")


def test_a_lie_about_a_sync_is_made_good_by_the_next_one(disk: SimulatedDisk) -> None:
    def lie(disk: SimulatedDisk, *, again: bool) -> None:
        fd = create_durably(ROOT / "log" / "a", fs=disk)
        write_all(fd, b"bytes", fs=disk)
        disk.faults[disk.next_call()] = Lie()
        disk.sync_data(fd)
        if again:
            disk.sync_data(fd)

    assert b"" in after_power_cuts(lambda disk: lie(disk, again=False), name="a")
    assert after_power_cuts(lambda disk: lie(disk, again=True), name="a") == {b"bytes"}


def test_a_killed_process_leaves_the_memory_to_the_next_and_the_power_cut_takes_it(disk: SimulatedDisk) -> None:
    def kill(disk: SimulatedDisk) -> None:
        fd = create_durably(ROOT / "log" / "a", fs=disk)
        disk.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_all(fd, b"bytes", fs=disk)
        disk.faults[disk.next_call()] = Crash()
        with pytest.raises(CrashError):
            disk.sync_data(fd)
        with pytest.raises(CrashError):
            disk.close(fd)
        disk.restart()
        assert read_small(ROOT / "log" / "a", fs=disk) == b"bytes"
        again = disk.open(ROOT / "log" / "a", os.O_RDWR)
        disk.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert {b"", b"bytes"} <= after_power_cuts(kill, name="a")


def test_a_write_may_be_short_and_any_call_may_fail(disk: SimulatedDisk) -> None:
    disk.faults[disk.next_call() + 1] = Short(2)
    fd = disk.open(ROOT / "log" / "a", APPEND | os.O_CREAT)
    assert disk.write(fd, b"bytes") == 2
    disk.faults[disk.next_call()] = Fail(errno.ENOSPC)
    with pytest.raises(OSError) as caught:
        disk.write(fd, b"bytes")
    assert caught.value.errno == errno.ENOSPC
    assert disk.calls[-3:] == ["open a", "write", "write"]
    assert disk.content(ROOT / "log") == {"a": b"by"}
