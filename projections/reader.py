"""Owns a reader's connection: the read model's file where it is vouched for and up to date, a private fold elsewhere.

While a writer has the file, DuckDB lets no other process read it, and there is no voucher; then the writer may lend a
copy, and a reader that can use neither folds the log by itself, in memory. Writes no file of a home.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import duckdb

from eventlog.ids import LogId, Seq
from projections.projector import Projector, create_tables, read_checkpoint, schema_digest
from projections.readmodel import is_on_chain
from projections.rows import CheckpointRow
from projections.sql_text import is_utf8, text_literal
from projections.voucher import vouched_checkpoint
from projections.witness import readmodel_path

if TYPE_CHECKING:
    from projections.catalog import Catalog

Source = Literal["read model", "lent copy", "private fold"]
_Spill = tempfile.TemporaryDirectory[str]

DATABASE = "readmodel"  # the name of the read model inside a reader's connection


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


def open_reader(home: Path, log_folder: Path, *, lent: Path | None = None) -> Reader:
    """Open what is known up to the log's durable head, whether or not a writer is at work.

    `lent` is a copy that the writer has made a moment ago; it is used if it can be. Raises LogMissingError and the
    errors of reading the log.
    """
    log_id = _log_id(log_folder)
    spill: _Spill = tempfile.TemporaryDirectory(prefix="casparian-")
    connection = duckdb.connect(":memory:", config={"temp_directory": spill.name})
    try:
        if lent is not None and _attach_file(connection, lent, log_id, lambda _: True):
            source: Source = "lent copy"
        elif _attach_file(connection, readmodel_path(home), log_id, lambda at: _is_head(at, log_folder)):
            source = "read model"
        else:
            source = "private fold"
            _fold_privately(connection, log_id, log_folder)
        connection.execute(f"SET search_path = 'memory.main,{DATABASE}.main'")
        connection.execute("SET TimeZone = 'UTC'")
        return Reader(connection, source=source, spill=spill)
    except BaseException:
        connection.close()
        spill.cleanup()
        raise


def _attach_file(
    connection: duckdb.DuckDBPyConnection, path: Path, log_id: LogId, is_current: Callable[[CheckpointRow], bool]
) -> bool:
    """Attach the file and use it, if it is vouched for, of this log and these definitions, and not behind the log."""
    at = vouched_checkpoint(path) if is_utf8(str(path)) else None
    if at is None or (at.log_id, at.schema_digest) != (log_id, schema_digest()) or not is_current(at):
        return False
    try:
        connection.execute(f"ATTACH {text_literal(str(path))} AS {DATABASE} (READ_ONLY)")
        connection.execute(f"USE {DATABASE}")
        if read_checkpoint(connection) == at:
            return True
    except duckdb.Error:  # a writer has come since; the answer to every doubt is a private fold
        pass
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
