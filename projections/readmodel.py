"""Owns the read model's file: making it, deciding whether it can be trusted, and reading beside a writer.

One process writes <home>/readmodel/casparian_flow.duckdb, the one that holds the log's lock. The file is disposable:
whatever is doubtful about it is answered by deleting it and folding the log again. While a writer has the file, DuckDB
lets no other process read it; a reader that cannot use it folds the log by itself, in memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import duckdb
import msgspec

from eventlog.ids import LogId, Seq, path_text
from projections.errors import ReadModelUnavailableError
from projections.projector import Projector, create_tables, read_checkpoint, schema_digest
from projections.rows import CheckpointRow
from projections.sql_text import is_utf8, text_literal

if TYPE_CHECKING:
    from eventlog.frames import Frame
    from projections.catalog import Catalog

Source = Literal["read model", "private fold"]
_Spill = tempfile.TemporaryDirectory[str]

FILE_NAME = "casparian_flow.duckdb"
PROBE_SECONDS_MAX = 60.0  # for a child to open a file that was not closed; then it is rebuilt
READERS_SECONDS_MAX = 1.0  # to wait for readers of the file; then they keep the old one and a new one is made
_RETRY_SECONDS = 0.05
DATABASE = "readmodel"  # the name of the read model inside a reader's connection

_PROBE = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("SELECT seq FROM cf_checkpoint").fetchall()
connection.close()
"""

_PEEK = """
import json, sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
names = ["log_id", "seq", "commit_no", "hash", "schema_digest"]
row = connection.execute("SELECT " + ", ".join(names) + " FROM cf_checkpoint").fetchall()[0]
print(json.dumps(dict(zip(names, row))))
"""


def readmodel_path(home: Path) -> Path:
    """Return where the read model of a home is."""
    return home / "readmodel" / FILE_NAME


# --- the writer -----------------------------------------------------------------------------------------------------


