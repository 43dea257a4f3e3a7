"""Owns the judgement over the end of a log, and the repair of a torn one.

G is the end of the longest valid chain. Past G, every commit line whose `bytes` leads to a frame with a fitting hash is
a witness. If a witness says that more than G was durable, or repeats what is before G, durable bytes are damaged:
CORRUPT. Without one, in the last segment and without a clean close, the bytes past G are a batch whose sync never
returned: TORN. Nobody was told of it, so it is set aside under quarantine/ and the committed prefix is copied forward.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from eventlog.chain import ChainScan, Link, Segment, Waypoint, list_segments
from eventlog.errors import (
    LogCorruptError,
    LogError,
    LogMissingError,
    LogRegressedError,
    LogStorageError,
    UnknownEventError,
)
from eventlog.events import LogRecovered
from eventlog.files import (
    TEMPORARY_SUFFIX,
    copy_prefix_durably,
    created,
    exists,
    make_folder,
    opened_regular,
    remove,
    remove_durably,
    sync_file,
    sync_folder,
    temporary,
    write_all,
)
from eventlog.frames import (
    COMMIT_START,
    FRAME_BYTES_MAX,
    CommitLine,
    WriterVersion,
    hashed_end,
    match_commit_line,
    read_commit_line,
)
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Sha256
from eventlog.lineage import Lineage, forked_from, lineage_of
from eventlog.lock import identity_of_name
from eventlog.records import refuse_unknown_tags
from eventlog.sealed import (
    GENESIS_NAME,
    WITNESS_NAME,
    Closed,
    Genesis,
    HeadClaim,
    read_claim,
    read_closed,
    read_genesis,
)
from eventlog.snapshot import Header as SnapshotHeader
from eventlog.verdict import WHAT_TO_DO, Finding, Judgement, Verdict

TAIL_BYTES_MAX: Final = 16 * 1024 * 1024  # a batch is at most 8 MiB and one is in flight; twice that is not a tail
WITNESS_HASHED_BYTES_MAX: Final = 256 * 1024 * 1024  # frames of a real tail do not overlap; only forged ones get here
WAYPOINT_COMMITS: Final = 1000
REPAIRS_MAX: Final = 64  # of one epoch: recoveries that were themselves interrupted
POISON_NAME: Final = "POISON"
QUARANTINE_NAME: Final = "quarantine"


class Witness(Struct, frozen=True, kw_only=True):
    """Somebody outside of the log who was told of `seq` when it was durable, in the commit with this hash."""

    name: str  # for sentences, e.g. "the read model"
    seq: int
    hash: str


def witness_of_note(claim: HeadClaim | None) -> Witness | None:
    """Return who speaks in WITNESS, None where nobody does."""
    return None if claim is None else Witness(name=claim.by, seq=claim.seq, hash=claim.hash)


class Hearing:
    """Compares a log with its witnesses while the chain is walked: `hear` every frame, then `verdict`.

    `hashes` are those of the commits that end where the witnesses say, as far as such were met.
    """

    def __init__(self, *witnesses: Witness | None) -> None:
        self._witnesses = [witness for witness in witnesses if witness is not None and witness.seq]
        self.seqs = tuple({witness.seq for witness in self._witnesses})
        self.hashes: dict[int, str] = {}

    @property
    def seq_max(self) -> int:
        """Return the last seq that a witness saw, 0 if there is none to compare."""
        return max(self.seqs, default=0)

    def hear(self, line: CommitLine) -> None:
        """Take in one commit of the chain; empty ones end at the seq of the one before them and are passed over."""
        if line.first <= line.last:
            self.hear_of(seq=line.last, hash_=line.hash)

    def hear_of(self, *, seq: int, hash_: str) -> None:
        """Take in where a commit with records ended."""
        if seq in self.seqs:
            self.hashes[seq] = hash_

    def verdict(self, scan: ChainScan) -> Judgement | None:
        """Return REGRESSED if the log that was walked to its end is not the one that a witness saw; else None."""
        against = [witness for witness in self._witnesses if self.hashes.get(witness.seq) != witness.hash]
        if not against:
            return None
        witness = max(against, key=lambda each: each.seq)
        expected = f"commit {witness.hash[:16]}… with record {witness.seq}, which {witness.name} has seen"
        behind = witness.seq > scan.link.seq
        actual = f"an end at record {scan.link.seq}" if behind else "another history"
        return _found("REGRESSED", scan, check="witness", expected=expected, actual=actual)


class Recovery(Struct, frozen=True, kw_only=True):
    """A log whose chain is whole and synced: where it ends, and what was done to it for that."""

    link: Link
    segments: tuple[Segment, ...]
    waypoints: tuple[Waypoint, ...]
    repairs: tuple[LogRecovered, ...]


def require_genesis(folder: Path, *, fs: FsPort = OS_FS) -> tuple[Genesis, str]:
    """Return who the log is. Raises LogMissingError if nothing was ever in it, LogCorruptError if only that is gone."""
    try:
        return read_genesis(folder, fs=fs)
    except LogMissingError:
        if fs.is_folder(folder) and (
            read_closed(folder, fs=fs) or not all(segment.blank for segment in list_segments(folder, fs=fs))
        ):
            raise LogCorruptError(
                f"Open the log in {folder}: it was written to but has no {GENESIS_NAME}, so nothing can be checked.",
                next_step=WHAT_TO_DO["CORRUPT"],
            ) from None
        raise


def require_lineage(folder: Path, *, fs: FsPort = OS_FS) -> Lineage:
    """Return the lives of the log. Raises as `require_genesis` does."""
    genesis, genesis_hash = require_genesis(folder, fs=fs)
    unfinished = forked_from(folder, genesis, genesis_hash, fs=fs) is not None
    return lineage_of(genesis, genesis_hash, unfinished=unfinished)


def genesis_waypoint(folder: Path) -> Waypoint:
    """Return where the chain of a log begins. Raises as `require_genesis` does."""
    return Waypoint(link=require_lineage(folder).begin, index=0, offset=0)


# --- judging --------------------------------------------------------------------------------------------------------


def judge(scan: ChainScan, closed: Closed | None) -> Judgement:
    """Judge a scan that has run to its end, together with the clean-close mark that was read before it began."""
    if not scan.segments:
        return _judge_without_segments(scan, closed)
    if scan.gap is not None and scan.gap.check == "fork":
        return _found("TORN", scan, check="fork", expected=scan.gap.expected, actual=scan.gap.actual)
    if scan.gap is not None and (scan.gap.check in ("segment", "lineage") or not _may_be_torn(scan)):
        return _found("CORRUPT", scan, check=scan.gap.check, expected=scan.gap.expected, actual=scan.gap.actual)
    if closed is not None:
        return _judge_closed(scan, closed)
    if scan.gap is None:
        return Judgement(verdict="OK")
    if scan.bytes_after > TAIL_BYTES_MAX:
        expected = f"at most {TAIL_BYTES_MAX} bytes that were never acknowledged"
        return _found("CORRUPT", scan, check="tail", expected=expected, actual=f"{scan.bytes_after} bytes")
    accusation = _accusation(scan)
    if accusation is not None:
        return _found("CORRUPT", scan, check=scan.gap.check, expected=scan.gap.expected, actual=accusation)
    return _found("TORN", scan, check=scan.gap.check, expected=scan.gap.expected, actual=scan.gap.actual)


def _may_be_torn(scan: ChainScan) -> bool:
    """Return whether the chain ended where a write may have been under way: in the last file, if it is one to write."""
    return scan.in_last_segment and not scan.segment.problem and scan.segment.manifest is None


def _judge_without_segments(scan: ChainScan, closed: Closed | None) -> Judgement:
    """GENESIS.json is written after the first segment, so a log without any has lost them."""
    if closed is None:
        return _found("CORRUPT", scan, check="segment", expected="a segment", actual="none")
    return _found("REGRESSED", scan, check="closed", expected=_closed_text(closed), actual="no segment")


def _judge_closed(scan: ChainScan, closed: Closed) -> Judgement:
    here = Closed(
        seq=scan.link.seq,
        hash=scan.link.hash,
        commit=scan.link.commit,
        segment=scan.segment.path.name,
        bytes=scan.segment.size,
    )
    strange = scan.bytes_after + scan.segment.ahead  # what is written ahead is cut before CLOSED is written
    if here == closed and strange == 0:
        return Judgement(verdict="OK", clean=True)
    lost = strange == 0 and closed.commit > scan.link.commit
    actual = f"commit {here.commit}, record {here.seq}, then {strange} bytes that fit nothing"
    verdict: Verdict = "REGRESSED" if lost else "CORRUPT"
    return _found(verdict, scan, check="closed", expected=_closed_text(closed), actual=actual)


def _closed_text(closed: Closed) -> str:
    where = f"byte {closed.bytes} of {closed.segment}"
    return f"the clean end at commit {closed.commit}, record {closed.seq}, {where}"


def _found(verdict: Verdict, scan: ChainScan, *, check: str, expected: str, actual: str) -> Judgement:
    link = scan.link
    finding = Finding(
        segment=scan.segment.path.name if scan.segments else "",
        offset=scan.offset,
        seq=link.seq + 1,
        check=check,
        expected=expected,
        actual=actual,
        provable=f"commits 1 to {link.commit}, records 1 to {link.seq}" if link.commit else "nothing",
        what_to_do=WHAT_TO_DO[verdict],
    )
    return Judgement(verdict=verdict, finding=finding)


def _accusation(scan: ChainScan) -> str | None:
    """Return what proves that durable bytes are damaged, None if the bytes past the chain are an unsynced batch."""
    start = max(0, scan.offset - FRAME_BYTES_MAX)  # a frame may begin before G, if what is past G repeats it
    with opened_regular(scan.segment.path, fs=scan.fs) as fd:
        data = scan.fs.read(fd, scan.segment.size - start, start)
    hashed = 0
    for line, match in commit_lines(data, scan.offset - start):
        if scan.link.commit == 0 and line.commit >= 2:
            # Before the first commit is durable no second one is begun: a session opens with one frame and its sync.
            return f"a commit line numbered {line.commit} follows, and not even the first commit can be read"
        if line.bytes > FRAME_BYTES_MAX:
            continue
        hashed += line.bytes
        if hashed > WITNESS_HASHED_BYTES_MAX:
            return "commit lines follow that claim more bytes than there are"
        frame_start = match.start() - line.bytes
        if frame_start < 0 or scan.hasher.of(memoryview(data)[frame_start : hashed_end(match)]) != line.hash:
            continue
        accusation = _claim(line, scan.link)
        if accusation is not None:
            return accusation
    return None


def commit_lines(data: bytes, start: int) -> Iterator[tuple[CommitLine, re.Match[bytes]]]:
    """Yield every well-formed commit line from `start` on, wherever it stands: damage may have eaten the line break."""
    at = data.find(COMMIT_START, start)
    while at >= 0:  # goes forward through at most FRAME_BYTES_MAX + TAIL_BYTES_MAX bytes
        match = match_commit_line(data, at)
        if match is not None:
            yield read_commit_line(match), match
        at = data.find(COMMIT_START, at + 1)


def _claim(line: CommitLine, link: Link) -> str | None:
    """Return what an undamaged frame past the chain proves against it, None if it is of the same unsynced batch."""
    if line.durable > link.seq:
        return f"the undamaged commit {line.commit} says that record {line.durable} was durable before it"
    if line.first <= link.seq or line.commit <= link.commit:
        return f"the undamaged commit {line.commit} with record {line.first} stands here a second time"
    if line.first == link.seq + 1 and line.commit > link.commit + 1:
        # Only empty frames can be missing between the two, and an empty frame is always synced on its own.
        return f"the undamaged commit {line.commit} says that commit {line.commit - 1} was durable before it"
    return None


# --- repairing ------------------------------------------------------------------------------------------------------


def recover(
    folder: Path,
    lineage: Lineage,
    *,
    witness: Witness | None = None,
    snapshot: SnapshotHeader | None = None,
    fs: FsPort,
) -> Recovery:
    """Bring a log to a whole, synced chain; the caller holds the lock. Repeating it after a crash changes nothing more.

    A torn tail looks the same whether its records were acknowledged or not: only a witness can tell, `witness` or the
    one that speaks in WITNESS. A snapshot that fits the log vouches for the bytes before it, and spares the walk there
    after a clean close.

    Raises LogCorruptError, LogRegressedError, UnknownEventError (before a byte is changed), LogStorageError.
    """
    segments = list_segments(folder, fs=fs)
    _sync_what_is_read(folder, segments, fs)
    closed = read_closed(folder, fs=fs)
    poisoned = exists(folder / POISON_NAME, fs=fs)
    start = Waypoint(link=lineage.begin, index=0, offset=0)
    waypoints: tuple[Waypoint, ...] = (start,)
    claim = read_claim(folder, lineage.log_id, fs=fs)
    hearing = Hearing(witness, witness_of_note(claim))
    if snapshot is not None and closed is not None and not poisoned and not _is_older(hearing, snapshot):
        hearing.hear_of(seq=snapshot.seq, hash_=snapshot.told)
        start = snapshot.at
    scan = ChainScan(lineage=lineage, segments=segments, start=start, fs=fs)
    waypoints += _scan_known(scan, hearing)
    judgement = judge(scan, closed)
    _refuse(folder, judgement)
    _refuse(folder, hearing.verdict(scan) or judgement)
    remove_leftovers(folder, fs=fs)
    epoch = scan.link.epoch + 1
    if judgement.verdict == "TORN":
        _set_aside(folder, scan, epoch=epoch)
    if judgement.verdict == "TORN" or poisoned:
        _copy_forward(folder, scan)
    if poisoned:
        remove_durably(folder / POISON_NAME, fs=fs)
    if claim is not None:  # the log has been found to be as it says
        remove_durably(folder / WITNESS_NAME, fs=fs)
    return Recovery(
        link=scan.link,
        segments=(*segments[:-1], replace(segments[-1], size=scan.offset, ahead=0)),
        waypoints=waypoints,
        repairs=tuple(_repairs(folder, scan, epoch=epoch)),
    )


def _is_older(hearing: Hearing, snapshot: SnapshotHeader) -> bool:
    """Return whether a witness speaks of a commit that only a walk over what is before the snapshot can find."""
    return any(seq < snapshot.seq for seq in hearing.seqs)


def _sync_what_is_read(folder: Path, segments: Sequence[Segment], fs: FsPort) -> None:
    """Bring to the disk what may still be in the page cache only; a failure is for the next opening to know of too."""
    try:
        if segments and not segments[-1].problem:
            sync_file(segments[-1].path, fs=fs)
        sync_folder(folder, fs=fs)
    except OSError as error:
        why = f"Sync the log in {folder} before it is read: {error}."
        why += leave_poison(folder, why, fs=fs)
        raise LogStorageError(why, next_step="Check the disk, then start again.") from error


def leave_poison(folder: Path, message: str, *, fs: FsPort) -> str:
    """Leave a note for the next opening, which then rewrites every page; returns what to add if that fails too."""
    try:
        with created(folder / POISON_NAME, fs=fs) as fd:
            write_all(fd, message.encode("utf-8", "backslashreplace") + b"\n", fs=fs)
            fs.sync(fd)
    except OSError as error:
        return f" (The note {POISON_NAME} could not be written: {error}.)"
    return ""


def _scan_known(scan: ChainScan, hearing: Hearing) -> tuple[Waypoint, ...]:
    """Walk the chain to its end, refuse types of a newer version; return the sparse index that replay starts from."""
    waypoints = [scan.waypoint()]
    writer = WriterVersion()
    for raw in scan.frames():
        writer.hear(raw)
        try:
            refuse_unknown_tags(raw.lines)
        except UnknownEventError as error:
            raise writer.blame(error) from error
        hearing.hear(raw.line)
        if raw.line.commit % WAYPOINT_COMMITS == 0:
            waypoints.append(scan.waypoint())
    return tuple(waypoints)


def _refuse(folder: Path, judgement: Judgement) -> None:
    finding = judgement.finding
    if finding is None or judgement.verdict == "TORN":
        return
    raise refusal(folder, judgement.verdict, finding)


def refusal(folder: Path, verdict: Verdict, finding: Finding) -> LogError:
    """Return the error that a damaged log is refused with."""
    error = LogRegressedError if verdict == "REGRESSED" else LogCorruptError
    place = f"{finding.segment} at byte {finding.offset}" if finding.segment else "no segment"
    return error(
        f"Open the log in {folder}: it is {verdict} ({finding.check}) in {place}: expected {finding.expected}, "
        f"found {finding.actual}.",
        next_step=finding.what_to_do,
    )


def remove_leftovers(folder: Path, *, fs: FsPort) -> None:
    """Remove files that a crash left before their rename; no name without the suffix ever led to them.

    The caller holds the lock of the folder.
    """
    for name in sorted(fs.names(folder)):
        if name.endswith(TEMPORARY_SUFFIX):
            fs.unlink(folder / name)


def _set_aside(folder: Path, scan: ChainScan, *, epoch: int) -> None:
    """Give the damaged file a second name under quarantine/, durably, before anything is changed."""
    quarantine = folder / QUARANTINE_NAME
    make_folder(quarantine, fs=scan.fs)
    digest = _digest(_removed(scan.segment.path, kept=scan.offset, fs=scan.fs))
    kept_as = quarantine / f"{scan.segment.path.name}.{epoch}.{digest[:12]}"
    try:
        scan.fs.link(scan.segment.path, kept_as)
    except FileExistsError:
        # The same file, if an interrupted recovery came this far already.
        if identity_of_name(kept_as, scan.fs) != identity_of_name(scan.segment.path, scan.fs):
            raise LogStorageError(
                f"Set aside the torn end of {scan.segment.path}: {kept_as} exists and is another file.",
                next_step="Move that file out of quarantine/ and start again.",
            ) from None
    sync_file(kept_as, fs=scan.fs)
    sync_folder(quarantine, fs=scan.fs)


def _copy_forward(folder: Path, scan: ChainScan) -> None:
    """Write the committed prefix of the last segment to a new file, prove it, and put it in the old one's place."""
    segment = scan.segment
    beside = temporary(segment.path)
    try:
        copy_prefix_durably(segment.path, beside, size=scan.offset, fs=scan.fs)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remove(beside, fs=scan.fs)
        raise LogStorageError(
            f"Copy {segment.path} forward: {error}. The repair needs {scan.offset} bytes free; the log is unchanged.",
            next_step="Make room on that disk, then start again.",
        ) from error
    copied = Segment(path=beside, first=segment.first, size=scan.offset)
    start = Waypoint(link=scan.segment_start.link, index=0, offset=0)
    check = ChainScan(lineage=scan.lineage, segments=[copied], start=start, fs=scan.fs)
    for _ in check.frames():
        pass  # the walk itself is the check
    if check.link != scan.link or check.offset != scan.offset:
        raise LogStorageError(
            f"Copy {segment.path} forward: the copy does not read back as it was written.",
            next_step="Check the disk; the original file is unchanged.",
        )
    scan.fs.rename(beside, segment.path)
    sync_folder(folder, fs=scan.fs)


