"""Owns how events become rows: one function per event type, pure, in memory. Knows no database.

A `Work` holds the rows that a batch of events touches: `touched` says which of them must be loaded first, `fold`
applies the events in the order of the log, `Work` then holds what those rows have become. Cutting the same events
into other batches gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventlog.events import (
    AbandonJob,
    BalanceSheet,
    CancelAccepted,
    CancelJob,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    DeleteQuarantine,
    DrainExecutor,
    Event,
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobEvent,
    JobFailed,
    JobPrioritySet,
    JobQueued,
    JobRequeued,
    JobStarted,
    KeyRevoked,
    KeyTrusted,
    LogForked,
    LoggedCommand,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
    ParserRevoked,
    ParserTrusted,
    PromotionAbandoned,
    QuarantineDeleted,
    QuarantineRecorded,
    Record,
    RefusedFile,
    ResumeParser,
    RetryJobs,
    RevokeKey,
    RevokeParser,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    SchemaMismatchFound,
    SeenFile,
    SetJobPriority,
    StartRun,
    TrustKey,
    TrustParser,
    UnreadableRange,
    WriterOpened,
)
from eventlog.ids import ArtifactHash, ExecutorId, JobId, ParserName, PathText, RunId, Seq
from eventlog.schema import OutputSchema, schema_hash
from projections.errors import UnhandledEventError, UnknownSubjectError
from projections.rows import (
    ExecutorRow,
    ExpectedOutputRow,
    FileRow,
    JobRangeRow,
    JobRow,
    MaterializationRow,
    ParserHealthRow,
    ParserRow,
    QuarantineRow,
    RunRow,
    SchemaMismatchRow,
    TrustedKeyRow,
    TrustRow,
)
from projections.tally import Tally, count

_json = msgspec.json.Encoder(order="deterministic")

ParserKey = tuple[str, str, str, str]  # parser, version, artifact hash, env hash
ExpectedKey = tuple[str, str, str, str]  # parser, version, artifact hash, output name

EvidenceKey = tuple[JobId, str]  # job, output name
JobEventValues = tuple[
    JobId, int, Seq, str, str | None
]  # the columns of a JobEventRow: one per event, so without an object of its own


class Touched(Struct, kw_only=True):
    """The identities of existing rows that a batch may change. New jobs and runs are not among them."""

    paths: set[PathText] = msgspec.field(default_factory=set)
    jobs: set[JobId] = msgspec.field(default_factory=set)
    runs: set[RunId] = msgspec.field(default_factory=set)
    executors: set[ExecutorId] = msgspec.field(default_factory=set)
    parsers: set[ParserName] = msgspec.field(default_factory=set)
    trust: set[ArtifactHash] = msgspec.field(default_factory=set)
    keys: set[str] = msgspec.field(default_factory=set)


class Work(Struct, kw_only=True):
    """The rows that a batch touches, by identity. `materializations`, `quarantines`, `mismatches` and `events` only
    ever grow: all theirs are new."""

    files: dict[PathText, FileRow] = msgspec.field(default_factory=dict)
    jobs: dict[JobId, JobRow] = msgspec.field(default_factory=dict)
    runs: dict[RunId, RunRow] = msgspec.field(default_factory=dict)
    executors: dict[ExecutorId, ExecutorRow] = msgspec.field(default_factory=dict)
    parsers: dict[ParserKey, ParserRow] = msgspec.field(default_factory=dict)
    expected: dict[ExpectedKey, ExpectedOutputRow] = msgspec.field(default_factory=dict)
    trust: dict[ArtifactHash, TrustRow] = msgspec.field(default_factory=dict)
    health: dict[ParserName, ParserHealthRow] = msgspec.field(default_factory=dict)  # of every parser
    keys: dict[str, TrustedKeyRow] = msgspec.field(default_factory=dict)
    ranges: dict[JobId, tuple[UnreadableRange, ...]] = msgspec.field(default_factory=dict)  # all of a job, replaced
    events: list[JobEventValues] = msgspec.field(default_factory=list)
    materializations: list[MaterializationRow] = msgspec.field(default_factory=list)
    asked: dict[JobId, Seq] = msgspec.field(default_factory=dict)  # whose outputs a run asked for again, and where
    quarantines: list[QuarantineRow] = msgspec.field(default_factory=list)
    mismatches: list[SchemaMismatchRow] = msgspec.field(default_factory=list)
    deleted: dict[EvidenceKey, tuple[Seq, str]] = msgspec.field(default_factory=dict)  # where, and why
    lost: dict[JobId, Seq] = msgspec.field(default_factory=dict)  # whose outputs were declared lost, and where
    tally: Tally = msgspec.field(default_factory=dict)  # every counter


Numbered = tuple[Seq, Event | LoggedCommand]


def touched(records: Iterable[Numbered]) -> Touched:
    """Return which existing rows these records may change; a job that they queue themselves has none yet."""
    found = Touched()
    jobs = found.jobs
    begun: set[JobId] = set()
    for _seq, record in records:
        kind = type(record)
        if kind is JobQueued:
            begun.add(record.job)  # type: ignore[union-attr]  # the line above says which type it is
        elif kind in _JOB_TYPES:
            if record.job not in begun:  # type: ignore[union-attr]  # _JOB_TYPES are those that have a job
                jobs.add(record.job)  # type: ignore[union-attr]
        elif kind in _TOUCHES:
            _TOUCHES[kind](found, record)
    return found


# What a record that is no job's may change; a run that starts has no row yet.
_TOUCHES: dict[type[Record], Callable[[Touched, Any], None]] = {
    FilesSeen: lambda found, event: found.paths.update([file.path for file in event.files]),
    FilesRefused: lambda found, event: found.paths.update([file.path for file in event.files]),
    RunPlanned: lambda found, event: found.runs.add(event.run),
    RunFinished: lambda found, event: found.runs.add(event.run),
    RunInterrupted: lambda found, event: found.runs.add(event.run),
    ExecutorJoined: lambda found, event: found.executors.add(event.executor),
    ExecutorDraining: lambda found, event: found.executors.add(event.executor),
    ExecutorLost: lambda found, event: found.executors.add(event.executor),
    ParserDeployed: lambda found, event: found.parsers.add(event.parser),
    ParserTrusted: lambda found, event: found.trust.add(event.artifact_hash),
    ParserRevoked: lambda found, event: found.trust.add(event.artifact_hash),
    KeyTrusted: lambda found, event: found.keys.add(event.key),
    KeyRevoked: lambda found, event: found.keys.add(event.key),
}


def fold(work: Work, records: Iterable[Numbered]) -> Work:
    """Apply the records, in the order of the log, to the rows in `work`, and return it.

    Raises UnhandledEventError for a type that is neither handled nor ignored, UnknownSubjectError for an event of a
    job, run or executor that no earlier event introduced.
    """
    for seq, record in records:
        kind = type(record)
        apply = HANDLED.get(kind)
        if apply is not None:
            count(work.tally, work.jobs, record)
            apply(work, seq, record)
        elif kind not in IGNORED:
            raise UnhandledEventError(
                f"fold event {seq} into the read model: its type {kind.__name__} is not known there; "
                "use the version of casparian that wrote the log"
            )
    return work


# --- file -----------------------------------------------------------------------------------------------------------


def files_seen(work: Work, seq: Seq, event: FilesSeen) -> None:
    """Replace what is known of each path; only first_seen_seq survives."""
    files = work.files
    for seen in event.files:
        files[seen.path] = _seen(files.get(seen.path), seq, event.run, seen)


def _seen(known: FileRow | None, seq: Seq, run: RunId, seen: SeenFile) -> FileRow:
    return FileRow(
        path=seen.path,
        size=seen.size,
        mtime_ns=seen.mtime_ns,
        file_uid=seen.file_uid,
        source_hash=seen.source_hash,
        sha256=seen.sha256,
        first_seen_seq=known.first_seen_seq if known else seq,
        last_seen_seq=seq,
        last_run=run,
        refused_reason=None,
    )


def files_refused(work: Work, seq: Seq, event: FilesRefused) -> None:
    """Note why each path could not be read; what was known of its content before stays."""
    for refused in event.files:
        work.files[refused.path] = _refused(work.files.get(refused.path), seq, event.run, refused)


def _refused(known: FileRow | None, seq: Seq, run: RunId, refused: RefusedFile) -> FileRow:
    if known is not None:
        return replace(known, last_seen_seq=seq, last_run=run, refused_reason=refused.reason)
    return FileRow(
        path=refused.path,
        size=None,
        mtime_ns=None,
        file_uid=None,
        source_hash=None,
        sha256=None,
        first_seen_seq=seq,
        last_seen_seq=seq,
        last_run=run,
        refused_reason=refused.reason,
    )


# --- parser ---------------------------------------------------------------------------------------------------------


def parser_deployed(work: Work, seq: Seq, event: ParserDeployed) -> None:
    """Make this artifact the current one of its name, and declare its outputs."""
    for key, row in work.parsers.items():
        if row.parser == event.parser and row.current:
            work.parsers[key] = replace(row, current=False)
    work.parsers[(event.parser, event.version, event.artifact_hash, event.env_hash)] = ParserRow(
        parser=event.parser,
        version=event.version,
        artifact_hash=event.artifact_hash,
        env_hash=event.env_hash,
        builtin=event.builtin,
        file=event.file,
        settings=_json.encode(event.settings).decode(),
        outputs=_json.encode(event.outputs).decode(),
        components=_json.encode(event.components).decode(),
        deployed_seq=seq,
        deployed_at=event.deployed_at,
        current=True,
    )
    work.health[event.parser] = ParserHealthRow(
        parser=event.parser, version=event.version, artifact_hash=event.artifact_hash, state="active"
    )
    for output in event.outputs:
        if not output.columns:
            continue  # each run declares them: until one has made rows there is nothing to expect
        row_key = (event.parser, event.version, event.artifact_hash, output.output)
        work.expected[row_key] = _expected(seq, event, output)


def _expected(seq: Seq, event: ParserDeployed, output: OutputSchema) -> ExpectedOutputRow:
    return ExpectedOutputRow(
        parser=event.parser,
        version=event.version,
        artifact_hash=event.artifact_hash,
        output_name=output.output,
        schema_hash=schema_hash(output),
        columns=_json.encode(output.columns).decode(),
        deployed_seq=seq,
    )


def parser_trusted(work: Work, seq: Seq, event: ParserTrusted) -> None:
    """Note who trusts the artifact; an earlier end of that trust is in the log alone."""
    work.trust[event.artifact_hash] = TrustRow(
        parser=event.parser,
        version=event.version,
        artifact_hash=event.artifact_hash,
        how=event.how,
        key=event.key,
        trusted_by=event.by,
        reason=event.reason,
        trusted_seq=seq,
        trusted_at=event.trusted_at,
    )


def parser_revoked(work: Work, _seq: Seq, event: ParserRevoked) -> None:
    """Note who ended the trust in the artifact, and why."""
    known = work.trust.get(event.artifact_hash)
    if known is None:
        raise UnknownSubjectError(f"fold the end of trust in {event.artifact_hash}: no event before it trusts it")
    work.trust[event.artifact_hash] = replace(
        known, revoked_by=event.by, revoked_reason=event.reason, revoked_at=event.revoked_at
    )


def parser_paused(work: Work, _seq: Seq, event: ParserPaused) -> None:
    known = work.health.get(event.parser)
    if known is not None and known.artifact_hash == event.artifact_hash:
        work.health[event.parser] = replace(
            known,
            state="paused",
            failures=event.failures,
            paused_at=event.paused_at,
            paused_job=event.job,
            paused_reason=event.reason,
        )


def parser_resumed(work: Work, _seq: Seq, event: ParserResumed) -> None:
    """Note who let the parser go on; since when and why it was paused stays readable."""
    known = work.health.get(event.parser)
    if known is not None and known.artifact_hash == event.artifact_hash:
        work.health[event.parser] = replace(
            known,
            state="active",
            failures=0,
            resumed_at=event.resumed_at,
            resumed_by=event.by,
            resumed_reason=event.reason,
        )


def _count_for_parser(work: Work, event: OutputsCommitted | JobCompleted | JobFailed) -> None:
    """Let the parser's row know how a job of its current artifact ended, or that it may publish what it made."""
    job = work.jobs[event.job]
    known = work.health.get(job.parser)
    if known is None or known.artifact_hash != job.artifact_hash:
        return
    if isinstance(event, JobFailed):
        if event.against_parser:
            work.health[job.parser] = replace(known, failures=event.against_parser)
    elif known.failures:
        work.health[job.parser] = replace(known, failures=0)


