"""Owns the messages between sentinel and executors: the 16-byte header, the op codes, the payloads.

Header `!BBHQI`: version, op code, flags, job id (0 where none), payload length; the payload is JSON. The numbers of
the op codes are kept for ever; 0, 7 and 11 are never used. An executor asks (REQ), the sentinel answers (REP):

    executor                          sentinel
    IDENTIFY  Identify             -> IDENTIFY  Welcome | ERR Fault
    HEARTBEAT Idle                 -> DISPATCH  Dispatch | HEARTBEAT Carry (ask again) | ABORT Stop (leave)
    CONCLUDE  Conclude             -> as to Idle, once the receipt is durable; with FLAG_DISCARD if it was refused
    DISPATCH_ACK Ack               -> HEARTBEAT Carry | DISCARD Discard (the lease is dead)
    HEARTBEAT Working (2nd socket) -> HEARTBEAT Carry | ABORT Stop (kill the guest)

A receipt is also the wish for the next job: for the sentinel the end of one job and the start of the next are then one
batch with one sync. A job that is over before it is worth a word has its start told with its receipt (`begun_ago`).
A lease may be of several small jobs: the header names the first one, what is said of the others is `further`.
HEARTBEAT and CONCLUDE are long polls: the sentinel answers when it has something to say, or after POLL_SECONDS.

Answers carry the head of the log (`LogHead`), never more than what is durable. An executor that outlives its sentinel
says in its next Identify what it has heard, and is a witness by that. A peer that knows no heads neither says nor reads
them, and works as before.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from eventlog.events import BalanceSheet, FailureClass, SchemaMismatch, StagedEvidence
from eventlog.ids import ExecutorId, Instant, JobId, LeaseId, LogId, ParserName, PathText, SourceHash
from eventlog.schema import OutputSchema
from executors.guest.limits import MEMORY_BYTES_MAX, SECONDS_MAX
from sinks.sink import StagedArtifact

PROTOCOL_VERSION: Final = 8
HEADER: Final = struct.Struct("!BBHQI")
PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024
POLL_SECONDS: Final = 5.0
BEGUN_SECONDS_MAX: Final = 10 * 366 * 86400.0  # since a guest began: any more and an instant could not tell it
HEARD_LOGS_MAX: Final = 16  # of which one executor remembers the head
FLAG_DISCARD: Final = 1  # of an answer to CONCLUDE: what that job staged will never be published, remove it


class OpCode(IntEnum):
    IDENTIFY = 1
    DISPATCH = 2
    ABORT = 3
    HEARTBEAT = 4
    CONCLUDE = 5
    ERR = 6
    PREPARE_ENV = 8
    ENV_READY = 9
    DEPLOY = 10
    DISPATCH_ACK = 12
    DISCARD = 13


class ProtocolError(ValueError):
    """A message was not understood; the sentence says which rule it broke."""


# What a peer says of itself goes into the log, and from there into tables of bounded integers: so it is bounded here.
Named = Annotated[ExecutorId, Meta(min_length=1, max_length=200)]
Lease = Annotated[LeaseId, Meta(min_length=1, max_length=200)]
Counted = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class LogHead(Struct, frozen=True, kw_only=True):
    """Where a log ended when it was told: its last record, and the hash of the commit with that."""

    log_id: Annotated[LogId, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
    seq: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class Identify(Struct, frozen=True, kw_only=True):
    """`heard` are the heads that this process was told before, by whichever sentinels it has worked for."""

    executor: Named
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    host: Annotated[str, Meta(max_length=1000)]
    version: Annotated[str, Meta(max_length=200)]
    capacity: Annotated[int, Meta(ge=1, le=1000)]
    heard: Annotated[tuple[LogHead, ...], Meta(max_length=HEARD_LOGS_MAX)] = ()


class Prepare(Struct, frozen=True, kw_only=True):
    """The code that the next jobs will most likely be of, as it will stand in their Dispatch."""

    parser_file: str
    parser_digests: dict[str, str]


class Welcome(Struct, frozen=True, kw_only=True):
    """The executor is taken in. With `prepare` it may load a parser before there is a job."""

    log_id: LogId
    epoch: int
    head: LogHead | None = None
    prepare: Prepare | None = None


class Idle(Struct, frozen=True, kw_only=True):
    """The executor has a free slot, holds no lease and waits for a job."""

    executor: Named


class Working(Struct, frozen=True, kw_only=True):
    """The executor is on this lease; renews it. `rows` and `bytes` are progress, never logged.

    `stopped` are the jobs of it that it knows it must stop: the sentinel tells of those that it does not. Of those that
    are `gone` nothing runs and nothing is staged, although the lease goes on: they need not wait for its end.
    """

    executor: Named
    lease: Lease
    rows: Counted
    bytes_read: Counted
    stopped: tuple[JobId, ...] = ()
    gone: tuple[JobId, ...] = ()


class FurtherInput(Struct, frozen=True, kw_only=True):
    """What is its own of a further job of a lease; all else is as the first one's."""

    job: JobId
    attempt: int
    path: PathText
    size: int
    mtime_ns: int
    file_uid: str
    source_hash: SourceHash


