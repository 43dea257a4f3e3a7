"""Decides at the commit point of a job, the last place where a cancel wins: what is committed, or why nothing is."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from commands.attempt import holder, job_aborted, job_failed
from commands.outcome import Decision, Refused
from commands.parser import NOT_TRUSTED, judged, may_run
from commands.quarantine import forbidden
from eventlog.events import (
    ArtifactShare,
    BalanceSheet,
    CommitRefused,
    JobStatus,
    OutputsCommitted,
    StagedEvidence,
    StagedOutput,
)
from eventlog.ids import Digest, Instant, JobId, LeaseId, LogId, OutputName, SchemaHash, commit_key
from eventlog.sheets import Fault, sheet_fault, unit_outputs
from reducers.fold import State
from reducers.job import Aborting, Dispatched, Promoting, Running


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
        """Return the rows of the whole artifact."""
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


def decide_commit(command: CommitJob, state: State) -> Decision:
    """Pass the commit point, the last place where a cancel wins; or say which rule forbids it."""
    job = holder(state, command.job, command.lease)
    match job:
        case Refused():
            return job
        case Promoting():
            return []
        case Aborting():
            why = f"job {command.job} was cancelled: {job.reason}"
            return [_refusal(command, job, "cancelled", why), job_aborted(job, job.reason, command.now)]
        case Dispatched() | Running() if not may_run(job.spec.parser, job.spec.artifact_hash, state):
            # Revoked while it ran, and its report was quicker than the cancel that follows: the revocation came first.
            return [_refusal(command, job, "untrusted_parser", NOT_TRUSTED), job_aborted(job, NOT_TRUSTED, command.now)]
        case Dispatched() | Running():
            fault = _fault(command, job)
            if fault is not None:
                failure, code, why = fault
                hint = f"casparian job show {command.job}"
                failed = job_failed(
                    job, failure, kind=code, reason=why, hint=hint, now=command.now, sheet=command.sheet
                )
                return [_refusal(command, job, code, why), *judged(job.spec, failed, state)]
            return [_committed(command, job)]
        case _:
            assert_never(job)


def _refusal(command: CommitJob, job: Dispatched | Running | Aborting, code: str, why: str) -> CommitRefused:
    return CommitRefused(
        job=command.job, attempt=job.attempts, lease=command.lease, code=code, why=why, refused_at=command.now
    )


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


def commit_status(command: CommitJob) -> JobStatus:
    """Return partial_success when something of the source is not among the written rows."""
    sheets = (command.sheet, *command.further)
    lacking = any(sheet.quarantined or sheet.unreadable or sheet.ranges_total for sheet in sheets)
    return "partial_success" if lacking or command.evidence else "success"


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