def key_trusted(work: Work, seq: Seq, event: KeyTrusted) -> None:
    """Note who trusts the key; an earlier end of that trust is in the log alone."""
    work.keys[event.key] = TrustedKeyRow(
        key=event.key, trusted_by=event.by, reason=event.reason, trusted_seq=seq, trusted_at=event.trusted_at
    )


def key_revoked(work: Work, _seq: Seq, event: KeyRevoked) -> None:
    """Note who ended the trust in the key, and why."""
    known = work.keys.get(event.key)
    if known is None:
        raise UnknownSubjectError(f"fold the end of trust in key {event.key}: no event before it trusts it")
    work.keys[event.key] = replace(known, revoked_by=event.by, revoked_reason=event.reason, revoked_at=event.revoked_at)


# --- run ------------------------------------------------------------------------------------------------------------


def run_started(work: Work, _seq: Seq, event: RunStarted) -> None:
    work.runs[event.run] = RunRow(
        run_id=event.run,
        parser=event.parser,
        inputs=_json.encode(event.inputs).decode(),
        settings=_json.encode(event.settings).decode(),
        sink_uri=event.sink_uri,
        workers=event.workers,
        quarantine=_json.encode(event.quarantine).decode(),
        status="running",
        started_at=event.started_at,
    )


def run_planned(work: Work, seq: Seq, event: RunPlanned) -> None:
    _change_run(
        work,
        seq,
        event.run,
        found=event.found,
        reused=event.reused,
        queued=event.queued,
        attached=event.attached,
        refused=event.refused,
        plan_digest=event.plan_digest,
        at_seq=event.at_seq,
    )


