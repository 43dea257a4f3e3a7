"""Owns what a tape tells: what was asked, how each job went, what was made, what went wrong. Pure.

The same fold and the same sentences as for the log itself; texts that were redacted show as their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from eventlog.events import (
    BalanceSheet,
    CommandRefused,
    Event,
    JobAborted,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobQueued,
    LoggedCommand,
    MaterializationRecorded,
    RunInterrupted,
)
from eventlog.ids import JobId, Seq
from eventlog.tape import Envelope
from eventlog.tape_reader import Entry
from reducers.fold import State, apply
from reducers.say import say, say_sheet

JOBS_MAX: Final = 10_000  # told one by one; the others are counted
TOLD_MAX: Final = 10_000  # of each list
_OPEN: Final = "open"  # begun before the tape, not ended in it
_ENDS: Final = {JobCompleted: "completed", JobFailed: "failed", JobAborted: "aborted"}


class Told(Struct, frozen=True, kw_only=True):
    """One sentence; `seq` is the tape's, `log_seq` the log's, 0 where it is not from a log of ours."""

    seq: int
    log_seq: int
    said: str


class JobStory(Struct, kw_only=True):
    """One job: `status` in the words of the read model, `outcome` the newest of its events."""

    job: int
    parser: str = ""
    status: str = _OPEN
    rows: int = 0
    outputs: list[str] = msgspec.field(default_factory=list)
    sheet: str = ""
    error: str = ""
    events: list[Told] = msgspec.field(default_factory=list)


class Story(Struct, kw_only=True):
    """What a tape tells; the totals count what the lists are too short for."""

    schema_version: int = 0
    event_count: int = 0
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    log: dict[str, Any] = msgspec.field(default_factory=dict)
    commands: list[Told] = msgspec.field(default_factory=list)
    jobs: list[JobStory] = msgspec.field(default_factory=list)
    jobs_total: int = 0
    materializations: list[Told] = msgspec.field(default_factory=list)
    materializations_total: int = 0
    errors: list[Told] = msgspec.field(default_factory=list)
    errors_total: int = 0


class Teller:
    """Folds the entries of one tape, in order, into its story."""

    def __init__(self) -> None:
        self.state = State()
        self._story = Story()
        self._jobs: dict[JobId, JobStory] = {}

    def see(self, entry: Entry) -> None:
        """Take in the next entry; one that could not be read tells nothing."""
        if entry.envelope is None:
            return
        self._story.event_count += 1
        if not entry.records:
            self._said(entry.envelope)
        for seq, record in entry.records:
            told = Told(seq=entry.envelope.seq, log_seq=0 if entry.legacy else seq, said=say(record))
            self._record(seq, record, told)

    def end(self) -> Story:
        """Return the story, after the last entry."""
        for job, story in self._jobs.items():
            known = self.state.jobs.get(job)
            if known is not None:
                story.status = type(known).__name__.lower()
        self._story.jobs = list(self._jobs.values())
        return self._story

    def _said(self, envelope: Envelope) -> None:
        payload, name = envelope.payload, envelope.event_name.name
        match envelope.event_name.type:
            case "tape_started":
                self._story.schema_version = envelope.schema_version
                self._story.versions = _texts(payload.get("versions"))
                log = payload.get("log")
                self._story.log = log if isinstance(log, dict) else {}
            case "ui_command":
                _add(
                    self._story.commands, Told(seq=envelope.seq, log_seq=0, said=f"asked for {name}{_options(payload)}")
                )
            case "error_event":
                said = f"{name}{_outcome(payload)}"
                self._story.errors_total += _add(self._story.errors, Told(seq=envelope.seq, log_seq=0, said=said))
            case _:
                pass

    def _record(self, seq: Seq, record: Event | LoggedCommand, told: Told) -> None:
        if isinstance(record, LoggedCommand):
            _add(self._story.commands, told)
            return
        apply(self.state, seq, record)
        match record:
            case MaterializationRecorded():
                self._story.materializations_total += _add(self._story.materializations, told)
            case JobFailed() | CommandRefused() | RunInterrupted():
                self._story.errors_total += _add(self._story.errors, told)
            case _:
                pass
        if isinstance(record, JobEvent):
            self._job(record, told)

    def _job(self, event: JobEvent, told: Told) -> None:
        if event.job not in self._jobs:
            self._story.jobs_total += 1
            if len(self._jobs) >= JOBS_MAX:
                return
            self._jobs[event.job] = JobStory(job=event.job)
        story = self._jobs[event.job]
        _add(story.events, told)
        story.status = _ENDS.get(type(event), story.status)
        match event:
            case JobQueued():
                story.parser = f"{event.parser} {event.parser_version}"
            case MaterializationRecorded():
                story.rows += event.rows
                story.outputs.append(event.output)
            case JobCompleted():
                story.error, story.sheet = "", say_sheet(event.sheet)  # an earlier attempt may have failed
            case JobFailed():
                story.error = f"{event.failure}, {event.kind}: {event.reason}"
                story.sheet = say_sheet(event.sheet) if isinstance(event.sheet, BalanceSheet) else ""
            case _:
                pass


def tell(entries: Iterable[Entry]) -> Story:
    """Return what a tape tells."""
    teller = Teller()
    for entry in entries:
        teller.see(entry)
    return teller.end()


def _add(list_: list[Told], told: Told) -> int:
    if len(list_) < TOLD_MAX:
        list_.append(told)
    return 1


def _texts(value: object) -> dict[str, str]:
    return {str(name): str(each) for name, each in value.items()} if isinstance(value, dict) else {}


def _options(payload: dict[str, Any]) -> str:
    options, values = payload.get("options"), payload.get("values")
    names = [str(each[0]) for each in options if isinstance(each, list) and each] if isinstance(options, list) else []
    hidden = len(values) if isinstance(values, list) else 0
    said = f" with {', '.join(names)}" if names else ""
    return said + (f" and {hidden} values that are not shown" if hidden else "")


def _outcome(payload: dict[str, Any]) -> str:
    code, exit_code = payload.get("code"), payload.get("exit")
    said = f": {code}" if isinstance(code, str) else ""
    return said + (f", exit code {exit_code}" if type(exit_code) is int else "")