class Dispatch(Struct, frozen=True, kw_only=True):
    """All that one attempt needs, or those of a lease of several jobs; the executor asks nobody else."""

    lease: LeaseId
    attempt: int
    log_id: LogId
    path: PathText
    size: int
    mtime_ns: int
    file_uid: str
    source_hash: SourceHash
    parser: ParserName
    parser_version: str
    parser_file: str  # the parser's source on this machine
    parser_digests: dict[str, str]  # what of it may be loaded, see `ParserCode`
    settings: dict[str, str]
    outputs: tuple[OutputSchema, ...]
    sink_uri: str
    dispatched_at: Instant
    memory_bytes_max: int = MEMORY_BYTES_MAX  # what each process of the guest may write to
    seconds_max: float = SECONDS_MAX  # of the whole job, by the wall clock
    further: tuple[FurtherInput, ...] = ()
    head: LogHead | None = None

    def of(self, other: FurtherInput) -> Dispatch:
        """Return the dispatch of one of the further jobs, as if it were alone."""
        return msgspec.structs.replace(
            self,
            attempt=other.attempt,
            path=other.path,
            size=other.size,
            mtime_ns=other.mtime_ns,
            file_uid=other.file_uid,
            source_hash=other.source_hash,
            further=(),
        )


class Ack(Struct, frozen=True, kw_only=True):
    """The guest runs."""

    lease: Lease
    guest_pid: int


class Share(Struct, frozen=True, kw_only=True):
    """The rows that a job has in an artifact that jobs of its lease share; `staged` is the artifact's name."""

    staged: str
    row_first: int
    rows: int


class Succeeded(Struct, frozen=True, kw_only=True, tag="succeeded"):
    """Every declared output is staged durably, or has no rows (`empty`); so are rejected rows, as `evidence`.

    Outputs are in artifacts of the job's own, or they are `shares` of those that its lease has in common.
    """

    outputs: tuple[StagedArtifact, ...]
    empty: tuple[str, ...]
    evidence: tuple[StagedEvidence, ...] = ()
    sheet: BalanceSheet
    further: tuple[BalanceSheet, ...] = ()
    notes: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    failure: FailureClass
    kind: str  # a word for programs: not_evtx, guest_died, schema_mismatch, ...
    reason: str  # a sentence: what was being done, to what, why it failed
    hint: str  # what to do next
    log_tail: str = ""
    sheet: BalanceSheet | None = None
    mismatch: SchemaMismatch | None = None


class Aborted(Struct, frozen=True, kw_only=True, tag="aborted"):
    reason: str


class Declined(Struct, frozen=True, kw_only=True, tag="declined"):
    reason: str


Receipt = Succeeded | Failed | Aborted | Declined


class FurtherReceipt(Struct, frozen=True, kw_only=True):
    """How a further job of a lease ended."""

    job: JobId
    receipt: Receipt
    begun_ago: float | None = None