def outputs_reused(work: Work, seq: Seq, event: OutputsReused) -> None:
    work.asked.update(dict.fromkeys(event.jobs, seq))


def outputs_lost(work: Work, seq: Seq, event: OutputsLost) -> None:
    work.lost.update(dict.fromkeys(event.jobs, seq))


def run_finished(work: Work, seq: Seq, event: RunFinished) -> None:
    _change_run(
        work,
        seq,
        event.run,
        status="finished",
        exit=event.exit,
        processed=event.processed,
        reused=event.reused,
        failed=event.failed,
        superseded=event.superseded,
        finished_at=event.finished_at,
    )


def run_interrupted(work: Work, seq: Seq, event: RunInterrupted) -> None:
    _change_run(work, seq, event.run, status="interrupted", reason=event.reason, finished_at=event.interrupted_at)


def _change_run(work: Work, seq: Seq, run: RunId, **changes: object) -> None:
    row = work.runs.get(run)
    if row is None:
        raise _unknown(seq, f"run {run} was never started")
    work.runs[run] = replace(row, **changes)


def _unknown(seq: Seq, why: str) -> UnknownSubjectError:
    return UnknownSubjectError(f"fold event {seq} into the read model: {why}; run `casparian log verify`")


# --- executor -------------------------------------------------------------------------------------------------------