def open_writer(home: Path, log_id: LogId) -> Projector:
    """Open the read model for writing, or make a new and empty one; the caller holds the log's lock.

    A file of another log, of other table definitions, or that cannot be opened is deleted. The caller then folds the
    frames after `projector.checkpoint.seq` into it, after checking `is_on_chain`. Raises ReadModelUnavailableError.
    """
    path = readmodel_path(home)
    if not is_utf8(str(path)):
        raise ReadModelUnavailableError(
            f"open the read model of {path_text(bytes(home))}: its name is not UTF-8 and DuckDB cannot open it; "
            "choose another home"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        projector = _open_existing(path, log_id) if path.exists() else None
        return projector or _create(path, log_id)
    except (OSError, duckdb.Error) as error:
        raise ReadModelUnavailableError(
            f"open the read model {path}: {error}; check that the folder can be written and has space"
        ) from error


def discard(projector: Projector, home: Path, log_id: LogId) -> Projector:
    """Delete a read model that is open for writing and return a new and empty one.

    No cursor of the old connection may be open: DuckDB would go on with the deleted file.
    """
    projector.connection.close()
    _delete(readmodel_path(home))
    return open_writer(home, log_id)


def peek_checkpoint(home: Path) -> CheckpointRow | None:
    """Return how far the home's read model has come, without opening it for writing; None where nobody can say.

    A file that was not closed is asked in a child process: what DuckDB does with it can end the process.
    """
    path = readmodel_path(home)
    try:
        if not path.exists():
            return None
        return _checkpoint_by_child(path) if _wal(path).exists() else _checkpoint_read_only(path)
    except (OSError, duckdb.Error, UnicodeEncodeError, IndexError, msgspec.MsgspecError):
        return None


def _checkpoint_read_only(path: Path) -> CheckpointRow:
    with duckdb.connect(str(path), read_only=True) as connection:
        return read_checkpoint(connection)


def _checkpoint_by_child(path: Path) -> CheckpointRow | None:
    child = _in_child(_PEEK, path)
    return msgspec.json.decode(child.stdout, type=CheckpointRow) if child is not None else None


def checkpoint(projector: Projector) -> tuple[Seq, str]:
    """Return how far the log has been folded: the seq, and the commit hash of the frame that holds it."""
    return projector.checkpoint.seq, projector.checkpoint.hash


def is_on_chain(at: CheckpointRow, frames: Iterable[Frame]) -> bool:
    """Say whether a checkpoint belongs to a log, given the log's frames from the one that holds `at.seq` on.

    Frames without records move no checkpoint, so it is compared with the frame that ends at its seq and has records.
    """
    if at.seq == 0:
        return True
    first = next((frame for frame in frames if frame.records), None)
    return first is not None and (first.last, first.hash) == (at.seq, at.hash)


def _open_existing(path: Path, log_id: LogId) -> Projector | None:
    """Return a projector on the file, or None after deleting a file that cannot be used."""
    if _wal(path).exists() and not _survives_opening(path):
        _delete(path)
        return None
    connection = _connect_patiently(path)
    if connection is None:
        _delete(path)
        return None
    if _is_ours(connection, log_id):
        return Projector(connection)
    connection.close()
    _delete(path)
    return None


def _is_ours(connection: duckdb.DuckDBPyConnection, log_id: LogId) -> bool:
    """Say whether the tables are of this log and of these definitions; a file without a checkpoint is not."""
    try:
        at = read_checkpoint(connection)
    except (duckdb.Error, IndexError):
        return False
    return (at.log_id, at.schema_digest) == (log_id, schema_digest())


def _survives_opening(path: Path) -> bool:
    """Open, in a child process, a file that was not closed: what DuckDB does then can end the process."""
    return _in_child(_PROBE, path) is not None


def _in_child(program: str, path: Path) -> subprocess.CompletedProcess[bytes] | None:
    """Run a program on the file in a process of its own; None if it failed, died, or took too long."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", program, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return child if child.returncode == 0 else None


def _connect_patiently(path: Path) -> duckdb.DuckDBPyConnection | None:
    """Connect for writing; None if the file cannot be opened, or readers hold it for too long."""
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
    # The log of DuckDB first: without its database it would be replayed into the next one.
    _wal(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


# --- readers --------------------------------------------------------------------------------------------------------


class Reader:
    """A connection to a read model for read verbs: the file where it is up to date, a private fold elsewhere.

    `seq` is the position of the log that is shown. Belongs to one thread. Writes no file of the home; what does not
    fit into memory goes to a private folder among the temporary files, until `close`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, source: Source, spill: _Spill) -> None:
        self.connection = connection
        self.source: Source = source
        self.seq: Seq = read_checkpoint(connection).seq
        self.catalog: Catalog | None = None  # set when the first user's query locks the connection
        self._spill = spill

    def close(self) -> None:
        """Close the connection; a second time changes nothing."""
        self.connection.close()
        self._spill.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_reader(home: Path, log_folder: Path) -> Reader:
    """Open what is known up to the log's durable head, whether or not a writer is at work.

    Raises LogMissingError and the errors of reading the log.
    """
    log_id = _log_id(log_folder)
    spill: _Spill = tempfile.TemporaryDirectory(prefix="casparian-")
    connection = duckdb.connect(":memory:", config={"temp_directory": spill.name})
    try:
        if not _attach_file(connection, readmodel_path(home), log_id, log_folder):
            source: Source = "private fold"
            _fold_privately(connection, log_id, log_folder)
        else:
            source = "read model"
        connection.execute(f"SET search_path = 'memory.main,{DATABASE}.main'")
        connection.execute("SET TimeZone = 'UTC'")
        return Reader(connection, source=source, spill=spill)
    except BaseException:
        connection.close()
        spill.cleanup()
        raise


def _attach_file(connection: duckdb.DuckDBPyConnection, path: Path, log_id: LogId, log_folder: Path) -> bool:
    """Attach the file and use it, unless it is missing, in use, not closed cleanly, or not at the log's head."""
    if not is_utf8(str(path)) or not path.exists() or _wal(path).exists():
        return False
    try:
        connection.execute(f"ATTACH {text_literal(str(path))} AS {DATABASE} (READ_ONLY)")
        connection.execute(f"USE {DATABASE}")
    except duckdb.Error:  # the answer to every doubt is a private fold
        _detach(connection)
        return False
    if _is_ours(connection, log_id) and _is_head(read_checkpoint(connection), log_folder):
        return True
    _detach(connection)
    return False


def _detach(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("USE memory")
    connection.execute(f"DETACH DATABASE IF EXISTS {DATABASE}")


def _is_head(at: CheckpointRow, log_folder: Path) -> bool:
    """Say whether the log's last durable frame with records is the one of the checkpoint."""
    from eventlog.reader import read_frames

    if at.seq == 0:
        return False
    full = list(islice((frame for frame in read_frames(log_folder, from_seq=at.seq) if frame.records), 2))
    return len(full) == 1 and is_on_chain(at, full)


def _fold_privately(connection: duckdb.DuckDBPyConnection, log_id: LogId, log_folder: Path) -> None:
    from eventlog.reader import read_frames

    connection.execute(f"ATTACH ':memory:' AS {DATABASE}")
    connection.execute(f"USE {DATABASE}")
    create_tables(connection, log_id)
    Projector(connection).apply_all(read_frames(log_folder))


def _log_id(log_folder: Path) -> LogId:
    from eventlog.recovery import require_genesis

    return require_genesis(log_folder)[0].log_id
