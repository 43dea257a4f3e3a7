"""Helpers for tests of executors: a job over the fixture parser, and a sentinel of a few lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import blake3
import msgspec

from eventlog.ids import (
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
    LogId,
    OutputName,
    ParserName,
    SourceHash,
    path_text,
)
from eventlog.schema import Column, OutputSchema
from executors.errors import PeerGoneError
from executors.guest.host import GuestTimes
from executors.protocol import (
    FLAG_DISCARD,
    Ack,
    Carry,
    Conclude,
    Discard,
    Dispatch,
    Fault,
    FurtherInput,
    Identify,
    Idle,
    LogHead,
    Message,
    OpCode,
    Prepare,
    Receipt,
    Stop,
    Welcome,
    Working,
    decode,
    encode,
    payload,
)
from executors.waits import WorkerTimes

PARSER = Path(__file__).with_name("fixture_parser.py")
LOG_ID = LogId("0123456789abcdef" * 2)
LINES = OutputSchema(
    output=OutputName("lines"),
    columns=(Column(name="n", type="int64", nullable=False), Column(name="text", type="string")),
)
NOTES = OutputSchema(output=OutputName("notes"), columns=(Column(name="note", type="string", nullable=False),))
IDENTITY = Identify(executor=ExecutorId("e1"), pid=1, host="here", version="0", capacity=1)
TIMES = WorkerTimes(
    request=2.0, gone_max=0.3, retry=0.02, poll_gap=0.01, pulse_delay=0.05, guest=GuestTimes(silence_seconds=20)
)


def make_source(folder: Path, text: str = "one\ntwo\nthree\n") -> Path:
    """Write the file that jobs parse."""
    source = folder / "source.txt"
    source.write_text(text)
    return source


def digests_beside(parser: Path) -> dict[str, str]:
    """Return what a guest may load of a parser and the Python files of its folder, as they are now."""
    return {
        str(path.relative_to(parser.parent)): blake3.blake3(path.read_bytes()).hexdigest()
        for path in parser.parent.rglob("*.py")
    }


def make_dispatch(source: Path, mode: str, *, sink_uri: str = "memory:///", **settings: str) -> Dispatch:
    """Return a dispatch of the source as it is now to the fixture parser in this mode."""
    facts = source.stat()
    return Dispatch(
        lease=LeaseId(f"lease-{mode}"),
        attempt=1,
        log_id=LOG_ID,
        path=path_text(str(source).encode()),
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        file_uid=f"unix:{facts.st_dev}:{facts.st_ino}",
        source_hash=SourceHash(blake3.blake3(source.read_bytes()).hexdigest()),
        parser=ParserName("fixture"),
        parser_version="1.2.3",
        parser_file=str(PARSER),
        parser_digests=digests_beside(PARSER),
        settings={"mode": mode, **settings},
        outputs=(LINES, NOTES),
        sink_uri=sink_uri,
        dispatched_at=Instant("2026-01-22T10:11:12.123456Z"),
    )


def make_lease(folder: Path, *modes: str, sink_uri: str = "memory:///") -> Dispatch:
    """Return a dispatch of jobs 1, 2, ...; the first line of each one's source says what the parser does with it."""
    alone = []
    for number, mode in enumerate(modes, start=1):
        place = folder / str(number)
        place.mkdir(parents=True)
        source = make_source(place, f"{mode}\nline {number}\n")
        alone.append(make_dispatch(source, "by_source", sink_uri=sink_uri))
    names = ("attempt", "path", "size", "mtime_ns", "file_uid", "source_hash")
    further = tuple(
        FurtherInput(job=JobId(number), **{name: getattr(each, name) for name in names})
        for number, each in enumerate(alone[1:], start=2)
    )
    return msgspec.structs.replace(alone[0], further=further)


