"""Owns the durable file operations of the log: what has returned from here has reached the disk, name and bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Sha256

SMALL_FILE_BYTES_MAX: Final = 64 * 1024
COPY_BYTES: Final = 8 * 1024 * 1024
TEMPORARY_SUFFIX: Final = ".tmp"


def sync_folder(folder: Path, *, fs: FsPort = OS_FS) -> None:
    """Bring a folder's entries to the disk, so that a created, renamed or removed name stays so."""
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY, fs) as fd:
        fs.sync(fd)


def sync_file(path: Path, *, fs: FsPort = OS_FS) -> None:
    """Bring an existing file's bytes to the disk."""
    with opened_regular(path, fs=fs) as fd:
        fs.sync(fd)


@contextmanager
def opened_regular(path: Path, *, fs: FsPort = OS_FS) -> Iterator[int]:
    """Open a regular file for reading. Raises OSError for a link, a device or a pipe, without waiting for them."""
    with _opened(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, fs) as fd:
        if not stat.S_ISREG(fs.fstat(fd).st_mode):
            raise OSError(f"{path} is not a regular file")
        yield fd


def exists(path: Path, *, fs: FsPort = OS_FS) -> bool:
    """Return whether anything has this name, a link to nothing included."""
    try:
        fs.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_small(path: Path, *, fs: FsPort = OS_FS) -> bytes:
    """Return the content of a small regular file, at most SMALL_FILE_BYTES_MAX + 1 bytes of it."""
    with opened_regular(path, fs=fs) as fd:
        return fs.read(fd, SMALL_FILE_BYTES_MAX + 1, 0)


def file_sha256(path: Path, *, fs: FsPort = OS_FS) -> Sha256:
    """Return the SHA-256 of a regular file, read in pieces."""
    digest, offset = hashlib.sha256(), 0
    with opened_regular(path, fs=fs) as fd:
        while piece := fs.read(fd, COPY_BYTES, offset):  # ends with the file
            digest.update(piece)
            offset += len(piece)
    return Sha256(digest.hexdigest())


def make_folder(folder: Path, *, fs: FsPort = OS_FS) -> None:
    """Create a folder with its parents, private and durably; one that exists is left as it is."""
    if fs.is_folder(folder):
        return
    make_folder(folder.parent, fs=fs)  # as deep as the path is; the root exists
    fs.make_folder(folder)
    sync_folder(folder.parent, fs=fs)


def sync_ancestors(folder: Path, *, fs: FsPort = OS_FS) -> None:
    """Bring the names of a folder and of those above it to the disk, up to the mount point.

    Any of them may have been made by a process that ended before it could sync it: that a folder is there says nothing.
    """
    device = fs.lstat(folder).st_dev
    for parent in folder.absolute().parents:
        if fs.lstat(parent).st_dev != device:
            return
        with suppress(PermissionError):  # a folder that is not ours to read holds none that we have made
            sync_folder(parent, fs=fs)


def create_durably(path: Path, *, fs: FsPort = OS_FS) -> int:
    """Create an empty file with its name on the disk; return it open to read and write. Raises FileExistsError."""
    fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
    try:
        fs.sync(fd)
        sync_folder(path.parent, fs=fs)
    except BaseException:
        fs.close(fd)
        raise
    return fd


def write_durably(path: Path, data: bytes, *, fs: FsPort = OS_FS) -> None:
    """Replace a file as a whole: beside, fsync, rename, fsync the folder. A crash leaves the old or the new one."""
    beside = temporary(path)
    with created(beside, fs=fs) as fd:
        write_all(fd, data, fs=fs)
        fs.sync(fd)
    fs.rename(beside, path)
    sync_folder(path.parent, fs=fs)


def copy_prefix_durably(source: Path, target: Path, *, size: int, fs: FsPort = OS_FS) -> None:
    """Write the first `size` bytes of `source` to a new file `target` and sync it; the name is not synced yet.

    Bytes are read and written, not shared as extents: pages that the kernel wrongly believes to be on the disk after an
    I/O error are written again.
    """
    with opened_regular(source, fs=fs) as origin, created(target, fs=fs) as fd:
        for offset in range(0, size, COPY_BYTES):
            piece = fs.read(origin, min(COPY_BYTES, size - offset), offset)
            write_all(fd, piece, fs=fs)
        if fs.fstat(fd).st_size != size:
            raise OSError(f"{source} became shorter than {size} bytes while it was copied")
        fs.sync(fd)
        fs.forget(fd)  # so that the check reads the disk where it can


def remove_durably(path: Path, *, fs: FsPort = OS_FS) -> None:
    """Remove a file with its name; one that is not there stays away."""
    remove(path, fs=fs)
    sync_folder(path.parent, fs=fs)


def remove(path: Path, *, fs: FsPort = OS_FS) -> None:
    """Remove a file; one that is not there stays away. The removal is not synced yet."""
    with suppress(FileNotFoundError):
        fs.unlink(path)


def write_all(fd: int, data: bytes, *, fs: FsPort = OS_FS) -> None:
    """Write all bytes, however few the system takes at a time. Raises OSError."""
    written = fs.write(fd, data)
    while written < len(data):  # at most len(data) rounds: a write of nothing is an error
        written += _progress(fs.write(fd, memoryview(data)[written:]))


def write_all_at(fd: int, data: bytes, offset: int, *, fs: FsPort = OS_FS) -> None:
    """Write all bytes from `offset` on, however few the system takes at a time. Raises OSError."""
    written = fs.write_at(fd, data, offset)
    while written < len(data):  # at most len(data) rounds: a write of nothing is an error
        written += _progress(fs.write_at(fd, memoryview(data)[written:], offset + written))


def _progress(taken: int) -> int:
    if taken == 0:
        raise OSError("the system wrote 0 bytes of a file and gave no reason")
    return taken


def temporary(path: Path) -> Path:
    """Return the name under which a file is written before it is renamed; the lock's holder may remove leftovers."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


@contextmanager
def created(path: Path, *, fs: FsPort = OS_FS) -> Iterator[int]:
    """Open a new, empty file for writing; a leftover of that name is emptied."""
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, fs) as fd:
        yield fd


@contextmanager
def _opened(path: Path, flags: int, fs: FsPort) -> Iterator[int]:
    fd = fs.open(path, flags)
    try:
        yield fd
    finally:
        fs.close(fd)