def executor_joined(work: Work, _seq: Seq, event: ExecutorJoined) -> None:
    work.executors[event.executor] = ExecutorRow(
        executor=event.executor,
        pid=event.pid,
        host=event.host,
        version=event.version,
        capacity=event.capacity,
        status="alive",
        joined_at=event.joined_at,
    )


def executor_draining(work: Work, seq: Seq, event: ExecutorDraining) -> None:
    known = work.executors.get(event.executor)
    if known is None:
        raise _unknown(seq, f"executor {event.executor} never joined")
    work.executors[event.executor] = replace(known, status="draining", reason=event.reason)


def executor_lost(work: Work, seq: Seq, event: ExecutorLost) -> None:
    known = work.executors.get(event.executor)
    if known is None:
        raise _unknown(seq, f"executor {event.executor} never joined")
    work.executors[event.executor] = replace(known, status="lost", lost_at=event.lost_at, reason=event.reason)


# --- job ------------------------------------------------------------------------------------------------------------


def job_queued(work: Work, seq: Seq, event: JobQueued) -> None:
    reason = f"makes job {event.retry_of} again" if event.retry_of is not None else None
    work.events.append((event.job, 1, seq, "JobQueued", reason))
    work.jobs[event.job] = JobRow(
        job_id=event.job,
        run_id=event.run,
        path=event.path,
        source_hash=event.source_hash,
        sha256=event.sha256,
        size=event.size,
        parser=event.parser,
        parser_version=event.parser_version,
        artifact_hash=event.artifact_hash,
        status="queued",
        priority=event.priority,
        retry_of=event.retry_of,
        queued_at=event.queued_at,
        scheduled_at=event.queued_at,
        events=1,
        queued_seq=seq,
        last_seq=seq,
    )


