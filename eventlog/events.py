"""Owns every shape that stands in the log: domain events, grouped by noun, and the commands that people give.

The class name is the storage tag and, once released, the storage format: never edit a released shape; add a field
with a default, or a new version (`JobQueued.2`) with an upcaster. Where a field was added, its default is not written:
what has no use for it keeps its bytes. Events are past tense, commands imperative.
Times that rules or tables need are fields (`…_at`); nothing reads the commit line's `ts`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eventlog.ids import (
    ArtifactHash,
    CommitKey,
    ConfigHash,
    Digest,
    EnvHash,
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
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
from eventlog.schema import OutputSchema


class Record(Struct, frozen=True, kw_only=True):
    """Base of all that stands in the log."""


# --- values inside events -------------------------------------------------------------------------------------------


class SeenFile(Struct, frozen=True, kw_only=True):
    """One file as the scanner read it: both hashes of the same bytes, in one read."""

    path: PathText
    size: int
    mtime_ns: int
    file_uid: str  # "unix:<dev>:<ino>"
    source_hash: SourceHash
    sha256: Sha256


class RefusedFile(Struct, frozen=True, kw_only=True):
    """A path that could not be read, with the reason in a sentence."""

    path: PathText
    reason: str


class Target(Struct, frozen=True, kw_only=True):
    """One output of a run and where it goes; table_name is empty for files."""

    output: OutputName
    table_name: str
    schema_hash: SchemaHash
    target_key: TargetKey


class JobKey(Struct, frozen=True, kw_only=True):
    """What one job promises to make: one entry per declared output."""

    output: OutputName
    target_key: TargetKey
    materialization_key: MaterializationKey


class UnreadableRange(Struct, frozen=True, kw_only=True):
    """Bytes of the source that could not be read, and why. length is -1 where the decoder does not say."""

    offset: int
    length: int
    reason: str


class BalanceSheet(Struct, frozen=True, kw_only=True):
    """found = written + quarantined + skipped + unreadable, in the parser's unit (records, lines, bytes).

    `written` and `quarantined` are counted by the host, the others stated by the parser. `output` names the output
    whose rows are the units; "" when the parser states nothing (unaccounted). `ranges` holds at most RANGES_MAX
    entries, `ranges_total` says how many there were.
    """

    unit: str
    output: str
    found: int
    written: int
    quarantined: int
    skipped: int
    unreadable: int
    ranges: tuple[UnreadableRange, ...] = ()
    ranges_total: int = 0


RANGES_MAX = 1000


class ArtifactShare(Struct, frozen=True, kw_only=True):
    """The rows of one job inside an artifact; one entry today, the seam for leases of many small files."""

    job: JobId
    row_first: int
    rows: int


class StagedOutput(Struct, frozen=True, kw_only=True):
    """A durable staged artifact and the name it will get. `staged` and `final` are file names in the sink's folder."""

    output: OutputName
    staged: str
    final: str
    digest: Digest
    bytes: int
    rows: int
    schema_hash: SchemaHash
    jobs: tuple[ArtifactShare, ...]


JobStatus = Literal["success", "partial_success"]
FailureClass = Literal["permanent", "transient", "accounting", "promotion"]

# --- the log itself -------------------------------------------------------------------------------------------------


class WriterOpened(Record, frozen=True, kw_only=True):
    """A process took the log: a new epoch begins, all leases of earlier epochs are dead."""

    epoch: int
    version: str
    host: str
    pid: int
    boot_id: str
    opened_at: Instant


class LogRecovered(Record, frozen=True, kw_only=True):
    """A torn tail was set aside and the committed prefix copied forward."""

    segment: str
    kept_bytes: int
    removed_bytes: int
    removed_sha256: Sha256
    kept_as: str  # file name under log/quarantine/
    reason: str


class CommandRefused(Record, frozen=True, kw_only=True):
    """The command that opens this frame changed nothing: `code` is for programs, `why` is for people."""

    code: str
    why: str


# --- parser ---------------------------------------------------------------------------------------------------------


