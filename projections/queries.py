"""Owns the questions that front ends ask of a read model, as typed functions over a connection to one.

Every function takes the connection of a `Reader` or of a `Projector`; none changes a row.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeVar

import duckdb
import pyarrow as pa
from msgspec import Struct

from eventlog.events import FailureClass, JobStatus
from eventlog.ids import (
    ArtifactHash,
    Instant,
    JobId,
    MaterializationKey,
    OutputName,
    ParserName,
    PathText,
    RunId,
    SchemaHash,
    SourceHash,
)
from projections.arrow_rows import Parameters, registered, select
from projections.metrics import Meters
from projections.rows import (
    ExecutorRow,
    FileRow,
    JobEventRow,
    JobRangeRow,
    JobRow,
    JobWord,
    MaterializationRow,
    MetricRow,
    ParserHealthRow,
    ParserRow,
    QuarantineRow,
    RunRow,
    SchemaMismatchRow,
    TrustedKeyRow,
    TrustRow,
)
from projections.sql_blocks import sql_blocks

Connection = duckdb.DuckDBPyConnection
R = TypeVar("R", bound=Struct)

JOBS_SHOWN = 50  # rows, where the caller names no limit
FILES_SHOWN = 50
RUNS_SHOWN = 50
EXECUTORS_SHOWN = 50
RETRIES_SHOWN = 500


class JobDetail(Struct, frozen=True, kw_only=True):
    """All that is known of one job: its row, its unreadable ranges, its outputs and its events, each in order."""

    job: JobRow
    ranges: list[JobRangeRow]
    outputs: list[MaterializationRow]
    quarantine: list[KeptRows]
    mismatches: list[SchemaMismatchRow]
    events: list[JobEventRow]


class RecordedFile(Struct, frozen=True, kw_only=True):
    """A file with recorded rows, `file` being its name in the target; `current` if any of its rows are.

    Jobs of one lease share a file. Of those in this one, the rows of the jobs in `superseded` are not current, and
    those of the jobs in `lost` count no more.
    """

    parser: ParserName
    output_name: OutputName
    sink_uri: str
    file: str
    bytes: int
    schema_hash: SchemaHash
    current: bool
    superseded: list[int] = []
    lost: list[int] = []


class PublishedFile(Struct, frozen=True, kw_only=True):
    """A file that was published, `file` being its name in the target; `digest` is the BLAKE3 of its bytes."""

    parser: ParserName
    output_name: OutputName
    sink_uri: str
    file: str
    digest: str
    bytes: int
    rows: int
    job_id: int


class KeptRows(QuarantineRow, frozen=True, kw_only=True):
    """The rejected rows of an output of a job, the file they come from, and why the job failed, if it did.

    `current`: they belong to the one reading of that content that counts.
    """

    path: PathText
    reason: str | None
    current: bool


class StandingMismatch(SchemaMismatchRow, frozen=True, kw_only=True):
    """How the columns that a parser gave for a file differed from the declared ones, and no later job went better."""

    path: PathText


class ParserHealth(ParserHealthRow, frozen=True, kw_only=True):
    """How the jobs of a parser go: with how many of them wait, have failed for good, and the newest that failed."""

    waiting: int
    dead_letters: int
    last_failed_job: JobId | None
    last_failed_file: PathText | None
    last_failed_class: FailureClass | None
    last_failed_reason: str | None
    last_failed_at: Instant | None


class DeclaredOutput(Struct, frozen=True, kw_only=True):
    """An output in its newest declaration; `columns` is JSON text: a list of eventlog.schema.Column."""

    parser: ParserName
    output_name: OutputName
    columns: str
    current: bool


class FileState(FileRow, frozen=True, kw_only=True):
    """A path as it was last seen, and how the newest job of its content stands: `read` where there is none.

    `reason` says why it was refused, failed or put back.
    """

    state: JobWord | JobStatus | Literal["refused", "read"]
    reason: str | None


class BalanceRow(Struct, frozen=True, kw_only=True):
    """How one path is accounted for by one parser; no job and no counts where none has ended.

    `unit` is "" where the parser states no units. `first_of_job` is true for one path of each job: copies count once.
    """

    path: PathText
    source_hash: SourceHash | None
    parser: ParserName | None
    job_id: JobId | None
    status: Literal["completed", "failed", "refused", "not processed"]
    completion_status: JobStatus | None
    error_class: FailureClass | None
    reason: str | None
    unit: str | None
    found: int | None
    written: int | None
    quarantined: int | None
    skipped: int | None
    unreadable: int | None
    ranges_total: int | None
    skips: str | None
    further: str | None
    first_of_job: bool


class Reading(Struct, frozen=True, kw_only=True):
    """One way in which an output was read and written, where there are several: `shown` of its `contents` are current.

    `settings` is JSON text: an object.
    """

    parser: ParserName
    output_name: OutputName
    parser_version: str
    settings: str
    sink_uri: str
    artifact_hash: ArtifactHash
    contents: int
    shown: int


class _Count(Struct, frozen=True):
    status: str
    jobs: int


class _Standing(Struct, frozen=True):
    seq: int
    queued: int
    running: int
    promoting: int
    oldest_queued_at: Instant | None
    executors: int


class _Superseded(Struct, frozen=True):
    superseded: int


class _JobId(Struct, frozen=True):
    id: JobId


class ReadPath(Struct, frozen=True, kw_only=True):
    """A path with the content that it had when it was read last."""

    path: str
    source_hash: str


class _Id(Struct, frozen=True):
    id: str


def jobs(connection: Connection, *, status: JobWord | JobStatus | None = None, limit: int = JOBS_SHOWN) -> list[JobRow]:
    """Return jobs, newest first; of one status, or of one way to have completed."""
    return _ask(connection, "jobs", JobRow, {"status": status, "limit": limit})


def jobs_of_run(connection: Connection, run: RunId) -> list[JobRow]:
    """Return the jobs that a run queued, oldest first."""
    return _ask(connection, "jobs_of_run", JobRow, {"run_id": run})


def job(connection: Connection, job_id: JobId) -> JobDetail | None:
    """Return one job with its ranges, outputs and events, or None."""
    found = _ask(connection, "job", JobRow, {"job_id": job_id})
    if not found:
        return None
    return JobDetail(
        job=found[0],
        ranges=_ask(connection, "job_ranges", JobRangeRow, {"job_id": job_id}),
        outputs=_ask(connection, "job_outputs", MaterializationRow, {"job_id": job_id}),
        quarantine=quarantine(connection, job_id=job_id),
        mismatches=schema_mismatch(connection, job_id),
        events=job_events(connection, job_id),
    )


def job_events(connection: Connection, job_id: JobId, *, after: int = 0) -> list[JobEventRow]:
    """Return the events of one job numbered above `after`, in order; numbers have no gaps."""
    return _ask(connection, "job_events", JobEventRow, {"job_id": job_id, "after": after})


def job_counts(connection: Connection) -> dict[str, int]:
    """Return how many jobs are in each status; a status without jobs is absent."""
    return {each.status: each.jobs for each in _ask(connection, "job_counts", _Count)}


def meters(connection: Connection) -> Meters:
    """Return what was counted and how the queue stands, at one position of the log."""
    (stood,) = _ask(connection, "standing", _Standing)
    return Meters(
        seq=stood.seq,
        counters=tuple(_ask(connection, "metrics", MetricRow)),
        queued=stood.queued,
        running=stood.running,
        promoting=stood.promoting,
        oldest_queued_at=stood.oldest_queued_at,
        executors=stood.executors,
    )


def files(connection: Connection, *, limit: int = FILES_SHOWN) -> list[FileState]:
    """Return known paths, the ones seen last first, then by path."""
    return _ask(connection, "files", FileState, {"limit": limit})


def paths_ending(connection: Connection, name: str, *, limit: int) -> list[str]:
    """Return the known paths that end in this name, or in these folders and name, by path."""
    return [each.id for each in _ask(connection, "paths_ending", _Id, {"name": name, "limit": limit})]


def paths_not_met(connection: Connection, folders: Collection[str], run: RunId, *, limit: int) -> list[ReadPath]:
    """Return paths below these folders that earlier runs have read and this one has not met, by path."""
    below = pa.table({"id": pa.array([f"{folder.rstrip('/')}/" for folder in folders], pa.string())})
    with registered(connection, "wanted", below):
        return _ask(connection, "paths_not_met", ReadPath, {"run_id": run, "limit": limit})


def files_of_run(connection: Connection, run: RunId) -> list[FileRow]:
    """Return the paths whose last sight was in this run, by path."""
    return _ask(connection, "files_of_run", FileRow, {"run_id": run})


def runs(connection: Connection, *, limit: int = RUNS_SHOWN) -> list[RunRow]:
    """Return runs, newest first."""
    return _ask(connection, "runs", RunRow, {"limit": limit})


def run(connection: Connection, run_id: RunId) -> RunRow | None:
    """Return one run, or None."""
    found = _ask(connection, "run", RunRow, {"run_id": run_id})
    return found[0] if found else None


def parsers(connection: Connection) -> list[ParserRow]:
    """Return the current artifact of each parser, by name."""
    return _ask(connection, "parsers", ParserRow)


def trusted_parsers(connection: Connection) -> list[TrustRow]:
    """Return every artifact of a parser that a person trusts now, by parser, the newest last."""
    return _ask(connection, "trusted_parsers", TrustRow)


def parser_health(connection: Connection) -> list[ParserHealth]:
    """Return how the jobs of each parser go, by name."""
    return _ask(connection, "parser_health", ParserHealth)


def retry_candidates(
    connection: Connection, *, parser: ParserName | None, dead: bool, after: JobId, limit: int = RETRIES_SHOWN
) -> list[JobRow]:
    """Return jobs that ended without outputs and that nothing newer of their content follows, oldest first.

    With `dead` those that failed, and not those that somebody stopped.
    """
    return _ask(
        connection, "retry_candidates", JobRow, {"parser": parser, "dead": dead, "after": after, "limit": limit}
    )


def trusted_keys(connection: Connection) -> list[TrustedKeyRow]:
    """Return every key whose signature a person trusts now, the newest last."""
    return _ask(connection, "trusted_keys", TrustedKeyRow)


def keys_trusted_for(connection: Connection, parser: ParserName) -> list[TrustedKeyRow]:
    """Return every key whose signature lets a parser of this name run."""
    return _ask(connection, "keys_trusted_for", TrustedKeyRow, {"parser": parser})


def executors(connection: Connection, *, limit: int = EXECUTORS_SHOWN) -> list[ExecutorRow]:
    """Return executors, those alive first, then the newest."""
    return _ask(connection, "executors", ExecutorRow, {"limit": limit})


def materializations_of_jobs(connection: Connection, job_ids: Collection[JobId]) -> list[MaterializationRow]:
    """Return the outputs that these jobs recorded, in the order of the log."""
    return _ask_wanted(connection, "materializations_of_jobs", MaterializationRow, list(job_ids))


def materializations_of(connection: Connection, keys: Collection[MaterializationKey]) -> list[MaterializationRow]:
    """Return what is recorded under these keys and not lost, in the order of the log."""
    return _ask_wanted(connection, "materializations_of_keys", MaterializationRow, list(keys))


def jobs_of_ids(connection: Connection, job_ids: Collection[JobId]) -> list[JobRow]:
    """Return these jobs, oldest first; an id that never was is passed over."""
    return _ask_wanted(connection, "jobs_of_ids", JobRow, list(job_ids))


def ranges_of_jobs(connection: Connection, job_ids: Collection[JobId]) -> list[JobRangeRow]:
    """Return the unreadable ranges of these jobs, by job and in order."""
    return _ask_wanted(connection, "ranges_of_jobs", JobRangeRow, list(job_ids))


def balance(connection: Connection) -> list[BalanceRow]:
    """Return how every known path is accounted for, by path and parser."""
    return _ask(connection, "balance", BalanceRow)


def balance_of_job(connection: Connection, job_id: JobId) -> list[BalanceRow]:
    """Return the sheet of one job, whether or not a newer one accounts for its content now; empty for no such job."""
    return _ask(connection, "balance_of_job", BalanceRow, {"job_id": job_id})


def superseded_by_run(connection: Connection, run_id: RunId) -> int:
    """Return how many materializations were followed, in their target, by one that this run recorded."""
    return _ask(connection, "superseded_by_run", _Superseded, {"run_id": run_id})[0].superseded


def missing_keys(connection: Connection, keys: Collection[MaterializationKey]) -> set[MaterializationKey]:
    """Return those of the keys under which nothing is recorded: what a run has to make.

    What the tables do not show exists all the same; what is lost does not. One anti-join: 100,000 keys against a
    million take 0.2 s.
    """
    return {MaterializationKey(each.id) for each in _ask_wanted(connection, "missing_keys", _Id, list(keys))}


def hidden_jobs(connection: Connection, keys: Collection[MaterializationKey]) -> list[JobId]:
    """Return the jobs that recorded something under these keys while the tables show another reading, oldest first."""
    sql = sql_blocks("queries.sql")["hidden_jobs"]
    with registered(connection, "wanted", pa.table({"id": pa.array(list(keys), pa.string())})):
        return [each.id for each in select(connection, sql, _JobId)]


def quarantine(
    connection: Connection, *, job_id: JobId | None = None, output: str | None = None, limit: int = JOBS_SHOWN
) -> list[KeptRows]:
    """Return the rejected rows that are recorded, newest first, the deleted ones too."""
    return _ask(connection, "quarantine", KeptRows, {"job_id": job_id, "output": output, "limit": limit})


def quarantine_of_jobs(connection: Connection, job_ids: Collection[JobId]) -> list[KeptRows]:
    """Return the rejected rows of these jobs, in the order of the log."""
    return _ask_wanted(connection, "quarantine_of_jobs", KeptRows, list(job_ids))


def schema_mismatch(connection: Connection, job_id: JobId) -> list[SchemaMismatchRow]:
    """Return how the columns that a job's attempts gave differed from the declared ones, in the order of the log."""
    return _ask(connection, "schema_mismatch", SchemaMismatchRow, {"job_id": job_id})