def job_dispatched(work: Work, seq: Seq, event: JobDispatched) -> None:
    _change_job(
        work,
        seq,
        event,
        status="dispatched",
        attempt=event.attempt,
        executor=event.executor,
        dispatched_at=event.dispatched_at,
        started_at=None,
    )


def job_started(work: Work, seq: Seq, event: JobStarted) -> None:
    _change_job(work, seq, event, status="running", started_at=event.started_at)


def job_declined(work: Work, seq: Seq, event: JobDeclined) -> None:
    """Put the job back; the reason stays readable until the job ends."""
    _change_job(work, seq, event, event.reason, **_BACK, scheduled_at=event.declined_at, error_reason=event.reason)


def job_requeued(work: Work, seq: Seq, event: JobRequeued) -> None:
    """Put the job back; the reason stays readable until the job ends."""
    retries = _job(work, seq, event).retries + int(event.charged)
    _change_job(
        work,
        seq,
        event,
        event.reason,
        **_BACK,
        retries=retries,
        scheduled_at=event.not_before,
        error_reason=event.reason,
    )


def job_priority_set(work: Work, seq: Seq, event: JobPrioritySet) -> None:
    _change_job(work, seq, event, f"priority {event.priority}, by {event.by}", priority=event.priority)


_BACK = {"status": "queued", "executor": None, "dispatched_at": None, "started_at": None}


def commit_refused(work: Work, seq: Seq, event: CommitRefused) -> None:
    """Note why the attempt may not publish; what becomes of the job is the next event's to say."""
    _change_job(work, seq, event, event.why, error_kind=event.code, error_reason=event.why)


def outputs_committed(work: Work, seq: Seq, event: OutputsCommitted) -> None:
    notes = _json.encode(event.notes).decode() if event.notes else None
    sheet = _sheet(work, event.job, event.sheet, event.further)
    _change_job(work, seq, event, status="promoting", notes=notes, **sheet)
    if event.status != "rejected":
        _count_for_parser(work, event)


def materialization_recorded(work: Work, seq: Seq, event: MaterializationRecorded) -> None:
    """Record an output; whoever records one has asked for it."""
    rows_before = _job(work, seq, event).rows_total
    _change_job(work, seq, event, rows_total=rows_before + event.rows)
    work.materializations.append(
        MaterializationRow(
            materialization_key=event.materialization_key,
            output_target_key=event.target_key,
            job_id=event.job,
            run_id=event.run,
            output_name=event.output,
            source_hash=event.source_hash,
            parser=event.parser,
            parser_version=event.parser_version,
            artifact_hash=work.jobs[event.job].artifact_hash,
            sink_uri=event.sink_uri,
            file=event.file,
            digest=event.digest,
            bytes=event.bytes,
            row_first=event.row_first,
            rows=event.rows,
            schema_hash=event.schema_hash,
            status=event.status,
            recorded_seq=seq,
            asked_seq=seq,
        )
    )


def quarantine_recorded(work: Work, seq: Seq, event: QuarantineRecorded) -> None:
    _change_job(work, seq, event)
    work.quarantines.append(
        QuarantineRow(
            job_id=event.job,
            run_id=event.run,
            output_name=event.output,
            source_hash=event.source_hash,
            parser=event.parser,
            parser_version=event.parser_version,
            sink_uri=event.sink_uri,
            file=event.file,
            digest=event.digest,
            bytes=event.bytes,
            rows=event.rows,
            accepted=event.accepted,
            rules=_json.encode(event.rules).decode(),
            rejected=event.rejected,
            schema_hash=event.schema_hash,
            recorded_seq=seq,
        )
    )


def quarantine_deleted(work: Work, seq: Seq, event: QuarantineDeleted) -> None:
    work.deleted[event.job, event.output] = (seq, event.reason)


