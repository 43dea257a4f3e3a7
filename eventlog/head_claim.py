"""Owns the comparison of a log that is open with what somebody outside of it was told when that was durable.

Where they differ, the log is not the one that told it: it was put back to an older state, and may have grown since.
What was told stays beside the log as WITNESS, so that the next opening, reader and audit know it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eventlog.chain import ChainScan, Segment, Waypoint
from eventlog.errors import LogCorruptError, LogRegressedError
from eventlog.frames import Head
from eventlog.fsport import FsPort
from eventlog.lineage import Lineage
from eventlog.pieces import Piece, cut, part_of
from eventlog.recovery import Hearing, witness_of_note
from eventlog.sealed import WITNESS_NAME, HeadClaim, write_claim
from eventlog.verdict import WHAT_TO_DO

WHAT_TO_DO_NOW = (
    "Run `casparian log verify`. Where a copy of the log has these records, keep log/ and readmodel/ of the home "
    "elsewhere and put the copy in the place of log/; where none has: `casparian log fork`."
)


def hold_to(
    claim: HeadClaim, *, folder: Path, segments: Sequence[Segment], lineage: Lineage, head: Head, fs: FsPort
) -> None:
    """Compare the log up to its head with a claim about it; `segments` end at the head. Raises as `Log.hold_to`."""
    there = hash_at(claim.seq, segments, lineage, fs=fs) if claim.seq <= head.seq else ""
    if there == claim.hash:
        return
    is_behind = claim.seq > head.seq
    what = f"the log ends at record {head.seq}" if is_behind else "the log has another history there"
    raise LogRegressedError(
        f"Go on with the log in {folder}: it is REGRESSED: {claim.by} was told of record {claim.seq} in commit "
        f"{claim.hash[:16]}…, and {what}.{_noted(folder, claim, fs)}",
        next_step=WHAT_TO_DO_NOW,
    )


def _noted(folder: Path, claim: HeadClaim, fs: FsPort) -> str:
    """Leave the note; return what to add if that fails."""
    try:
        write_claim(folder, claim, fs=fs)
    except OSError as error:
        return f" (The note {WITNESS_NAME} could not be written: {error}.)"
    return ""


def hash_at(seq: int, segments: Sequence[Segment], lineage: Lineage, *, fs: FsPort) -> str:
    """Return the hash of the commit whose last record this is, "" if the record ends none; it must be in the segments.

    Walks one piece of a segment, whatever the length of the log. Raises LogCorruptError, OSError.
    """
    index = max(index for index, segment in enumerate(segments) if segment.first <= seq)
    near = list(segments[max(0, index - 1) : index + 1])  # a piece takes its beginning from the one before it
    piece = next((each for each in cut(near, lineage.begin, fs=fs) if _holds(each, seq, near)), None)
    if piece is None:
        raise _changed(near[-1])
    hearing = Hearing(witness_of_note(HeadClaim(log_id=lineage.log_id, seq=seq, hash="", by="")))
    start = Waypoint(link=piece.start, index=piece.index, offset=piece.offset)
    scan = ChainScan(lineage=lineage, segments=part_of(near, piece), start=start, fs=fs, part=True)
    for raw in scan.frames():
        hearing.hear(raw.line)
    if scan.link != piece.behind:
        raise _changed(near[-1])
    return hearing.hashes.get(seq, "")


def _holds(piece: Piece, seq: int, near: Sequence[Segment]) -> bool:
    """Return whether the commit with this record is in a piece of the last segment."""
    return piece.index == len(near) - 1 and piece.start.seq < seq <= piece.behind.seq


def _changed(segment: Segment) -> LogCorruptError:
    return LogCorruptError(
        f"Read {segment.path}: its bytes are no longer what was there when the log was opened.",
        next_step=WHAT_TO_DO["CORRUPT"],
    )
