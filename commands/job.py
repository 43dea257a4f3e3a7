"""Decides the life of a job: enqueue, dispatch, start, conclude, promote, cancel. Refusals in order of precedence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct, structs

from commands.outcome import Decision, Refused
from commands.parser import is_paused, judged, may_run, untrusted
from commands.quarantine import forbidden
from eventlog.events import (
    AbandonJob,
    ArtifactShare,
    BalanceSheet,
    CancelAccepted,
    CancelJob,
    CommitRefused,
    Event,
    FailureClass,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobKey,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobStatus,
    MaterializationRecorded,
    OutputsCommitted,
    PromotionAbandoned,
    QuarantineRecorded,
    SchemaMismatch,
    SchemaMismatchFound,
    SeenFile,
    StagedEvidence,
    StagedOutput,
)
from eventlog.ids import (
    CommitKey,
    Digest,
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
    LogId,
    OutputName,
    RunId,
    SchemaHash,
    commit_key,
    instant_plus,
)
from eventlog.sheets import Fault, sheet_fault, unit_outputs
from reducers.fold import State
from reducers.job import Aborting, Dispatched, Job, Promoting, Queued, Running
from reducers.shares import bundle_with
from reducers.waiting import WAIT_SECONDS_MAX, is_due

JOBS_MAX = 1000  # in one EnqueueJobs, so that a frame stays far below its bounds
PRIORITY_MAX = 1000
NOT_TRUSTED = "its parser is not trusted any more"
RETRIES_MAX = 3
RETRY_BASE_SECONDS = 4  # the n-th retry waits 4^n seconds: 4, 16, 64
assert RETRY_BASE_SECONDS**RETRIES_MAX == WAIT_SECONDS_MAX


class NewJob(Struct, frozen=True, kw_only=True):
    """One file that has no outputs yet, with the keys of the outputs that it will make."""

    file: SeenFile
    keys: tuple[JobKey, ...]


class EnqueueJobs(Struct, frozen=True, kw_only=True):
    run: RunId
    jobs: tuple[NewJob, ...]
    now: Instant
    priority: int = 0


class DispatchJob(Struct, frozen=True, kw_only=True):
    job: JobId
    executor: ExecutorId
    lease: LeaseId
    now: Instant


class StartJob(Struct, frozen=True, kw_only=True):
    """The executor says that its guest is up."""

    job: JobId
    lease: LeaseId
    now: Instant


class StagedReport(Struct, frozen=True, kw_only=True):
    """One staged artifact as the executor reported it: `rows` of the job, in an artifact of `artifact_rows`.

    The two differ where jobs of one lease share the artifact; `row_first` is then where the job's rows begin.
    """

    output: OutputName
    staged: str
    final: str
    digest: Digest
    bytes: int
    rows: int
    schema_hash: SchemaHash
    row_first: int = 0
    artifact_rows: int = -1  # as many as the job's

    @property
    def all_rows(self) -> int:
        return self.rows if self.artifact_rows < 0 else self.artifact_rows


class CommitJob(Struct, frozen=True, kw_only=True):
    """The executor has staged everything durably and asks for the commit point."""

    job: JobId
    lease: LeaseId
    log_id: LogId
    outputs: tuple[StagedReport, ...]
    empty: tuple[OutputName, ...]
    evidence: tuple[StagedEvidence, ...] = ()
    sheet: BalanceSheet
    further: tuple[BalanceSheet, ...] = ()
    notes: tuple[str, ...] = ()
    now: Instant


class FailJob(Struct, frozen=True, kw_only=True):
    """The attempt failed; nothing of it is staged any more."""

    job: JobId
    lease: LeaseId
    failure: FailureClass
    kind: str
    reason: str
    hint: str
    log_tail: str
    sheet: BalanceSheet | None
    mismatch: SchemaMismatch | None = None
    now: Instant


class ReleaseJob(Struct, frozen=True, kw_only=True):
    """The executor gives the job back: it was told to stop, or had no capacity. No attempt is charged."""

    job: JobId
    lease: LeaseId
    declined: bool
    reason: str
    now: Instant


class WithdrawJob(Struct, frozen=True, kw_only=True):
    """End a job that nobody has begun: its run was interrupted, or its parser is not the one it was queued for."""

    job: JobId
    reason: str
    now: Instant


class RecordPromotion(Struct, frozen=True, kw_only=True):
    """Every artifact of this commit has its final name, durably."""

    job: JobId
    commit_key: CommitKey
    now: Instant


class AbandonPromotion(Struct, frozen=True, kw_only=True):
    """The sink answered that this commit is definitely not published and never will be."""

    job: JobId
    commit_key: CommitKey
    reason: str
    now: Instant


Command = (
    EnqueueJobs
    | DispatchJob
    | StartJob
    | CommitJob
    | FailJob
    | ReleaseJob
    | CancelJob
    | AbandonJob
    | WithdrawJob
    | RecordPromotion
    | AbandonPromotion
)


def decide(command: Command, state: State) -> Decision:
    """Route a job's command to its decision."""
    match command:
        case EnqueueJobs():
            return _enqueue(command, state)
        case DispatchJob():
            return _dispatch(command, state)
        case StartJob():
            return _start(command, state)
        case CommitJob():
            return _commit(command, state)
        case FailJob():
            return _fail(command, state)
        case ReleaseJob():
            return _release(command, state)
        case CancelJob():
            return _cancel(command, state)
        case AbandonJob():
            return _abandon_by_person(command, state)
        case WithdrawJob():
            return _withdraw(command, state)
        case RecordPromotion():
            return _record(command, state)
        case AbandonPromotion():
            return _abandon(command, state)
        case _:
            assert_never(command)


