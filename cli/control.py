"""Owns the control socket: how another process gives a command to the sentinel that holds a home's log.

One request, one answer, as JSON over nng (executors/transport.py), at an address in a folder that only this user can
enter; `<home>/tmp/control.address` names it, because the folder depends on the environment of whoever made it.

    {"version":1,"id":"<uuid>","actor":"cli:ada","request":{"type":"CancelJob","job":3,"reason":"wrong folder"}}
    {"version":1,"reply":{"type":"Accepted","job":3}}
    {"version":1,"reply":{"type":"Refusal","code":"not_found","message":"there is no job 3","next_step":"…"}}

A command is logged under its request's id. A command that comes again, because its answer was lost, gets the outcome
of the first one, from this sentinel or a later one: the log knows it by its stamp (commands/receipts.py).
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec
from msgspec import Meta, Struct

from cli import clock
from cli.report import OutputReport
from eventlog import events
from eventlog.frames import Stamp, stamp_once
from eventlog.ids import ArtifactHash, JobId, LogId, ParserName
from executors.transport import Client, NngClient, Server, TransportError
from projections.rows import JobWord
from sinks.uri import open_sink

if TYPE_CHECKING:  # who asks does not wait for DuckDB and Arrow
    from cli.projecting import ProjectionThread
    from commands.handle import Handler, Outcome
    from projections.queries import Connection

VERSION: Final = 1
MESSAGE_BYTES_MAX: Final = 64 * 1024
REQUESTS_MAX: Final = 8  # under way at once; more wait their turn
DIAL_SECONDS: Final = 0.5  # a sentinel that lives takes a connection in milliseconds
ANSWER_SECONDS: Final = 30.0  # a sink that is asked to undo a promotion may be on a slow disk
REASON_CHARACTERS_MAX: Final = 2000

logger = logging.getLogger("casparian.control")

Words = Annotated[str, Meta(max_length=REASON_CHARACTERS_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
KeyText = Annotated[str, Meta(min_length=1, max_length=300)]  # a name of 200, an id, 33 bytes in base64
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:@+-]{1,100}$")]
Number = Annotated[int, Meta(ge=1, le=2**53)]


# --- requests -------------------------------------------------------------------------------------------------------


class Ping(Struct, frozen=True, kw_only=True, tag=True):
    """Ask who is there."""


class GetJob(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for the state of a job."""

    job: Number


class CancelJob(Struct, frozen=True, kw_only=True, tag=True):
    job: Number
    reason: Words


class AbandonJob(Struct, frozen=True, kw_only=True, tag=True):
    job: Number
    reason: Words


class TrustParser(Struct, frozen=True, kw_only=True, tag=True):
    """Let one artifact of a parser run, by the command of a person who has looked at it."""

    parser: Name
    version: Name
    artifact_hash: Name
    reason: Words


class RevokeParser(Struct, frozen=True, kw_only=True, tag=True):
    """Let no artifact of this parser run any more; its open jobs end."""

    parser: Name
    reason: Words


class TrustKey(Struct, frozen=True, kw_only=True, tag=True):
    """Let all parsers run that this key has signed."""

    key: KeyText
    reason: Words


class RevokeKey(Struct, frozen=True, kw_only=True, tag=True):
    """Let nothing run any more because of this key's signature; open jobs of what did end."""

    key: KeyText
    reason: Words


Request = Ping | GetJob | CancelJob | AbandonJob | TrustParser | RevokeParser | TrustKey | RevokeKey


class Asked(Struct, frozen=True, kw_only=True):
    """A request with who asks, under an id of its own. The folder's mode is what makes `actor` believable."""

    version: int
    id: RequestId
    actor: Name
    request: Request


# --- replies --------------------------------------------------------------------------------------------------------


class Pong(Struct, frozen=True, kw_only=True, tag=True):
    log_id: LogId
    purpose: str


class JobSeen(Struct, frozen=True, kw_only=True, tag=True):
    """How a job stands. `outputs` are those that are published; `reason` says why it ended, or waits again."""

    job: int
    state: JobWord
    reason: str
    outputs: tuple[OutputReport, ...]


class Accepted(Struct, frozen=True, kw_only=True, tag=True):
    """The command is durable; what comes of it may take a moment more."""

    job: int


class ParserTold(Struct, frozen=True, kw_only=True, tag=True):
    """The command about a parser is durable. `artifacts` are those that it changed; none where all was so already."""

    parser: str
    artifacts: tuple[str, ...]


class KeyTold(Struct, frozen=True, kw_only=True, tag=True):
    """The command about a key is durable. `changed` is false where it was so already; `artifacts` run no more."""

    changed: bool
    artifacts: tuple[str, ...] = ()


class Refusal(Struct, frozen=True, kw_only=True, tag=True):
    """The one error shape: `code` is for programs, `message` for people, `next_step` says what to do."""

    code: str
    message: str
    next_step: str = ""


Reply = Pong | JobSeen | Accepted | ParserTold | KeyTold | Refusal


