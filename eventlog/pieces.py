"""Owns the cutting of a long log into pieces, each of which can be audited without what is before it.

A piece begins behind a commit line and takes that line's word for where the chain stands there. Nothing is believed by
that: its report counts only when the piece before it was found to end at exactly this place of the chain, and only if
nothing at all is wrong in it. Else whoever asked walks the piece himself, in order, and says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from eventlog.chain import ChainScan, Link, Read, Segment, Waypoint, find_segment, opened_segment
from eventlog.errors import LogCorruptError
from eventlog.frame_audit import Findings, FrameAudit
from eventlog.frames import (
    COMMIT_LINE_BYTES_MAX,
    COMMIT_START,
    FRAME_SPAN_BYTES_MAX,
    find_commit_line,
    match_commit_line,
    read_commit_line,
)
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import JobId
from eventlog.lineage import Lineage
from eventlog.merkle import Node, Subtrees
from eventlog.recovery import Hearing, Witness
from eventlog.seals import SealAudit, SealedPart

PIECE_BYTES: Final = 4 * 1024 * 1024  # of raw bytes, and up to the end of the frame there
_LOOK_BYTES: Final = 64 * 1024


class Piece(Struct, frozen=True, kw_only=True):
    """A part of one segment, from a commit line's end to another's; `start` and `behind` are what those say."""

    index: int
    first: int  # the first seq of the segment, which is its name
    offset: int
    end: int
    start: Link
    behind: Link
    witness_seqs: tuple[int, ...]  # whose commit hashes are asked for
    leaves: bool  # whether the tree over its records is asked for


class PieceReport(Struct, frozen=True, kw_only=True):
    """What there is in a piece whose chain holds and in which nothing is wrong."""

    events: int
    skipped: int
    cancelled: tuple[JobId, ...]
    committed: tuple[JobId, ...]
    epoch: int  # of the last frame, with the version of its writer, "" if an earlier piece has it
    version: str
    witness_hashes: dict[int, str]
    nodes: tuple[Node, ...]
    sealed: SealedPart | None


def cut(segments: Sequence[Segment], begin: Link, *, fs: FsPort = OS_FS) -> Iterator[Piece]:
    """Yield pieces from the beginning on, one behind the other, up to where no commit line can be found."""
    link = begin
    for index, segment in enumerate(segments):
        if segment.problem:
            return
        offset = 0
        try:
            with opened_segment(segment, fs=fs) as read:
                while offset < segment.size:  # every round goes forward by a frame at least, or ends it
                    found = _next_cut(read, segment.size, offset + PIECE_BYTES)
                    if found is None:
                        return
                    end, behind = found
                    yield Piece(
                        index=index, first=segment.first, offset=offset, end=end, start=link, behind=behind,
                        witness_seqs=(), leaves=False,
                    )  # fmt: skip
                    offset, link = end, behind
        except (LogCorruptError, FileNotFoundError):
            return  # whoever walks there in order says what is wrong


def _next_cut(read: Read, size: int, target: int) -> tuple[int, Link] | None:
    """Return the end of a commit line at or behind `target`, or the end of the segment, and what the line says."""
    for span in (_LOOK_BYTES, FRAME_SPAN_BYTES_MAX):
        if target < size:
            match = find_commit_line(read(min(span, size - target), target), 0)
            if match is not None:
                return target + match.end(), _link(match)
    if target + FRAME_SPAN_BYTES_MAX < size:
        return None
    start = max(0, size - COMMIT_LINE_BYTES_MAX)
    data = read(size - start, start)
    match = match_commit_line(data, max(0, data.rfind(COMMIT_START)))
    return (size, _link(match)) if match is not None and match.end() == len(data) else None


def _link(match: re.Match[bytes]) -> Link:
    line = read_commit_line(match)
    return Link(line.commit, line.last, line.hash, line.epoch, line.durable)


def audit_piece(segment: Segment, lineage: Lineage, piece: Piece, *, fs: FsPort = OS_FS) -> PieceReport | None:
    """Walk a piece of a segment; None if it is not clean. Raises OSError."""
    findings, committed, subtrees = Findings(), set[JobId](), Subtrees(piece.start.seq)
    audit, hearing = (
        FrameAudit(findings, committed=committed),
        Hearing(*(Witness(name="", seq=seq, hash="") for seq in piece.witness_seqs)),
    )
    audit.writer.epoch = piece.start.epoch
    (part,) = part_of([segment], piece, index=0)
    start = Waypoint(link=piece.start, index=0, offset=piece.offset)
    scan, seals = ChainScan(lineage=lineage, segments=[part], start=start, fs=fs, part=True), SealAudit([part])
    before = piece.start
    for raw in scan.frames():
        audit.check(raw, before, scan)
        before = scan.link
        hearing.hear(raw.line)
        seals.hear(raw, 0)
        if piece.leaves:
            subtrees.extend(raw.lines)
        if findings.total:
            return None
    if scan.gap is not None or (scan.offset, scan.link) != (piece.end, piece.behind):
        return None
    return PieceReport(
        events=audit.events, skipped=audit.skipped, cancelled=tuple(audit.cancelled), committed=tuple(committed),
        epoch=audit.writer.epoch, version=audit.writer.version, witness_hashes=hearing.hashes,
        nodes=subtrees.nodes, sealed=seals.part(),
    )  # fmt: skip


def part_of(segments: Sequence[Segment], piece: Piece, *, index: int | None = None) -> list[Segment]:
    """Return the segments up to the end of a piece, which is of the one at `index`."""
    at = piece.index if index is None else index
    return [*segments[:at], replace(segments[at], size=piece.end, ahead=0)]


def audit_named_piece(folder: Path, lineage: Lineage, piece: Piece) -> PieceReport | None:
    """Walk a piece in a process that has not listed the segments. Raises OSError."""
    return audit_piece(find_segment(folder, first=piece.first, fs=OS_FS), lineage, piece)