def _enqueue(command: EnqueueJobs, state: State) -> Decision:
    """Queue each file whose keys nobody has claimed, or recorded since the plan: no key is made twice.

    Between a plan and the last of its jobs another run may have planned, made and recorded the same.
    """
    run = state.runs.get(command.run)
    if run is None or run.planned is None:
        return Refused("run_not_planned", f"run {command.run} has no plan to enqueue from")
    if not may_run(run.planned.parser, run.planned.artifact_hash, state):
        return untrusted(run.planned.parser, run.planned.parser_version)
    if len(command.jobs) > JOBS_MAX:
        return Refused("batch_too_large", f"at most {JOBS_MAX} jobs are queued at once")
    if (fault := priority_fault(command.priority)) is not None:
        return fault
    events: list[Event] = []
    claimed: set[str] = set(state.recorded.since(max(run.planned.at_seq, state.recorded.forgotten)) or ())
    for new in command.jobs:
        keys = {key.materialization_key for key in new.keys}
        if claimed & keys or any(key in state.jobs.by_key for key in keys):
            continue
        claimed |= keys
        events.append(
            JobQueued(
                job=JobId(state.jobs.next_id + len(events)),
                run=command.run,
                path=new.file.path,
                source_hash=new.file.source_hash,
                sha256=new.file.sha256,
                size=new.file.size,
                mtime_ns=new.file.mtime_ns,
                file_uid=new.file.file_uid,
                parser=run.planned.parser,
                parser_version=run.planned.parser_version,
                artifact_hash=run.planned.artifact_hash,
                settings=run.started.settings,
                quarantine=run.started.quarantine,
                sink_uri=run.planned.sink_uri,
                sink_mode=run.planned.sink_mode,
                keys=new.keys,
                queued_at=command.now,
                priority=command.priority,
            )
        )
    return events


def priority_fault(priority: int) -> Refused | None:
    """Return why a number is no priority, None if it is one."""
    if abs(priority) <= PRIORITY_MAX:
        return None
    why = f"a priority is a number from {-PRIORITY_MAX} to {PRIORITY_MAX}, not {priority}"
    return Refused("bad_priority", why, "the default is 0, higher ones go first")


def _dispatch(command: DispatchJob, state: State) -> Decision:
    job = state.jobs.get(command.job)
    if not isinstance(job, Queued):
        return Refused("job_not_queued", f"job {command.job} is not waiting")
    if not is_due(job.not_before, command.now):
        return Refused("job_not_due", f"job {command.job} waits until {job.not_before}")
    if is_paused(job.spec.parser, state):
        return Refused("parser_paused", f"job {command.job} waits until its parser {job.spec.parser} is resumed")
    if not may_run(job.spec.parser, job.spec.artifact_hash, state):
        return untrusted(job.spec.parser, job.spec.parser_version)
    if command.executor not in state.executors:
        return Refused("unknown_executor", f"executor {command.executor} is not here")
    return [
        JobDispatched(
            job=command.job,
            attempt=job.attempts + 1,
            executor=command.executor,
            lease=command.lease,
            dispatched_at=command.now,
        )
    ]