def schema_mismatch_found(work: Work, seq: Seq, event: SchemaMismatchFound) -> None:
    _change_job(work, seq, event)
    mismatch = event.mismatch
    work.mismatches.append(
        SchemaMismatchRow(
            job_id=event.job,
            attempt=event.attempt,
            output_name=mismatch.output,
            expected=_json.encode(mismatch.expected).decode(),
            actual=_json.encode(mismatch.actual).decode(),
            missing=_json.encode(mismatch.missing).decode(),
            extra=_json.encode(mismatch.extra).decode(),
            misplaced=_json.encode(mismatch.misplaced).decode(),
            types=_json.encode(mismatch.types).decode(),
            seq=seq,
        )
    )


def job_completed(work: Work, seq: Seq, event: JobCompleted) -> None:
    _change_job(
        work,
        seq,
        event,
        status="completed",
        completion_status=event.status,
        attempt=event.attempt,
        finished_at=event.finished_at,
        error_kind=None,
        error_reason=None,
        **_sheet(work, event.job, event.sheet, event.further),
    )
    _count_for_parser(work, event)


def job_failed(work: Work, seq: Seq, event: JobFailed) -> None:
    _change_job(
        work,
        seq,
        event,
        event.reason,
        status="failed",
        attempt=event.attempt,
        finished_at=event.failed_at,
        error_class=event.failure,
        error_kind=event.kind,
        error_reason=event.reason,
        error_hint=event.hint,
        log_tail=event.log_tail,
        **_sheet(work, event.job, event.sheet, _known_further(work, event)),
    )
    _count_for_parser(work, event)


def cancel_accepted(work: Work, seq: Seq, event: CancelAccepted) -> None:
    """Show an executor's job as aborting; one that waits in the queue has nothing to abort and ends at once."""
    held = _job(work, seq, event).status in {"dispatched", "running"}
    _change_job(work, seq, event, event.reason, error_reason=event.reason, **({"status": "aborting"} if held else {}))


def job_aborted(work: Work, seq: Seq, event: JobAborted) -> None:
    _change_job(
        work,
        seq,
        event,
        event.reason,
        status="aborted",
        finished_at=event.aborted_at,
        error_reason=event.reason,
    )


def promotion_abandoned(work: Work, seq: Seq, event: PromotionAbandoned) -> None:
    """Note why nothing was published; the JobFailed that follows ends the job."""
    _change_job(work, seq, event, event.reason, error_reason=event.reason)


def _job(work: Work, seq: Seq, event: JobEvent) -> JobRow:
    row = work.jobs.get(event.job)
    if row is None:
        raise _unknown(seq, f"{type(event).__name__} speaks of job {event.job}, which was never queued")
    return row


def _change_job(work: Work, seq: Seq, event: JobEvent, reason: str | None = None, /, **changes: object) -> None:
    row = _job(work, seq, event)
    number = row.events + 1
    work.jobs[event.job] = replace(row, events=number, last_seq=seq, **changes)
    work.events.append((event.job, number, seq, type(event).__name__, reason))


def _known_further(work: Work, event: JobFailed) -> str | None:
    """Return the further sheets that a job committed before its policy failed it; a failure itself states none."""
    return work.jobs[event.job].further if event.job in work.jobs and event.sheet is not None else None


def _sheet(
    work: Work, job: JobId, sheet: BalanceSheet | None, further: tuple[BalanceSheet, ...] | str | None
) -> dict[str, object]:
    """Return the columns of a balance sheet, null without one, and replace the job's ranges."""
    if sheet is None:
        work.ranges[job] = ()
        return _NO_SHEET
    work.ranges[job] = sheet.ranges
    return {
        "unit": sheet.unit,
        "found": sheet.found,
        "written": sheet.written,
        "quarantined": sheet.quarantined,
        "skipped": sheet.skipped,
        "unreadable": sheet.unreadable,
        "ranges_total": sheet.ranges_total,
        "skips": _json.encode(sheet.skips).decode(),
        "further": _json.encode(further).decode() if isinstance(further, tuple) and further else further or None,
    }


_SHEET_COLUMNS = (
    "unit",
    "found",
    "written",
    "quarantined",
    "skipped",
    "unreadable",
    "ranges_total",
    "skips",
    "further",
)
_NO_SHEET: dict[str, object] = dict.fromkeys(_SHEET_COLUMNS)