class Conclude(Struct, frozen=True, kw_only=True):
    """The lease is over, and the executor waits for the next. `begun_ago`: seconds since a guest took the job up, if
    one did. `shared` are the artifacts that jobs of the lease have shares of."""

    executor: Named
    lease: Lease
    receipt: Receipt
    begun_ago: Annotated[float, Meta(ge=0, le=BEGUN_SECONDS_MAX)] | None = None
    further: tuple[FurtherReceipt, ...] = ()
    shared: tuple[StagedArtifact, ...] = ()


class Carry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing to say: carry on, or ask again."""

    head: LogHead | None = None


class Stop(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """End the job that the header names, or with `lease` all jobs of its lease; without a job there, leave.

    `again`: there may be work for the executor at this address in a while, from this sentinel or the next one.
    """

    reason: str
    again: bool = False
    lease: bool = False
    head: LogHead | None = None


class Discard(Struct, frozen=True, kw_only=True):
    """What this lease staged will never be published: remove it."""

    reason: str


class Fault(Struct, frozen=True, kw_only=True):
    code: Literal["version", "unknown_executor", "bad_message", "stopping"]
    message: str


class Message(Struct, frozen=True, kw_only=True):
    """A decoded header with its payload still in bytes."""

    op: OpCode
    job: JobId
    payload: bytes
    discard: bool = False  # FLAG_DISCARD


_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")  # as few as one that does not fit has; most messages have none
_encoder = msgspec.json.Encoder()
P = TypeVar("P", bound=Struct)


def encode(op: OpCode, payload: Struct, *, job: JobId | None = None, discard: bool = False) -> bytes:
    """Return header and payload as one message. Raises ProtocolError: PayloadTooLarge, or text that is not Unicode."""
    try:
        body = _encoder.encode(payload)
    except UnicodeEncodeError as error:
        raise ProtocolError(f"BadPayload: {op.name} holds text that is not Unicode: {error}") from error
    if len(body) > PAYLOAD_BYTES_MAX:
        raise ProtocolError(f"PayloadTooLarge: {op.name} of {len(body)} bytes, at most {PAYLOAD_BYTES_MAX}")
    return HEADER.pack(PROTOCOL_VERSION, op, FLAG_DISCARD * discard, job or 0, len(body)) + body


def decode(data: bytes) -> Message:
    """Read the header. Raises ProtocolError: HeaderTooShort, VersionMismatch, InvalidOpCode, PayloadLengthMismatch."""
    if len(data) < HEADER.size:
        raise ProtocolError(f"HeaderTooShort: {len(data)} bytes, {HEADER.size} needed")
    version, op, flags, job, length = HEADER.unpack_from(data)
    if version != PROTOCOL_VERSION:
        raise ProtocolError(f"VersionMismatch: peer speaks {version}, this is {PROTOCOL_VERSION}")
    if op not in OpCode.__members__.values():
        raise ProtocolError(f"InvalidOpCode: {op}")
    if length != len(data) - HEADER.size:
        raise ProtocolError(f"PayloadLengthMismatch: header says {length}, {len(data) - HEADER.size} came")
    return Message(op=OpCode(op), job=JobId(job), payload=data[HEADER.size :], discard=bool(flags & FLAG_DISCARD))


def payload(message: Message, shape: type[P]) -> P:
    """Decode the payload. Raises ProtocolError if it is not of this shape."""
    try:
        decoded = msgspec.json.decode(message.payload, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"BadPayload: {message.op.name} is not a {shape.__name__}: {error}") from error
    if _LONG_NUMBER.search(message.payload) and _has_wide(msgspec.to_builtins(decoded)):
        raise ProtocolError(f"BadPayload: {message.op.name} holds a number that is no integer of 64 bits")
    return decoded


def _has_wide(value: object) -> bool:
    """Say whether a value holds an integer that no table can; what a peer says may come to be in one."""
    match value:
        case int():
            return not -(2**63) <= value < 2**63
        case dict():
            return any(_has_wide(each) for each in value.values())
        case list() | tuple():
            return any(_has_wide(each) for each in value)
        case _:
            return False
