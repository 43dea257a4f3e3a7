"""Owns the lock that makes one process the writer: flock on a file that is never unlinked.

The lock belongs to the open file, not to the process: a second opener is refused inside one process too, and closing an
unrelated descriptor never drops it, as it would with fcntl locks.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from eventlog.errors import LogLockedError
from eventlog.files import SMALL_FILE_BYTES_MAX, opened_regular, read_small, write_all
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME: Final = "LOCK"
# A reader that asks whether a writer lives holds a shared lock for a moment: a writer must not be refused for that.
_TRIES: Final = 10
_TRY_SECONDS: Final = 0.02
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class LockHolder(Struct, frozen=True, kw_only=True):
    """Who holds the lock, for people; the lock itself is the kernel's."""

    pid: int
    boot_id: str
    host: str
    since: Instant
    purpose: str


def this_process(*, since: Instant, purpose: str) -> LockHolder:
    """Return who asks for the lock."""
    return LockHolder(pid=os.getpid(), boot_id=boot_id(), host=os.uname().nodename, since=since, purpose=purpose)


class LogLock:
    """A held lock."""

    def __init__(self, path: Path, fd: int, fs: FsPort) -> None:
        self.path = path
        self.fd = fd
        self._fs = fs
        self._identity = identity(fs.fstat(fd))
        _held.add(self)  # strongly: an object that is forgotten holds the log all the same

    @classmethod
    def acquire(cls, folder: Path, holder: LockHolder, *, fs: FsPort) -> LogLock:
        """Take the lock and write down who holds it. Raises LogLockedError, OSError."""
        path = folder / LOCK_NAME
        fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        try:
            _flock_exclusive(fd, folder, fs)
            if identity_of_name(path, fs) != identity(fs.fstat(fd)):  # removed and made anew while we waited for it
                raise _locked(folder, fs)
            note = msgspec.json.encode(holder) + b"\n"
            write_all(fd, note, fs=fs)  # over the last holder's, in its place: that works on a full disk too
            fs.truncate(fd, len(note))
        except BaseException:
            fs.close(fd)
            raise
        return cls(path, fd, fs)

    def still_ours(self) -> bool:
        """Return whether the name still leads to the file we hold; somebody may have removed it and made another."""
        return identity_of_name(self.path, self._fs) == self._identity

    def release(self) -> None:
        """Give the lock back; the file stays. Harmless when done before."""
        if self.fd >= 0:
            self._fs.flock(self.fd, fcntl.LOCK_UN)  # explicitly: a forked child may still have the file open
            self._fs.close(self.fd)
            self.fd = -1
        _held.discard(self)

    def drop_inherited(self) -> None:
        """Close a forked child's copy, so that a child that outlives its parent does not keep the log locked."""
        if self.fd >= 0:
            self._fs.close(self.fd)
            self.fd = -1


_held: set[LogLock] = set()


def _drop_inherited_locks() -> None:
    for lock in list(_held):
        lock.drop_inherited()


os.register_at_fork(after_in_child=_drop_inherited_locks)


def identity(info: os.stat_result) -> tuple[int, int]:
    """Return what tells one file from every other that exists."""
    return info.st_dev, info.st_ino


def identity_of_name(path: Path, fs: FsPort) -> tuple[int, int] | None:
    """Return the identity of what is at `path`, a link itself and not what it leads to; None if there is nothing."""
    try:
        return identity(fs.lstat(path))
    except FileNotFoundError:
        return None


def is_locked(folder: Path, *, fs: FsPort = OS_FS) -> bool:
    """Return whether a writer holds the log now, as far as a moment's look can tell."""
    try:
        with opened_regular(folder / LOCK_NAME, fs=fs) as fd, _shared(fd, fs) as free:
            return not free
    except FileNotFoundError:
        return False


def holder_now(folder: Path, *, fs: FsPort = OS_FS) -> LockHolder | None:
    """Return who holds the log now, as it has said of itself; None if nobody does, or it is just saying so."""
    return _read_holder(folder, fs) if is_locked(folder, fs=fs) else None


def boot_id() -> str:
    """Return the kernel's id of this boot, "" where the system has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # only evidence for people; Linux alone has it


@contextmanager
def _shared(fd: int, fs: FsPort) -> Iterator[bool]:
    """Try a shared lock for a moment; yields whether it could be had."""
    try:
        fs.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fs.flock(fd, fcntl.LOCK_UN)


def _flock_exclusive(fd: int, folder: Path, fs: FsPort) -> None:
    for _ in range(_TRIES):
        try:
            fs.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_SECONDS)
        else:
            return
    raise _locked(folder, fs)


def _locked(folder: Path, fs: FsPort) -> LogLockedError:
    holder = _read_holder(folder, fs)
    who = "another process" if holder is None else f"process {holder.pid} on {holder.host} ({holder.purpose})"
    since = "" if holder is None else f" since {holder.since}"
    return LogLockedError(
        f"Open the log in {folder} for writing: {who} holds it{since}.",
        next_step="Wait until it ends, or stop it: `casparian status` says what it does, `casparian stop` ends it.",
    )


def _read_holder(folder: Path, fs: FsPort) -> LockHolder | None:
    try:
        data = read_small(folder / LOCK_NAME, fs=fs)
        return msgspec.json.decode(data, type=LockHolder) if len(data) <= SMALL_FILE_BYTES_MAX else None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None  # the holder is just writing it; the refusal stands without its name
