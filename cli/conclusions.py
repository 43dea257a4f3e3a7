"""Owns how what an executor says of a lease becomes a command: whose word it is stays the executor's, job by job.

Its word is no more than about its own: a name that is not one of an artifact of these jobs is no message. What stands
under the names of a commit is published, and removed where it cannot be; of another job that would be evidence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from commands.attempt import FailJob, ReleaseJob
from commands.commit import CommitJob, StagedReport
from commands.handle import Outcome
from commands.job import StartJob
from commands.lease import ConcludeLease
from eventlog.events import CommitRefused
from eventlog.ids import Instant, JobId, LeaseId, LogId, OutputName, final_name, instant_plus, stage_name
from eventlog.schema import QUARANTINE_SUFFIX
from executors import protocol
from sinks.sink import StagedArtifact

Ending = CommitJob | FailJob | ReleaseJob
STAGED: Final = re.compile(r"\.[0-9a-f]{8}-([0-9]{1,15})-([0-9]{1,15})-.*", re.ASCII)  # job and attempt, see stage_name


def conclusion(job: JobId, conclude: protocol.Conclude, *, log_id: LogId, now: Instant) -> ConcludeLease:
    """Return the command for all jobs of a lease; those whose start was not told are begun by it.

    Raises ProtocolError if a job has a share of an artifact that the conclusion does not describe, or if an artifact
    bears a name that is none of these jobs'.
    """
    told = [
        protocol.FurtherReceipt(job=job, receipt=conclude.receipt, begun_ago=conclude.begun_ago),
        *conclude.further,
    ]
    _require_own(told, conclude.shared, log_id)
    shared = {artifact.staged: artifact for artifact in conclude.shared}
    ends = [_ending(each, conclude.lease, shared, log_id=log_id, now=now) for each in told]
    return ConcludeLease(
        lease=conclude.lease,
        starts=tuple(_starts(told, conclude.lease, now)),
        commits=tuple(end for end in ends if isinstance(end, CommitJob)),
        failures=tuple(end for end in ends if isinstance(end, FailJob)),
        releases=tuple(end for end in ends if isinstance(end, ReleaseJob)),
        now=now,
    )


def _require_own(told: Collection[protocol.FurtherReceipt], shared: Collection[StagedArtifact], log_id: LogId) -> None:
    """Raise ProtocolError unless every artifact has the names of its job; a shared one those of a job of the lease."""
    jobs = {each.job for each in told}
    for artifact in shared:
        _require_names(artifact.staged, artifact.final, artifact.output, jobs, log_id)
    for each in told:
        if isinstance(each.receipt, protocol.Succeeded):
            for own in each.receipt.outputs:
                _require_names(own.staged, own.final, own.output, {each.job}, log_id)
            for kept in each.receipt.evidence:
                _require_names(kept.staged, kept.final, OutputName(kept.output + QUARANTINE_SUFFIX), {each.job}, log_id)


def _require_names(staged: str, final: str, output: OutputName, jobs: Collection[JobId], log_id: LogId) -> None:
    named = STAGED.fullmatch(staged)
    job, attempt = (JobId(int(named[1])), int(named[2])) if named else (JobId(0), 0)
    extension = final.rpartition(".")[2]
    ours = (stage_name(log_id, job, attempt, output), final_name(log_id, job, attempt, output, extension))
    if job not in jobs or (staged, final) != ours:
        raise protocol.ProtocolError(f"BadPayload: CONCLUDE names {staged!r} and {final!r}, which are not its jobs'")


def is_refused(outcome: Outcome) -> bool:
    """Say whether a conclusion was in vain. What was staged is kept only if its commit points were passed.

    Now or by an earlier copy of this report, which brings no event about.
    """
    return outcome.refused is not None or any(isinstance(event, CommitRefused) for event in outcome.events)


def _starts(told: list[protocol.FurtherReceipt], lease: LeaseId, now: Instant) -> Iterator[StartJob]:
    for each in told:
        if each.begun_ago is not None:
            yield StartJob(job=each.job, lease=lease, now=instant_plus(now, seconds=-each.begun_ago))


def _ending(
    told: protocol.FurtherReceipt, lease: LeaseId, shared: dict[str, StagedArtifact], *, log_id: LogId, now: Instant
) -> Ending:
    job = told.job
    match told.receipt:
        case protocol.Succeeded() as done:
            return CommitJob(
                job=job,
                lease=lease,
                log_id=log_id,
                outputs=(*map(_own, done.outputs), *(_share(share, shared) for share in done.shares)),
                empty=tuple(OutputName(name) for name in done.empty),
                evidence=done.evidence,
                sheet=done.sheet,
                further=done.further,
                notes=done.notes,
                now=now,
            )
        case protocol.Failed() as failed:
            return FailJob(
                job=job,
                lease=lease,
                failure=failed.failure,
                kind=failed.kind,
                reason=failed.reason,
                hint=failed.hint,
                log_tail=failed.log_tail,
                sheet=failed.sheet,
                mismatch=failed.mismatch,
                now=now,
            )
        case protocol.Aborted(reason=reason):
            return ReleaseJob(job=job, lease=lease, declined=False, reason=reason, now=now)
        case protocol.Declined(reason=reason):
            return ReleaseJob(job=job, lease=lease, declined=True, reason=reason, now=now)


def _own(staged: StagedArtifact) -> StagedReport:
    return StagedReport(
        output=staged.output,
        staged=staged.staged,
        final=staged.final,
        digest=staged.digest,
        bytes=staged.bytes,
        rows=staged.rows,
        schema_hash=staged.schema_hash,
    )


def _share(share: protocol.Share, shared: dict[str, StagedArtifact]) -> StagedReport:
    artifact = shared.get(share.staged)
    if artifact is None:
        raise protocol.ProtocolError(f"BadPayload: CONCLUDE does not describe {share.staged!r}, which it has shares of")
    return StagedReport(
        output=artifact.output,
        staged=artifact.staged,
        final=artifact.final,
        digest=artifact.digest,
        bytes=artifact.bytes,
        rows=share.rows,
        schema_hash=artifact.schema_hash,
        row_first=share.row_first,
        artifact_rows=artifact.rows,
    )