# --- the batch as a whole -------------------------------------------------------------------------------------------


def range_rows(work: Work) -> list[JobRangeRow]:
    """Return the rows of all ranges in `work`, numbered from 1 in each job."""
    return [
        JobRangeRow(job_id=job, n=n, byte_offset=each.offset, byte_length=each.length, reason=each.reason)
        for job, ranges in work.ranges.items()
        for n, each in enumerate(ranges, start=1)
    ]


def recorded_rows(work: Work) -> list[MaterializationRow]:
    """Return the rows of the outputs that the batch recorded, with what it says of their jobs afterwards."""
    return [_marked(row, work) for row in work.materializations]


def quarantine_rows(work: Work) -> list[QuarantineRow]:
    """Return the rows of the rejected rows that the batch recorded, with what it says of their deletion afterwards."""
    return [_deleted(row, work) for row in work.quarantines]


def _deleted(row: QuarantineRow, work: Work) -> QuarantineRow:
    seq, reason = work.deleted.get((row.job_id, row.output_name), (None, None))
    return row if seq is None else replace(row, deleted_seq=seq, deleted_reason=reason)


def _marked(row: MaterializationRow, work: Work) -> MaterializationRow:
    asked, lost = work.asked.get(row.job_id, 0), work.lost.get(row.job_id, 0)
    if max(asked, lost) < row.recorded_seq:
        return row
    return replace(row, asked_seq=max(asked, row.asked_seq), lost_seq=lost if lost > row.recorded_seq else None)


# A handler only ever sees the type it is listed under, which the type checker cannot follow through a dictionary.
HANDLED: dict[type[Record], Callable[[Work, Seq, Any], None]] = {
    FilesSeen: files_seen,
    FilesRefused: files_refused,
    ParserDeployed: parser_deployed,
    ParserTrusted: parser_trusted,
    ParserRevoked: parser_revoked,
    ParserPaused: parser_paused,
    ParserResumed: parser_resumed,
    KeyTrusted: key_trusted,
    KeyRevoked: key_revoked,
    RunStarted: run_started,
    RunPlanned: run_planned,
    OutputsReused: outputs_reused,
    OutputsLost: outputs_lost,
    RunFinished: run_finished,
    RunInterrupted: run_interrupted,
    ExecutorJoined: executor_joined,
    ExecutorDraining: executor_draining,
    ExecutorLost: executor_lost,
    JobQueued: job_queued,
    JobDispatched: job_dispatched,
    JobStarted: job_started,
    JobDeclined: job_declined,
    JobRequeued: job_requeued,
    JobPrioritySet: job_priority_set,
    CommitRefused: commit_refused,
    OutputsCommitted: outputs_committed,
    MaterializationRecorded: materialization_recorded,
    QuarantineRecorded: quarantine_recorded,
    QuarantineDeleted: quarantine_deleted,
    SchemaMismatchFound: schema_mismatch_found,
    JobCompleted: job_completed,
    JobFailed: job_failed,
    CancelAccepted: cancel_accepted,
    JobAborted: job_aborted,
    PromotionAbandoned: promotion_abandoned,
}
# The log's own events and the wishes behind events change no row.
IGNORED: frozenset[type[Record]] = frozenset(
    {
        WriterOpened,
        LogForked,
        LogRecovered,
        LogRepaired,
        ClockStepped,
        CommandRefused,
        StartRun,
        CancelJob,
        AbandonJob,
        DeleteQuarantine,
        DrainExecutor,
        TrustParser,
        RevokeParser,
        RetryJobs,
        SetJobPriority,
        ResumeParser,
        TrustKey,
        RevokeKey,
    }
)

_JOB_TYPES: frozenset[type[Record]] = frozenset(
    {
        JobQueued,
        JobDispatched,
        JobStarted,
        JobDeclined,
        JobRequeued,
        JobPrioritySet,
        CommitRefused,
        OutputsCommitted,
        MaterializationRecorded,
        QuarantineRecorded,
        SchemaMismatchFound,
        JobCompleted,
        JobFailed,
        CancelAccepted,
        JobAborted,
        PromotionAbandoned,
    }
)