def _holder(state: State, job: JobId, lease: LeaseId) -> Dispatched | Running | Aborting | Promoting | Refused:
    """Return the job if this lease holds (or, in Promoting, held) it; a dead lease is refused and not logged."""
    match state.jobs.get(job):
        case Dispatched() | Running() | Aborting() as held if held.lease == lease:
            return held
        case Promoting() as promoting if promoting.committed.lease == lease:
            return promoting
        case _:
            return Refused("stale_lease", f"lease {lease} does not hold job {job} any more")


def _start(command: StartJob, state: State) -> Decision:
    job = _holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Running() | Promoting():
            return []
        case Aborting():
            return Refused("job_aborting", f"job {command.job} was cancelled: {job.reason}")
        case Dispatched():
            return [
                JobStarted(job=command.job, attempt=job.attempts, lease=command.lease, started_at=command.now),
            ]
        case _:
            assert_never(job)


def _commit(command: CommitJob, state: State) -> Decision:
    """Pass the commit point, the last place where a cancel wins; or say which rule forbids it."""
    job = _holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Promoting():
            return []
        case Aborting():
            why = f"job {command.job} was cancelled: {job.reason}"
            return [_refusal(command, job, "cancelled", why), _aborted(job, job.reason, command.now)]
        case Dispatched() | Running() if not may_run(job.spec.parser, job.spec.artifact_hash, state):
            # Revoked while it ran, and its report was quicker than the cancel that follows: the revocation came first.
            return [_refusal(command, job, "untrusted_parser", NOT_TRUSTED), _aborted(job, NOT_TRUSTED, command.now)]
        case Dispatched() | Running():
            fault = _fault(command, job)
            if fault is not None:
                failure, code, why = fault
                hint = f"casparian job show {command.job}"
                failed = _failed(job, failure, kind=code, reason=why, hint=hint, now=command.now, sheet=command.sheet)
                return [_refusal(command, job, code, why), *judged(job.spec, failed, state)]
            return [_committed(command, job)]
        case _:
            assert_never(job)


def _fault(command: CommitJob, job: Dispatched | Running) -> Fault | None:
    """Return (class, code, why) of the first rule that the report breaks, or None."""
    declared = sorted(key.output for key in job.spec.keys)
    reported = sorted([*(staged.output for staged in command.outputs), *command.empty])
    rejected = [each.output for each in command.evidence]
    if reported != declared:
        return "permanent", "outputs_differ", f"outputs {reported} were reported where {declared} are declared"
    if len(set(rejected)) != len(rejected) or not set(rejected) <= set(declared):
        return "permanent", "outputs_differ", f"rejected rows of {rejected} were reported where {declared} are declared"
    rows = {staged.output: staged.rows for staged in command.outputs}
    if any(each.accepted != rows.get(each.output, 0) for each in command.evidence):
        why = "the report says how many rows stand beside the rejected ones, and other numbers are staged"
        return "accounting", "rows_differ", why
    gave_rows = bool(command.outputs or command.evidence)
    for sheet in (command.sheet, *command.further):
        if (fault := _rows_fault(command, sheet) or sheet_fault(sheet, gave_rows=gave_rows)) is not None:
            return fault
    return None


def _rows_fault(command: CommitJob, sheet: BalanceSheet) -> Fault | None:
    """Compare what a sheet says of rows with the rows that are staged."""
    outputs = unit_outputs(sheet)
    staged = sum(each.rows for each in command.outputs if each.output in outputs)
    rejected = sum(each.rows for each in command.evidence if each.output in outputs)
    if outputs and sheet.written != staged:
        return "accounting", "rows_differ", f"the sheet says {sheet.written} rows written, {staged} are staged"
    if sheet.quarantined != rejected:
        why = f"the sheet says {sheet.quarantined} rows quarantined, {rejected} are staged"
        return "accounting", "rows_differ", why
    return None


