"""Owns the writing of a read model: frames in, rows and checkpoint out, in one transaction. Knows no file names.

Sketch, on 2 shared cores: 20,000 events of jobs take about 0.2 s to fold, 0.2 s to write and one commit; a single event
takes 15 ms, nearly all of it DuckDB's.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import blake3
import duckdb
import msgspec
import pyarrow as pa

from eventlog.events import FilesRefused, FilesSeen, LogForked, UnreadableRange
from eventlog.ids import JobId, LogId, Seq
from projections import tables
from projections.arrow_rows import Parameters, registered, select, table_of, table_of_values, with_text_instants
from projections.errors import ProjectorFailedError, ProjectorGapError, ProjectorRacedError
from projections.rows import (
    TABLES,
    CheckpointRow,
    ExecutorRow,
    ExpectedOutputRow,
    FileRow,
    JobEventRow,
    JobRangeRow,
    JobRow,
    MaterializationRow,
    MetricRow,
    ParserHealthRow,
    ParserRow,
    QuarantineRow,
    Row,
    RunRow,
    SchemaMismatchRow,
    Table,
    TrustedKeyRow,
    TrustRow,
)
from projections.sql_blocks import FOLDER, sql_blocks
from projections.tables import Numbered, Touched, Work
from projections.tally import Tally

if TYPE_CHECKING:
    from eventlog.frames import Frame

BATCH_EVENTS_MAX = 50_000  # events in one transaction
BATCH_ROWS_MAX = 100_000  # rows, about, in one transaction; a single frame may be larger
DIGEST_ROWS = 10_000  # rows in memory at a time while a table is digested

_WIDE = (FilesSeen, FilesRefused)  # one event, many rows

R = TypeVar("R", bound=Row)

# What decides the rows besides the log: if one of these changes, the read model is rebuilt.
_DEFINITION = ("schema.sql", "projector.sql", "rows.py", "tables.py", "tally.py", "arrow_rows.py", "projector.py")


def schema_digest() -> str:
    """Return the digest of all that decides what the rows look like, the version of DuckDB included."""
    digest = blake3.blake3(duckdb.__version__.encode())
    for name in _DEFINITION:
        digest.update((FOLDER / name).read_bytes())
    return digest.hexdigest()


def create_tables(connection: duckdb.DuckDBPyConnection, log_id: LogId) -> None:
    """Create the empty tables of the read model in the connection's current database, all or nothing."""
    with _transaction(connection):
        connection.execute((FOLDER / "schema.sql").read_text(encoding="utf-8"))
        _execute(connection, "insert_checkpoint", {"log_id": log_id, "schema_digest": schema_digest()})