class ParserDeployed(Record, frozen=True, kw_only=True):
    """A parser with this exact artifact may run. A built-in one is trusted by its recorded hash."""

    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    builtin: bool
    outputs: tuple[OutputSchema, ...]
    components: dict[str, str]  # what the artifact hash covers: file names and package versions
    deployed_at: Instant


# --- run ------------------------------------------------------------------------------------------------------------


class RunStarted(Record, frozen=True, kw_only=True):
    run: RunId
    parser: ParserName
    inputs: tuple[PathText, ...]  # the first ones; all of them are the blob `inputs_digest`, where it is not ""
    inputs_total: int
    inputs_digest: str
    sink_uri: str
    sink_mode: str
    settings: dict[str, str]
    workers: int
    started_at: Instant


class RunPlanned(Record, frozen=True, kw_only=True):
    """What the run decided, at which position, from which components. The list of files is the blob `plan_digest`."""

    run: RunId
    at_seq: Seq
    parser: ParserName
    parser_version: str
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    config_hash: ConfigHash
    sink_uri: str
    sink_mode: str
    targets: tuple[Target, ...]
    found: int
    reused: int
    queued: int
    attached: int  # an open job, or an earlier file of this run with the same bytes, makes the outputs
    refused: int
    plan_digest: Digest
    planned_at: Instant


class RunFinished(Record, frozen=True, kw_only=True):
    run: RunId
    exit: int
    processed: int
    reused: int
    failed: int
    superseded: int
    finished_at: Instant


class RunInterrupted(Record, frozen=True, kw_only=True):
    """The run ended before its work was done; its open jobs stay open for the next start."""

    run: RunId
    reason: str
    interrupted_at: Instant


# --- file -----------------------------------------------------------------------------------------------------------


class FilesSeen(Record, frozen=True, kw_only=True):
    """Up to 1,000 files in the order in which the scanner met them."""

    run: RunId
    files: tuple[SeenFile, ...]


class FilesRefused(Record, frozen=True, kw_only=True):
    run: RunId
    files: tuple[RefusedFile, ...]


# --- executor -------------------------------------------------------------------------------------------------------


class ExecutorJoined(Record, frozen=True, kw_only=True):
    executor: ExecutorId
    pid: int
    host: str
    version: str
    capacity: int
    joined_at: Instant


class ExecutorLost(Record, frozen=True, kw_only=True):
    """The executor is gone, by its own word or because its process ended; its leases are dead."""

    executor: ExecutorId
    reason: str
    lost_at: Instant


# --- job ------------------------------------------------------------------------------------------------------------


class JobQueued(Record, frozen=True, kw_only=True):
    """One file to be parsed by one parser; claims its materialization keys until it is finished."""

    job: JobId
    run: RunId
    path: PathText
    source_hash: SourceHash
    sha256: Sha256
    size: int
    mtime_ns: int
    file_uid: str
    parser: ParserName
    parser_version: str
    artifact_hash: ArtifactHash
    settings: dict[str, str]
    sink_uri: str
    sink_mode: str
    keys: tuple[JobKey, ...]
    queued_at: Instant


class JobDispatched(Record, frozen=True, kw_only=True):
    job: JobId
    attempt: int  # from 1
    executor: ExecutorId
    lease: LeaseId
    dispatched_at: Instant


class JobStarted(Record, frozen=True, kw_only=True):
    job: JobId
    attempt: int
    lease: LeaseId
    started_at: Instant


class JobDeclined(Record, frozen=True, kw_only=True):
    """The executor gave the job back unstarted, for want of capacity: no attempt is charged."""

    job: JobId
    attempt: int
    lease: LeaseId
    reason: str
    declined_at: Instant


