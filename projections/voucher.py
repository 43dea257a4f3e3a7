"""Owns the voucher of a read model: a small file beside it that says exactly which bytes were closed in good order.

Written after a clean close, removed durably before the next write. A file that its voucher describes, to the digest,
is opened without fear and its checkpoint is known without opening it; any other file is somebody's guess. Knows no
database.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import blake3
import msgspec
from msgspec import Struct

from eventlog.files import opened_regular, read_small, remove_durably, sync_file, write_durably
from projections.rows import CheckpointRow

VOUCHER_NAME: Final = "CLOSED"
_READ_BYTES: Final = 1024 * 1024


class Voucher(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it was closed, and how far the log had been folded into it."""

    size: int
    mtime_ns: int
    digest: str  # BLAKE3 of the file's bytes
    checkpoint: CheckpointRow


def vouched_checkpoint(database: Path) -> CheckpointRow | None:
    """Return the checkpoint of a file that is byte for byte what its voucher says; None in every other case."""
    voucher = _read(_beside(database))
    if voucher is None or (voucher.size, voucher.mtime_ns) != _stat(database):
        return None
    return voucher.checkpoint if _digest(database) == voucher.digest else None


def write_voucher(database: Path, checkpoint: CheckpointRow) -> None:
    """Vouch, durably, for a file that was just closed. Raises OSError."""
    sync_file(database)
    seen = _stat(database)
    assert seen is not None, f"{database} was closed a moment ago and must be there"
    voucher = Voucher(size=seen[0], mtime_ns=seen[1], digest=_digest(database), checkpoint=checkpoint)
    line = msgspec.json.encode(voucher)
    write_durably(_beside(database), line + b"\n" + blake3.blake3(line).hexdigest().encode() + b"\n")


def drop_voucher(database: Path) -> None:
    """Take the word back, durably, before the file is changed; one that is not there costs nothing. Raises OSError."""
    if os.path.lexists(_beside(database)):
        remove_durably(_beside(database))


def _beside(database: Path) -> Path:
    return database.with_name(VOUCHER_NAME)


def _read(path: Path) -> Voucher | None:
    """Return the voucher; None without one, and for one whose own bytes do not fit its second line."""
    try:
        line, seal, *_rest = read_small(path).split(b"\n")
        if seal != blake3.blake3(line).hexdigest().encode():
            return None
        return msgspec.json.decode(line, type=Voucher)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def _stat(database: Path) -> tuple[int, int] | None:
    try:
        seen = database.stat(follow_symlinks=False)
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns


def _digest(database: Path) -> str:
    digest = blake3.blake3()
    try:
        with opened_regular(database) as fd:
            while block := os.read(fd, _READ_BYTES):  # bounded by the size of the file
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
