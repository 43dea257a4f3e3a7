"""Owns the note REPAIRED: what a repair has put into the log's folder and the log itself does not tell yet.

It is durable before the first file is replaced. The next opening tells of it in the frame that begins its epoch, and
removes it. The note names that epoch: a crash in between cannot make the log tell of one repair twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from eventlog.errors import LogCorruptError
from eventlog.events import LogRepaired
from eventlog.files import exists, read_small, remove_durably, write_durably
from eventlog.fsport import OS_FS, FsPort

REPAIRED_NAME: Final = "REPAIRED"
NOTED_MAX: Final = 64  # files of one note, which is a small file and goes into one frame


class _Note(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    epoch: int
    repairs: tuple[LogRepaired, ...]


def write_note(folder: Path, *, epoch: int, repairs: tuple[LogRepaired, ...], fs: FsPort = OS_FS) -> None:
    """Write durably what the epoch that begins next is to tell of."""
    write_durably(folder / REPAIRED_NAME, msgspec.json.encode(_Note(epoch=epoch, repairs=repairs)) + b"\n", fs=fs)


def read_note(folder: Path, *, epoch: int, fs: FsPort = OS_FS) -> tuple[LogRepaired, ...]:
    """Return what the epoch that begins next must tell of; nothing where an earlier one has told of it.

    Raises LogCorruptError if the note cannot be read.
    """
    path = folder / REPAIRED_NAME
    if not exists(path, fs=fs):
        return ()
    try:
        note = msgspec.json.decode(read_small(path, fs=fs), type=_Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogCorruptError(
            f"Read the note of a repair {path}: {error}.",
            next_step="Keep it elsewhere and remove it: the log then does not tell of that repair, quarantine/ does.",
        ) from error
    return note.repairs if note.epoch == epoch else ()


def remove_note(folder: Path, *, fs: FsPort = OS_FS) -> None:
    """Remove the note durably; harmless where there is none."""
    if exists(folder / REPAIRED_NAME, fs=fs):
        remove_durably(folder / REPAIRED_NAME, fs=fs)