class JobRequeued(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt ended without a result and the job waits again. `charged` says whether it used up a retry."""

    job: JobId
    attempt: int
    reason: str
    charged: bool
    not_before: Instant
    requeued_at: Instant
    kind: str = ""  # of a failed attempt: the word for programs, as in JobFailed


class CommitRefused(Record, frozen=True, kw_only=True):
    """A finished attempt may not publish: wrong lease, cancelled, unbalanced. Its staged outputs are discarded."""

    job: JobId
    attempt: int
    lease: LeaseId
    code: str
    why: str
    refused_at: Instant


class OutputsCommitted(Record, frozen=True, kw_only=True):
    """The commit point of a job: from here on a cancel is too late, and recovery finishes the promotion.

    `outputs` are the artifacts to promote; `empty` are the outputs without rows, which have no artifact.
    """

    job: JobId
    attempt: int
    lease: LeaseId
    commit_key: CommitKey
    status: JobStatus
    sink_uri: str
    outputs: tuple[StagedOutput, ...]
    empty: tuple[OutputName, ...]
    sheet: BalanceSheet
    committed_at: Instant


class MaterializationRecorded(Record, frozen=True, kw_only=True):
    """An output exists. `file` is its name in the sink's folder, "" where the output has no rows (no_data)."""

    job: JobId
    run: RunId
    output: OutputName
    target_key: TargetKey
    materialization_key: MaterializationKey
    source_hash: SourceHash
    parser: ParserName
    parser_version: str
    sink_uri: str
    file: str
    digest: str
    bytes: int
    row_first: int
    rows: int
    schema_hash: SchemaHash
    status: Literal["success", "partial_success", "no_data"]


class JobCompleted(Record, frozen=True, kw_only=True):
    job: JobId
    run: RunId
    attempt: int
    status: JobStatus
    sheet: BalanceSheet
    finished_at: Instant


class JobFailed(Record, frozen=True, kw_only=True):
    """The job is over without outputs. `hint` says what a person can do; `log_tail` is the guest's last words."""

    job: JobId
    run: RunId
    attempt: int
    failure: FailureClass
    kind: str
    reason: str
    hint: str
    log_tail: str
    sheet: BalanceSheet | None
    failed_at: Instant


class CancelAccepted(Record, frozen=True, kw_only=True):
    """No OutputsCommitted of this job may follow: the log itself is the proof."""

    job: JobId
    reason: str
    accepted_at: Instant


class JobAborted(Record, frozen=True, kw_only=True):
    job: JobId
    run: RunId
    reason: str
    aborted_at: Instant


class PromotionAbandoned(Record, frozen=True, kw_only=True):
    """The sink answered that nothing of this commit key is published; its key is free again."""

    job: JobId
    attempt: int
    commit_key: CommitKey
    reason: str
    abandoned_at: Instant


# --- commands that people give (logged as the first record of their frame) -------------------------------------------


class StartRun(Record, frozen=True, kw_only=True):
    parser: ParserName
    inputs: tuple[PathText, ...]  # see RunStarted
    inputs_total: int
    inputs_digest: str
    sink_uri: str
    sink_mode: str
    settings: dict[str, str]
    workers: int
    now: Instant


class CancelJob(Record, frozen=True, kw_only=True, omit_defaults=True):
    job: JobId
    reason: str
    now: Instant
    by: str = ""  # who asks, as the frame's actor names them: a decision does not see the frame


SinkAnswer = Literal["withdrawn", "unreachable", "not_asked"]


class AbandonJob(Record, frozen=True, kw_only=True):
    """Give up a promotion. The shell asks the sink first: `withdrawn` says that nothing of the commit key is published
    and that nothing can be any more; `not_asked` that there was no promotion to ask about."""

    job: JobId
    commit_key: CommitKey
    sink_answer: SinkAnswer
    sink_said: str
    reason: str
    by: str
    now: Instant


LogEvent = WriterOpened | LogRecovered | CommandRefused
ParserEvent = ParserDeployed
RunEvent = RunStarted | RunPlanned | RunFinished | RunInterrupted
FileEvent = FilesSeen | FilesRefused
ExecutorEvent = ExecutorJoined | ExecutorLost
JobEvent = (
    JobQueued
    | JobDispatched
    | JobStarted
    | JobDeclined
    | JobRequeued
    | CommitRefused
    | OutputsCommitted
    | MaterializationRecorded
    | JobCompleted
    | JobFailed
    | CancelAccepted
    | JobAborted
    | PromotionAbandoned
)
Event = LogEvent | ParserEvent | RunEvent | FileEvent | ExecutorEvent | JobEvent
LoggedCommand = StartRun | CancelJob | AbandonJob
