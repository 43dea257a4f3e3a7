"""Owns ANCHOR, the newest signed head of a log: what may be signed, and that only what goes on from it is.

A head is signed after a full audit that finds nothing, with the old ANCHOR as one of its witnesses. So the key never
signs two histories of one log, and a log that lost records is not signed over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eventlog.checkpoint import ANCHOR_PLACE, ANCHORS_NAME, Checkpoint, origin, read_anchor, read_checkpoint
from eventlog.errors import BadNoteError, LogLockedError, LogMissingError
from eventlog.files import make_folder, write_durably
from eventlog.fsport import FILE_MODE
from eventlog.ids import LogId
from eventlog.merkle import CompactRange
from eventlog.note import SigningKey
from eventlog.reader import read_raw_frames
from eventlog.recovery import refusal, require_genesis
from eventlog.verify import verify

_LOCK_NAME: Final = "LOCK"


def sign_head(folder: Path, key: SigningKey) -> tuple[Checkpoint, bytes]:
    """Sign where the durable part of the log ends, make it the new ANCHOR durably, and return it with its note.

    Takes no lock of the log: a writer may be at work. Where nothing newer is known to be durable, ANCHOR is the answer.
    Raises LogMissingError, LogFormatError, LogCorruptError or LogRegressedError for a log whose verdict is not OK,
    BadNoteError for the key of another log, LogLockedError if another process is signing.
    """
    genesis, _ = require_genesis(folder)
    if key.verifying.name != origin(genesis.log_id):
        raise BadNoteError(
            f"Sign the log {genesis.log_id}: the key is of {key.verifying.name}.",
            next_step="Name the key that `casparian log keygen` made for this log.",
        )
    with _signing(folder):
        audit = verify(folder, key=key.verifying)
        if audit.verdict != "OK":
            raise refusal(folder, audit.verdict, audit.findings[0])
        before = read_anchor(folder)
        checkpoint = _durable_checkpoint(folder, genesis.log_id)
        if before is not None and (anchor := read_checkpoint(before, key.verifying)).size >= checkpoint.size:
            return anchor, before
        note = key.sign(checkpoint.text)
        write_durably(folder / ANCHOR_PLACE, note)
    return checkpoint, note


def _durable_checkpoint(folder: Path, log_id: LogId) -> Checkpoint:
    tree, last = CompactRange(), None
    for raw in read_raw_frames(folder):
        tree.extend(raw.lines)
        if raw.line.first <= raw.line.last:
            last = raw.line
    if last is None:
        raise LogMissingError(
            f"Sign the head of the log in {folder}: nothing of it is known to be durable yet.",
            next_step="Run something first.",
        )
    return Checkpoint(log_id=log_id, size=tree.size, root=tree.root(), commit=last.commit, hash=last.hash)


@contextmanager
def _signing(folder: Path) -> Iterator[None]:
    """Hold the right to replace ANCHOR: between reading the old one and writing the new one nobody else may."""
    make_folder(folder / ANCHORS_NAME)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(folder / ANCHORS_NAME / _LOCK_NAME, flags, FILE_MODE)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogLockedError(
                f"Sign the head of the log in {folder}: another process is signing it now.",
                next_step="Wait until it has ended, then try again.",
            ) from None
        yield
    finally:
        os.close(fd)
