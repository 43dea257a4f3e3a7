"""Owns the reading of tapes that earlier implementations made: their few events become the nearest ones of ours.

Known of them: TapeStarted with a version, UICommand, SystemResponse, ErrorEvent, TapeStopped, and the domain events
JobDispatched, JobCompleted, JobFailed, MaterializationRecorded, with job ids as text. What they do not say is UNKNOWN
or -1 here, never guessed. Nothing is ever written in this form.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec.structs import replace

from eventlog.events import (
    BalanceSheet,
    Event,
    JobCompleted,
    JobDispatched,
    JobFailed,
    JobQueued,
    LoggedCommand,
    MaterializationRecorded,
)
from eventlog.ids import (
    ArtifactHash,
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
    MaterializationKey,
    OutputName,
    ParserName,
    PathText,
    RunId,
    SchemaHash,
    Seq,
    Sha256,
    SourceHash,
    TargetKey,
)
from eventlog.tape import Envelope, EventName

UNKNOWN: Final = "unknown"
_NO_RUN: Final = RunId(0)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TIMESTAMP: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:Z|\+00:00)", re.ASCII)
_NO_TIME: Final = Instant("1970-01-01T00:00:00.000000Z")
_NO_SHEET: Final = BalanceSheet(unit="", output="", found=0, written=0, quarantined=0, skipped=0, unreadable=0)


def is_legacy(first: Envelope) -> bool:
    """Say whether a tape's first envelope is that of an earlier implementation: it names no format."""
    return "format" not in first.payload and modern(first).event_name.type == "tape_started"


def modern(envelope: Envelope) -> Envelope:
    """Return the envelope with its type as the format spells it: `UICommand` is `ui_command`."""
    said = envelope.event_name
    kind = {"UICommand": "ui_command"}.get(said.type) or _CAMEL.sub("_", said.type).lower()
    return replace(envelope, event_name=EventName(type=kind, name=said.name or said.type))


class LegacyTape:
    """Translates the domain events of one tape, in order, and numbers the records that come of them."""

    def __init__(self) -> None:
        self._seq = 0
        self._jobs: dict[str, JobId] = {}
        self._attempts: dict[JobId, int] = {}
        self._parsers: dict[JobId, str] = {}

    def records(self, envelope: Envelope) -> list[tuple[Seq, Event | LoggedCommand]]:
        """Return what the envelope shows as records of ours; an unknown event shows nothing."""
        if envelope.event_name.type != "domain_event":
            return []
        made = self._translated(envelope)
        first = self._seq + 1
        self._seq += len(made)
        return [(Seq(first + index), record) for index, record in enumerate(made)]

    def _translated(self, envelope: Envelope) -> list[Event]:
        payload, at = envelope.payload, _instant(envelope.timestamp)
        match envelope.event_name.name:
            case "JobDispatched":
                return self._dispatched(payload, at)
            case "JobCompleted":
                return [self._completed(payload, at)]
            case "JobFailed":
                return [self._failed(payload, at)]
            case "MaterializationRecorded":
                return [self._recorded(payload)]
            case _:
                return []

    def _job(self, payload: dict[str, Any]) -> JobId:
        """Return a number for a job id of theirs: itself where it is one, else the next free one."""
        name = _text(payload, "job_id")
        if name not in self._jobs:
            number = int(name) if name.isascii() and name.isdecimal() and len(name) < 16 else 0
            free = max(self._jobs.values(), default=0) + 1
            self._jobs[name] = JobId(number if number and number not in self._jobs.values() else free)
        return self._jobs[name]

    def _dispatched(self, payload: dict[str, Any], at: Instant) -> list[Event]:
        job = self._job(payload)
        attempt = self._attempts.get(job, 0) + 1
        self._attempts[job] = attempt
        self._parsers[job] = _text(payload, "plugin_name", "plugin", "parser")
        handed = JobDispatched(
            job=job, attempt=attempt, executor=ExecutorId(UNKNOWN), lease=LeaseId(UNKNOWN), dispatched_at=at
        )
        return [handed] if attempt > 1 else [self._queued(job, payload, at), handed]

    def _queued(self, job: JobId, payload: dict[str, Any], at: Instant) -> JobQueued:
        return JobQueued(
            job=job,
            run=_NO_RUN,
            path=PathText(_text(payload, "file_path", "file_path_hash", "file_hash", "file")),
            source_hash=SourceHash(_text(payload, "source_hash")),
            sha256=Sha256(UNKNOWN),
            size=-1,
            mtime_ns=0,
            file_uid=UNKNOWN,
            parser=ParserName(self._parsers[job]),
            parser_version=_text(payload, "parser_version"),
            artifact_hash=ArtifactHash(UNKNOWN),
            settings={},
            sink_uri=UNKNOWN,
            sink_mode=UNKNOWN,
            keys=(),
            queued_at=at,
        )

    def _completed(self, payload: dict[str, Any], at: Instant) -> JobCompleted:
        job = self._job(payload)
        partial = _text(payload, "status", "completion_status").lower().startswith("partial")
        return JobCompleted(
            job=job,
            run=_NO_RUN,
            attempt=self._attempts.get(job, 1),
            status="partial_success" if partial else "success",
            sheet=_NO_SHEET,
            finished_at=at,
        )

    def _failed(self, payload: dict[str, Any], at: Instant) -> JobFailed:
        job = self._job(payload)
        return JobFailed(
            job=job,
            run=_NO_RUN,
            attempt=self._attempts.get(job, 1),
            failure="permanent",
            kind=_text(payload, "status", "kind"),
            reason=_text(payload, "error", "error_message", "message"),
            hint="",
            log_tail="",
            sheet=None,
            failed_at=at,
        )

    def _recorded(self, payload: dict[str, Any]) -> MaterializationRecorded:
        job = self._job(payload)
        rows = payload.get("rows")
        return MaterializationRecorded(
            job=job,
            run=_NO_RUN,
            output=OutputName(_text(payload, "output_name", "output")),
            target_key=TargetKey(UNKNOWN),
            materialization_key=MaterializationKey(UNKNOWN),
            source_hash=SourceHash(UNKNOWN),
            parser=ParserName(self._parsers.get(job, UNKNOWN)),
            parser_version=UNKNOWN,
            sink_uri=_text(payload, "sink_uri", "sink_uri_hash", "sink"),
            file=UNKNOWN,
            digest=UNKNOWN,
            bytes=-1,
            row_first=0,
            rows=rows if type(rows) is int else -1,
            schema_hash=SchemaHash(UNKNOWN),
            status="success",
        )


def _text(payload: dict[str, Any], *names: str) -> str:
    """Return the first of these that the payload has, as text."""
    found = next((payload[name] for name in names if payload.get(name) not in (None, "")), UNKNOWN)
    return found if isinstance(found, str) else str(found)


def _instant(timestamp: str) -> Instant:
    """Return a timestamp of theirs in the one form; the epoch where it is none."""
    match = _TIMESTAMP.fullmatch(timestamp)
    return Instant(f"{match[1]}.{(match[2] or '')[:6]:0<6}Z") if match else _NO_TIME