class FakeSentinel:
    """Hands out the given jobs one by one, then sends the executor home. Doubles as its own client."""

    def __init__(self, *dispatches: Dispatch) -> None:
        self._waiting = list(enumerate(dispatches, start=1))
        self.heard: list[Message] = []
        self.acks: list[Ack] = []
        self.beats: list[Working] = []
        self.receipts: dict[int, Receipt] = {}
        self.conclusions: dict[int, Conclude] = {}
        self.abort_after_beats: int | None = None
        self.abort_rows_min = 0  # nor before so many rows were told
        self.abort_job: int | None = None  # the job named in the abort; 0 sends the executor home
        self.discard_acks = False
        self.discard_receipts = False
        self.dead = False
        self.silent_requests = 0  # so many conclusions get no answer
        self.refuse: Fault | None = None
        self.welcome_head: LogHead | None = None
        self.dispatch_head: LogHead | None = None
        self.beat_head: LogHead | None = None
        self.idle_answers: list[bytes] = []  # before the last one
        self.idle_answer = encode(OpCode.ABORT, Stop(reason="no more work"))  # when there is no job left
        self.on_ack: Callable[[Ack], None] = lambda _ack: None
        self.closed = threading.Event()
        self.prepare: Prepare | None = None

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        if self.dead:
            raise PeerGoneError("the sentinel is gone")
        said = decode(message)
        self.heard.append(said)
        return self._answer(said)

    def close(self) -> None:
        self.closed.set()

    def _answer(self, said: Message) -> bytes:
        if self.refuse is not None:
            return encode(OpCode.ERR, self.refuse)
        match said.op:
            case OpCode.IDENTIFY:
                return encode(
                    OpCode.IDENTIFY, Welcome(log_id=LOG_ID, epoch=1, head=self.welcome_head, prepare=self.prepare)
                )
            case OpCode.DISPATCH_ACK:
                return self._acknowledge(payload(said, Ack))
            case OpCode.CONCLUDE:
                return self._conclude(said)
            case _ if said.job:
                return self._beat(said)
        payload(said, Idle)
        return self._hand_out()

    def _hand_out(self, *, discard: bool = False) -> bytes:
        if not self._waiting:
            answer = self.idle_answers.pop(0) if self.idle_answers else self.idle_answer
            return _flagged(answer, discard)
        job, dispatch = self._waiting.pop(0)
        dispatch = with_changes(dispatch, head=self.dispatch_head)
        return encode(OpCode.DISPATCH, dispatch, job=JobId(job), discard=discard)

    def _acknowledge(self, ack: Ack) -> bytes:
        self.acks.append(ack)
        self.on_ack(ack)
        return _discard() if self.discard_acks else _carry()

    def _conclude(self, said: Message) -> bytes:
        if self.silent_requests:
            self.silent_requests -= 1
            raise PeerGoneError("the answer was lost")
        conclude = payload(said, Conclude)
        self.conclusions[said.job] = conclude
        self.receipts[said.job] = conclude.receipt
        self.receipts |= {other.job: other.receipt for other in conclude.further}
        return self._hand_out(discard=self.discard_receipts)

    def _beat(self, said: Message) -> bytes:
        beat = payload(said, Working)
        self.beats.append(beat)
        enough = self.abort_after_beats is not None and len(self.beats) >= self.abort_after_beats
        if enough and beat.rows >= self.abort_rows_min:
            job = said.job if self.abort_job is None else JobId(self.abort_job)
            return encode(OpCode.ABORT, Stop(reason="cancelled by a person"), job=job)
        return encode(OpCode.HEARTBEAT, Carry(head=self.beat_head))


def _flagged(answer: bytes, discard: bool) -> bytes:
    return answer[:3] + bytes([FLAG_DISCARD * discard]) + answer[4:]


def _carry() -> bytes:
    return encode(OpCode.HEARTBEAT, Carry())


def _discard() -> bytes:
    return encode(OpCode.DISCARD, Discard(reason="the lease is dead"))


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], bool], *, seconds: float = 5.0) -> bool:
    """Poll until it holds; False if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def with_changes(dispatch: Dispatch, **changes: object) -> Dispatch:
    """Return the dispatch with some fields replaced."""
    return msgspec.structs.replace(dispatch, **changes)
