"""A disk that is nearly full, full, or limited: refused in time, or ended and recovered."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog.reserve
from eventlog.errors import LogFullError, LogStorageError
from eventlog.frames import BATCH_BYTES_MAX
from eventlog.fsport import OS_FS
from eventlog.log import EXIT_STORAGE, Log
from eventlog.reserve import BALLAST_NAME, RESERVE_BYTES, kept_bytes
from eventlog.verify import verify
from tests.eventlog.support import LOG_ID, NOW, SEGMENT, append, draft, event, open_log, stop
from tests.eventlog.test_processes import acked, command, recovered_seqs, run

BALLAST = 256 * 1024
RESERVE = 512 * 1024


def open_small(folder: Path) -> Log:
    """Open a log with a reserve and a ballast that fit a small disk."""
    return Log.open(
        folder,
        clock=lambda: NOW,
        new_log_id=lambda: LOG_ID,
        version="0.0.test",
        purpose="test",
        die=stop,
        reserve_bytes=RESERVE,
        ballast_bytes=BALLAST,
    )


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a test say how much is free; every look is a new one."""
    free = [10**12]
    monkeypatch.setattr(OS_FS, "space", lambda _: (free[0], 10**12))
    monkeypatch.setattr(eventlog.reserve, "_LOOK_SECONDS", -1.0)
    return free


def test_a_frame_is_refused_before_it_gets_a_seq_and_taken_when_there_is_room(tmp_path: Path, space: list[int]) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    space[0] = RESERVE_BYTES + BATCH_BYTES_MAX - 1
    for _ in range(2):
        with pytest.raises(LogFullError, match="in reserve") as error:
            log.commit([draft(event(1))])
        assert error.value.next_step
    assert log.head == before
    assert (tmp_path / "log" / SEGMENT).stat().st_size == before.bytes
    space[0] += 1
    assert log.commit([draft(event(1))])[0].first == 2
    log.close()
    assert verify(tmp_path / "log").verdict == "OK"


def test_room_that_was_asked_for_is_kept_for_one_commit(tmp_path: Path, space: list[int]) -> None:
    log = open_log(tmp_path / "log")
    log.require_room()
    space[0] = 0
    assert log.commit([draft(event(1))])[0].first == 2
    with pytest.raises(LogFullError):
        log.commit([draft(event(2))])
    with pytest.raises(LogFullError):
        log.require_room()
    log.close()


def test_a_log_without_room_can_be_opened_marked_and_closed(tmp_path: Path, space: list[int]) -> None:
    space[0] = 0
    log = open_log(tmp_path / "log")
    log.mark()
    log.close()
    result = verify(tmp_path / "log")
    assert (result.verdict, result.clean_close) == ("OK", True)


@pytest.mark.parametrize(
    ("total", "reserve", "kept"),
    [(10**12, RESERVE_BYTES, RESERVE_BYTES + BATCH_BYTES_MAX), (2**20 * 64, RESERVE_BYTES, 2**20 * 4), (10**12, 0, 0)],
    ids=["a disk", "a small disk", "no reserve"],
)
def test_of_a_small_disk_only_a_share_is_kept(total: int, reserve: int, kept: int) -> None:
    assert kept_bytes(total, reserve) == kept


def test_a_file_system_that_does_not_count_is_not_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OS_FS, "space", lambda _: (0, 0))
    log = open_log(tmp_path / "log")
    assert log.commit([draft(event(1))])[0].first == 2
    log.close()


def test_the_ballast_is_really_allocated_and_private(tmp_path: Path) -> None:
    open_small(tmp_path / "log").close()
    info = (tmp_path / "log" / BALLAST_NAME).stat()
    assert info.st_size == BALLAST
    assert info.st_blocks * 512 >= BALLAST
    assert info.st_mode & 0o777 == 0o600
    assert verify(tmp_path / "log").verdict == "OK"


def test_the_ballast_is_given_up_when_the_disk_is_full_and_made_again_when_it_is_not(
    tmp_path: Path, space: list[int]
) -> None:
    ballast = tmp_path / "log" / BALLAST_NAME
    open_small(tmp_path / "log").close()
    assert ballast.exists()
    space[0] = RESERVE  # refused, and not full
    open_small(tmp_path / "log").close()
    assert ballast.exists()
    space[0] = BALLAST - 1
    open_small(tmp_path / "log").close()
    assert not ballast.exists()
    space[0] = 10**12
    open_small(tmp_path / "log").close()
    assert ballast.exists()


