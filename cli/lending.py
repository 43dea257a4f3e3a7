"""Owns the copies of a sentinel's read model that it lends: nobody else can open the file that it writes.

A query of a person runs in that person's process, on a copy: it may crash, take minutes or all memory, and neither the
log nor anybody's job notices. A copy is made on the projection's thread, and only where something was recorded since.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
from msgspec import Struct

from projections.copying import copy_read_model
from projections.projector import read_checkpoint
from projections.voucher import write_voucher

if TYPE_CHECKING:
    from cli.projecting import ProjectionThread
    from projections.rows import CheckpointRow

COPIES_MAX: Final = 2  # the one before the newest may just be being opened
FOLDER_PREFIX: Final = "lent-"


class Lent(Struct, frozen=True, kw_only=True):
    """A copy that shows the log up to its checkpoint. It may be gone when somebody opens it."""

    path: Path
    checkpoint: CheckpointRow

    @property
    def seq(self) -> int:
        return self.checkpoint.seq


class Lender:
    """Makes copies and removes them. From any thread."""

    def __init__(self, projection: ProjectionThread, scratch: Path) -> None:
        self._projection = projection
        self._scratch = scratch
        self._lock = threading.Lock()
        self._copies: list[Lent] = []

    def lend(self) -> Lent:
        """Return a copy that shows all that is durable now. Raises OSError, ProjectorFailedError."""
        with self._lock:
            lent = self._projection.ask(self._current)
            if lent not in self._copies:
                write_voucher(lent.path, lent.checkpoint)
                self._copies.append(lent)
                for old in self._copies[:-COPIES_MAX]:
                    shutil.rmtree(old.path.parent, ignore_errors=True)
                self._copies = self._copies[-COPIES_MAX:]
            return lent

    def clear(self) -> None:
        """Remove all copies, also those that a crash left. Who has one open goes on."""
        with self._lock:
            self._copies = []
            for left in self._scratch.glob(f"{FOLDER_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)

    def _current(self, connection: duckdb.DuckDBPyConnection) -> Lent:
        """Return the newest copy if nothing was recorded since, else a new one; on the projection's thread."""
        checkpoint = read_checkpoint(connection)
        if self._copies and self._copies[-1].checkpoint == checkpoint:
            return self._copies[-1]
        folder = self._scratch / f"{FOLDER_PREFIX}{checkpoint.seq}"
        shutil.rmtree(folder, ignore_errors=True)  # of a copy that could not be finished
        folder.mkdir(mode=0o700)
        lent = Lent(path=folder / "readmodel.duckdb", checkpoint=checkpoint)
        copy_read_model(connection, lent.path)
        return lent
