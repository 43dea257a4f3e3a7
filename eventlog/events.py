"""Owns every shape that stands in the log: domain events, grouped by noun, and the commands that people give.

The class name is the storage tag and, once released, the storage format: a released shape may gain a field with a
default; any other edit makes a new version (`JobQueued.2`), with an upcaster for the one before (upcasters.py). Where
a field was added, its default is not written: what has no use for it keeps its bytes. Events are past tense, commands
imperative. Times that rules or tables need are fields (`…_at`); nothing reads the commit line's `ts`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eventlog import words
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
from eventlog.redact import ByPart, Hashed, Omitted, Public
from eventlog.schema import OutputSchema


class Record(Struct, frozen=True, kw_only=True):
    """Base of all that stands in the log."""


# --- values inside events -------------------------------------------------------------------------------------------


class SeenFile(Struct, frozen=True, kw_only=True):
    """One file as the scanner read it: both hashes of the same bytes, in one read."""

    path: Hashed[PathText]
    size: Public[int]
    mtime_ns: Omitted[int]
    file_uid: Hashed[str]  # "unix:<dev>:<ino>"
    source_hash: Hashed[SourceHash]
    sha256: Hashed[Sha256]


class RefusedFile(Struct, frozen=True, kw_only=True):
    """A path that could not be read, with the reason in a sentence."""

    path: Hashed[PathText]
    reason: Hashed[str]


class Target(Struct, frozen=True, kw_only=True):
    """One output of a run and where it goes; table_name is empty for files."""

    output: Public[OutputName]
    table_name: Hashed[str]
    schema_hash: Public[SchemaHash]
    target_key: Hashed[TargetKey]


class JobKey(Struct, frozen=True, kw_only=True):
    """What one job promises to make: one entry per declared output."""

    output: Public[OutputName]
    target_key: Hashed[TargetKey]
    materialization_key: Hashed[MaterializationKey]


class UnreadableRange(Struct, frozen=True, kw_only=True):
    """Bytes of the source that could not be read, and why. length is -1 where the decoder does not say."""

    offset: Public[int]
    length: Public[int]
    reason: Hashed[str]


class SkippedUnits(Struct, frozen=True, kw_only=True):
    """How many units a parser left out for one reason."""

    count: Public[int]
    reason: Hashed[str]


class BalanceSheet(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """found = written + quarantined + skipped + unreadable, in the parser's unit (records, lines, bytes).

    `written` and `quarantined` are counted by the host, the others stated by the parser. `output` names the output
    whose rows are the units, `also` further ones, if the units are spread over several; where it is "", `written` is
    the parser's word. `unit` is "" when the parser states
    nothing (unaccounted). `ranges` holds at most RANGES_MAX entries, `ranges_total` says how many there were. `skips`
    gives the reasons for `skipped`, at most SKIPS_MAX of them; their counts make up its sum.
    """

    unit: Hashed[str]  # a parser chooses the word
    output: Public[str]
    found: Public[int]
    written: Public[int]
    quarantined: Public[int]
    skipped: Public[int]
    unreadable: Public[int]
    ranges: ByPart[tuple[UnreadableRange, ...]] = ()
    ranges_total: Public[int] = 0
    skips: ByPart[tuple[SkippedUnits, ...]] = ()
    also: Public[tuple[str, ...]] = ()


RANGES_MAX = 1000
SKIPS_MAX = 100


class ArtifactShare(Struct, frozen=True, kw_only=True):
    """The rows of one job inside an artifact. Jobs of one lease share artifacts: each one's commit names its own share,
    and those of one frame are all rows of the artifact, each of them once."""

    job: Public[JobId]
    row_first: Public[int]
    rows: Public[int]


class StagedOutput(Struct, frozen=True, kw_only=True):
    """A durable staged artifact and the name it will get. `staged` and `final` are file names in the sink's folder.

    `bytes` and `rows` are of all of it, `jobs` what the job that commits it has of it.
    """

    output: Public[OutputName]
    staged: Omitted[str]
    final: Hashed[str]
    digest: Hashed[Digest]
    bytes: Public[int]
    rows: Public[int]
    schema_hash: Public[SchemaHash]
    jobs: ByPart[tuple[ArtifactShare, ...]]


class BrokenRule(Struct, frozen=True, kw_only=True):
    """How many rows of an output broke one rule of one column; a row that breaks several counts for each."""

    column: Public[str]  # "" where the parser itself said that the row is wrong
    code: Public[str]
    rows: Public[int]


class StagedEvidence(Struct, frozen=True, kw_only=True):
    """The rejected rows of one output, staged durably under a name of their own; `accepted` rows it has beside them."""

    output: Public[OutputName]  # whose rows they are
    staged: Omitted[str]
    final: Hashed[str]
    digest: Hashed[Digest]
    bytes: Public[int]
    rows: Public[int]
    accepted: Public[int]
    schema_hash: Public[SchemaHash]
    rules: ByPart[tuple[BrokenRule, ...]]  # the ones broken most often first, at most RULES_MAX


class TypeDifference(Struct, frozen=True, kw_only=True):
    column: Public[str]
    expected: Public[str]
    actual: Public[str]


class SchemaMismatch(Struct, frozen=True, kw_only=True):
    """The columns that a parser gave are not the declared ones: by name, number, order or type.

    Each list holds its first COLUMNS_NAMED_MAX entries; the totals say how many columns there were.
    """

    output: Public[OutputName]
    expected: Public[tuple[str, ...]]
    actual: Public[tuple[str, ...]]
    missing: Public[tuple[str, ...]]
    extra: Public[tuple[str, ...]]
    misplaced: Public[tuple[str, ...]]  # declared and given, at another place
    types: ByPart[tuple[TypeDifference, ...]]
    expected_total: Public[int]
    actual_total: Public[int]


class QuarantinePolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many rejected rows an output may have and still be published; without `allow`, none."""

    allow: Public[bool] = False
    ppm_max: Public[int] = 100_000  # of a million of its rows
    count_max: Public[int | None] = None