class Projector:
    """Keeps one read model up to date. Belongs to one thread; needs tables made by `create_tables`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.checkpoint: CheckpointRow = read_checkpoint(connection)
        self._tally = _load_tally(connection)  # as of the checkpoint: it would take longer to read for each batch

    def apply(self, frames: Sequence[Frame]) -> None:
        """Fold frames, in the order of the log and continuing the checkpoint, in one transaction.

        Frames without records carry nothing and are passed over. On any error nothing has changed. Raises ValueError
        for more than BATCH_EVENTS_MAX events, ProjectorGapError, ProjectorRacedError, ProjectorFailedError, and what
        `tables.fold` raises.
        """
        full = [frame for frame in frames if frame.records]
        if not full:
            return
        _assert_continues(self.checkpoint, full)
        records: list[Numbered] = [(record.seq, record.data) for frame in full for record in frame.records]
        if len(records) > BATCH_EVENTS_MAX:
            raise ValueError(f"apply {len(records)} events at once: at most {BATCH_EVENTS_MAX}; use apply_all")
        new = msgspec.structs.replace(
            self.checkpoint, seq=Seq(full[-1].last), commit_no=full[-1].commit, hash=full[-1].hash
        )
        try:
            with _transaction(self.connection):
                self._advance(new)
                tally = self._write(records)
        except duckdb.Error as error:
            # A commit that finds the disk full is a TransactionException as well; only a conflict is somebody else.
            if isinstance(error, duckdb.TransactionException) and "conflict" in str(error).casefold():
                raise _raced(self.checkpoint) from error
            raise ProjectorFailedError(
                f"write events {full[0].first} to {full[-1].last} into the read model: {error}; "
                "the log is not affected: free some space, or delete the readmodel folder, and start again"
            ) from error
        self.checkpoint, self._tally = new, tally

    def apply_all(self, frames: Iterable[Frame]) -> None:
        """Fold any number of frames, in transactions of bounded size."""
        with _collector_paused():
            for batch in batches(frames):
                self.apply(batch)

    def _advance(self, new: CheckpointRow) -> None:
        values: Parameters = {
            "seq": new.seq,
            "commit_no": new.commit_no,
            "hash": new.hash,
            "old_seq": self.checkpoint.seq,
            "old_hash": self.checkpoint.hash,
        }
        changed = _execute(self.connection, "advance_checkpoint", values)
        if changed != 1:
            raise _raced(self.checkpoint)

    def _write(self, records: list[Numbered]) -> Tally:
        """Write what the records change, and return the counters as they are then."""
        work = _load(self.connection, tables.touched(records))
        work.tally = dict(self._tally)
        known = _Known(work)
        health = dict(work.health)
        tables.fold(work, records)
        _replace(self.connection, "scout_files", FileRow, work.files.values(), known.files)
        _replace(self.connection, "cf_jobs", JobRow, work.jobs.values(), known.jobs)
        _replace(self.connection, "cf_runs", RunRow, work.runs.values(), known.runs)
        _replace(self.connection, "cf_executors", ExecutorRow, work.executors.values(), known.executors)
        _replace(self.connection, "cf_plugin_manifest", ParserRow, work.parsers.values(), known.parsers)
        _replace(self.connection, "cf_parser_trust", TrustRow, work.trust.values(), known.trust)
        changed = {name: row for name, row in work.health.items() if row is not health.get(name)}
        _replace(self.connection, "cf_parser_health", ParserHealthRow, changed.values(), changed.keys() & health.keys())
        _replace(self.connection, "cf_trusted_keys", TrustedKeyRow, work.keys.values(), known.keys)
        self._count(work.tally)
        _replace(self.connection, "cf_expected_outputs", ExpectedOutputRow, work.expected.values(), known.parsers)
        _replace(
            self.connection, "cf_job_ranges", JobRangeRow, tables.range_rows(work), known.ranges_replaced(work.ranges)
        )
        if work.events:
            _insert(self.connection, "cf_job_events", table_of_values(work.events, JobEventRow))
        self._mark("ask_materializations", work.asked)
        self._mark("lose_materializations", work.lost)
        _replace(self.connection, "cf_output_materializations", MaterializationRow, tables.recorded_rows(work), ())

        self._delete_quarantine(work)
        _replace(self.connection, "cf_quarantine", QuarantineRow, tables.quarantine_rows(work), ())
        _replace(self.connection, "cf_job_schema_mismatch", SchemaMismatchRow, work.mismatches, ())
        return work.tally

    def _count(self, tally: Tally) -> None:
        """Write the counters that have changed: in place, because nearly every batch changes the same few."""
        rows = [
            MetricRow(counter=counter, parser=parser, value=value)
            for (counter, parser), value in tally.items()
            if value != self._tally.get((counter, parser))
        ]
        known = [row for row in rows if (row.counter, row.parser) in self._tally]
        if known:
            with registered(self.connection, "batch", table_of(known, MetricRow)):
                _execute(self.connection, "update_cf_metrics")
        if len(known) < len(rows):
            new = [row for row in rows if (row.counter, row.parser) not in self._tally]
            _insert(self.connection, "cf_metrics", table_of(new, MetricRow))

    def _delete_quarantine(self, work: Work) -> None:
        """Note on the rows of earlier batches that this one tells of their deletion."""
        if work.deleted:
            columns = {
                "job_id": [job for job, _output in work.deleted],
                "output_name": [output for _job, output in work.deleted],
                "seq": [seq for seq, _reason in work.deleted.values()],
                "reason": [reason for _seq, reason in work.deleted.values()],
            }
            with registered(self.connection, "batch", pa.table(columns)):
                _execute(self.connection, "delete_quarantine")

    def _mark(self, statement: str, jobs: dict[JobId, Seq]) -> None:
        """Note on the rows of earlier batches what this one says of their jobs."""
        if jobs:
            with registered(self.connection, "batch", pa.table({"job_id": list(jobs), "seq": list(jobs.values())})):
                _execute(self.connection, statement)


class _Known:
    """The identities that had rows before the batch: what must be deleted before the new rows go in."""

    def __init__(self, work: Work) -> None:
        self.files = list(work.files)
        self.jobs = list(work.jobs)
        self.runs = list(work.runs)
        self.executors = list(work.executors)
        self.trust = list(work.trust)
        self.keys = list(work.keys)
        self.parsers = sorted({row.parser for row in work.parsers.values()})

    def ranges_replaced(self, ranges: dict[JobId, tuple[UnreadableRange, ...]]) -> list[JobId]:
        """Return the jobs that may have ranges already and got new ones."""
        return [job for job in self.jobs if job in ranges]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Leave the cycle collector out: events and rows hold no cycles, and it would walk a batch again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Cut frames into lists of at most BATCH_EVENTS_MAX events and about BATCH_ROWS_MAX rows, at least one frame."""
    batch: list[Frame] = []
    events = rows = 0
    for frame in frames:
        frame_rows = len(frame.records) + sum(
            [len(each.data.files) for each in frame.records if isinstance(each.data, _WIDE)]
        )
        if batch and (events + len(frame.records) > BATCH_EVENTS_MAX or rows + frame_rows > BATCH_ROWS_MAX):
            yield batch
            batch, events, rows = [], 0, 0
        batch.append(frame)
        events += len(frame.records)
        rows += frame_rows
    if batch:
        yield batch