class Answer(Struct, frozen=True, kw_only=True):
    version: int
    reply: Reply


class _Versioned(Struct, frozen=True):
    version: int


# --- the sentinel's side --------------------------------------------------------------------------------------------


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
    def abandon(self, job: JobId, *, reason: str, actor: str, stamp: Stamp) -> Future[Outcome]: ...
    def end_revoked(self, artifacts: frozenset[ArtifactHash], *, actor: str) -> None: ...


Route = Callable[[Authority, Asked], Reply]


def _ping(authority: Authority, _asked: Asked) -> Reply:
    return Pong(log_id=authority.log_id, purpose=authority.purpose)


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
        how="command",
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
    authority.end_revoked(frozenset(artifacts), actor=asked.actor)
    return _told(outcome) or ParserTold(parser=request.parser, artifacts=artifacts)


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
    authority.end_revoked(frozenset(artifacts), actor=asked.actor)
    return _told(outcome) or KeyTold(changed=bool(outcome.events), artifacts=artifacts)


def _artifacts(outcome: Outcome) -> tuple[ArtifactHash, ...]:
    changed = (events.ParserTrusted, events.ParserRevoked)
    return tuple(event.artifact_hash for event in outcome.events if isinstance(event, changed))


ROUTES: Final[dict[type[Request], Route]] = {
    Ping: _ping,
    GetJob: _get_job,
    CancelJob: _cancel,
    AbandonJob: _abandon,
    TrustParser: _trust,
    RevokeParser: _revoke,
    TrustKey: _trust_key,
    RevokeKey: _revoke_key,
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
        )
        for row in detail.outputs
    )
    return JobSeen(job=job, state=detail.job.status, reason=detail.job.error_reason or "", outputs=outputs)


class ControlServer:
    """Answers requests, each on a thread of a small pool: one that waits for a slow disk keeps no other waiting."""

    def __init__(self, authority: Authority, server: Server, *, announced_in: Path) -> None:
        self._authority = authority
        self._server = server
        self._announced_in = announced_in
        self._pool = ThreadPoolExecutor(REQUESTS_MAX, thread_name_prefix="control")

    def start(self) -> None:
        """Listen, and say where. Raises TransportError, OSError."""
        self._server.serve(self._take)
        self._announced_in.write_text(self._server.address + "\n", encoding="utf-8", errors="surrogateescape")

    def close(self) -> None:
        """Answer nothing more."""
        self._announced_in.unlink(missing_ok=True)
        self._server.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def answer(self, asked: Asked) -> Reply:
        """Carry out a request; a command that was carried out before is answered with what came of it then."""
        try:
            return ROUTES[type(asked.request)](self._authority, asked)
        except Exception as error:  # whatever it is concerns this request; the asker is told and the others served on
            logger.exception("answer the request %s", asked.id)
            what = type(asked.request).__name__
            return Refusal(code="failed", message=f"carry out {what}: {type(error).__name__}: {error}"[:1000])

    def _take(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        self._pool.submit(self._serve, data, reply)

    def _serve(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        asked = decode_asked(data)
        answer = asked if isinstance(asked, Refusal) else self.answer(asked)
        reply(msgspec.json.encode(Answer(version=VERSION, reply=answer)))


def decode_asked(data: bytes) -> Asked | Refusal:
    """Read a request; a refusal says what was not understood."""
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != VERSION:
            why = f"the sentinel speaks version {VERSION} of the control protocol, not {version}"
            return Refusal(code="version", message=why, next_step="use the same version of casparian as the run")
        return msgspec.json.decode(data, type=Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Refusal(code="bad_request", message=f"read a control request: {error}")


# --- the asking side ------------------------------------------------------------------------------------------------


class ControlClient:
    """Asks the sentinel of a home. Use as a context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, asked: Asked, *, timeout_seconds: float = ANSWER_SECONDS) -> Reply:
        """Return the answer. Raises PeerGoneError, RequestTimedOutError, TransportError for what is no answer."""
        answer = self._client.request(msgspec.json.encode(asked), timeout_seconds=timeout_seconds)
        try:
            return msgspec.json.decode(answer, type=Answer).reply
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TransportError(f"read the sentinel's answer: {error}; is it of another version?") from error


def connect(announced_in: Path) -> ControlClient | None:
    """Return a client of the sentinel that announced itself there, None if nobody listens. Raises TransportError."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        address = announced_in.read_text(encoding="utf-8", errors="surrogateescape").strip()
        if Path(address.removeprefix("ipc://")).is_socket():
            with contextlib.suppress(ConnectionError):
                return ControlClient(
                    NngClient(address, dial_timeout_seconds=DIAL_SECONDS, message_bytes_max=MESSAGE_BYTES_MAX)
                )
    return None


def ask(request: Request, *, request_id: str = "") -> Asked:
    """Return a request in the name of this process's user."""
    return Asked(version=VERSION, id=request_id or str(uuid.uuid4()), actor=clock.actor(), request=request)
