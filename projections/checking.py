"""Owns the comparison of a read model's file with what the log says: a private fold up to the same position.

Takes no lock and writes nothing. The file is attached read-only, after its voucher or a child has answered for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb
import msgspec
from msgspec import Struct

from eventlog.ids import LogId, Seq
from projections.arrow_rows import with_text_instants
from projections.errors import ReadModelDoubtError
from projections.probe import probed_checkpoint
from projections.projector import Projector, create_tables, schema_digest, table_digests
from projections.rows import TABLES, CheckpointRow, Table
from projections.sql_text import is_utf8, text_literal
from projections.voucher import vouched_checkpoint
from projections.witness import readmodel_path

if TYPE_CHECKING:
    from eventlog.frames import Frame

DIFFERENCES_MAX = 5  # keys that are told of, per table
_FILE, _LOG = "of_file", "of_log"  # the two databases of the private connection

Cell = str | int | bool | None


class Difference(Struct, frozen=True, kw_only=True):
    """One key whose row is not the same on both sides; a side without a row has no values."""

    table: str
    key: dict[str, Cell]
    in_file: dict[str, Cell] | None  # the columns that differ only, or all of a row that the log does not know
    in_log: dict[str, Cell] | None


class Comparison(Struct, frozen=True, kw_only=True):
    """Both sides at one position of the log; `digests` are those of the log's side, by table."""

    verdict: Literal["same", "different"]
    seq: Seq
    digests: dict[str, str]
    tables_different: tuple[str, ...]
    differences: tuple[Difference, ...]


def compare(home: Path, log_folder: Path) -> Comparison:
    """Compare the home's read model with a private fold of the durable log up to the read model's checkpoint.

    Raises ReadModelDoubtError where there is nothing that can be compared, LogMissingError and the errors of reading
    the log.
    """
    from eventlog.reader import read_frames
    from eventlog.recovery import require_genesis

    log_id = require_genesis(log_folder)[0].log_id
    path = readmodel_path(home)
    at = _checkpoint(path, log_id)
    with (
        tempfile.TemporaryDirectory(prefix="casparian-") as spill,
        duckdb.connect(":memory:", config={"temp_directory": spill}) as connection,
    ):
        try:
            connection.execute(f"ATTACH {text_literal(str(path))} AS {_FILE} (READ_ONLY)")
        except duckdb.Error as error:
            raise _in_use(path) from error
        connection.execute(f"ATTACH ':memory:' AS {_LOG}")
        connection.execute(f"USE {_LOG}")
        create_tables(connection, log_id)
        _fold_up_to(at, Projector(connection), read_frames(log_folder, durable_hash=at.hash))
        return _compared(connection, at.seq)


def _checkpoint(path: Path, log_id: LogId) -> CheckpointRow:
    """Return where a file stands that can be opened and compared; else raise the sentence that says why not."""
    if not path.exists() or not is_utf8(str(path)):
        raise ReadModelDoubtError(f"check the read model {path}: there is none")
    at = vouched_checkpoint(path) or probed_checkpoint(path, thorough=False)
    if at is None:
        raise _in_use(path)
    if at.log_id != log_id:
        raise ReadModelDoubtError(f"check the read model {path}: it is of another log, {at.log_id}")
    if at.schema_digest != schema_digest():
        raise ReadModelDoubtError(f"check the read model {path}: it was made by another version, with other tables")
    return at


def _in_use(path: Path) -> ReadModelDoubtError:
    return ReadModelDoubtError(f"check the read model {path}: it cannot be opened; it is damaged, or a writer has it")


def _fold_up_to(at: CheckpointRow, projector: Projector, frames: Iterator[Frame]) -> None:
    """Fold the frames that the file has seen. Raises ReadModelDoubtError if the log does not hold them."""
    projector.apply_all(_until(at.seq, frames))
    here = projector.checkpoint
    if (here.seq, here.hash) != (at.seq, at.hash):
        raise ReadModelDoubtError(
            f"check the read model at event {at.seq}: the log ends before it, or has another history (it was followed "
            f"up to event {here.seq})"
        )


def _until(seq: Seq, frames: Iterator[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if frame.last > seq:
            return
        yield frame


# --- comparing ------------------------------------------------------------------------------------------------------


def _compared(connection: duckdb.DuckDBPyConnection, seq: Seq) -> Comparison:
    of_log, of_file = table_digests(connection, database=_LOG), table_digests(connection, database=_FILE)
    changed = [table for table in TABLES if of_log[table.name] != of_file[table.name]]
    differences = tuple(each for table in changed for each in _differences(connection, table))
    return Comparison(
        verdict="different" if changed else "same",
        seq=seq,
        digests=of_log,
        tables_different=tuple(table.name for table in changed),
        differences=differences,
    )


def _differences(connection: duckdb.DuckDBPyConnection, table: Table) -> list[Difference]:
    """Return the first keys, in order, whose rows are on one side only or not the same on both."""
    in_file, in_log = _only(connection, table, _FILE, _LOG), _only(connection, table, _LOG, _FILE)
    keys = sorted(in_file.keys() | in_log.keys())
    return [_difference(table, key, in_file.get(key), in_log.get(key)) for key in islice(keys, DIFFERENCES_MAX)]


def _only(
    connection: duckdb.DuckDBPyConnection, table: Table, here: str, there: str
) -> dict[tuple[Cell, ...], dict[str, Cell]]:
    """Return the first rows of one side that the other does not have, or not as often, by key."""
    columns = ", ".join(f'"{field.name}"' for field in msgspec.structs.fields(table.row))
    order = ", ".join(f'"{column}"' for column in table.key)
    found = connection.sql(
        f"SELECT {columns} FROM {here}.main.{table.name} EXCEPT ALL SELECT {columns} FROM {there}.main.{table.name} "
        f"ORDER BY {order} LIMIT {DIFFERENCES_MAX}"
    ).to_arrow_table()
    rows: list[dict[str, Cell]] = with_text_instants(found).to_pylist()
    return {tuple(row[column] for column in table.key): row for row in rows}


def _difference(
    table: Table, key: tuple[Cell, ...], in_file: dict[str, Cell] | None, in_log: dict[str, Cell] | None
) -> Difference:
    if in_file is not None and in_log is not None:
        columns = [name for name in in_file if in_file[name] != in_log[name]]
        in_file = {name: in_file[name] for name in columns}
        in_log = {name: in_log[name] for name in columns}
    return Difference(table=table.name, key=dict(zip(table.key, key, strict=True)), in_file=in_file, in_log=in_log)