def standing_mismatches(connection: Connection, parser: ParserName, *, limit: int) -> list[StandingMismatch]:
    """Return how the columns that a parser gives differ from the declared ones now, newest first."""
    return _ask(connection, "standing_mismatches", StandingMismatch, {"parser": parser, "limit": limit})


def readings(connection: Connection) -> list[Reading]:
    """Return the ways in which each output that has several was read and written, by output, those shown first."""
    return _ask(connection, "readings", Reading)


def recorded_files(connection: Connection) -> list[RecordedFile]:
    """Return every file that holds recorded rows, once, by parser and output, oldest first."""
    return _ask(connection, "recorded_files", RecordedFile)


def published_files(connection: Connection) -> list[PublishedFile]:
    """Return every file that was published and is not known to be lost, by parser and output, oldest first."""
    return _ask(connection, "published_files", PublishedFile)


def declared_outputs(connection: Connection) -> list[DeclaredOutput]:
    """Return the newest declaration of each output that was ever declared, by parser and output."""
    return _ask(connection, "declared_outputs", DeclaredOutput)


def _ask(connection: Connection, name: str, row: type[R], parameters: Parameters | None = None) -> list[R]:
    return select(connection, sql_blocks("queries.sql")[name], row, parameters)


def _ask_wanted(
    connection: Connection, name: str, row: type[R], ids: list[JobId] | list[MaterializationKey]
) -> list[R]:
    if not ids:
        return []
    with registered(connection, "wanted", pa.table({"id": ids})):
        return _ask(connection, name, row)
