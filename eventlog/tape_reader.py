"""Owns the reading of tapes: lines to envelopes, envelopes to the records that they show. Judges nothing.

A tape of an earlier implementation, told by its tape_started, is translated on the way (eventlog/tape_legacy.py), so
that whoever reads entries knows one shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final

import blake3
import msgspec
from msgspec import Struct

from eventlog.events import Event, LoggedCommand
from eventlog.ids import Seq
from eventlog.records import COMMAND_TYPES, RECORD_TYPES
from eventlog.redact import restore
from eventlog.tape import Envelope
from eventlog.tape_legacy import LegacyTape, is_legacy, modern

LINE_BYTES_MAX: Final = 8 * 1024 * 1024  # a record line of the log has at most 1 MiB; hashing grows it at most fivefold
_NO_VALUES: Final = re.compile(r"(Expected `[^`]*`, got `[^`]*`|Object missing required field `\w+`)( - at `[^`]*`)?")


class Entry(Struct, frozen=True, kw_only=True):
    """One line of a tape and what it shows of the log. `fault` says what could not be read of it.

    `digest` is the BLAKE3 of all bytes before the line. Records of an older tape are numbered from 1.
    """

    line: int
    envelope: Envelope | None
    records: tuple[tuple[Seq, Event | LoggedCommand], ...]
    fault: str
    digest: str
    legacy: bool


class TapeRecordError(ValueError):
    """An envelope that claims to show a record of the log does not."""


_decoder = msgspec.json.Decoder(Envelope)


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a tape, a longer one in pieces that no reader takes for an envelope."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def read_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Yield each line with what it shows."""
    digest = blake3.blake3()
    records_of: Callable[[Envelope], list[tuple[Seq, Event | LoggedCommand]]] | None = None
    legacy = False
    for number, line in enumerate(lines, start=1):
        envelope, fault = _envelope(line)
        records: list[tuple[Seq, Event | LoggedCommand]] = []
        if envelope is not None:
            if records_of is None:
                legacy = is_legacy(envelope)
                records_of = LegacyTape().records if legacy else _records
            envelope = modern(envelope) if legacy else envelope
            try:
                records = records_of(envelope)
            except TapeRecordError as error:
                fault = str(error)
        yield Entry(
            line=number,
            envelope=envelope,
            records=tuple(records),
            fault=fault,
            digest=digest.hexdigest(),
            legacy=legacy,
        )
        digest.update(line)


def _envelope(line: bytes) -> tuple[Envelope | None, str]:
    if not line.endswith(b"\n"):
        return None, f"it has no line break within {LINE_BYTES_MAX} bytes: the tape is cut, or is none"
    try:
        return _decoder.decode(line), ""
    except msgspec.ValidationError as error:
        return None, f"it is not an envelope: {_without_values(error)}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, "it is not JSON"


def _records(envelope: Envelope) -> list[tuple[Seq, Event | LoggedCommand]]:
    """Return the record that an envelope shows, if it shows one. Raises TapeRecordError."""
    payload = envelope.payload
    if "log_seq" not in payload:
        if envelope.event_name.type == "domain_event":
            raise TapeRecordError("it shows no record of the log: log_seq is missing")
        return []
    seq = payload["log_seq"]
    if type(seq) is not int or seq < 1:
        raise TapeRecordError("its log_seq is not a position in a log")
    return [(Seq(seq), _record(envelope.event_name.name, envelope.event_name.type, payload.get("data")))]


def _record(name: str, kind: str, data: Any) -> Event | LoggedCommand:
    """Return a record with hashes for texts and neutral values for what was omitted. Raises TapeRecordError."""
    shape = RECORD_TYPES.get(name)
    if shape is None:
        raise TapeRecordError("it shows a record of a type that this version does not know")
    if (name in COMMAND_TYPES) != (kind == "ui_command"):
        raise TapeRecordError(f"it shows a {name}, and its event type is not that of one")
    try:
        record: Any = restore(shape, data)
    except msgspec.ValidationError as error:
        raise TapeRecordError(f"its data is not that of a {name}: {_without_values(error)}") from error
    made: Event | LoggedCommand = record
    return made


def _without_values(error: msgspec.ValidationError) -> str:
    """Return what is wrong by names and types; a value that stands in the tape is not repeated."""
    text = str(error)
    return (
        text if _NO_VALUES.fullmatch(text) else f"a value is not allowed{''.join(re.findall(' - at `[^`]*`$', text))}"
    )
