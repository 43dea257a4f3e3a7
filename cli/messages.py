"""Owns the words of the control protocol: what can be asked of a sentinel, and what it answers.

One request, one answer, each a JSON value with a version around it:

    {"version":1,"id":"<uuid>","actor":"cli:ada","request":{"type":"CancelJob","job":3,"reason":"wrong folder"}}
    {"version":1,"reply":{"type":"Accepted","job":3}}
    {"version":1,"reply":{"type":"Refusal","code":"not_found","message":"there is no job 3","next_step":"…"}}

Who asks does not wait for DuckDB, Arrow and the shapes of records: nothing of them is imported here.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from cli import clock
from cli.limits import JOBS_PER_LEASE_MAX
from cli.report import OutputReport
from commands.policy_words import PolicyWords
from eventlog.ids import LogId, PathText
from eventlog.words import TrustedHow
from projections.metrics import Readings
from projections.rows import JobWord

VERSION: Final = 1
MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024  # the longest: a run with as many inputs as a command line can have
REASON_CHARACTERS_MAX: Final = 2000

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
    how: TrustedHow = "command"
    key: Annotated[str, Meta(max_length=300)] = ""  # whose signature it runs by


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


class RetryJob(Struct, frozen=True, kw_only=True, tag=True):
    """Make a job again that ended without outputs."""

    job: Number
    reason: Words


class RetryAll(Struct, frozen=True, kw_only=True, tag=True):
    """Make again what ended without outputs, of one parser or of all (""), from the jobs after a number; `dead`: only
    what failed. One command holds a bounded number of them: ask again after the last, while there are more."""

    parser: Annotated[str, Meta(max_length=200)]
    dead: bool
    after: Annotated[int, Meta(ge=0, le=2**53)]
    reason: Words


class SetPriority(Struct, frozen=True, kw_only=True, tag=True):
    job: Number
    priority: int


class ResumeParser(Struct, frozen=True, kw_only=True, tag=True):
    """Let the jobs of a paused parser be handed out again."""

    parser: Name
    reason: Words


class AdmitParser(Struct, frozen=True, kw_only=True, tag=True):
    """Make a parser of one's own current under its name, as it lies in its file: that artifact and no other."""

    path: PathText
    artifact_hash: Name
    dev: bool = False


class StartRun(Struct, frozen=True, kw_only=True, tag=True):
    """Carry out a run. Inputs and target are absolute; the request's id is the run's ticket from then on.

    `own` is how a parser of one's own was named, `artifact_hash` what was admitted of it. Limits of zero are
    the default ones.
    """

    parser: Name
    own: str = ""
    artifact_hash: str = ""
    inputs: tuple[PathText, ...]
    sink_uri: str
    settings: dict[str, str]
    quarantine: tuple[PolicyWords, ...]
    remake_lost: bool = False
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    memory_bytes_max: int = 0
    seconds_max: float = 0.0
    jobs_per_lease: Annotated[int, Meta(ge=0, le=JOBS_PER_LEASE_MAX)] = 0


class WatchRun(Struct, frozen=True, kw_only=True, tag=True):
    """Ask how a run is going, once it has gone on since `version`, of which `notes` were told; answered in a moment."""

    ticket: RequestId
    version: int
    notes: int


class HaltRun(Struct, frozen=True, kw_only=True, tag=True):
    """Have a run stop: what runs is aborted, what waits ends, what is committed stays."""

    ticket: RequestId
    reason: Words