def commit_status(command: CommitJob) -> JobStatus:
    """Return partial_success when something of the source is not among the written rows."""
    sheets = (command.sheet, *command.further)
    lacking = any(sheet.quarantined or sheet.unreadable or sheet.ranges_total for sheet in sheets)
    return "partial_success" if lacking or command.evidence else "success"


def _committed(command: CommitJob, job: Dispatched | Running) -> OutputsCommitted:
    """Commit the outputs and the rejected rows; or the latter alone, where policy forbids the former."""
    why = forbidden(job.spec.quarantine, command.evidence)
    outputs = () if why else _staged(command)
    return OutputsCommitted(
        job=command.job,
        attempt=job.attempts,
        lease=command.lease,
        commit_key=commit_key(command.log_id, command.job, job.attempts),
        status="rejected" if why else commit_status(command),
        sink_uri=job.spec.sink_uri,
        outputs=outputs,
        empty=() if why else command.empty,
        sheet=command.sheet,
        committed_at=command.now,
        evidence=command.evidence,
        why=why,
        discarded=tuple(staged.staged for staged in command.outputs) if why else (),
        further=command.further,
        notes=command.notes,
    )


def _staged(command: CommitJob) -> tuple[StagedOutput, ...]:
    return tuple(
        StagedOutput(
            output=staged.output,
            staged=staged.staged,
            final=staged.final,
            digest=staged.digest,
            bytes=staged.bytes,
            rows=staged.all_rows,
            schema_hash=staged.schema_hash,
            jobs=(ArtifactShare(job=command.job, row_first=staged.row_first, rows=staged.rows),),
        )
        for staged in command.outputs
    )


def _refusal(command: CommitJob, job: Dispatched | Running | Aborting, code: str, why: str) -> CommitRefused:
    return CommitRefused(
        job=command.job, attempt=job.attempts, lease=command.lease, code=code, why=why, refused_at=command.now
    )


def _failed(
    job: Job,
    failure: FailureClass,
    *,
    kind: str,
    reason: str,
    hint: str,
    now: Instant,
    log_tail: str = "",
    sheet: BalanceSheet | None = None,
) -> JobFailed:
    return JobFailed(
        job=job.spec.job,
        run=job.spec.run,
        attempt=job.attempts,
        failure=failure,
        kind=kind,
        reason=reason,
        hint=hint,
        log_tail=log_tail,
        sheet=sheet,
        failed_at=now,
    )


def _aborted(job: Job, reason: str, now: Instant) -> JobAborted:
    return JobAborted(job=job.spec.job, run=job.spec.run, reason=reason, aborted_at=now)


def _fail(command: FailJob, state: State) -> Decision:
    """Retry a transient failure while the budget lasts, one of unknown cause once; any other is final at once."""
    job = _holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point")
        case Aborting():
            return [_aborted(job, job.reason, command.now)]
        case Dispatched() | Running():
            if (again := _attempt_again(job, command)) is not None:
                return [again]
            failed = _failed(
                job,
                command.failure,
                kind=command.kind,
                reason=command.reason,
                hint=command.hint,
                now=command.now,
                log_tail=command.log_tail,
                sheet=command.sheet,
            )
            mismatch = [] if command.mismatch is None else [_mismatch(job, command.mismatch)]
            return [*mismatch, *judged(job.spec, failed, state)]
        case _:
            assert_never(job)


def _attempt_again(job: Dispatched | Running, command: FailJob) -> JobRequeued | None:
    """Return the retry of a failed attempt, None if it is final.

    One of unknown cause is tried again at once: time would not help, what is asked is whether it repeats.
    """
    if job.charged >= RETRIES_MAX:
        return None
    if command.failure == "transient":
        return _retried(job, command.reason, command.now, kind=command.kind)
    if command.failure == "unknown" and not job.puzzled:
        again = _requeued(job, command.reason, charged=True, wait_seconds=0, now=command.now, kind=command.kind)
        return structs.replace(again, failure="unknown")
    return None


def _mismatch(job: Job, mismatch: SchemaMismatch) -> SchemaMismatchFound:
    return SchemaMismatchFound(job=job.spec.job, attempt=job.attempts, mismatch=mismatch)


def _retried(job: Job, reason: str, now: Instant, *, kind: str) -> JobRequeued:
    wait_seconds = RETRY_BASE_SECONDS ** (job.charged + 1)
    again = _requeued(job, reason, charged=True, wait_seconds=wait_seconds, now=now, kind=kind)
    return structs.replace(again, failure="transient")


