"""Owns the identities of the house: typed ids, content hashes, keys, instants and the text form of file names.

Every hash here is BLAKE3 over a canonical JSON array, in full hexadecimal: a separator can never be forged by a value.
Pure: reads no clock and no file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NewType

import blake3
import msgspec

Seq = NewType("Seq", int)  # position in the log: gapless from 1
JobId = NewType("JobId", int)  # positive, given out in log order
RunId = NewType("RunId", int)  # positive, given out in log order
LogId = NewType("LogId", str)  # 32 hex digits
ParserName = NewType("ParserName", str)
OutputName = NewType("OutputName", str)  # lowercase letters, digits, underscore; starts with a letter
ExecutorId = NewType("ExecutorId", str)
LeaseId = NewType("LeaseId", str)
SourceHash = NewType("SourceHash", str)  # blake3 of the file's bytes, 64 hex digits
Sha256 = NewType("Sha256", str)
ArtifactHash = NewType("ArtifactHash", str)
EnvHash = NewType("EnvHash", str)
ConfigHash = NewType("ConfigHash", str)
SchemaHash = NewType("SchemaHash", str)
TargetKey = NewType("TargetKey", str)
MaterializationKey = NewType("MaterializationKey", str)
CommitKey = NewType("CommitKey", str)
Digest = NewType("Digest", str)  # blake3 of an artifact's bytes, 64 hex digits
PathText = NewType("PathText", str)  # a file name as text; see path_text
Instant = NewType("Instant", str)  # "2026-01-22T10:11:12.123456Z": fixed width, so text order is time order

_PATH_PIECE = re.compile(r"(\\\\|\\x[0-9a-f]{2})")  # a backslash, and any byte by its number
_canonical = msgspec.json.Encoder(order="deterministic")


def canonical_hash(*parts: object) -> str:
    """Return the BLAKE3 hex of the canonical JSON array of `parts`."""
    return blake3.blake3(_canonical.encode(parts)).hexdigest()


def config_hash(settings: dict[str, str]) -> ConfigHash:
    """Return the hash of a parser's declared settings; the order of the names does not matter."""
    return ConfigHash(canonical_hash(settings))


def commit_key(log_id: LogId, job: JobId, attempt: int) -> CommitKey:
    """Return what names one attempt to publish a job's outputs; a later attempt has another key."""
    return CommitKey(canonical_hash(log_id, job, attempt))


def stage_name(log_id: LogId, job: JobId, attempt: int, output: OutputName) -> str:
    """Return the hidden name of a staged artifact; it never carries the target's extension."""
    return f".{log_id[:8]}-{job}-{attempt}-{output}.stage"


def final_name(log_id: LogId, job: JobId, attempt: int, output: OutputName, extension: str) -> str:
    """Return the name of a promoted artifact; the full ids are in the file's own metadata."""
    return f"{output}_{commit_key(log_id, job, attempt)[:16]}.{extension}"


def instant(moment: datetime) -> Instant:
    """Return a UTC moment as fixed-width text with microseconds."""
    offset = len("+00:00")
    return Instant(moment.astimezone(UTC).isoformat(timespec="microseconds")[:-offset] + "Z")


def instant_plus(moment: Instant, *, seconds: float) -> Instant:
    """Return the instant `seconds` later."""
    return instant(instant_datetime(moment) + timedelta(seconds=seconds))


def instant_datetime(moment: Instant) -> datetime:
    """Return the instant as an aware datetime in UTC."""
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def path_text(name: bytes) -> PathText:
    r"""Return a file name as text that any JSON, terminal and table can carry, reversibly.

    Valid UTF-8 stays as it is; a byte that is not becomes `\xHH` and a backslash becomes `\\`. Percent signs are left
    alone, because Windows event logs use them in their names ("...%4Operational.evtx").
    """
    try:
        return PathText(name.decode().replace("\\", "\\\\"))  # nearly all names, and a run over a case asks for each
    except UnicodeDecodeError:
        pass
    pieces: list[str] = []
    for character in name.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            pieces.append(f"\\x{code - 0xDC00:02x}")
        else:
            pieces.append("\\\\" if character == "\\" else character)
    return PathText("".join(pieces))


def path_bytes(text: PathText) -> bytes:
    r"""Return the file name of a text form; any byte may be written as `\xHH`. Raises ValueError for other text."""
    if "\\" not in text:
        return text.encode()
    pieces = _PATH_PIECE.split(text)
    if any("\\" in plain for plain in pieces[::2]):
        raise ValueError(f"not the text form of a file name: {text!r}")
    out = bytearray()
    for plain, escape in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        out += plain.encode()
        if escape:
            out += b"\\" if escape == "\\\\" else bytes([int(escape[2:], 16)])
    return bytes(out)