def _repairs(folder: Path, scan: ChainScan, *, epoch: int) -> Iterator[LogRecovered]:
    """Yield what was set aside for this epoch, in name order; also by earlier attempts that a crash ended.

    The epoch is not in the log before its WriterOpened is durable, so a repair is told of exactly once. The segment
    that was repaired may have a successor by then: the epoch's frame went there, or was to go there.
    """
    name = re.compile(rf"([0-9]+\.ndjson)\.{epoch}\.([0-9a-f]{{12}})", re.ASCII)
    quarantine = folder / QUARANTINE_NAME
    names = sorted(scan.fs.names(quarantine)) if scan.fs.is_folder(quarantine) else []
    sizes = {segment.path.name: segment.size for segment in scan.segments} | {scan.segment.path.name: scan.offset}
    for match in [match for match in map(name.fullmatch, names) if match and match[1] in sizes][:REPAIRS_MAX]:
        path, kept = quarantine / match[0], sizes[match[1]]
        removed = _removed(path, kept=kept, fs=scan.fs)
        digest = _digest(removed)
        if digest[:12] != match[2]:
            continue  # not from this log as it is now: an older copy of it was put back beside its quarantine
        yield LogRecovered(
            segment=match[1],
            kept_bytes=kept,
            removed_bytes=len(removed),
            removed_sha256=digest,
            kept_as=path.name,
            reason=f"The bytes after commit {scan.link.commit} close no commit that is known to have been durable.",
        )


def _removed(path: Path, *, kept: int, fs: FsPort) -> bytes:
    """Return what a torn segment held behind the chain, without the zeros that were written ahead."""
    with opened_regular(path, fs=fs) as fd:
        return fs.read(fd, TAIL_BYTES_MAX, kept).rstrip(b"\0")


def _digest(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())
