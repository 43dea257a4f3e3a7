"""Owns the question which file a name leads to and how long it is, put without asking for the file's times.

Since Linux 6.13 a file whose times were asked for gets new ones, in nanoseconds, at its next write; else several writes
within one tick of the clock share theirs. New times are a changed inode, and the next sync takes a quarter longer.
The standard library's stat asks for everything, so statx is called directly; where there is none, it is lstat.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

Place = tuple[int, int, int]  # device, inode, size

_AT_FDCWD: Final = -100  # linux/fcntl.h
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_STATX_TYPE_INO_SIZE: Final = 0x1 | 0x100 | 0x200  # linux/stat.h
_BUFFER_BYTES: Final = 256
_INO_SIZE: Final = struct.Struct("=QQ")
_INO_SIZE_AT: Final = 32
_DEVICE: Final = struct.Struct("=II")
_DEVICE_AT: Final = 136


def place_of(path: Path | str) -> Place:
    """Return what is at `path`, a link itself and not what it leads to. Raises OSError as `os.lstat` does."""
    statx = _statx()
    if statx is None:
        return _by_lstat(path)
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_TYPE_INO_SIZE, buffer) != 0:
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container that forbids what it does not know
            return _by_lstat(path)
        raise OSError(code, os.strerror(code), os.fspath(path))
    inode, size = _INO_SIZE.unpack_from(buffer, _INO_SIZE_AT)
    return os.makedev(*_DEVICE.unpack_from(buffer, _DEVICE_AT)), inode, size


def _by_lstat(path: Path | str) -> Place:
    info = os.lstat(path)
    return info.st_dev, info.st_ino, info.st_size


@cache
def _statx() -> Callable[..., int] | None:
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:
        return None
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    statx.restype = ctypes.c_int
    call: Callable[..., int] = statx
    return call
