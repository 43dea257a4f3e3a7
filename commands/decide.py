"""Owns the union of all commands and the one routing table to their decisions."""

from __future__ import annotations

from typing import assert_never

from commands import (
    attempt,
    commit,
    epoch,
    executor,
    file,
    job,
    lease,
    parser,
    promotion,
    quarantine,
    retry,
    run,
    wall_clock,
)
from commands.outcome import Decision
from eventlog.events import (
    AbandonJob,
    CancelJob,
    DeleteQuarantine,
    DrainExecutor,
    ResumeParser,
    RetryJobs,
    RevokeKey,
    RevokeParser,
    SetJobPriority,
    StartRun,
    TrustKey,
    TrustParser,
)
from reducers.fold import State

Command = (
    parser.DeployParser
    | TrustParser
    | RevokeParser
    | ResumeParser
    | TrustKey
    | RevokeKey
    | file.RecordFiles
    | StartRun
    | run.PlanRun
    | run.ReuseOutputs
    | run.LoseOutputs
    | run.FinishRun
    | run.InterruptRun
    | executor.JoinExecutor
    | executor.LoseExecutor
    | DrainExecutor
    | epoch.BeginEpoch
    | wall_clock.NoteClockStep
    | job.EnqueueJobs
    | job.DispatchJob
    | job.StartJob
    | commit.CommitJob
    | attempt.FailJob
    | attempt.ReleaseJob
    | CancelJob
    | AbandonJob
    | RetryJobs
    | SetJobPriority
    | job.WithdrawJob
    | promotion.RecordPromotion
    | promotion.AbandonPromotion
    | lease.DispatchLease
    | lease.ConcludeLease
    | lease.RecordLease
    | DeleteQuarantine
)


def decide(command: Command, state: State) -> Decision:
    """Return the events that the command brings about, or why it is refused. Reads nothing but its arguments."""
    match command:
        case parser.DeployParser() | TrustParser() | RevokeParser() | ResumeParser() | TrustKey() | RevokeKey():
            return parser.decide(command, state)
        case file.RecordFiles():
            return file.decide(command, state)
        case StartRun() | run.PlanRun() | run.ReuseOutputs() | run.LoseOutputs() | run.FinishRun() | run.InterruptRun():
            return run.decide(command, state)
        case executor.JoinExecutor() | executor.LoseExecutor() | DrainExecutor():
            return executor.decide(command, state)
        case epoch.BeginEpoch():
            return epoch.decide(command, state)
        case wall_clock.NoteClockStep():
            return wall_clock.decide(command)
        case (
            job.EnqueueJobs()
            | job.DispatchJob()
            | job.StartJob()
            | commit.CommitJob()
            | attempt.FailJob()
            | attempt.ReleaseJob()
            | CancelJob()
            | AbandonJob()
            | job.WithdrawJob()
            | promotion.RecordPromotion()
            | promotion.AbandonPromotion()
        ):
            return job.decide(command, state)
        case lease.DispatchLease() | lease.ConcludeLease() | lease.RecordLease():
            return lease.decide(command, state)
        case RetryJobs() | SetJobPriority():
            return retry.decide(command, state)
        case DeleteQuarantine():
            return quarantine.decide_delete(command, state)
        case _:
            assert_never(command)
