"""Owns the files of snapshots: a state at a position of the log, and the word that the log was whole up to there.

    snapshots/00000000000001000003.snapshot
    {"format":"casparian.snapshot.v1","log_id":"...","at":{...},"told":"...","prefix":"...","code":"...","state":"..."}
    <BLAKE3 of the line above>
    <the state, opaque here; its BLAKE3 is `state`>

A snapshot is a cache: whatever does not fit is ignored, with the reason, and everything follows from the log as if it
were not there. `prefix` is a digest of the log's bytes before the position, which a walk had found whole when the
snapshot was made: where the bytes are still the same, the walk would find the same, and it costs a tenth to see that.
Knows no state; what it is made of, and which code made it, is told by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3
from msgspec import Struct

from eventlog.chain import ChainScan, Read, Segment, Waypoint, opened_segment
from eventlog.errors import LogCorruptError
from eventlog.files import make_folder, opened_regular, write_durably
from eventlog.fsport import OS_FS
from eventlog.ids import LogId, Seq
from eventlog.lineage import Lineage

FORMAT: Final = "casparian.snapshot.v1"
KEPT_MAX: Final = 3
FILE_BYTES_MAX: Final = 1024 * 1024 * 1024  # of a state with a million open jobs; a larger one is folded again
READ_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(r"[0-9]{20}\.snapshot", re.ASCII)


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a snapshot says of itself. `told` is the hash of the last commit with records up to `at`."""

    format: str
    log_id: LogId
    at: Waypoint
    told: str
    prefix: str  # digest of the log's bytes before `at`
    code: str  # digest of the code that folded the state
    state: str  # BLAKE3 of the state's bytes

    @property
    def seq(self) -> Seq:
        return Seq(self.at.link.seq)


class Snapshot(Struct, frozen=True, kw_only=True):
    header: Header
    state: bytes


class UnfitError(ValueError):
    """A snapshot cannot be used; the text continues the sentence "it ..."."""


def choose(
    folder: Path, *, log_id: LogId, code: str, segments: Sequence[Segment]
) -> tuple[Snapshot | None, tuple[str, ...]]:
    """Return the newest snapshot that fits the log and the code, and a sentence for each newer one that does not."""
    doubts: list[str] = []
    for path in _newest_first(folder):
        try:
            snapshot = _read(path)
            _require_fit(snapshot.header, log_id=log_id, code=code, segments=segments)
        except (UnfitError, LogCorruptError, OSError) as error:
            doubts.append(f"snapshot {path.name} was ignored: it {error}")
        else:
            return snapshot, tuple(doubts)
    return None, tuple(doubts)


def write(folder: Path, snapshot: Snapshot) -> None:
    """Write a snapshot durably, and remove all others but the newest before it. Raises OSError."""
    make_folder(folder)
    line = msgspec.json.encode(snapshot.header)
    path = folder / f"{snapshot.header.seq:020d}.snapshot"
    write_durably(path, b"%b\n%b\n%b" % (line, blake3(line).hexdigest().encode(), snapshot.state))
    older = [other for other in _newest_first(folder) if other.name < path.name]
    for other in {*_newest_first(folder)} - {path, *older[: KEPT_MAX - 1]}:
        other.unlink()  # one that says to be newer than this one is of another log, or of the future of an older copy


def examine(
    *, lineage: Lineage, segments: Sequence[Segment], start: Waypoint, last: Header | None
) -> tuple[Waypoint, str, str]:
    """Walk a log from `start` to its end and return there (position, hash of the last commit with records, prefix).

    `last` is the snapshot that vouches for what is before `start`, None where that is the beginning. `segments` end
    where the log ends. Raises UnfitError if a byte is not what it was when the log was opened.
    """
    told = last.told if last is not None else ""
    if last is not None and _prefix_digest(segments, until=start) != last.prefix:
        raise UnfitError("cannot be made: the log's bytes have changed since they were read")
    scan = ChainScan(lineage=lineage, segments=segments, start=start, fs=OS_FS)
    for raw in scan.frames():
        if raw.line.first <= raw.line.last:
            told = raw.line.hash
    at = scan.waypoint()
    if scan.gap is not None:
        raise UnfitError(f"cannot be made: the log is damaged after commit {at.link.commit}")
    return at, told, _prefix_digest(segments, until=at)


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _read(path: Path) -> Snapshot:
    """Return a snapshot whose bytes are those that were written. Raises UnfitError, OSError."""
    with opened_regular(path) as fd, open(fd, "rb", closefd=False) as file:
        data = file.read(FILE_BYTES_MAX + 1)
    line, _, rest = data.partition(b"\n")
    seal, _, state = rest.partition(b"\n")
    if len(data) > FILE_BYTES_MAX or seal != blake3(line).hexdigest().encode():
        raise UnfitError("is damaged: its first line does not fit its checksum")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise UnfitError(f"is of another format ({error})") from error
    if header.state != blake3(state).hexdigest():
        raise UnfitError("is damaged: its state does not fit its checksum")
    return Snapshot(header=header, state=state)


def _require_fit(header: Header, *, log_id: LogId, code: str, segments: Sequence[Segment]) -> None:
    """Raise UnfitError unless the state is what this code would fold from this log up to the snapshot's position."""
    at = header.at
    if header.format != FORMAT:
        raise UnfitError(f"is of another format, {header.format}")
    if header.log_id != log_id:
        raise UnfitError(f"is of another log, {header.log_id}")
    if header.code != code:
        raise UnfitError("was made by other code than this")
    if at.index >= len(segments) or at.offset > segments[at.index].size:
        raise UnfitError(f"is of the future: the log ends before record {header.seq}")
    if _prefix_digest(segments, until=at) != header.prefix:
        raise UnfitError(f"does not fit the log, whose bytes up to record {header.seq} are others")


def _prefix_digest(segments: Sequence[Segment], *, until: Waypoint) -> str:
    """Return the digest of the log's bytes before a position: over the SHA-256 of each segment, the last one cut there.

    Of a sealed segment the compressed bytes are read, and its manifest says what they stand for: a tenth of the bytes,
    and the same digest as while it was raw. Raises UnfitError, OSError.
    """
    digest = blake3()
    for index in range(until.index + 1):
        segment = segments[index]
        size = until.offset if index == until.index else segment.size
        digest.update(f"{segment.first} {size} {_segment_digest(segment, size)}\n".encode())
    return digest.hexdigest()


def _segment_digest(segment: Segment, size: int) -> str:
    manifest = segment.manifest
    if manifest is None or size != manifest.raw_bytes:
        with opened_segment(segment, fs=OS_FS) as read:
            return _sha256(read, size, segment.path)
    with opened_regular(segment.path) as fd:
        if _sha256(partial(OS_FS.read, fd), manifest.zst_bytes, segment.path) != manifest.zst_sha256:
            raise UnfitError(f"does not fit the log: {segment.path.name} is not what was sealed")
    return manifest.raw_sha256


def _sha256(read: Read, size: int, path: Path) -> str:
    """Return the SHA-256 of the first `size` bytes that `read` gives, by size and offset."""
    digest = sha256()
    for offset in range(0, size, READ_BYTES):
        piece = read(min(READ_BYTES, size - offset), offset)
        if not piece:
            raise UnfitError(f"does not fit the log: {path.name} is shorter than it was")
        digest.update(piece)
    return digest.hexdigest()