def read_checkpoint(connection: duckdb.DuckDBPyConnection) -> CheckpointRow:
    """Return where the read model of this connection stands. Raises duckdb.Error if there is none."""
    return select(connection, sql_blocks("projector.sql")["read_checkpoint"], CheckpointRow)[0]


def table_digests(connection: duckdb.DuckDBPyConnection, *, database: str = "") -> dict[str, str]:
    """Return the BLAKE3 of each table: one JSON array a row, in key order, instants as text.

    Two read models of the same log have the same digests, however the events reached them. `database` names an attached
    database other than the current one.
    """
    prefix = f"{database}.main." if database else ""
    return {table.name: _digest(connection, prefix + table.name, table) for table in TABLES}


def _digest(connection: duckdb.DuckDBPyConnection, name: str, table: Table) -> str:
    columns = ", ".join(f'"{field.name}"' for field in msgspec.structs.fields(table.row))
    # By the whole row after the key: where a damaged table has a key twice, its digest must not depend on chance.
    order = ", ".join(f'"{column}"' for column in table.key) + f", hash({columns})"
    reader = connection.sql(f"SELECT {columns} FROM {name} ORDER BY {order}").to_arrow_reader(DIGEST_ROWS)
    digest = blake3.blake3()
    for batch in reader:
        values = with_text_instants(pa.Table.from_batches([batch])).to_pylist()
        digest.update(msgspec.json.Encoder().encode_lines([list(each.values()) for each in values]))
    return digest.hexdigest()