def test_a_ballast_that_may_not_be_made_does_not_keep_a_log_from_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(OS_FS, "allocate", refuse)
    open_small(tmp_path / "log").close()
    assert not [path for path in (tmp_path / "log").iterdir() if BALLAST_NAME in path.name]


# --- real disks and limits ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 8 MiB, or skip where that may not be done."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False, timeout=30
    )
    if not done or done.returncode != 0:
        pytest.skip("a small disk cannot be mounted here: this needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=30)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        for piece in (65536, 4096):
            try:
                while True:  # the disk has 8 MiB
                    file.write(bytes(piece))
            except OSError:
                continue


def test_11_a_disk_that_the_log_itself_fills_is_refused_in_time_and_closed(small_disk: Path) -> None:
    log = open_small(small_disk / "log")
    frames = 0
    with pytest.raises(LogFullError):
        for number in range(100):
            log.commit([draft(*[event(number, "x" * 100_000)] * 2)])
            frames += 1
    assert frames > 10
    log.close()
    result = verify(small_disk / "log")
    assert (result.verdict, result.clean_close, result.commits) == ("OK", True, frames + 2)


def test_11_a_repair_that_a_full_disk_has_no_room_for_says_how_much_it_needs(small_disk: Path) -> None:
    log = open_small(small_disk / "log")
    for number in range(10):
        log.commit([draft(*[event(number, "x" * 100_000)] * 2)])
    log.close()
    (small_disk / "log" / "CLOSED").unlink()  # as after a crash, with a torn end
    append(small_disk / "log" / SEGMENT, b"torn")
    fill(small_disk)
    for _ in range(2):
        with pytest.raises(LogStorageError, match=r"needs 20\d\d\d\d\d bytes free"):
            open_small(small_disk / "log")
    (small_disk / "filler").unlink()
    log = open_small(small_disk / "log")
    assert log.recovered is not None
    assert log.epoch == 2
    log.close()
    assert verify(small_disk / "log").verdict == "OK"


def test_11_a_short_torn_log_on_a_full_disk_is_repaired_with_the_ballast(small_disk: Path) -> None:
    log = open_small(small_disk / "log")
    log.commit([draft(event(1))])
    log.close()
    (small_disk / "log" / "CLOSED").unlink()
    append(small_disk / "log" / SEGMENT, b"torn")
    fill(small_disk)
    log = open_small(small_disk / "log")
    assert log.recovered is not None
    with pytest.raises(LogFullError):
        log.commit([draft(event(2))])
    log.close()
    result = verify(small_disk / "log")
    assert (result.verdict, result.clean_close) == ("OK", True)


def limited_offsets(folder: Path) -> tuple[int, int]:
    """Return where the second and the third frame of the child's log end, as long as its own pid is."""
    result = run(command("acks", folder, "2"))
    assert acked(result.stdout) == [2, 3]
    ends = [0]
    for line in (folder / SEGMENT).read_bytes().splitlines(keepends=True):
        ends.append(ends[-1] + len(line))
    return ends[2], ends[4]


@pytest.mark.parametrize("mode", ["limited", "by-the-byte"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_write_that_is_cut_off_anywhere_ends_with_70_and_recovers(tmp_path: Path, mode: str, part: float) -> None:
    begin, end = limited_offsets(tmp_path / "measured")
    _cut_off(tmp_path / "log", mode, begin + int((end - begin) * part))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_10_a_write_that_is_cut_off_at_any_byte_ends_with_70_and_recovers(quick: Path) -> None:
    begin, end = limited_offsets(quick / "measured")
    for limit in range(begin, end + 1, 3):
        _cut_off(quick / f"log-{limit}", "limited", limit)


def _cut_off(folder: Path, mode: str, limit: int) -> None:
    result = run(command(mode, folder, str(limit)))
    assert result.returncode == EXIT_STORAGE, result.stderr
    assert "File too large" in result.stderr
    size = (folder / SEGMENT).stat().st_size
    assert size <= limit
    assert verify(folder).verdict in ("OK", "TORN")
    seqs = recovered_seqs(folder)
    assert seqs == [1, *acked(result.stdout)]
    assert not (folder / "POISON").exists()
