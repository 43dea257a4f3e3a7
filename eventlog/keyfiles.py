"""Owns the files that keys of a case lie in: made whole or not at all, never written over, private ones private."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from eventlog.errors import KeyFileError
from eventlog.files import (
    created,
    make_folder,
    opened_regular,
    read_small,
    sync_folder,
    temporary,
    write_all,
)
from eventlog.fsport import FILE_MODE
from eventlog.note import SigningKey, VerifyingKey, parse_signing_key, parse_verifying_key

PRIVATE_NAME: Final = "case.key"
PUBLIC_NAME: Final = "case.pub"


def write_key_files(key: SigningKey, *, private: Path, public: Path) -> None:
    """Write both files durably, the private one first. Raises KeyFileError if one exists: nothing is written then."""
    for path in (private, public):
        if os.path.lexists(path):
            raise _exists(path)
    _write_new(private, key.private_text() + "\n")
    _write_new(public, key.verifying.text + "\n")


def read_signing_key(path: Path) -> SigningKey:
    """Return the private key of a file. Raises KeyFileError if it is not there or others can read it, BadNoteError."""
    try:
        with opened_regular(path) as fd:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"Read the private key {path}: it has mode {mode:04o}, so others on this machine can read it.",
                next_step=f"Type `chmod 600 {path}`; if somebody may have read it, make a new key.",
            )
        return parse_signing_key(_text(path))
    except FileNotFoundError:
        raise KeyFileError(
            f"Read the private key {path}: there is no such file.",
            next_step="Make the case's key with `casparian log keygen`, or name another file with --signing-key.",
        ) from None


def read_verifying_key(path: Path) -> VerifyingKey | None:
    """Return the public key of a file, None if there is no such file. Raises BadNoteError, OSError."""
    try:
        return parse_verifying_key(_text(path))
    except FileNotFoundError:
        return None


def _text(path: Path) -> str:
    return read_small(path).decode("utf-8", "replace")  # a key is ASCII: what is replaced fits no form


def _write_new(path: Path, text: str) -> None:
    """Write beside, then give it its name with link, which unlike rename never replaces a file."""
    make_folder(path.parent)
    beside = temporary(path)
    try:
        with created(beside) as fd:
            os.fchmod(fd, FILE_MODE)  # a leftover of a crash keeps the rights that it had
            write_all(fd, text.encode())
            os.fsync(fd)
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError:
        raise _exists(path) from None
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def _exists(path: Path) -> KeyFileError:
    return KeyFileError(
        f"Make a key: {path} exists, and a key is never written over.",
        next_step="Use that key, or move both its files away first and keep them: what they signed needs them.",
    )
