"""Owns the folder that a target is: opened, marked as in use, claimed by homes, proven to be writable.

All names are relative to the open folder, so that one that is moved meanwhile cannot split the steps.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from eventlog.ids import LogId, PathText

CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO in the way must not hang us
MODE: Final = 0o644  # less what the umask takes away
MARK_NAME: Final = ".casparian"
MARK_BYTES_MAX: Final = 1024 * 1024  # of its claims, some thousand; what lies behind is not read
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MARK: Final = b"casparian writes tables into this folder; without this file it takes the disk for not mounted\n"


@contextmanager
def opened(path: Path) -> Iterator[int]:
    folder = os.open(path, _FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


def exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


@contextmanager
def opened_marked(path: Path) -> Iterator[int]:
    """Open the folder if it is the one that was marked. Raises OSError: an unmounted disk leaves an empty folder."""
    with opened(path) as folder:
        if not exists(folder, MARK_NAME):
            raise OSError(errno.ENOENT, f"it does not hold {MARK_NAME}, the mark of a folder that is in use")
        yield folder


def mark(folder: int) -> None:
    with suppress(FileExistsError):
        made = os.open(MARK_NAME, CREATE, MODE, dir_fd=folder)
        with open(made, "wb", buffering=0) as file:  # noqa: PTH123  relative to a folder
            file.write(_MARK)
            os.fsync(file.fileno())
    os.fsync(folder)


class Claim(Struct, frozen=True):
    """One line of the mark behind its first: which home of a log uses the folder."""

    log: LogId
    home: PathText


def claims(folder: int) -> dict[LogId, PathText]:
    """Return who has claimed the folder, by log; of a log the last line counts, and one that was torn is none."""
    with open(os.open(MARK_NAME, READ, dir_fd=folder), "rb", buffering=0) as file:  # noqa: PTH123
        lines = (file.read(MARK_BYTES_MAX) or b"").split(b"\n")
    found: dict[LogId, PathText] = {}
    for line in lines[1:]:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            said = msgspec.json.decode(line, type=Claim)
            found[said.log] = said.home
    return found


def add_claim(folder: int, claim: Claim) -> None:
    appending = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(MARK_NAME, appending, dir_fd=folder), "wb", buffering=0) as file:  # noqa: PTH123
        file.write(b"\n" + msgspec.json.encode(claim) + b"\n")  # a line that was torn before stays alone
        os.fsync(file.fileno())


def make_folder(path: Path) -> None:
    """Create the folder and its parents, each durable in its own parent before the next."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):  # made by somebody else meanwhile, or a file: opening it as a folder tells
            folder.mkdir()
        with opened(folder.parent) as parent:
            os.fsync(parent)
