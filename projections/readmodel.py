"""Owns the read model's file for its one writer: deciding whether it can be trusted, and making it anew.

One process writes <home>/readmodel/casparian_flow.duckdb, the one that holds the log's lock. The file is disposable:
whatever is doubtful about it is answered by deleting it and folding the log again, and saying so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
from msgspec import Struct

from eventlog.errors import LogError
from eventlog.files import make_folder, sync_file, sync_folder
from eventlog.ids import LogId, path_text
from projections.errors import ReadModelUnavailableError
from projections.probe import probed_checkpoint, wal_of
from projections.projector import Projector, create_tables, schema_digest
from projections.rows import TABLES, CheckpointRow
from projections.sql_text import is_utf8
from projections.voucher import drop_voucher, vouched_checkpoint, write_voucher
from projections.witness import readmodel_path

if TYPE_CHECKING:
    from eventlog.frames import Frame

BUILDING_SUFFIX: Final = ".building"
READERS_SECONDS_MAX = 1.0  # to wait for readers of the file; then they keep the old one and a new one is made
_RETRY_SECONDS: Final = 0.05


class Writer:
    """The read model, open for writing; `doubt` says why it was made anew, "" where it goes on from where it stood."""

    def __init__(self, path: Path, projector: Projector, *, doubt: str) -> None:
        self.path = path
        self.projector = projector
        self.doubt = doubt

    def close(self) -> None:
        """Close the file and vouch for it. Raises OSError, duckdb.Error; the next opening then looks more closely."""
        self.projector.connection.close()
        write_voucher(self.path, self.projector.checkpoint)

    def abandon(self) -> None:
        """Close the file without vouching for it: something went wrong with it."""
        self.projector.connection.close()


def open_writer(home: Path, log_id: LogId) -> Writer:
    """Open the read model for writing, or make a new and empty one; the caller holds the log's lock.

    A file of another log, of other table definitions, or that cannot be opened is deleted; one without a voucher is
    asked in a child first. The caller then folds the frames after `projector.checkpoint.seq` into it, after checking
    `is_on_chain`. Raises ReadModelUnavailableError.
    """
    path = _usable_path(home)
    try:
        make_folder(path.parent)
        remove_leftovers(path)
        doubt = doubt_of(path, log_id)
        connection = None if doubt else _for_writing(path)
        if connection is not None:
            return Writer(path, Projector(connection), doubt="")
        _delete(path)
        return Writer(path, _create(path, log_id), doubt=doubt or "its file was in use or could not be opened")
    except (OSError, duckdb.Error) as error:
        raise _unavailable(path, error) from error


def doubt_of(path: Path, log_id: LogId) -> str:
    """Return why a file cannot be the read model of a log, "" if it can; asks a child where no voucher answers."""
    if not path.exists():
        return "its file was missing"
    at = vouched_checkpoint(path) or probed_checkpoint(path, thorough=True)
    if at is None:
        return "its file was damaged"
    if at.log_id != log_id:
        return f"it was of another log, {at.log_id}"
    return "" if at.schema_digest == schema_digest() else "it was made by another version"


def is_on_chain(at: CheckpointRow, frames: Iterable[Frame]) -> bool:
    """Say whether a checkpoint belongs to a log, given the log's frames from the one that holds `at.seq` on.

    Frames without records move no checkpoint, so it is compared with the frame that ends at its seq and has records.
    """
    if at.seq == 0:
        return True
    first = next((frame for frame in frames if frame.records), None)
    return first is not None and (first.last, first.hash) == (at.seq, at.hash)


# --- rebuilding as a whole ------------------------------------------------------------------------------------------


class Rebuilt(Struct, frozen=True, kw_only=True):
    """A read model that was made from nothing: the position of the log that it shows, and the rows of each table."""

    checkpoint: CheckpointRow
    seconds: float
    rows: dict[str, int]


def rebuild(home: Path, log_id: LogId, frames: Iterable[Frame]) -> Rebuilt:
    """Fold all frames of the log into a new file beside the read model and put it in its place, durably.

    The caller holds the log's lock. However it ends, the old file or the new one is there, whole. Raises
    ReadModelUnavailableError, and what reading the frames raises.
    """
    path = _usable_path(home)
    building = path.with_name(path.name + BUILDING_SUFFIX)
    began = time.monotonic()
    try:
        make_folder(path.parent)
        remove_leftovers(path)
        built = build(building, log_id, frames)
        sync_file(building)
        drop_voucher(path)
        wal_of(path).unlink(missing_ok=True)  # before the rename: it would be replayed into the new file
        building.rename(path)
        sync_folder(path.parent)
        write_voucher(path, built.checkpoint)
    except LogError:  # some of them are OSErrors too, and say themselves what to do
        raise
    except (OSError, duckdb.Error) as error:
        raise _unavailable(path, error) from error
    return Rebuilt(checkpoint=built.checkpoint, seconds=time.monotonic() - began, rows=built.rows)


def build(path: Path, log_id: LogId, frames: Iterable[Frame]) -> Rebuilt:
    """Fold frames, from the first of the log on, into a new file and close it. Raises as its parts do."""
    began = time.monotonic()
    with duckdb.connect(str(path)) as connection:
        create_tables(connection, log_id)
        projector = Projector(connection)
        projector.apply_all(frames)
        rows = row_counts(connection)
    return Rebuilt(checkpoint=projector.checkpoint, seconds=time.monotonic() - began, rows=rows)


def row_counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        table.name: int(connection.execute(f"SELECT count(*) FROM {table.name}").fetchall()[0][0]) for table in TABLES
    }


def replay_into_duckdb(log_folder: Path, path: Path) -> int:
    """Fold the durable part of a log, checked frame by frame, into a new file; return how many events that were."""
    from eventlog.reader import read_frames
    from eventlog.recovery import require_genesis

    return int(build(path, require_genesis(log_folder)[0].log_id, read_frames(log_folder)).checkpoint.seq)


# --- files ----------------------------------------------------------------------------------------------------------


def remove_leftovers(path: Path) -> None:
    """Remove what a rebuilding left that was killed; no name without the suffix ever led to it."""
    for leftover in path.parent.glob(f"*{BUILDING_SUFFIX}*"):
        leftover.unlink()


def _usable_path(home: Path) -> Path:
    path = readmodel_path(home)
    if not is_utf8(str(path)):
        raise ReadModelUnavailableError(
            f"open the read model of {path_text(bytes(home))}: its name is not UTF-8 and DuckDB cannot open it; "
            "choose another home"
        )
    return path


def _unavailable(path: Path, error: Exception) -> ReadModelUnavailableError:
    return ReadModelUnavailableError(
        f"open the read model {path}: {error}; check that the folder can be written and has space"
    )


def _for_writing(path: Path) -> duckdb.DuckDBPyConnection | None:
    """Take the word for the file back and connect; None if it cannot be opened, or readers hold it for too long."""
    drop_voucher(path)
    give_up = time.monotonic() + READERS_SECONDS_MAX
    while True:
        try:
            return duckdb.connect(str(path))
        except duckdb.Error as error:
            if "lock" not in str(error) or time.monotonic() > give_up:
                return None
        time.sleep(_RETRY_SECONDS)


def _create(path: Path, log_id: LogId) -> Projector:
    connection = duckdb.connect(str(path))
    create_tables(connection, log_id)
    return Projector(connection)


def _delete(path: Path) -> None:
    drop_voucher(path)
    # The log of DuckDB first: without its database it would be replayed into the next one.
    wal_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
