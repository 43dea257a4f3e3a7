"""Decides how a promotion ends: its outputs are recorded, or it is abandoned, by its sink's word or by a person's."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from commands.attempt import job_failed, not_open
from commands.outcome import Decision, Refused
from commands.quarantine import options_for
from eventlog.events import (
    AbandonJob,
    Event,
    JobCompleted,
    JobFailed,
    JobKey,
    MaterializationRecorded,
    PromotionAbandoned,
    QuarantineRecorded,
    StagedEvidence,
    StagedOutput,
)
from eventlog.ids import CommitKey, Instant, JobId, SchemaHash
from reducers.fold import State
from reducers.job import Promoting
from reducers.shares import bundle_with


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


def decide_record(command: RecordPromotion, state: State) -> Decision:
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
    leave = options_for(job.spec.quarantine, job.committed.evidence)
    shown = f"casparian quarantine show {job.spec.job}"
    hint = f"look at them: {shown}; to publish what is left without them, run again with {leave}"
    reason = f"{job.committed.why}; nothing was published but the rejected rows"
    return job_failed(
        job, "policy", kind="quarantine_limit", reason=reason, hint=hint, now=now, sheet=job.committed.sheet
    )


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


def decide_abandon(command: AbandonPromotion, state: State) -> Decision:
    """Give up a promotion whose sink has said that it is not published; another commit's stays as it is."""
    job = state.jobs.get(command.job)
    if not isinstance(job, Promoting) or job.committed.commit_key != command.commit_key:
        return []
    return _abandoned(job, command.reason, command.now, state)


def decide_abandon_by_person(command: AbandonJob, state: State) -> Decision:
    """Give up a promotion if its sink answered that nothing of it is published; a sink that did not answer may hold it.

    A target that cannot be reached may come back with the artifact on it, which would then be a table without a record.
    """
    job = state.jobs.get(command.job)
    if job is None:
        return not_open(command.job, state)
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
    return [abandoned, job_failed(job, "promotion", kind="promotion_abandoned", reason=reason, hint=hint, now=now)]
