"""Owns what must be true of a tape: one class for each concern, each told every entry in order. Pure.

A finding never repeats a value of the tape other than numbers and names of types. After what could not be read the
rules go on with what follows, so that one fault is one finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from msgspec import Struct

from eventlog.tape import EVENT_TYPES, SCHEMA_VERSION
from eventlog.tape_reader import Entry
from reducers.tape_jobs import Lives, Shares, Sheets

FINDINGS_MAX: Final = 100  # later ones are counted in `findings_total`
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class Finding(Struct, frozen=True, kw_only=True):
    """What is wrong, and where: the line of the file, and the seq of the tape, -1 where the line has none."""

    line: int
    seq: int
    check: str
    message: str


class Validation(Struct, frozen=True, kw_only=True):
    """The result: `events` counts the envelopes that could be read."""

    valid: bool
    legacy: bool
    lines: int
    events: int
    findings: tuple[Finding, ...]
    findings_total: int


class Rule(Protocol):
    """One concern. `see` yields what is wrong with an entry, `end` what is missing after the last one."""

    name: str

    def see(self, entry: Entry) -> Iterator[str]: ...

    def end(self) -> Iterator[str]: ...


class Validator:
    """Applies every rule to every entry."""

    def __init__(self) -> None:
        self._rules: tuple[Rule, ...] = (Shape(), Order(), Links(), Seal(), Positions(), Lives(), Sheets(), Shares())
        self._findings: list[Finding] = []
        self._total = self._events = self._line = 0
        self._seq = -1
        self._legacy = False

    def see(self, entry: Entry) -> None:
        """Take in the next entry."""
        self._line = entry.line
        self._legacy = self._legacy or entry.legacy
        self._events += entry.envelope is not None
        self._seq = entry.envelope.seq if entry.envelope is not None else -1
        for rule in self._rules:
            for message in rule.see(entry):
                self._found(rule.name, message)

    def end(self) -> Validation:
        """Return what was found, after the last entry."""
        for rule in self._rules:
            for message in rule.end():
                self._found(rule.name, message)
        return Validation(
            valid=not self._total,
            legacy=self._legacy,
            lines=self._line,
            events=self._events,
            findings=tuple(self._findings),
            findings_total=self._total,
        )

    def _found(self, check: str, message: str) -> None:
        self._total += 1
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(line=self._line, seq=self._seq, check=check, message=message))


def validate(entries: Iterable[Entry]) -> Validation:
    """Return everything that is wrong with a tape."""
    validator = Validator()
    for entry in entries:
        validator.see(entry)
    return validator.end()


# --- the envelopes --------------------------------------------------------------------------------------------------


class Shape:
    """Each line is an envelope of this version, with what it needs."""

    name = "shape"

    def see(self, entry: Entry) -> Iterator[str]:
        if entry.fault:
            yield entry.fault
        envelope = entry.envelope
        if envelope is None:
            return
        if envelope.schema_version != SCHEMA_VERSION:
            yield f"its schema_version is {envelope.schema_version}, this version reads {SCHEMA_VERSION}"
        if envelope.event_name.type not in EVENT_TYPES:
            yield "its event type is none of " + ", ".join(sorted(EVENT_TYPES))
        if not envelope.event_name.name and not entry.legacy:
            yield "its event has no name"
        if not _INSTANT.fullmatch(envelope.timestamp) and not (entry.legacy and envelope.timestamp):
            yield "its timestamp is not an instant such as 2026-01-22T10:11:12.123456Z"

    def end(self) -> Iterator[str]:
        yield from ()


class Order:
    """tape_started, then seqs without gaps from 0, then tape_stopped, then nothing."""

    name = "order"

    def __init__(self) -> None:
        self._due: int | None = 0
        self._last_type = ""
        self._legacy = False

    def see(self, entry: Entry) -> Iterator[str]:
        envelope = entry.envelope
        if envelope is None:
            self._due = None  # nobody knows what stood there
            return
        self._legacy = entry.legacy
        yield from self._seq(envelope.seq, gaps=entry.legacy)
        if self._last_type == "tape_stopped":
            yield "it follows tape_stopped, after which nothing may come"
        kind = envelope.event_name.type
        if (kind == "tape_started") != (entry.line == 1):
            yield "a tape begins with tape_started, and has no other"
        self._last_type = kind

    def _seq(self, seq: int, *, gaps: bool) -> Iterator[str]:
        due = self._due
        if due is not None and seq != due and not (gaps and 0 < due < seq):
            yield f"its seq is {seq} where {due} is due"
        self._due = seq + 1

    def end(self) -> Iterator[str]:
        if not self._last_type:
            yield "there is no envelope: the file is empty, or the command that it is of was killed"
        elif self._last_type != "tape_stopped" and not self._legacy:
            yield "the tape has no tape_stopped: it was cut here, or its writer ended"


class Links:
    """Ids are used once; parents and correlations are earlier events. In an older tape correlations are free names."""

    name = "links"

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}

    def see(self, entry: Entry) -> Iterator[str]:
        envelope = entry.envelope
        if envelope is None:
            return
        if not (envelope.event_id if entry.legacy else _UUID4.fullmatch(envelope.event_id)):
            yield "its event_id is not a UUID of version 4"
        if envelope.event_id in self._lines:
            yield f"its event_id is that of line {self._lines[envelope.event_id]}"
        if envelope.parent_id is not None and envelope.parent_id not in self._lines:
            yield "its parent_id is the event_id of no earlier line"
        if envelope.correlation_id is not None and not entry.legacy and envelope.correlation_id not in self._lines:
            yield "its correlation_id is the event_id of no earlier line"
        self._lines.setdefault(envelope.event_id, entry.line)

    def end(self) -> Iterator[str]:
        yield from ()


class Seal:
    """tape_stopped says how many events and which bytes came before it."""

    name = "seal"

    def see(self, entry: Entry) -> Iterator[str]:
        envelope = entry.envelope
        if envelope is None or envelope.event_name.type != "tape_stopped" or entry.legacy:
            return
        events = envelope.payload.get("events")
        if events != entry.line - 1:
            yield f"{entry.line - 1} events come before it, it was written after {_number(events)}"
        if envelope.payload.get("blake3") != entry.digest:
            yield "the bytes before it are not those that it was written after (blake3 differs)"

    def end(self) -> Iterator[str]:
        yield from ()


class Positions:
    """The records of the slice are all there, in the order of the log."""

    name = "positions"

    def __init__(self) -> None:
        self._due: int | None = None
        self._last = 0

    def see(self, entry: Entry) -> Iterator[str]:
        envelope = entry.envelope
        if envelope is None or entry.legacy:
            self._due = None
            return
        if envelope.event_name.type == "tape_started":
            log = envelope.payload.get("log")
            first, last = (log.get("from"), log.get("to")) if isinstance(log, dict) else (None, None)
            if type(first) is not int or type(last) is not int or not 0 <= first <= last:
                yield "it does not say which part of the log it shows (log.from, log.to)"
                return
            self._due, self._last = first, last
        for seq, _record in entry.records:
            if self._due is not None and seq != self._due:
                yield f"its position in the log is {seq} where {self._due} is due"
            self._due = seq + 1
        if entry.fault:
            self._due = None
        if envelope.event_name.type == "tape_stopped" and self._due is not None and 0 < self._due <= self._last:
            yield f"the positions {self._due} to {self._last} of the log are missing"

    def end(self) -> Iterator[str]:
        yield from ()


def _number(value: object) -> str:
    return str(value) if type(value) is int else "no number"