RULES_MAX = 100
COLUMNS_NAMED_MAX = 200
NOTES_MAX = 50

JobStatus = words.JobStatus
FailureClass = words.FailureClass
TrustedHow = words.TrustedHow

# --- the log itself -------------------------------------------------------------------------------------------------


class WriterOpened(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A process took the log: a new epoch begins, all leases of earlier epochs are dead."""

    epoch: Public[int]
    version: Public[str]
    host: Hashed[str]
    pid: Public[int]
    boot_id: Hashed[str]
    opened_at: Public[Instant]
    zones: Public[str] = ""  # release of the database of time zones, such as 2026f


class LogRecovered(Record, frozen=True, kw_only=True):
    """A torn tail was set aside and the committed prefix copied forward."""

    segment: Public[str]
    kept_bytes: Public[int]
    removed_bytes: Public[int]
    removed_sha256: Hashed[Sha256]
    kept_as: Hashed[str]  # file name under log/quarantine/
    reason: Hashed[str]


class LogRepaired(Record, frozen=True, kw_only=True):
    """A file of the log that was damaged or missing was replaced by what a copy of the log has; the chain fits.

    Of its bytes the first `copied_bytes` are the copy's, the `own_bytes` behind them were here. Both 0: the file is
    there no more, because it was no part of the chain, or because its segment now has another form.
    """

    segment: Public[str]  # file name
    copied_bytes: Public[int]
    own_bytes: Public[int]
    kept_as: Hashed[str]  # file name under log/quarantine/ of what was here, "" if nothing was
    source: Hashed[str]  # the copy's folder
    reason: Hashed[str]
    repaired_at: Public[Instant]


class LogForked(Record, frozen=True, kw_only=True):
    """This log goes on from record `seq` of another one, whose records after it are kept aside and count no more."""

    old_log_id: Public[str]
    seq: Public[int]
    hash: Hashed[Sha256]  # of the last commit that was kept
    abandoned_seq: Public[int]  # up to where the other log could be proven
    reason: Hashed[str]


class ClockStepped(Record, frozen=True, kw_only=True):
    """The wall clock was set while the log was open: since it was last looked at, it has moved `delta_us` more than a
    clock that nobody sets. Times before and after this record are not to be compared; the order is that of positions.
    """

    delta_us: Public[int]  # below 0 if it was set back
    expected_at: Public[Instant]  # what it would show
    stepped_at: Public[Instant]  # what it shows


class CommandRefused(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The command that opens this frame changed nothing: `code` is for programs, the rest is for people."""

    code: Public[str]
    why: Hashed[str]
    next_step: Hashed[str] = ""


# --- parser ---------------------------------------------------------------------------------------------------------


class ParserDeployed(Record, frozen=True, kw_only=True):
    """A parser with this exact artifact may run. A built-in one is trusted by its recorded hash, another one by a
    ParserTrusted of the same hash."""

    parser: Public[ParserName]
    version: Public[str]
    artifact_hash: Public[ArtifactHash]
    env_hash: Hashed[EnvHash]
    builtin: Public[bool]
    outputs: ByPart[tuple[OutputSchema, ...]]
    settings: Hashed[dict[str, str]]  # what a run may set, with the defaults
    components: Hashed[dict[str, str]]  # what the artifact hash covers: file names and package versions
    deployed_at: Public[Instant]
    file: Hashed[PathText] = PathText("")  # where a person named it; what runs is the copy that the home keeps of it


class ParserTrusted(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A person lets this exact artifact run: asked by a run, by a command, only for runs under development, or because
    a trusted key has signed its source: `key`, as KeyTrusted has it."""

    parser: Public[ParserName]
    version: Public[str]
    artifact_hash: Public[ArtifactHash]
    how: Public[TrustedHow]
    by: Hashed[str]
    reason: Hashed[str]
    trusted_at: Public[Instant]
    key: Hashed[str] = ""


class ParserRevoked(Record, frozen=True, kw_only=True, omit_defaults=True):
    """This artifact may not run any more. What it has made stays. `key` is the one by whose signature it ran."""

    parser: Public[ParserName]
    version: Public[str]
    artifact_hash: Public[ArtifactHash]
    by: Hashed[str]
    reason: Hashed[str]
    revoked_at: Public[Instant]
    key: Hashed[str] = ""


class KeyTrusted(Record, frozen=True, kw_only=True):
    """A person lets all parsers run whose source this key has signed. Said again, it counts for every name again."""

    key: Hashed[str]  # the public key, in the form of a note's
    by: Hashed[str]
    reason: Hashed[str]
    trusted_at: Public[Instant]


class KeyRevoked(Record, frozen=True, kw_only=True):
    """A signature by this key lets nothing run any more; what ran by it is revoked in the same frame."""

    key: Hashed[str]
    by: Hashed[str]
    reason: Hashed[str]
    revoked_at: Public[Instant]


class ParserPaused(Record, frozen=True, kw_only=True):
    """No job of this artifact is handed out until a person resumes it: its last jobs failed, one after another, in ways
    that speak of the parser and not of the files."""

    parser: Public[ParserName]
    version: Public[str]
    artifact_hash: Public[ArtifactHash]
    job: Public[JobId]  # the last of them
    failures: Public[int]
    reason: Hashed[str]
    paused_at: Public[Instant]


class ParserResumed(Record, frozen=True, kw_only=True):
    """A person lets the jobs of a paused parser be handed out again; its failures are counted anew."""

    parser: Public[ParserName]
    artifact_hash: Public[ArtifactHash]
    by: Hashed[str]
    reason: Hashed[str]
    resumed_at: Public[Instant]


# --- run ------------------------------------------------------------------------------------------------------------


class RunStarted(Record, frozen=True, kw_only=True, omit_defaults=True):
    run: Public[RunId]
    parser: Public[ParserName]
    inputs: Hashed[tuple[PathText, ...]]  # the first ones; all of them are the blob `inputs_digest`, where it is not ""
    inputs_total: Public[int]
    inputs_digest: Hashed[str]
    sink_uri: Hashed[str]
    sink_mode: Public[str]
    settings: Hashed[dict[str, str]]  # every declared one, as given or by default
    workers: Public[int]
    started_at: Public[Instant]
    quarantine: ByPart[QuarantinePolicy] = QuarantinePolicy()
    quarantine_from: Hashed[tuple[str, ...]] = ()  # where each word of the policy comes from, if not the default


class RunPlanned(Record, frozen=True, kw_only=True):
    """What the run decided, at which position, from which components. The list of files is the blob `plan_digest`."""

    run: Public[RunId]
    at_seq: Public[Seq]
    parser: Public[ParserName]
    parser_version: Public[str]
    artifact_hash: Public[ArtifactHash]
    env_hash: Hashed[EnvHash]
    config_hash: Hashed[ConfigHash]
    sink_uri: Hashed[str]
    sink_mode: Public[str]
    targets: ByPart[tuple[Target, ...]]
    found: Public[int]
    reused: Public[int]
    queued: Public[int]
    attached: Public[int]  # an open job, or an earlier file of this run with the same bytes, makes the outputs
    refused: Public[int]
    plan_digest: Hashed[Digest]
    planned_at: Public[Instant]


class OutputsReused(Record, frozen=True, kw_only=True):
    """A run asked again for what these jobs recorded, while the tables showed another reading of the same contents:
    from here on they show what these jobs recorded."""

    run: Public[RunId]
    jobs: Public[tuple[JobId, ...]]
    reused_at: Public[Instant]


class OutputsLost(Record, frozen=True, kw_only=True):
    """What these jobs recorded is not in its target any more as it was published, and a person said that it is to be
    made anew: no table shows it and no run reuses it from here on."""

    run: Public[RunId]
    jobs: Public[tuple[JobId, ...]]
    lost_at: Public[Instant]


class RunFinished(Record, frozen=True, kw_only=True):
    run: Public[RunId]
    exit: Public[int]
    processed: Public[int]
    reused: Public[int]
    failed: Public[int]
    superseded: Public[int]
    finished_at: Public[Instant]


class RunInterrupted(Record, frozen=True, kw_only=True):
    """The run ended before its work was done; its open jobs stay open for the next start."""

    run: Public[RunId]
    reason: Hashed[str]
    interrupted_at: Public[Instant]


# --- file -----------------------------------------------------------------------------------------------------------


class FilesSeen(Record, frozen=True, kw_only=True):
    """Up to 1,000 files in the order in which the scanner met them."""

    run: Public[RunId]
    files: ByPart[tuple[SeenFile, ...]]


class FilesRefused(Record, frozen=True, kw_only=True):
    run: Public[RunId]
    files: ByPart[tuple[RefusedFile, ...]]


# --- executor -------------------------------------------------------------------------------------------------------


class ExecutorJoined(Record, frozen=True, kw_only=True):
    executor: Public[ExecutorId]
    pid: Public[int]
    host: Hashed[str]
    version: Public[str]
    capacity: Public[int]
    joined_at: Public[Instant]


class ExecutorDraining(Record, frozen=True, kw_only=True):
    """The executor gets no more jobs; it leaves when what it holds is done."""

    executor: Public[ExecutorId]
    reason: Hashed[str]
    draining_at: Public[Instant]


class ExecutorLost(Record, frozen=True, kw_only=True):
    """The executor is gone, by its own word or because its process ended; its leases are dead."""

    executor: Public[ExecutorId]
    reason: Hashed[str]
    lost_at: Public[Instant]


# --- job ------------------------------------------------------------------------------------------------------------


class JobQueued(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One file to be parsed by one parser; claims its materialization keys until it is finished."""

    job: Public[JobId]
    run: Public[RunId]
    path: Hashed[PathText]
    source_hash: Hashed[SourceHash]
    sha256: Hashed[Sha256]
    size: Public[int]
    mtime_ns: Omitted[int]
    file_uid: Hashed[str]
    parser: Public[ParserName]
    parser_version: Public[str]
    artifact_hash: Public[ArtifactHash]
    settings: Hashed[dict[str, str]]
    sink_uri: Hashed[str]
    sink_mode: Public[str]
    keys: ByPart[tuple[JobKey, ...]]
    queued_at: Public[Instant]
    quarantine: ByPart[QuarantinePolicy] = QuarantinePolicy()
    priority: Public[int] = 0  # higher ones are handed out first
    retry_of: Public[JobId | None] = None  # the job that ended without outputs and is made again


class JobDispatched(Record, frozen=True, kw_only=True):
    job: Public[JobId]
    attempt: Public[int]  # from 1
    executor: Public[ExecutorId]
    lease: Hashed[LeaseId]
    dispatched_at: Public[Instant]


class JobStarted(Record, frozen=True, kw_only=True):
    job: Public[JobId]
    attempt: Public[int]
    lease: Hashed[LeaseId]
    started_at: Public[Instant]


class JobDeclined(Record, frozen=True, kw_only=True):
    """The executor gave the job back unstarted, for want of capacity: no attempt is charged."""

    job: Public[JobId]
    attempt: Public[int]
    lease: Hashed[LeaseId]
    reason: Hashed[str]
    declined_at: Public[Instant]


class JobRequeued(Record, frozen=True, kw_only=True):
    """An attempt ended without a result and the job waits again. `charged` says whether it used up a retry."""

    job: Public[JobId]
    attempt: Public[int]
    reason: Hashed[str]
    charged: Public[bool]
    not_before: Public[Instant]
    requeued_at: Public[Instant]
    kind: Hashed[str] = ""  # of a failed attempt: the word for programs, as in JobFailed
    failure: Public[Literal["", "transient", "unknown"]] = ""  # of a failed attempt: its class


class JobPrioritySet(Record, frozen=True, kw_only=True):
    """From here on the job waits with this priority; also when it is put back after an attempt."""

    job: Public[JobId]
    priority: Public[int]
    by: Hashed[str]
    set_at: Public[Instant]


class CommitRefused(Record, frozen=True, kw_only=True):
    """A finished attempt may not publish: wrong lease, cancelled, unbalanced. Its staged outputs are discarded."""

    job: Public[JobId]
    attempt: Public[int]
    lease: Hashed[LeaseId]
    code: Public[str]
    why: Hashed[str]
    refused_at: Public[Instant]


class OutputsCommitted(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The commit point of a job: from here on a cancel is too late, and recovery finishes the promotion.

    `outputs` are the artifacts to promote; `empty` are the outputs without rows, which have no artifact; `evidence` are
    the rejected rows, promoted as well. A commit whose status is `rejected` publishes the evidence alone, because the
    run's policy (`why`) forbids the outputs: what was staged of them is `discarded`.
    """

    job: Public[JobId]
    attempt: Public[int]
    lease: Hashed[LeaseId]
    commit_key: Hashed[CommitKey]
    status: Public[Literal["success", "partial_success", "rejected"]]
    sink_uri: Hashed[str]
    outputs: ByPart[tuple[StagedOutput, ...]]
    empty: Public[tuple[OutputName, ...]]
    sheet: ByPart[BalanceSheet]
    committed_at: Public[Instant]
    evidence: ByPart[tuple[StagedEvidence, ...]] = ()
    why: Hashed[str] = ""
    discarded: Omitted[tuple[str, ...]] = ()  # names of staged artifacts
    further: ByPart[tuple[BalanceSheet, ...]] = ()  # the same input counted in other units
    notes: Hashed[tuple[str, ...]] = ()  # what the host did with columns that need not be as declared; NOTES_MAX


class MaterializationRecorded(Record, frozen=True, kw_only=True):
    """An output exists. `file` is its name in the sink's folder, "" where the output has no rows (no_data)."""

    job: Public[JobId]
    run: Public[RunId]
    output: Public[OutputName]
    target_key: Hashed[TargetKey]
    materialization_key: Hashed[MaterializationKey]
    source_hash: Hashed[SourceHash]
    parser: Public[ParserName]
    parser_version: Public[str]
    sink_uri: Hashed[str]
    file: Hashed[str]
    digest: Hashed[str]
    bytes: Public[int]
    row_first: Public[int]
    rows: Public[int]
    schema_hash: Public[SchemaHash]
    status: Public[Literal["success", "partial_success", "no_data"]]


class QuarantineRecorded(Record, frozen=True, kw_only=True):
    """The rejected rows of an output are kept in `file`; `rejected` says that policy forbade the output itself."""

    job: Public[JobId]
    run: Public[RunId]
    output: Public[OutputName]
    source_hash: Hashed[SourceHash]
    parser: Public[ParserName]
    parser_version: Public[str]
    sink_uri: Hashed[str]
    file: Hashed[str]
    digest: Hashed[Digest]
    bytes: Public[int]
    rows: Public[int]
    accepted: Public[int]
    schema_hash: Public[SchemaHash]
    rules: ByPart[tuple[BrokenRule, ...]]
    rejected: Public[bool]


class QuarantineDeleted(Record, frozen=True, kw_only=True):
    """A person had the rejected rows of an output deleted: its file is removed, what was recorded of it stays."""

    job: Public[JobId]
    output: Public[OutputName]
    file: Hashed[str]
    sink_uri: Hashed[str]
    digest: Hashed[Digest]
    reason: Hashed[str]
    deleted_at: Public[Instant]


class SchemaMismatchFound(Record, frozen=True, kw_only=True):
    """Why the attempt that fails next failed: the difference between declared and given columns, whole."""

    job: Public[JobId]
    attempt: Public[int]
    mismatch: ByPart[SchemaMismatch]


class JobCompleted(Record, frozen=True, kw_only=True, omit_defaults=True):
    job: Public[JobId]
    run: Public[RunId]
    attempt: Public[int]
    status: Public[JobStatus]
    sheet: ByPart[BalanceSheet]
    finished_at: Public[Instant]
    further: ByPart[tuple[BalanceSheet, ...]] = ()


class JobFailed(Record, frozen=True, kw_only=True):
    """The job is over without outputs. `hint` says what a person can do; `log_tail` is the guest's last words."""

    job: Public[JobId]
    run: Public[RunId]
    attempt: Public[int]
    failure: Public[FailureClass]
    kind: Hashed[str]  # a parser may choose the word
    reason: Hashed[str]
    hint: Omitted[str]
    log_tail: Omitted[str]
    sheet: ByPart[BalanceSheet | None]
    failed_at: Public[Instant]
    against_parser: Public[int] = 0  # how many failures in a row speak against its parser, with this; 0: it does not


class CancelAccepted(Record, frozen=True, kw_only=True):
    """No OutputsCommitted of this job may follow: the log itself is the proof."""

    job: Public[JobId]
    reason: Hashed[str]
    accepted_at: Public[Instant]


class JobAborted(Record, frozen=True, kw_only=True):
    job: Public[JobId]
    run: Public[RunId]
    reason: Hashed[str]
    aborted_at: Public[Instant]


class PromotionAbandoned(Record, frozen=True, kw_only=True):
    """The sink answered that nothing of this commit key is published; its key is free again."""

    job: Public[JobId]
    attempt: Public[int]
    commit_key: Hashed[CommitKey]
    reason: Hashed[str]
    abandoned_at: Public[Instant]


# --- commands that people give (logged as the first record of their frame) -------------------------------------------


class StartRun(Record, frozen=True, kw_only=True, omit_defaults=True):
    parser: Hashed[ParserName]  # as it was typed: the name of a case, where the words were exchanged
    inputs: Hashed[tuple[PathText, ...]]  # see RunStarted
    inputs_total: Public[int]
    inputs_digest: Hashed[str]
    sink_uri: Hashed[str]
    sink_mode: Hashed[str]
    settings: Hashed[dict[str, str]]
    workers: Public[int]
    now: Public[Instant]
    quarantine: ByPart[QuarantinePolicy] = QuarantinePolicy()
    quarantine_from: Hashed[tuple[str, ...]] = ()


class CancelJob(Record, frozen=True, kw_only=True):
    job: Public[JobId]
    reason: Hashed[str]
    now: Public[Instant]
    by: Hashed[str] = ""  # who asks, as the frame's actor names them: a decision does not see the frame


class TrustParser(Record, frozen=True, kw_only=True, omit_defaults=True):
    parser: Public[ParserName]
    version: Public[str]
    artifact_hash: Public[ArtifactHash]
    how: Public[TrustedHow]
    by: Hashed[str]
    reason: Hashed[str]
    now: Public[Instant]
    key: Hashed[str] = ""  # whose signature over its source was found right; the shell checks it


class RevokeParser(Record, frozen=True, kw_only=True):
    """Trust no artifact of this name any more."""

    parser: Hashed[ParserName]  # as it was typed
    by: Hashed[str]
    reason: Hashed[str]
    now: Public[Instant]


class TrustKey(Record, frozen=True, kw_only=True):
    key: Hashed[str]
    by: Hashed[str]
    reason: Hashed[str]
    now: Public[Instant]


class RevokeKey(Record, frozen=True, kw_only=True):
    """Trust nothing any more because of this key's signature."""

    key: Hashed[str]
    by: Hashed[str]
    reason: Hashed[str]
    now: Public[Instant]


SinkAnswer = Literal["withdrawn", "unreachable", "not_asked"]


class AbandonJob(Record, frozen=True, kw_only=True):
    """Give up a promotion. The shell asks the sink first: `withdrawn` says that nothing of the commit key is published
    and that nothing can be any more; `not_asked` that there was no promotion to ask about."""

    job: Public[JobId]
    commit_key: Hashed[CommitKey]
    sink_answer: Public[SinkAnswer]
    sink_said: Hashed[str]
    reason: Hashed[str]
    by: Hashed[str]
    now: Public[Instant]


class RetriedJob(Struct, frozen=True, kw_only=True):
    """A job that is to be made again, as the shell found it: what was queued, how it stood, and whether its outputs
    exist, by whatever job. `open`: it has not ended, or another job of its keys has not."""

    spec: ByPart[JobQueued]
    stood: Public[Literal["open", "completed", "failed", "aborted"]]
    recorded: Public[bool]


class RetryJobs(Record, frozen=True, kw_only=True):
    """Queue jobs again that ended without outputs. Ended jobs are not in the state: the shell looks them up at
    `at_seq`, where the next job was to be `next_job`, and passes them in."""

    jobs: ByPart[tuple[RetriedJob, ...]]
    at_seq: Public[Seq]
    next_job: Public[JobId]
    by: Hashed[str]
    reason: Hashed[str]
    now: Public[Instant]


class SetJobPriority(Record, frozen=True, kw_only=True):
    job: Public[JobId]
    priority: Public[int]
    by: Hashed[str]
    now: Public[Instant]


class ResumeParser(Record, frozen=True, kw_only=True):
    """Let the jobs of a paused parser be handed out again."""

    parser: Hashed[ParserName]  # as it was typed
    by: Hashed[str]
    reason: Hashed[str]
    now: Public[Instant]


class DeletedEvidence(Struct, frozen=True, kw_only=True):
    """One file of rejected rows, as it is recorded."""

    job: Public[JobId]
    output: Public[OutputName]
    file: Hashed[str]
    sink_uri: Hashed[str]
    digest: Hashed[Digest]


class DeleteQuarantine(Record, frozen=True, kw_only=True):
    """Have files of rejected rows deleted; the shell looks them up at a known position and passes them in."""

    files: ByPart[tuple[DeletedEvidence, ...]]
    reason: Hashed[str]
    now: Public[Instant]


class DrainExecutor(Record, frozen=True, kw_only=True):
    """Give an executor no more jobs, by the command of a person."""

    executor: Public[ExecutorId]
    reason: Hashed[str]
    by: Hashed[str]
    now: Public[Instant]


LogEvent = WriterOpened | LogRecovered | LogRepaired | LogForked | ClockStepped | CommandRefused
ParserEvent = ParserDeployed | ParserTrusted | ParserRevoked | ParserPaused | ParserResumed | KeyTrusted | KeyRevoked
RunEvent = RunStarted | RunPlanned | OutputsReused | OutputsLost | RunFinished | RunInterrupted
FileEvent = FilesSeen | FilesRefused
ExecutorEvent = ExecutorJoined | ExecutorDraining | ExecutorLost
JobEvent = (
    JobQueued
    | JobDispatched
    | JobStarted
    | JobDeclined
    | JobRequeued
    | JobPrioritySet
    | CommitRefused
    | OutputsCommitted
    | MaterializationRecorded
    | QuarantineRecorded
    | SchemaMismatchFound
    | JobCompleted
    | JobFailed
    | CancelAccepted
    | JobAborted
    | PromotionAbandoned
)
QuarantineEvent = QuarantineDeleted
Event = LogEvent | ParserEvent | RunEvent | FileEvent | ExecutorEvent | JobEvent | QuarantineEvent
LoggedCommand = (
    StartRun
    | CancelJob
    | AbandonJob
    | RetryJobs
    | SetJobPriority
    | DeleteQuarantine
    | TrustParser
    | RevokeParser
    | TrustKey
    | RevokeKey
    | ResumeParser
    | DrainExecutor
)
