"""Owns the durable file operations of the log: what has returned from here has reached the disk, name and bytes."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
SMALL_FILE_BYTES_MAX: Final = 64 * 1024
COPY_BYTES: Final = 8 * 1024 * 1024
TEMPORARY_SUFFIX: Final = ".tmp"
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache


def sync_data(fd: int) -> None:
    """Bring a file's bytes and size to the disk. Raises OSError; after one, nobody may assume what the disk holds."""
    if _FULL_SYNC is not None:
        fcntl.fcntl(fd, _FULL_SYNC)
    else:
        os.fdatasync(fd)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, so that a created, renamed or removed name stays so."""
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


def sync_file(path: Path) -> None:
    """Bring an existing file's bytes to the disk."""
    with opened_regular(path) as fd:
        os.fsync(fd)


@contextmanager
def opened_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading. Raises OSError for a link, a device or a pipe, without waiting for them."""
    with _opened(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a regular file")
        yield fd


def read_small(path: Path) -> bytes:
    """Return the content of a small regular file, at most SMALL_FILE_BYTES_MAX + 1 bytes of it."""
    with opened_regular(path) as fd:
        return os.pread(fd, SMALL_FILE_BYTES_MAX + 1, 0)


def make_folder(folder: Path) -> None:
    """Create a folder with its parents, private and durably; one that exists is left as it is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)  # as deep as the path is; the root exists
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)


def create_durably(path: Path) -> None:
    """Create an empty file with its name on the disk. Raises FileExistsError."""
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as fd:
        os.fsync(fd)
    sync_folder(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file as a whole: beside, fsync, rename, fsync the folder. A crash leaves the old or the new one."""
    beside = temporary(path)
    with created(beside) as fd:
        write_all(fd, data)
        os.fsync(fd)
    beside.rename(path)
    sync_folder(path.parent)


def copy_prefix_durably(source: Path, target: Path, *, size: int) -> None:
    """Write the first `size` bytes of `source` to a new file `target` and sync it; the name is not synced yet.

    Bytes are read and written, not shared as extents: pages that the kernel wrongly believes to be on the disk after an
    I/O error are written again.
    """
    with opened_regular(source) as origin, created(target) as fd:
        for offset in range(0, size, COPY_BYTES):
            piece = os.pread(origin, min(COPY_BYTES, size - offset), offset)
            write_all(fd, piece)
        if os.fstat(fd).st_size != size:
            raise OSError(f"{source} became shorter than {size} bytes while it was copied")
        os.fsync(fd)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the check reads the disk where it can


def remove_durably(path: Path) -> None:
    """Remove a file with its name; one that is not there stays away."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, however few the system takes at a time. Raises OSError."""
    written = os.write(fd, data)
    while written < len(data):  # at most len(data) rounds: a write of nothing is an error
        more = os.write(fd, memoryview(data)[written:])
        if more == 0:
            raise OSError("the system wrote 0 bytes of a file and gave no reason")
        written += more


def temporary(path: Path) -> Path:
    """Return the name under which a file is written before it is renamed; the lock's holder may remove leftovers."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


@contextmanager
def created(path: Path) -> Iterator[int]:
    """Open a new, empty file for writing; a leftover of that name is emptied."""
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW) as fd:
        yield fd


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    try:
        yield fd
    finally:
        os.close(fd)
