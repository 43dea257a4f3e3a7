"""Owns the format of tapes: a slice of the log, redacted by schema, one envelope a line, that anybody can read.

    {"schema_version":1,"event_id":"<uuid4>","seq":4,"timestamp":"...","correlation_id":"...","parent_id":"...",
     "event_name":{"type":"domain_event","name":"JobQueued"},"payload":{"log_seq":17,"actor":"<hash>","data":{...}}}

The first envelope is tape_started (which versions, which part of which log), the last tape_stopped, which carries the
BLAKE3 of all bytes before it: it proves that a tape was cut or changed by accident, not who made it. Event ids are
UUIDs drawn from the salt and the position, so an id can be named before its envelope is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import blake3
import msgspec
from msgspec import Struct

from eventlog.events import JobQueued, RunStarted
from eventlog.frames import Frame, LogRecord
from eventlog.ids import Instant, JobId, RunId
from eventlog.records import COMMAND_TYPES
from eventlog.redact import Redactor

SCHEMA_VERSION: Final = 1
FORMAT: Final = "casparian.tape.v1"
EVENT_TYPES: Final = frozenset(
    {"tape_started", "tape_stopped", "ui_command", "domain_event", "system_response", "error_event"}
)


class EventName(Struct, frozen=True, kw_only=True):
    type: str
    name: str = ""


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a tape. `payload` holds plain values; for a record of the log: log_seq, actor, data."""

    schema_version: int
    event_id: str
    seq: int
    timestamp: str
    correlation_id: str | None = None
    parent_id: str | None = None
    event_name: EventName
    payload: dict[str, Any]


class TapeSlice(Struct, frozen=True, kw_only=True):
    """Which part of the log a tape shows, `head` being the hash of the frame that holds `last`; 0 to 0 is nothing."""

    first: int
    last: int
    head: str


NOTHING: Final = TapeSlice(first=0, last=0, head="")


_encoder = msgspec.json.Encoder(order="deterministic")


class TapeWriter:
    """Writes one tape, envelope by envelope, each whole: `write` is told one line at a time and should flush it."""

    def __init__(self, write: Callable[[bytes], object], *, salt: bytes) -> None:
        self._write = write
        self._redactor = Redactor(salt)
        self._salt = salt
        self._digest = blake3.blake3()
        self._next = 0
        self._first = 0
        self._verb: str | None = None  # the event id of the command line that this tape is of
        self._runs: dict[RunId, str] = {}  # what began each run of the slice
        self._jobs: dict[JobId, RunId] = {}

    def start(self, part: TapeSlice, *, versions: dict[str, str], now: Instant) -> None:
        """Write tape_started."""
        self._first = part.first
        log = {"from": part.first, "to": part.last, "head": part.head}
        self._put("tape_started", "TapeStarted", {"format": FORMAT, "versions": versions, "log": log}, now)

    def verb(self, name: str, options: Iterable[tuple[str, str | None]], values: Iterable[str], now: Instant) -> None:
        """Write the ui_command that this tape is of: names are shown, every value is hashed."""
        said = [[option, None if value is None else self._redactor.hash(value)] for option, value in options]
        payload = {"options": said, "values": [self._redactor.hash(value) for value in values]}
        self._verb = self._id("tape", self._next)
        self._put("ui_command", name, payload, now)

    def frame(self, frame: Frame, *, last: int) -> None:
        """Write the records of a frame that belong to the slice, up to `last`."""
        command = frame.records[0] if frame.records and frame.records[0].id else None
        for record in frame.records:
            if self._first <= record.seq <= last:
                parent = command.seq if command is not None and record is not command else frame.cause
                self._record(record, frame, parent)

    def succeeded(self, *, now: Instant) -> None:
        """Write that the command line ended with exit code 0."""
        self._answer("system_response", "CommandSucceeded", {"exit": 0}, now)

    def failed(self, *, exit_code: int, code: str, message: str, now: Instant) -> None:
        """Write how the command line ended otherwise: codes are shown, what was said is hashed."""
        payload = {"exit": exit_code, "code": self._redactor.word(code), "message": self._redactor.hash(message)}
        self._answer("error_event", "CommandFailed", payload, now)

    def stop(self, *, now: Instant) -> None:
        """Write tape_stopped; nothing may follow."""
        self._put("tape_stopped", "TapeStopped", {"events": self._next, "blake3": self._digest.hexdigest()}, now)

    def _answer(self, kind: str, name: str, payload: dict[str, Any], now: Instant) -> None:
        self._put(kind, name, payload, now, parent=self._verb, correlation=self._verb)

    def _record(self, record: LogRecord, frame: Frame, cause: int) -> None:
        kind = "ui_command" if record.type in COMMAND_TYPES else "domain_event"
        payload = {
            "log_seq": record.seq,
            "actor": self._redactor.hash(frame.actor),
            "data": self._redactor.fields(record.data),
        }
        parent = self._id("log", cause) if self._first <= cause < record.seq else self._verb
        correlation = self._correlation(record, frame, parent)
        event_id = self._id("log", record.seq)
        self._put(kind, record.type, payload, frame.ts, parent=parent, correlation=correlation, event_id=event_id)

    def _correlation(self, record: LogRecord, frame: Frame, parent: str | None) -> str | None:
        """Return what began the run that the record belongs to, else the command behind it; only from this slice."""
        data: Any = record.data
        if isinstance(data, JobQueued):
            self._jobs[data.job] = data.run
        if isinstance(data, RunStarted):
            self._runs[data.run] = parent or self._id("log", record.seq)
            return parent
        job: Any = getattr(data, "job", None)
        run: Any = getattr(data, "run", None) if job is None else self._jobs.get(job)
        if run in self._runs:
            return self._runs[run]
        return self._id("log", frame.corr) if self._first <= frame.corr < record.seq and frame.corr else parent

    def _put(
        self,
        kind: str,
        name: str,
        payload: dict[str, Any],
        now: Instant,
        *,
        parent: str | None = None,
        correlation: str | None = None,
        event_id: str = "",
    ) -> None:
        envelope = Envelope(
            schema_version=SCHEMA_VERSION,
            event_id=event_id or self._id("tape", self._next),
            seq=self._next,
            timestamp=now,
            correlation_id=correlation,
            parent_id=parent,
            event_name=EventName(type=kind, name=name),
            payload=payload,
        )
        line = _encoder.encode(envelope) + b"\n"
        self._digest.update(line)
        self._write(line)
        self._next += 1

    def _id(self, kind: str, number: int) -> str:
        """Return the id of a record of the log, or of a line of the tape. Keyed, so no value's hash can meet it."""
        drawn = blake3.blake3(f"{kind} {number}".encode(), key=self._salt).digest()[:16]
        return str(uuid.UUID(bytes=drawn, version=4))