def lost_lease(job: Dispatched | Running | Aborting, reason: str, charged: bool, now: Instant) -> Event:
    """Return what becomes of a job whose executor is gone: its cancel is complete, it waits again, or it has failed.

    A charged loss uses up a retry, so that a file that brings down its executor cannot do so for ever.
    """
    if isinstance(job, Aborting):
        return _aborted(job, job.reason, now)
    if not charged:
        return _requeued(job, reason, charged=False, wait_seconds=0, now=now)
    if job.charged < RETRIES_MAX:
        return _retried(job, reason, now, kind="executor_lost")
    hint = f"casparian job show {job.spec.job}; the file may be what brings the executor down"
    return _failed(job, "transient", kind="executor_lost", reason=reason, hint=hint, now=now)


def _requeued(job: Job, reason: str, *, charged: bool, wait_seconds: int, now: Instant, kind: str = "") -> JobRequeued:
    return JobRequeued(
        job=job.spec.job,
        attempt=job.attempts,
        reason=reason,
        charged=charged,
        not_before=instant_plus(now, seconds=wait_seconds),
        requeued_at=now,
        kind=kind,
    )


def _release(command: ReleaseJob, state: State) -> Decision:
    job = _holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point")
        case Aborting():
            return [_aborted(job, job.reason, command.now)]
        case Dispatched() | Running() if command.declined:
            return [
                JobDeclined(
                    job=command.job,
                    attempt=job.attempts,
                    lease=command.lease,
                    reason=command.reason,
                    declined_at=command.now,
                )
            ]
        case Dispatched() | Running():
            return [_requeued(job, command.reason, charged=False, wait_seconds=0, now=command.now)]
        case _:
            assert_never(job)


def _cancel(command: CancelJob, state: State) -> Decision:
    """Accept a cancel in any open state before the commit point; afterwards say that it is too late."""
    job = state.jobs.get(command.job)
    match job:
        case None:
            return _not_open(command.job, state)
        case Promoting():
            return Refused("already_committing", f"job {command.job} has passed its commit point and will be published")
        case Aborting():
            return []
        case Queued():
            accepted = _cancelled(command)
            return [accepted, _aborted(job, accepted.reason, command.now)]
        case Dispatched() | Running():
            return [_cancelled(command)]
        case _:
            assert_never(job)


def _not_open(job: JobId, state: State) -> Refused:
    if 0 < job < state.jobs.next_id:
        return Refused("already_completed", f"job {job} has already ended", f"casparian job show {job}")
    return Refused("not_found", f"there is no job {job}", "casparian jobs")


def _cancelled(command: CancelJob) -> CancelAccepted:
    by_whom = f"cancelled by {command.by}" if command.by else ""
    reason = ": ".join(filter(None, (by_whom, command.reason)))
    return CancelAccepted(job=command.job, reason=reason, accepted_at=command.now)


def _withdraw(command: WithdrawJob, state: State) -> Decision:
    job = state.jobs.get(command.job)
    match job:
        case None:
            return []
        case Queued():
            return [_aborted(job, command.reason, command.now)]
        case _:
            return Refused("job_not_queued", f"job {command.job} is not waiting any more")


def _record(command: RecordPromotion, state: State) -> Decision:
    """Record every output and complete the job, in one frame: views, reuse and exit codes read only that."""
    job = state.jobs.get(command.job)
    if not isinstance(job, Promoting):
        return []
    committed = job.committed
    if committed.commit_key != command.commit_key:
        return Refused("other_commit", f"job {command.job} is promoting another commit")
    kept = [_quarantine(job, each) for each in committed.evidence]
    if committed.status == "rejected":
        return [*kept, _rejected(job, command.now)]
    completed = JobCompleted(
        job=command.job,
        run=job.spec.run,
        attempt=job.attempts,
        status=committed.status,
        sheet=committed.sheet,
        finished_at=command.now,
        further=committed.further,
    )
    staged = {output.output: output for output in committed.outputs}
    return [*(_materialization(job, key, staged.get(key.output)) for key in job.spec.keys), *kept, completed]


