"""Owns the shape of each read-model table as a typed row; the same row is folded, written and handed to readers.

Field names and order are the column names and order of schema.sql; a test holds the two together.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eventlog.ids import (
    ArtifactHash,
    Digest,
    EnvHash,
    ExecutorId,
    Instant,
    JobId,
    LogId,
    MaterializationKey,
    OutputName,
    ParserName,
    PathText,
    RunId,
    SchemaHash,
    Seq,
    Sha256,
    SourceHash,
    TargetKey,
)
from eventlog.words import FailureClass, JobStatus, TrustedHow

JobWord = Literal["queued", "dispatched", "running", "promoting", "aborting", "completed", "failed", "aborted"]


class Row(Struct, frozen=True, kw_only=True):
    """Base of all rows."""


class CheckpointRow(Row, frozen=True, kw_only=True):
    log_id: LogId
    seq: Seq
    commit_no: int
    hash: str
    schema_digest: str


class FileRow(Row, frozen=True, kw_only=True):
    """A path as it was last seen. Refused and never read before: no size and no hashes."""

    path: PathText
    size: int | None
    mtime_ns: int | None
    file_uid: str | None
    source_hash: SourceHash | None
    sha256: Sha256 | None
    first_seen_seq: Seq
    last_seen_seq: Seq
    last_run: RunId
    refused_reason: str | None


class JobRow(Row, frozen=True, kw_only=True):
    """A job; the columns from `unit` to `skips` are its last stated balance sheet. `scheduled_at` is when it is due
    at the earliest, `retries` how many were used up, `retry_of` the job that it makes again."""

    job_id: JobId
    run_id: RunId
    path: PathText
    source_hash: SourceHash
    sha256: Sha256
    size: int
    parser: ParserName
    parser_version: str
    artifact_hash: ArtifactHash
    status: JobWord
    completion_status: JobStatus | None = None
    priority: int = 0
    attempt: int = 0
    retries: int = 0
    retry_of: JobId | None = None
    executor: ExecutorId | None = None
    queued_at: Instant
    scheduled_at: Instant
    dispatched_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    error_class: FailureClass | None = None
    error_kind: str | None = None
    error_reason: str | None = None
    error_hint: str | None = None
    log_tail: str | None = None
    unit: str | None = None
    found: int | None = None
    written: int | None = None
    quarantined: int | None = None
    skipped: int | None = None
    unreadable: int | None = None
    ranges_total: int | None = None
    skips: str | None = None  # JSON text: a list of {"count", "reason"}
    further: str | None = None  # JSON text: a list of BalanceSheet
    notes: str | None = None  # JSON text: a list of sentences
    rows_total: int = 0  # rows of all its recorded outputs
    events: int = 0
    queued_seq: Seq
    last_seq: Seq


class JobRangeRow(Row, frozen=True, kw_only=True):
    """Bytes of the source that could not be read; byte_length is -1 where the decoder does not say."""

    job_id: JobId
    n: int  # from 1
    byte_offset: int
    byte_length: int
    reason: str


class JobEventRow(Row, frozen=True, kw_only=True):
    job_id: JobId
    job_seq: int  # from 1, without gaps
    seq: Seq
    type: str
    reason: str | None = None  # as the event gives it, if it gives one


class MaterializationRow(Row, frozen=True, kw_only=True):
    """One recorded output. `asked_seq` is where a run last asked for it: where it was recorded, or reused while the
    tables showed another. `lost_seq` is where it was declared lost; then nothing shows or reuses it."""

    materialization_key: MaterializationKey
    output_target_key: TargetKey
    job_id: JobId
    run_id: RunId
    output_name: OutputName
    source_hash: SourceHash
    parser: ParserName
    parser_version: str
    artifact_hash: ArtifactHash
    sink_uri: str
    file: str
    digest: str
    bytes: int
    row_first: int
    rows: int
    schema_hash: SchemaHash
    status: Literal["success", "partial_success", "no_data"]
    recorded_seq: Seq
    asked_seq: Seq
    lost_seq: Seq | None = None


class QuarantineRow(Row, frozen=True, kw_only=True):
    """The kept file of an output's rejected rows; `deleted_seq` is where its deletion was recorded."""

    job_id: JobId
    run_id: RunId
    output_name: OutputName
    source_hash: SourceHash
    parser: ParserName
    parser_version: str
    sink_uri: str
    file: str
    digest: Digest
    bytes: int
    rows: int
    accepted: int
    rules: str  # JSON text: a list of BrokenRule
    rejected: bool
    schema_hash: SchemaHash
    recorded_seq: Seq
    deleted_seq: Seq | None = None
    deleted_reason: str | None = None


class SchemaMismatchRow(Row, frozen=True, kw_only=True):
    """The lists are JSON text, as in SchemaMismatch."""

    job_id: JobId
    attempt: int
    output_name: OutputName
    expected: str
    actual: str
    missing: str
    extra: str
    misplaced: str
    types: str
    seq: Seq


