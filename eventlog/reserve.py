"""Owns the room that the log keeps free, so that a full disk is a refusal while it can still be told, and no accident.

Frames are refused while the disk has less than the reserve. BALLAST is a file of really allocated bytes beside the
log; it is given up only by an opening that finds the disk full, so that such a log can be repaired, closed and read.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from eventlog.errors import LogFullError
from eventlog.files import created, exists, remove, remove_durably, sync_folder, temporary
from eventlog.frames import BATCH_BYTES_MAX
from eventlog.fsport import FsPort

RESERVE_BYTES: Final = 64 * 1024 * 1024
RESERVE_SHARE_MAX: Final = 16  # of a small disk no more than a sixteenth is kept
BALLAST_BYTES: Final = 16 * 1024 * 1024
BALLAST_NAME: Final = "BALLAST"
_LOOK_SECONDS: Final = 0.02  # a look costs as much as encoding a frame; the reserve is for what others write meanwhile


class Reserve:
    """Says whether the disk under a folder has room for a batch; looks once in _LOOK_SECONDS and counts in between."""

    def __init__(self, folder: Path, *, reserve_bytes: int, fs: FsPort) -> None:
        self._folder = folder
        self._fs = fs
        self._reserve_bytes = reserve_bytes
        self._looked_at = 0.0
        self._left = -1  # bytes that were free beyond what is kept, less what the log has taken since

    def require(self) -> None:
        """Raise LogFullError if free space is less than the reserve and one batch."""
        now = time.monotonic()
        if self._left >= 0 and now - self._looked_at < _LOOK_SECONDS:
            return
        free, total = self._fs.space(self._folder)
        kept = kept_bytes(total, self._reserve_bytes)
        self._left, self._looked_at = (free - kept if total else BATCH_BYTES_MAX), now
        if self._left < 0:
            raise LogFullError(
                f"Append to the log in {self._folder}: its disk has {free} bytes free and the log keeps {kept} in "
                f"reserve. Nothing of this batch was written.",
                next_step="Make room on that disk, then give the same command again.",
            )

    def has(self, size: int) -> bool:
        """Return whether so many bytes more are free beyond what is kept; False before anybody has looked."""
        return self._left >= size

    def take(self, size: int) -> None:
        """Count what the log has written."""
        self._left -= size


def kept_bytes(total: int, reserve_bytes: int) -> int:
    """Return what must stay free on a disk of this size: the reserve and one batch, and of a small disk its share."""
    return min(reserve_bytes + BATCH_BYTES_MAX, total // RESERVE_SHARE_MAX) if reserve_bytes else 0


def give_up_ballast(folder: Path, *, ballast_bytes: int, fs: FsPort) -> None:
    """Remove BALLAST if the disk has not even its size free. The caller holds the lock."""
    path = folder / BALLAST_NAME
    if ballast_bytes and exists(path, fs=fs) and fs.space(folder)[0] < ballast_bytes:
        remove_durably(path, fs=fs)


def keep_ballast(folder: Path, *, reserve_bytes: int, ballast_bytes: int, fs: FsPort) -> None:
    """Allocate BALLAST if it is not there and the disk has room for it beside the reserve."""
    path = folder / BALLAST_NAME
    if not ballast_bytes or exists(path, fs=fs):
        return
    free, total = fs.space(folder)
    if free < kept_bytes(total, reserve_bytes) + ballast_bytes:
        return
    beside = temporary(path)
    try:
        with created(beside, fs=fs) as fd:
            fs.allocate(fd, ballast_bytes)
            fs.sync(fd)
        fs.rename(beside, path)
        sync_folder(folder, fs=fs)
    except OSError:
        remove(beside, fs=fs)  # a quota or a limit: the log works without it, a full disk is only less kind