def _rejected(job: Promoting, now: Instant) -> JobFailed:
    leave = "a higher --quarantine-threshold" if job.spec.quarantine.allow else "--allow-quarantine"
    shown = f"casparian quarantine show {job.spec.job}"
    hint = f"look at them: {shown}; to publish the others nonetheless, run again with {leave}"
    reason = f"{job.committed.why}; nothing was published but the rejected rows"
    return _failed(job, "policy", kind="quarantine_limit", reason=reason, hint=hint, now=now, sheet=job.committed.sheet)


def _quarantine(job: Promoting, evidence: StagedEvidence) -> QuarantineRecorded:
    spec, committed = job.spec, job.committed
    return QuarantineRecorded(
        job=spec.job,
        run=spec.run,
        output=evidence.output,
        source_hash=spec.source_hash,
        parser=spec.parser,
        parser_version=spec.parser_version,
        sink_uri=committed.sink_uri,
        file=evidence.final,
        digest=evidence.digest,
        bytes=evidence.bytes,
        rows=evidence.rows,
        accepted=evidence.accepted,
        schema_hash=evidence.schema_hash,
        rules=evidence.rules,
        rejected=committed.status == "rejected",
    )


def _materialization(job: Promoting, key: JobKey, staged: StagedOutput | None) -> MaterializationRecorded:
    spec, committed = job.spec, job.committed
    assert committed.status != "rejected"
    return MaterializationRecorded(
        job=spec.job,
        run=spec.run,
        output=key.output,
        target_key=key.target_key,
        materialization_key=key.materialization_key,
        source_hash=spec.source_hash,
        parser=spec.parser,
        parser_version=spec.parser_version,
        sink_uri=committed.sink_uri,
        file=staged.final if staged else "",
        digest=staged.digest if staged else "",
        bytes=staged.bytes if staged else 0,
        row_first=staged.jobs[0].row_first if staged else 0,
        rows=staged.jobs[0].rows if staged else 0,
        schema_hash=staged.schema_hash if staged else SchemaHash(""),
        status=committed.status if staged else "no_data",
    )


def _abandon(command: AbandonPromotion, state: State) -> Decision:
    job = state.jobs.get(command.job)
    if not isinstance(job, Promoting) or job.committed.commit_key != command.commit_key:
        return []
    return _abandoned(job, command.reason, command.now, state)


def _abandon_by_person(command: AbandonJob, state: State) -> Decision:
    """Give up a promotion if its sink answered that nothing of it is published; a sink that did not answer may hold it.

    A target that cannot be reached may come back with the artifact on it, which would then be a table without a record.
    """
    job = state.jobs.get(command.job)
    if job is None:
        return _not_open(command.job, state)
    if not isinstance(job, Promoting):
        why = f"job {command.job} has not passed its commit point: there is no promotion to abandon"
        return Refused("not_promoting", why, f"casparian job cancel {command.job}")
    if job.committed.commit_key != command.commit_key:
        why = f"job {command.job} has begun to publish since its target was asked"
        return Refused("other_commit", why, f"casparian job abandon {command.job}")
    if command.sink_answer != "withdrawn":
        why = f"abandon job {command.job}: its target does not say that nothing is published: {command.sink_said}"
        return Refused("sink_unavailable", why, "bring the target back; the next run then publishes the job's outputs")
    return _abandoned(job, f"abandoned by {command.by}: {command.reason}", command.now, state)


def _abandoned(job: Promoting, reason: str, now: Instant, state: State) -> Sequence[Event]:
    """End the job and all whose rows lie in the same artifacts: what is withdrawn is withdrawn for all of them."""
    waiting = state.jobs.promoting
    together = bundle_with(job.committed, (other.committed for other in waiting.values()))
    return [event for each in together for event in _abandoned_alone(waiting[each.job], reason, now)]


def _abandoned_alone(job: Promoting, reason: str, now: Instant) -> Sequence[Event]:
    abandoned = PromotionAbandoned(
        job=job.spec.job,
        attempt=job.attempts,
        commit_key=job.committed.commit_key,
        reason=reason,
        abandoned_at=now,
    )
    hint = "run the same command again: the file is parsed anew under a new commit key"
    return [abandoned, _failed(job, "promotion", kind="promotion_abandoned", reason=reason, hint=hint, now=now)]