class RunRow(Row, frozen=True, kw_only=True):
    run_id: RunId
    parser: ParserName
    inputs: str  # JSON text: a list of paths
    settings: str  # JSON text: an object, every setting with its value
    sink_uri: str
    workers: int
    quarantine: str  # JSON text: a QuarantinePolicy
    status: Literal["running", "finished", "interrupted"]
    exit: int | None = None
    found: int | None = None
    reused: int | None = None
    queued: int | None = None
    attached: int | None = None
    refused: int | None = None
    processed: int | None = None
    failed: int | None = None
    superseded: int | None = None
    plan_digest: Digest | None = None
    at_seq: Seq | None = None
    reason: str | None = None
    started_at: Instant
    finished_at: Instant | None = None


class ParserRow(Row, frozen=True, kw_only=True):
    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    builtin: bool
    file: str  # where a person named it; "" for a built-in one
    settings: str  # JSON text: an object, every declared setting with its default
    outputs: str  # JSON text: a list of OutputSchema
    components: str  # JSON text: an object
    deployed_seq: Seq
    deployed_at: Instant
    current: bool


class TrustRow(Row, frozen=True, kw_only=True):
    """One artifact that a person trusted; `revoked_at` says since when no more."""

    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    how: TrustedHow
    key: str  # whose signature it runs by, "" for none
    trusted_by: str
    reason: str
    trusted_seq: Seq
    trusted_at: Instant
    revoked_by: str | None = None
    revoked_reason: str | None = None
    revoked_at: Instant | None = None


class TrustedKeyRow(Row, frozen=True, kw_only=True):
    """One key whose signature a person trusted; `revoked_at` says since when no more."""

    key: str
    trusted_by: str
    reason: str
    trusted_seq: Seq
    trusted_at: Instant
    revoked_by: str | None = None
    revoked_reason: str | None = None
    revoked_at: Instant | None = None


class ParserHealthRow(Row, frozen=True, kw_only=True):
    """How the jobs of a parser's current artifact go: `failures` speak against it, one after another."""

    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    state: Literal["active", "paused"]
    failures: int = 0
    paused_at: Instant | None = None
    paused_job: JobId | None = None
    paused_reason: str | None = None
    resumed_at: Instant | None = None
    resumed_by: str | None = None
    resumed_reason: str | None = None


class ExpectedOutputRow(Row, frozen=True, kw_only=True):
    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    output_name: OutputName
    schema_hash: SchemaHash
    columns: str  # JSON text: a list of Column
    deployed_seq: Seq


class ExecutorRow(Row, frozen=True, kw_only=True):
    executor: ExecutorId
    pid: int
    host: str
    version: str
    capacity: int
    status: Literal["alive", "draining", "lost"]
    joined_at: Instant
    lost_at: Instant | None = None
    reason: str | None = None


Counter = Literal[
    "jobs_queued",
    "jobs_dispatched",
    "jobs_completed",
    "jobs_failed",
    "jobs_rejected",
    "jobs_aborted",
    "jobs_retried",
    "jobs_requeued",
    "jobs_declined",
    "output_rows",
    "output_bytes",
    "quarantined_rows",
    "dispatch_microseconds",
    "dispatch_count",
    "conclude_microseconds",
    "conclude_count",
    "executors_registered",
    "executors_lost",
]


class MetricRow(Row, frozen=True, kw_only=True):
    """A counter of projections/tally.py; `parser` is "" where it belongs to none."""

    counter: Counter
    parser: str
    value: int


class Table(Struct, frozen=True, kw_only=True):
    """A table of the read model: the row it holds and the columns that tell its rows apart, in their order."""

    name: str
    row: type[Row]
    key: tuple[str, ...]


TABLES: tuple[Table, ...] = (
    Table(name="cf_checkpoint", row=CheckpointRow, key=("log_id",)),
    Table(name="scout_files", row=FileRow, key=("path",)),
    Table(name="cf_jobs", row=JobRow, key=("job_id",)),
    Table(name="cf_job_ranges", row=JobRangeRow, key=("job_id", "n")),
    Table(name="cf_job_events", row=JobEventRow, key=("job_id", "job_seq")),
    Table(name="cf_output_materializations", row=MaterializationRow, key=("recorded_seq",)),
    Table(name="cf_quarantine", row=QuarantineRow, key=("recorded_seq",)),
    Table(name="cf_job_schema_mismatch", row=SchemaMismatchRow, key=("seq",)),
    Table(name="cf_runs", row=RunRow, key=("run_id",)),
    Table(name="cf_plugin_manifest", row=ParserRow, key=("parser", "version", "artifact_hash", "env_hash")),
    Table(name="cf_parser_trust", row=TrustRow, key=("artifact_hash",)),
    Table(name="cf_parser_health", row=ParserHealthRow, key=("parser",)),
    Table(name="cf_trusted_keys", row=TrustedKeyRow, key=("key",)),
    Table(name="cf_expected_outputs", row=ExpectedOutputRow, key=("parser", "version", "artifact_hash", "output_name")),
    Table(name="cf_executors", row=ExecutorRow, key=("executor",)),
    Table(name="cf_metrics", row=MetricRow, key=("counter", "parser")),
)