# --- the transaction ------------------------------------------------------------------------------------------------


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Undo what is open; a transaction that DuckDB has ended itself is undone already."""
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error as error:
        if "no transaction is active" not in str(error):
            raise


def _assert_continues(checkpoint: CheckpointRow, frames: Sequence[Frame]) -> None:
    """Raise ProjectorGapError unless the frames follow the checkpoint without a gap and on its chain."""
    last_seq, last_commit, last_hash = int(checkpoint.seq), checkpoint.commit_no, checkpoint.hash
    for frame in frames:
        if frame.first != last_seq + 1:
            raise ProjectorGapError(
                f"fold frame {frame.commit} into the read model: it begins at event {frame.first} and "
                f"event {last_seq + 1} is due; read the log again from there"
            )
        # Frames without records stand between commits and are not seen here: only neighbours can be compared.
        if last_commit and frame.commit == last_commit + 1 and _follows(frame) != last_hash:
            raise ProjectorGapError(
                f"fold frame {frame.commit} into the read model: it does not follow the frame that was folded last, "
                "so this is another log; delete the readmodel folder and start again"
            )
        last_seq, last_commit, last_hash = frame.last, frame.commit, frame.hash


def _follows(frame: Frame) -> str:
    """Return the hash of the commit that a frame says it follows: the first one of a fork names a genesis as `prev`."""
    first = frame.records[0].data
    return first.hash if isinstance(first, LogForked) else frame.prev


def _raced(checkpoint: CheckpointRow) -> ProjectorRacedError:
    return ProjectorRacedError(
        f"advance the read model from event {checkpoint.seq}: somebody else has advanced it; "
        "make sure that one process only writes to this home, and start again"
    )


# --- loading and writing --------------------------------------------------------------------------------------------


def _load(connection: duckdb.DuckDBPyConnection, needed: Touched) -> Work:
    parsers = _wanted(connection, "cf_plugin_manifest", ParserRow, needed.parsers)
    expected = _wanted(connection, "cf_expected_outputs", ExpectedOutputRow, needed.parsers)
    health = select(connection, sql_blocks("projector.sql")["load_cf_parser_health"], ParserHealthRow)
    return Work(
        files={row.path: row for row in _wanted(connection, "scout_files", FileRow, needed.paths)},
        jobs={row.job_id: row for row in _wanted(connection, "cf_jobs", JobRow, needed.jobs)},
        runs={row.run_id: row for row in _wanted(connection, "cf_runs", RunRow, needed.runs)},
        executors={row.executor: row for row in _wanted(connection, "cf_executors", ExecutorRow, needed.executors)},
        parsers={(row.parser, row.version, row.artifact_hash, row.env_hash): row for row in parsers},
        trust={row.artifact_hash: row for row in _wanted(connection, "cf_parser_trust", TrustRow, needed.trust)},
        health={row.parser: row for row in health},
        keys={row.key: row for row in _wanted(connection, "cf_trusted_keys", TrustedKeyRow, needed.keys)},
        expected={(row.parser, row.version, row.artifact_hash, row.output_name): row for row in expected},
    )


def _load_tally(connection: duckdb.DuckDBPyConnection) -> Tally:
    counted = select(connection, sql_blocks("projector.sql")["load_cf_metrics"], MetricRow)
    return {(row.counter, row.parser): row.value for row in counted}


def _wanted(connection: duckdb.DuckDBPyConnection, name: str, row: type[R], ids: Collection[object]) -> list[R]:
    if not ids:
        return []
    with registered(connection, "wanted", pa.table({"id": list(ids)})):
        return select(connection, sql_blocks("projector.sql")[f"load_{name}"], row)


def _replace(
    connection: duckdb.DuckDBPyConnection, name: str, row: type[R], rows: Collection[R], old: Collection[object]
) -> None:
    """Delete the rows of the old identities, if any, and insert the new rows, if any."""
    if old:
        with registered(connection, "old", pa.table({"id": list(old)})):
            _execute(connection, f"delete_{name}")
    if rows:
        _insert(connection, name, table_of(list(rows), row))


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    with registered(connection, "batch", rows):
        _execute(connection, f"insert_{name}")


def _execute(connection: duckdb.DuckDBPyConnection, name: str, parameters: Parameters | None = None) -> int:
    """Run a named statement and return how many rows it changed."""
    done = connection.execute(sql_blocks("projector.sql")[name], dict(parameters) if parameters else None).fetchall()
    return int(done[0][0]) if done else 0