class ReadReport(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for a part of the report of a run that has ended."""

    ticket: RequestId
    offset: Annotated[int, Meta(ge=0)]


class GetStatus(Struct, frozen=True, kw_only=True, tag=True):
    """Ask how the sentinel and its queue stand."""


class GetMetrics(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for what was counted and how everything stands, as `casparian metrics` tells it."""


class ListExecutors(Struct, frozen=True, kw_only=True, tag=True):
    """Ask who works here, and on what."""


class DrainExecutor(Struct, frozen=True, kw_only=True, tag=True):
    """Give an executor nothing more; it leaves when what it has is done."""

    executor: Name
    reason: Words


class RemoveExecutor(Struct, frozen=True, kw_only=True, tag=True):
    """Part with an executor now: its jobs wait again, uncharged, and nothing that it says counts any more."""

    executor: Name
    reason: Words


class Ask(Struct, frozen=True, kw_only=True, tag=True):
    """Ask the read model one of the questions of projections/questions.py."""

    question: Name
    arguments: dict[str, str | int | bool | list[str | int] | None]


class LendReadModel(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for a copy of the read model, up to what is durable now, for queries of one's own."""


class Tail(Struct, frozen=True, kw_only=True, tag=True):
    """Ask where what becomes durable is told from now on."""


class Stop(Struct, frozen=True, kw_only=True, tag=True):
    """Have the sentinel end in order: what runs is given back, what waits stays for the next start."""

    reason: Words


Request = (
    Ping
    | GetJob
    | CancelJob
    | AbandonJob
    | TrustParser
    | RevokeParser
    | TrustKey
    | RevokeKey
    | RetryJob
    | RetryAll
    | SetPriority
    | ResumeParser
    | AdmitParser
    | StartRun
    | WatchRun
    | HaltRun
    | ReadReport
    | GetStatus
    | GetMetrics
    | ListExecutors
    | DrainExecutor
    | RemoveExecutor
    | Ask
    | LendReadModel
    | Tail
    | Stop
)


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
    pid: int
    lasting: bool  # it stays until it is told to stop


class JobSeen(Struct, frozen=True, kw_only=True, tag=True):
    """How a job stands. `outputs` are those that are published; `reason` says why it ended, or waits again."""

    job: int
    state: JobWord
    reason: str
    outputs: tuple[OutputReport, ...]


class Accepted(Struct, frozen=True, kw_only=True, tag=True):
    """The command is durable; what comes of it may take a moment more. `job` is 0 where it is not about one."""

    job: int = 0


class ParserTold(Struct, frozen=True, kw_only=True, tag=True):
    """The command about a parser is durable. `artifacts` are those that it changed; none where all was so already."""

    parser: str
    artifacts: tuple[str, ...]


class KeyTold(Struct, frozen=True, kw_only=True, tag=True):
    """The command about a key is durable. `changed` is false where it was so already; `artifacts` run no more."""

    changed: bool
    artifacts: tuple[str, ...] = ()


class RetriedAs(Struct, frozen=True, kw_only=True):
    job: int
    new_job: int


class JobsRetried(Struct, frozen=True, kw_only=True, tag=True):
    """What is made again, durably. `passed_over` of those looked at could not be; `last` is the one looked at last, 0
    where there was none."""

    queued: tuple[RetriedAs, ...]
    passed_over: int
    last: int


class Refusal(Struct, frozen=True, kw_only=True, tag=True):
    """The one error shape: `code` is for programs, `message` for people, `next_step` says what to do."""

    code: str
    message: str
    next_step: str = ""


class RunTaken(Struct, frozen=True, kw_only=True, tag=True):
    """The run is begun. `workers` is how many executors the sentinel has at most, whatever the run would like."""

    ticket: str
    workers: int


class Scanned(Struct, frozen=True, kw_only=True):
    files: int
    bytes: int


class Planned(Struct, frozen=True, kw_only=True):
    found: int
    reused: int
    to_run: int
    refused: int


class Worked(Struct, frozen=True, kw_only=True):
    """How far a run is, in `unit`; `rows` are in flight. `seconds_left` is null where nobody can say."""

    done: int
    total: int
    rows: int
    unit: str = "files"
    seconds_left: int | None = None


class RunFailed(Struct, frozen=True, kw_only=True):
    """Why a run has no report: the one error shape, with the exit code that goes with it."""

    code: str
    message: str
    next_step: str
    exit_code: int


class RunSeen(Struct, frozen=True, kw_only=True, tag=True):
    """How a run is going. `notes` are those that were not told yet; it has ended with `failed`, or with a report."""

    version: int
    scanned: Scanned | None
    planned: Planned | None
    worked: Worked | None
    notes: tuple[str, ...]
    failed: RunFailed | None
    report_bytes: int | None


class ReportPart(Struct, frozen=True, kw_only=True, tag=True):
    """A part of a run's report: JSON, as `run --json` prints it."""

    data: bytes


class Told(Struct, frozen=True, kw_only=True, tag=True):
    """The read model's answer, in msgpack of the type that the question has."""

    data: bytes


class ReadModelLent(Struct, frozen=True, kw_only=True, tag=True):
    """A copy that shows the log up to `seq`. It may be gone when somebody opens it."""

    path: PathText
    seq: int


class TailTold(Struct, frozen=True, kw_only=True, tag=True):
    """Who connects to `address` as a subscriber of nng hears each frame as cli/told.py words it."""

    address: str


class ExecutorSeen(Struct, frozen=True, kw_only=True):
    """An executor and what it holds. `ours`: a child of the sentinel, which starts another in its place."""

    executor: str
    pid: int
    host: str
    version: str
    capacity: int
    ours: bool
    draining: bool
    joined_at: str
    jobs: tuple[int, ...]


class ExecutorsSeen(Struct, frozen=True, kw_only=True, tag=True):
    executors: tuple[ExecutorSeen, ...]


class QueueStats(Struct, frozen=True, kw_only=True):
    """How many jobs stand how. `total` is all that ever were; a cancelled job is no failed one."""

    queued: int
    running: int
    promoting: int
    completed: int
    failed: int
    aborted: int
    total: int


class StatusSeen(Struct, frozen=True, kw_only=True, tag=True):
    """How a sentinel stands. `oldest_queued_at` is null where nothing waits; `seq` is the log's last record.

    `unreachable` are targets where nothing can be published now, and why; `metrics_url` is "" where none is told.
    """

    version: str
    pid: int
    purpose: str
    lasting: bool
    started_at: str
    log_id: str
    epoch: int
    seq: int
    workers: int
    executors: int
    runs: tuple[str, ...]
    queue: QueueStats
    oldest_queued_at: str | None
    unreachable: dict[str, str]
    metrics_url: str


class MetricsSeen(Struct, frozen=True, kw_only=True, tag=True):
    readings: Readings


Reply = (
    Pong
    | JobSeen
    | Accepted
    | ParserTold
    | KeyTold
    | JobsRetried
    | RunTaken
    | RunSeen
    | ReportPart
    | Told
    | ReadModelLent
    | TailTold
    | ExecutorsSeen
    | StatusSeen
    | MetricsSeen
    | Refusal
)


class Answer(Struct, frozen=True, kw_only=True):
    version: int
    reply: Reply


class _Versioned(Struct, frozen=True):
    version: int


def ask(request: Request, *, request_id: str = "") -> Asked:
    """Return a request in the name of this process's user."""
    return Asked(version=VERSION, id=request_id or str(uuid.uuid4()), actor=clock.actor(), request=request)


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
