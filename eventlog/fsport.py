"""Owns the one way from the log to the file system: a small protocol, and the real system behind it.

Everything that can fail, tear or be lost in a crash passes here, so that a simulated disk can do all of that on
purpose. The lock is part of it: whether it outlives its process is as much a matter of the file system as the bytes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Protocol

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache


class FsPort(Protocol):
    """What the log asks of a file system: the calls of `os` of the same meaning. Each raises OSError as those do."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file or a folder and return its descriptor; a file that `flags` (of `os`) create is private."""

    def close(self, fd: int) -> None: ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return at most `size` bytes from `offset` on, fewer only at the end of the file."""

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write at the descriptor's position, or at the end for O_APPEND; return how many bytes were taken."""

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write from `offset` on, of a file that is not open for appending; return how many bytes were taken."""

    def truncate(self, fd: int, size: int) -> None: ...

    def allocate(self, fd: int, size: int) -> None:
        """Make a file of `size` bytes whose room on the disk is really taken."""

    def sync_data(self, fd: int) -> None:
        """Bring a file's bytes and size to the disk; after an OSError nobody may assume what the disk holds."""

    def sync(self, fd: int) -> None:
        """Bring a file, or the entries of a folder, to the disk. A file's name is its folder's entry."""

    def forget(self, fd: int) -> None:
        """Ask the system to read this file from the disk again and not from memory; a hint."""

    def flock(self, fd: int, operation: int) -> None:
        """Take or give back a lock of the open file, as `fcntl.flock` does. Raises BlockingIOError."""

    def fstat(self, fd: int) -> os.stat_result: ...

    def lstat(self, path: Path | str) -> os.stat_result: ...

    def place(self, path: Path | str) -> tuple[int, int, int]:
        """Return device, inode and size of what has this name, without asking for its times: see eventlog/statx.py."""

    def is_folder(self, path: Path) -> bool:
        """Return whether a folder is there; a link to one counts."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, in no order."""

    def make_folder(self, path: Path) -> None:
        """Create a private folder; one that exists is left as it is."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in place of what had it."""

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. Raises FileExistsError."""

    def unlink(self, path: Path) -> None: ...

    def space(self, folder: Path) -> tuple[int, int]:
        """Return (bytes free to us, bytes in all); a file system that does not count says (0, 0)."""


class OsFs:
    """The file system of this machine."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)

    def close(self, fd: int) -> None:
        os.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def allocate(self, fd: int, size: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            os.write(fd, os.urandom(size))

    def sync_data(self, fd: int) -> None:
        if _FULL_SYNC is not None:
            fcntl.fcntl(fd, _FULL_SYNC)
        else:
            os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def forget(self, fd: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def flock(self, fd: int, operation: int) -> None:
        fcntl.flock(fd, operation)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def lstat(self, path: Path | str) -> os.stat_result:
        return os.lstat(path)

    def place(self, path: Path | str) -> tuple[int, int, int]:
        return _place_of()(path)

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def names(self, folder: Path) -> list[str]:
        return [path.name for path in folder.iterdir()]

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def space(self, folder: Path) -> tuple[int, int]:
        info = os.statvfs(folder)
        return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize


@cache
def _place_of() -> Callable[[Path | str], tuple[int, int, int]]:
    from eventlog.statx import place_of  # only a writer asks, before each write: nobody else pays for ctypes

    return place_of


OS_FS: Final = OsFs()
