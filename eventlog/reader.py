"""Owns reading the log from other processes, without a lock: only what is known to be durable is shown.

A frame is shown when a later commit line says that it was durable, when CLOSED says that the log ended there, or when a
caller has it from the writer. The newest batch of a writer is therefore seen one batch, or one idle mark, later. Each
call reads the log as it is at that moment and ends; half a line at the end belongs to a write under way and is nothing
to report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from eventlog.chain import ChainScan, Segment, Waypoint, list_segments
from eventlog.errors import LogCorruptError
from eventlog.files import sync_file
from eventlog.frames import BATCH_FRAMES_MAX, Frame, Head, RawFrame, decoded
from eventlog.fsport import OS_FS, FsPort
from eventlog.lock import is_locked
from eventlog.recovery import Hearing, judge, refusal, require_lineage, witness_of_note
from eventlog.sealed import Closed, read_claim, read_closed
from eventlog.verdict import WHAT_TO_DO


def read_frames(
    folder: Path, *, from_seq: int = 1, durable_hash: str | None = None, fs: FsPort = OS_FS
) -> Iterator[Frame]:
    """Return the durable frames that end at `from_seq` or later, in commit order.

    `durable_hash` is that of a frame the writer has told of once it was durable, as it tells the read model: the log
    need not say it again, which it cannot where its writer was killed behind that frame. Raises LogMissingError,
    LogFormatError at once; while iterating UnknownEventError, LogCorruptError and LogRegressedError, the last two after
    all frames that can be proven.
    """
    return decoded(_durable_frames(folder, *_opened(folder, fs), durable_hash=durable_hash), from_seq=from_seq)


def read_raw_frames(folder: Path, *, fs: FsPort = OS_FS) -> Iterator[RawFrame]:
    """Return all durable frames in bytes, in commit order. Raises as `read_frames` does, without UnknownEventError."""
    return _durable_frames(folder, *_opened(folder, fs))


def durable_head(folder: Path, *, fs: FsPort = OS_FS) -> Head | None:
    """Return where the durable part of the log ends, None if nothing is known to be durable; reads the whole log.

    `bytes` is the position in the active segment. Raises as `read_frames` does.
    """
    head: Head | None = None
    for raw in _durable_frames(folder, *_opened(folder, fs)):
        head = Head(seq=raw.line.last, hash=raw.line.hash, commit=raw.line.commit, bytes=raw.end)
    return head


def durable_end(folder: Path, *, fs: FsPort = OS_FS) -> tuple[Sequence[Segment], Waypoint]:
    """Return the segments and the place in the last of them behind the last durable frame, the chain proven up to it.

    Where no writer is at work, what is there is brought to the disk first, and all that fits is durable by that.
    Raises as `read_frames` does, without UnknownEventError; OSError.
    """
    scan, closed, hearing = _opened(folder, fs)
    settled = bool(scan.segments) and not is_locked(folder, fs=fs)
    if settled:
        sync_file(scan.segments[-1].path, fs=fs)
    end = scan.waypoint()
    for _, behind in _durable(folder, scan, closed, hearing):
        end = behind
    if settled:
        return scan.segments, scan.waypoint()
    # All of a segment is synced before the next one exists.
    return scan.segments, max(end, scan.segment_start, key=lambda place: (place.index, place.offset))


def follow(folder: Path, *, after: int, wait: Callable[[], bool], fs: FsPort = OS_FS) -> Iterator[Frame]:
    """Yield the durable frames behind seq `after` as they become so, across rotation and sealing, for ever.

    Each look goes on from the last frame that was shown. `wait` is called when there is nothing more to show; the
    first time that it returns False ends it. Raises as `read_frames` does.
    """
    scan, closed, hearing = _opened(folder, fs)
    shown, seqs = [scan.waypoint()], hearing.seqs

    def look() -> Iterator[RawFrame]:
        for raw, behind in _durable(folder, scan, closed, hearing):
            shown[0] = behind
            yield raw

    while True:  # each round is a look, and `wait` bounds how often one is taken
        yield from decoded(look(), from_seq=after + 1)
        if not wait():
            return
        scan, closed, hearing = _opened(folder, fs)
        if hearing.seqs not in ((), seqs):  # a witness has come since: what was shown may not be what he has seen
            seqs = hearing.seqs
            deque(_durable(folder, scan, closed, hearing), maxlen=0)
        hearing = Hearing()  # he was heard once, and speaks of what is before this place
        scan = ChainScan(lineage=scan.lineage, segments=scan.segments, start=shown[0], fs=fs)


def _opened(folder: Path, fs: FsPort) -> tuple[ChainScan, Closed | None, Hearing]:
    lineage = require_lineage(folder, fs=fs)
    # Before the sizes: a log that is closed in between is then not taken for a shorter one.
    closed = read_closed(folder, fs=fs)
    hearing = Hearing(witness_of_note(read_claim(folder, lineage.log_id, fs=fs)))
    start = Waypoint(link=lineage.begin, index=0, offset=0)
    segments = list_segments(folder, fs=fs)
    return ChainScan(lineage=lineage, segments=segments, start=start, fs=fs), closed, hearing


def _durable_frames(
    folder: Path, scan: ChainScan, closed: Closed | None, hearing: Hearing, *, durable_hash: str | None = None
) -> Iterator[RawFrame]:
    return (raw for raw, _ in _durable(folder, scan, closed, hearing, durable_hash=durable_hash))


def _durable(
    folder: Path, scan: ChainScan, closed: Closed | None, hearing: Hearing, *, durable_hash: str | None = None
) -> Iterator[tuple[RawFrame, Waypoint]]:
    """Yield each durable frame with the place behind it."""
    known = (durable_hash, closed.hash if closed is not None else None)
    waiting: deque[tuple[RawFrame, Waypoint]] = deque()
    for raw in scan.frames():
        hearing.hear(raw.line)
        while waiting and waiting[0][0].line.last <= raw.line.durable:
            yield waiting.popleft()
        waiting.append((raw, scan.waypoint()))
        if raw.line.hash in known:
            yield from waiting
            waiting.clear()
        if len(waiting) > BATCH_FRAMES_MAX:
            raise LogCorruptError(
                f"Read the log in {folder}: commit {raw.line.commit} holds more back than one batch can.",
                next_step=WHAT_TO_DO["CORRUPT"],
            )
    _refuse_damage(folder, scan, closed, hearing)


def _refuse_damage(folder: Path, scan: ChainScan, closed: Closed | None, hearing: Hearing) -> None:
    """Raise if the end is more than a write under way. Bytes after CLOSED are a writer's that has come since."""
    still_closed = closed if closed is not None and scan.link.commit < closed.commit else None
    for judgement in (judge(scan, still_closed), hearing.verdict(scan)):
        if judgement is not None and judgement.finding and judgement.verdict in ("CORRUPT", "REGRESSED"):
            raise refusal(folder, judgement.verdict, judgement.finding)
