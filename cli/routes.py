"""Owns what each control request does: one table of routes, from a request to its reply. Decides nothing itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from cli import clock
from cli.messages import (
    AbandonJob,
    Accepted,
    AdmitParser,
    Ask,
    Asked,
    CancelJob,
    DrainExecutor,
    ExecutorsSeen,
    GetJob,
    GetMetrics,
    GetStatus,
    HaltRun,
    JobSeen,
    JobsRetried,
    KeyTold,
    LendReadModel,
    ListExecutors,
    MetricsSeen,
    ParserTold,
    Ping,
    Pong,
    ReadModelLent,
    ReadReport,
    Refusal,
    RemoveExecutor,
    Reply,
    Request,
    ResumeParser,
    RetriedAs,
    RetryAll,
    RetryJob,
    RevokeKey,
    RevokeParser,
    SetPriority,
    StartRun,
    StatusSeen,
    Stop,
    Tail,
    TailTold,
    Told,
    TrustKey,
    TrustParser,
    WatchRun,
)
from cli.report import OutputReport
from eventlog import events
from eventlog.frames import Stamp, stamp_once
from eventlog.ids import ArtifactHash, ExecutorId, JobId, LogId, ParserName, path_bytes, path_text
from sinks.uri import open_sink

if TYPE_CHECKING:
    from cli.hosting import RunHost
    from cli.lending import Lender
    from cli.projecting import ProjectionThread
    from cli.sentinel_parsers import SentinelParsers
    from cli.telling import Teller
    from commands.handle import Handler, Outcome
    from eventlog.log import Log
    from projections.metrics import Readings
    from projections.queries import Connection
    from projections.rows import JobRow


ANSWER_SECONDS: Final = 30.0  # a sink that is asked to undo a promotion may be on a slow disk

ANSWER_BYTES_MAX: Final = 5 * 1024 * 1024  # they travel as base64, inside of MESSAGE_BYTES_MAX


class Authority(Protocol):
    """What a request may use of the sentinel."""

    @property
    def handler(self) -> Handler: ...
    @property
    def projection(self) -> ProjectionThread: ...
    @property
    def log_id(self) -> LogId: ...
    @property
    def purpose(self) -> str: ...
    @property
    def lasting(self) -> bool: ...
    @property
    def host(self) -> RunHost: ...
    @property
    def teller(self) -> Teller: ...
    @property
    def lender(self) -> Lender: ...
    def status(self) -> StatusSeen: ...
    def executors(self) -> ExecutorsSeen: ...
    def readings(self) -> Readings: ...
    def dismiss(self, executor: ExecutorId, reason: str) -> bool: ...
    def stop(self, reason: str) -> None: ...
    def abandon(self, job: JobId, *, reason: str, actor: str, stamp: Stamp) -> Future[Outcome]: ...
    @property
    def log(self) -> Log: ...
    @property
    def parsers(self) -> SentinelParsers: ...


Route = Callable[[Authority, Asked], Reply]


def _ping(authority: Authority, _asked: Asked) -> Reply:
    return Pong(log_id=authority.log_id, purpose=authority.purpose, pid=os.getpid(), lasting=authority.lasting)


def _get_job(authority: Authority, asked: Asked) -> Reply:
    assert isinstance(asked.request, GetJob)
    job = JobId(asked.request.job)
    return authority.projection.ask(lambda connection: job_seen(connection, job))


def _cancel(authority: Authority, asked: Asked) -> Reply:
    assert isinstance(asked.request, CancelJob)
    job = JobId(asked.request.job)
    command = events.CancelJob(job=job, reason=asked.request.reason, by=asked.actor, now=clock.now())
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    return _told(outcome) or Accepted(job=job)


def _abandon(authority: Authority, asked: Asked) -> Reply:
    assert isinstance(asked.request, AbandonJob)
    job = JobId(asked.request.job)
    answer = authority.abandon(job, reason=asked.request.reason, actor=asked.actor, stamp=_stamp(asked))
    return _told(answer.result(ANSWER_SECONDS)) or Accepted(job=job)


def _trust(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, TrustParser)
    command = events.TrustParser(
        parser=ParserName(request.parser),
        version=request.version,
        artifact_hash=ArtifactHash(request.artifact_hash),
        how=request.how,
        key=request.key,
        by=asked.actor,
        reason=request.reason,
        now=clock.now(),
    )
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    return _told(outcome) or ParserTold(parser=request.parser, artifacts=_artifacts(outcome))


def _revoke(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, RevokeParser)
    command = events.RevokeParser(
        parser=ParserName(request.parser), by=asked.actor, reason=request.reason, now=clock.now()
    )
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    artifacts = _artifacts(outcome)
    authority.parsers.end_revoked(frozenset(artifacts), actor=asked.actor)
    return _told(outcome) or ParserTold(parser=request.parser, artifacts=artifacts)


def _admit(authority: Authority, asked: Asked) -> Reply:
    """Read the parser anew, and make it current if it is what was asked for and is trusted."""
    from cli.own_parser import read_own_at

    request = asked.request
    assert isinstance(request, AdmitParser)
    own = read_own_at(Path(os.fsdecode(path_bytes(request.path))), dev=request.dev)
    if own.package.artifact_hash != request.artifact_hash:
        why = f"run {own.word}: it was changed while it was looked at"
        return Refusal(code="parser_changed", message=why, next_step="run the same command again")
    refused = authority.parsers.adopt(own)
    return Refusal(code=refused.code, message=refused.why, next_step=refused.next_step) if refused else Accepted()


def _start_run(authority: Authority, asked: Asked) -> Reply:
    return authority.host.start(asked)


def _watch_run(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, WatchRun)
    run = authority.host.find(request.ticket)
    return run.seen(request.version, request.notes) if run is not None else _no_run(request.ticket)


def _halt_run(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, HaltRun)
    run = authority.host.find(request.ticket)
    if run is None:
        return _no_run(request.ticket)
    run.halt.ask(request.reason)
    return Accepted()


def _read_report(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, ReadReport)
    run = authority.host.find(request.ticket)
    return run.part(request.offset) if run is not None else _no_run(request.ticket)


def _no_run(ticket: str) -> Refusal:
    why = f"follow the run {ticket}: this sentinel does not know it; it may have begun since"
    return Refusal(code="not_found", message=why, next_step="casparian jobs")


def _status(authority: Authority, _asked: Asked) -> Reply:
    return authority.status()


def _metrics(authority: Authority, _asked: Asked) -> Reply:
    return MetricsSeen(readings=authority.readings())


def _executors(authority: Authority, _asked: Asked) -> Reply:
    return authority.executors()


def _drain(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, DrainExecutor)
    command = events.DrainExecutor(
        executor=ExecutorId(request.executor), reason=request.reason, by=asked.actor, now=clock.now()
    )
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    return _told(outcome) or Accepted()


def _remove(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, RemoveExecutor)
    by = f"removed by {asked.actor}: {request.reason}" if request.reason else f"removed by {asked.actor}"
    if authority.dismiss(ExecutorId(request.executor), by):
        return Accepted()
    why = f"there is no executor {request.executor}"
    return Refusal(code="not_found", message=why, next_step="casparian executors ls")


def _ask(authority: Authority, asked: Asked) -> Reply:
    """Let the read model answer, up to what is durable now."""
    from projections.questions import UnknownQuestionError, answer

    request = asked.request
    assert isinstance(request, Ask)
    try:
        data = authority.projection.ask(lambda connection: answer(connection, request.question, request.arguments))
    except UnknownQuestionError as error:
        return Refusal(code="unknown_question", message=str(error), next_step="use the same version of casparian")
    if len(data) > ANSWER_BYTES_MAX:
        why = f"answer {request.question}: {len(data):,} bytes, at most {ANSWER_BYTES_MAX:,} travel at once"
        return Refusal(code="too_large", message=why, next_step="ask for less")
    return Told(data=data)


def _lend(authority: Authority, _asked: Asked) -> Reply:
    lent = authority.lender.lend()
    return ReadModelLent(path=path_text(bytes(lent.path)), seq=lent.seq)


def _tail(authority: Authority, _asked: Asked) -> Reply:
    return TailTold(address=authority.teller.address)


def _stop(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, Stop)
    if not authority.lasting:
        why = f"stop the sentinel: it is no lasting one, but of another terminal ({authority.purpose})"
        return Refusal(code="not_lasting", message=why, next_step="interrupt that command, or wait until it is done")
    authority.stop(f"stopped by {asked.actor}" + (f": {request.reason}" if request.reason else ""))
    return Accepted()


def _trust_key(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, TrustKey)
    command = events.TrustKey(key=request.key, by=asked.actor, reason=request.reason, now=clock.now())
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    return _told(outcome) or KeyTold(changed=bool(outcome.events))


def _revoke_key(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, RevokeKey)
    command = events.RevokeKey(key=request.key, by=asked.actor, reason=request.reason, now=clock.now())
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    artifacts = _artifacts(outcome)
    authority.parsers.end_revoked(frozenset(artifacts), actor=asked.actor)
    return _told(outcome) or KeyTold(changed=bool(outcome.events), artifacts=artifacts)


def _artifacts(outcome: Outcome) -> tuple[ArtifactHash, ...]:
    changed = (events.ParserTrusted, events.ParserRevoked, events.ParserResumed)
    return tuple(event.artifact_hash for event in outcome.events if isinstance(event, changed))


def _retry_job(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, RetryJob)
    from projections import queries

    job = JobId(request.job)
    rows = authority.projection.ask(lambda connection: queries.jobs_of_ids(connection, [job]))
    if not rows:
        return Refusal(code="not_found", message=f"there is no job {job}", next_step="casparian jobs")
    return _retried(authority, asked, rows, request.reason)


def _retry_all(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, RetryAll)
    from projections import queries

    rows = authority.projection.ask(
        lambda connection: queries.retry_candidates(
            connection,
            parser=ParserName(request.parser) if request.parser else None,
            dead=request.dead,
            after=JobId(request.after),
        )
    )
    nothing = JobsRetried(queued=(), passed_over=len(rows), last=rows[-1].job_id if rows else 0)
    reply = _retried(authority, asked, rows, request.reason) if rows else nothing
    return nothing if isinstance(reply, Refusal) and reply.code in CANNOT_BE_RETRIED else reply


# Why one job among many is not made again: the others are.
CANNOT_BE_RETRIED: Final = frozenset(
    {"already_completed", "already_committing", "already_queued", "job_aborting", "parser_changed", "untrusted_parser"}
)


def _retried(authority: Authority, asked: Asked, rows: Sequence[JobRow], reason: str) -> Reply:
    from cli.retrying import retry_jobs

    def submit(command: events.RetryJobs, look: int) -> Outcome:
        stamp = stamp_once(f"{asked.id}.{look}", msgspec.json.encode(asked))
        return authority.handler.submit(command, actor=asked.actor, stamp=stamp).result(ANSWER_SECONDS)

    outcome, looked_at = retry_jobs(authority, rows, reason=reason, actor=asked.actor, now=clock.now, submit=submit)
    queued = tuple(
        RetriedAs(job=event.retry_of, new_job=event.job)
        for event in outcome.events
        if isinstance(event, events.JobQueued) and event.retry_of is not None
    )
    return _told(outcome) or JobsRetried(queued=queued, passed_over=len(looked_at) - len(queued), last=max(looked_at))


def _set_priority(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, SetPriority)
    job = JobId(request.job)
    command = events.SetJobPriority(job=job, priority=request.priority, by=asked.actor, now=clock.now())
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    return _told(outcome) or Accepted(job=job)


def _resume(authority: Authority, asked: Asked) -> Reply:
    request = asked.request
    assert isinstance(request, ResumeParser)
    command = events.ResumeParser(
        parser=ParserName(request.parser), by=asked.actor, reason=request.reason, now=clock.now()
    )
    outcome = authority.handler.submit(command, actor=asked.actor, stamp=_stamp(asked)).result(ANSWER_SECONDS)
    return _told(outcome) or ParserTold(parser=request.parser, artifacts=_artifacts(outcome))


ROUTES: Final[dict[type[Request], Route]] = {
    Ping: _ping,
    GetJob: _get_job,
    CancelJob: _cancel,
    AbandonJob: _abandon,
    TrustParser: _trust,
    RevokeParser: _revoke,
    TrustKey: _trust_key,
    RevokeKey: _revoke_key,
    RetryJob: _retry_job,
    RetryAll: _retry_all,
    SetPriority: _set_priority,
    ResumeParser: _resume,
    AdmitParser: _admit,
    StartRun: _start_run,
    WatchRun: _watch_run,
    HaltRun: _halt_run,
    ReadReport: _read_report,
    GetStatus: _status,
    GetMetrics: _metrics,
    ListExecutors: _executors,
    DrainExecutor: _drain,
    RemoveExecutor: _remove,
    Ask: _ask,
    LendReadModel: _lend,
    Tail: _tail,
    Stop: _stop,
}


def _stamp(asked: Asked) -> Stamp:
    return stamp_once(asked.id, msgspec.json.encode(asked))


def _told(outcome: Outcome) -> Refusal | None:
    refused = outcome.refused
    return Refusal(code=refused.code, message=refused.why, next_step=refused.next_step) if refused else None


def job_seen(connection: Connection, job: JobId) -> JobSeen | Refusal:
    """Return how a job stands in a read model."""
    from projections import queries

    detail = queries.job(connection, job)
    if detail is None:
        return Refusal(code="not_found", message=f"there is no job {job}", next_step="casparian jobs")
    outputs = tuple(
        OutputReport(
            name=row.output_name,
            rows=row.rows,
            bytes=row.bytes,
            path=open_sink(row.sink_uri).locate(row.file) if row.file else None,
            row_first=row.row_first,
        )
        for row in detail.outputs
    )
    return JobSeen(job=job, state=detail.job.status, reason=detail.job.error_reason or "", outputs=outputs)
