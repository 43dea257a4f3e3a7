"""Owns the fork: a new history that goes on from a record of a log that no copy repairs, or that lost its end.

In this order, each step on the disk before the next:

1. what is left behind, and the small files that speak of it, get a second name under quarantine/fork-<old log id>/
2. FORKING says which log leaves which; the old GENESIS.json gets a second name beside itself
3. the new GENESIS.json takes the place of the old one: this one rename is the fork
4. the last kept segment is cut where the fork begins, the rest goes from its old place, the new log's segment is made
5. FORKING is removed

A crash before 3 leaves the old log with every byte where it was, a crash behind it the fork, of which the next opening
does 4 and 5 again: all of that starts from what is under quarantine/, so it can be repeated. Nothing there is removed.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import ChainScan, Link, Segment, Waypoint, find_segment, list_segments, opened_segment, segment_path
from eventlog.checkpoint import ANCHOR_NAME, ANCHORS_NAME
from eventlog.errors import ForkRefusedError, LogCorruptError
from eventlog.events import LogForked
from eventlog.files import (
    COPY_BYTES,
    TEMPORARY_SUFFIX,
    create_durably,
    created,
    exists,
    file_sha256,
    make_folder,
    remove,
    remove_durably,
    sync_file,
    sync_folder,
    temporary,
    write_all,
    write_durably,
)
from eventlog.frames import FORMAT, FrameDraft, prepare_frame
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId, Sha256
from eventlog.lineage import Life, Lineage, aside_folder, forked_from, lineage_of
from eventlog.lock import LogLock, identity_of_name, this_process
from eventlog.recovery import require_genesis
from eventlog.sealed import (
    CLOSED_NAME,
    FORK_FEATURE,
    FORKING_NAME,
    GENESIS_NAME,
    WITNESS_NAME,
    Ancestor,
    Fork,
    Genesis,
    ancestor_name,
    encode_genesis,
)
from eventlog.verdict import WHAT_TO_DO

REASON_BYTES_MAX: Final = 1000
FORKS_MAX: Final = 16  # earlier lives: all are told of in GENESIS.json, which is a small file


class Forked(Struct, frozen=True, kw_only=True):
    """What a fork did: the new log goes on from `seq` of the old one, which was provable up to `abandoned_seq`."""

    log_id: LogId
    old_log_id: LogId
    seq: int
    hash: str
    abandoned_seq: int
    kept_aside: tuple[str, ...]  # names under quarantine/fork-<old log id>/


class _Cut(Struct, frozen=True, kw_only=True):
    """Where the kept part ends: behind the last commit that ends with the record, and how far the chain went."""

    link: Link
    segment: Segment
    bytes: int
    head: Link


def fork_log(
    folder: Path, *, from_seq: int, reason: str, actor: str, log_id: LogId, now: Instant, fs: FsPort = OS_FS
) -> Forked:
    """Make the log in `folder` a new one, `log_id`, whose last record is `from_seq` of the old one.

    The bytes up to there stay as they are. When this returns the fork is on the disk; the next `Log.open` goes on with
    it and commits `LogForked`, by `actor`, before anything else.
    Raises ForkRefusedError for a record from which no fork can begin, LogLockedError if a writer is at work,
    LogMissingError, LogCorruptError if the genesis is damaged too, LogFormatError, OSError.
    """
    _require_reason(reason)
    _require_recordable(reason, actor)
    lock = LogLock.acquire(folder, this_process(since=now, purpose="fork the log"), fs=fs)
    try:
        old, old_hash = require_genesis(folder, fs=fs)
        settle_fork(folder, old, old_hash, fs=fs)
        lineage = lineage_of(old, old_hash)
        cut = _find_cut(folder, lineage, from_seq, fs)
        ancestors = _ancestors(lineage, cut)
        fork = Fork(
            old_log_id=old.log_id, abandoned_seq=cut.head.seq, abandoned_hash=cut.head.hash, reason=reason, actor=actor
        )
        new = Genesis(
            format=FORMAT, log_id=log_id, created_at=now, alg=old.alg, compat=(), incompat=(FORK_FEATURE,),
            ancestors=ancestors, fork=fork,
        )  # fmt: skip
        left = _keep_aside(folder, old.log_id, cut, fs)
        write_durably(folder / FORKING_NAME, f"{log_id} {old.log_id}".encode(), fs=fs)
        _link_durably(folder / GENESIS_NAME, folder / ancestor_name(old.log_id), fs)
        data = encode_genesis(new)
        write_durably(folder / GENESIS_NAME, data, fs=fs)
        settle_fork(folder, new, sha256(data).hexdigest(), fs=fs)
    finally:
        lock.release()
    return Forked(
        log_id=log_id, old_log_id=old.log_id, seq=cut.link.seq, hash=cut.link.hash, abandoned_seq=cut.head.seq,
        kept_aside=left,
    )  # fmt: skip


def settle_fork(folder: Path, genesis: Genesis, genesis_hash: str, *, fs: FsPort) -> None:
    """Do what is left of a fork, if one is under way; the caller holds the lock. One that never came is forgotten.

    Raises LogCorruptError if what stands where the fork goes on is neither of it nor kept aside, OSError.
    """
    if not exists(folder / FORKING_NAME, fs=fs):
        return
    old = forked_from(folder, genesis, genesis_hash, fs=fs)
    if old is not None:
        _settle(folder, aside_folder(folder, old), genesis.ancestors[-1], fs)
    else:
        remove_durably(folder / ancestor_name(genesis.log_id), fs=fs)
    remove_durably(folder / FORKING_NAME, fs=fs)


def _is_aside(name: str, folder: Path, aside: Path, fs: FsPort) -> bool:
    """Return whether what has this name is kept aside, byte for byte, so that its name here may go.

    It is one file with two names, or two where the folder was copied while the fork was under way.
    """
    here, kept = _place(folder, name), aside / name
    if not exists(here, fs=fs) or not exists(kept, fs=fs):
        return False
    same_file = identity_of_name(here, fs) == identity_of_name(kept, fs)
    return same_file or file_sha256(here, fs=fs) == file_sha256(kept, fs=fs)


def _settle(folder: Path, aside: Path, end: Ancestor, fs: FsPort) -> None:
    names = sorted(fs.names(aside))
    if any(name.startswith(end.segment) for name in names):
        _cut_segment(folder, aside, end, fs)
    for name in names:
        if name != end.segment and _is_aside(name, folder, aside, fs):
            remove(_place(folder, name), fs=fs)
    if fs.is_folder(folder / ANCHORS_NAME):
        sync_folder(folder / ANCHORS_NAME, fs=fs)
    next_segment = segment_path(folder, first=end.seq + 1)
    if exists(next_segment, fs=fs) and fs.lstat(next_segment).st_size:
        raise LogCorruptError(
            f"Go on with the fork of the log in {folder}: {next_segment.name} is neither of the fork nor kept aside.",
            next_step=WHAT_TO_DO["CORRUPT"],
        )
    remove(next_segment, fs=fs)  # ours, empty, from an attempt that a crash ended
    fs.close(create_durably(next_segment, fs=fs))


# --- where it begins ------------------------------------------------------------------------------------------------


def _require_reason(reason: str) -> None:
    if not reason.strip() or not reason.isprintable() or len(reason.encode("utf-8", "replace")) > REASON_BYTES_MAX:
        raise ForkRefusedError(
            f"Fork the log: the reason {reason[:60]!r} is not one line of text of 1 to {REASON_BYTES_MAX} bytes.",
            next_step='Say why, for those who read the log later: --reason "no copy holds records 120 to 124".',
        )


def _require_recordable(reason: str, actor: str) -> None:
    """Raise InvalidRecordError if the fork's first frame, which tells of it, could not be written later."""
    told = LogForked(old_log_id="", seq=0, hash=Sha256(""), abandoned_seq=0, reason=reason)
    prepare_frame(FrameDraft(events=(told,), actor=actor), first=1)


def _find_cut(folder: Path, lineage: Lineage, seq: int, fs: FsPort) -> _Cut:
    """Walk the chain to its end and return where the kept part ends. Raises ForkRefusedError."""
    segments = list_segments(folder, fs=fs)
    scan = ChainScan(lineage=lineage, segments=segments, start=Waypoint(link=lineage.begin, index=0, offset=0), fs=fs)
    before = after = 0  # the ends of commits on both sides of the record
    found: Waypoint | None = None
    for raw in scan.frames():
        last = raw.line.last
        if last == seq and found is None:  # not the marks behind it, of which one may have begun a segment
            found = scan.waypoint()
        before = last if last < seq else before
        after = last if last > seq and not after else after
    if seq < 1 or found is None:
        raise _no_commit_ends(folder, seq, before=before, after=after, head=scan.link.seq)
    return _Cut(link=found.link, segment=segments[found.index], bytes=found.offset, head=scan.link)


def _no_commit_ends(folder: Path, seq: int, *, before: int, after: int, head: int) -> ForkRefusedError:
    near = " or ".join(str(each) for each in (before, after) if each)
    near = near or "there is none"
    if seq < 1:
        why = "records are counted from 1, and a fork keeps at least one commit"
    elif seq > head:
        why = f"the log can be proven up to record {head} only"
    else:
        why = "that record does not end a commit, and what belongs together stays together"
    return ForkRefusedError(
        f"Fork the log in {folder} from record {seq}: {why}.", next_step=f"Name the end of a commit near it: {near}."
    )


def _ancestors(lineage: Lineage, cut: _Cut) -> tuple[Ancestor, ...]:
    """Return the lives that the kept part has, the last one ending at the cut."""
    ended: list[Ancestor] = []
    for life in lineage.lives:
        if life.end is not None and life.end.commit < cut.link.commit:
            ended.append(life.end)
            continue
        ended.append(_ended(life, cut))
        break
    if len(ended) > FORKS_MAX:
        raise ForkRefusedError(
            f"Fork the log: it was forked {FORKS_MAX} times, and no more can be told of.",
            next_step="Export what is whole with `casparian log export`, and begin a new home.",
        )
    return tuple(ended)


def _ended(life: Life, cut: _Cut) -> Ancestor:
    link = cut.link
    return Ancestor(
        log_id=life.log_id, genesis=life.genesis, commit=link.commit, seq=link.seq, hash=link.hash,
        segment=segment_path(cut.segment.path.parent, first=cut.segment.first).name, bytes=cut.bytes,
    )  # fmt: skip


# --- what is left behind --------------------------------------------------------------------------------------------


def _keep_aside(folder: Path, old: LogId, cut: _Cut, fs: FsPort) -> tuple[str, ...]:
    """Give what is not of the fork a second name, durably; the first ones stay until the fork is on the disk."""
    aside = aside_folder(folder, old)
    left = _left_behind(folder, cut, fs)
    for name in left:
        if not stat.S_ISREG(fs.lstat(_place(folder, name)).st_mode):
            raise ForkRefusedError(
                f"Keep aside what the fork leaves behind: {_place(folder, name)} is no plain file.",
                next_step="Move it to a place of your own, then fork again.",
            )
    make_folder(aside, fs=fs)
    strange = sorted(set(fs.names(aside)) - set(left))
    if strange:  # settling would take it for a part of what is left behind
        raise _in_the_way(aside / strange[0])
    for name in left:
        _link_durably(_place(folder, name), aside / name, fs)
    return tuple(left)


def _left_behind(folder: Path, cut: _Cut, fs: FsPort) -> Sequence[str]:
    """Return the names of what goes: what is behind the cut, with manifests, and what speaks of the old end."""
    names = sorted(name for name in fs.names(folder) if not name.endswith(TEMPORARY_SUFFIX))
    # The last segment is cut only if something is behind, zeros included: it has a successor from now on.
    first = cut.segment.first + (cut.segment.size + cut.segment.ahead == cut.bytes)
    segments = [name for name in names if (stem := name.partition(".")[0]).isdecimal() and int(stem) >= first]
    small = [name for name in (CLOSED_NAME, ANCHOR_NAME, WITNESS_NAME) if exists(_place(folder, name), fs=fs)]
    return [*segments, *small]


def _place(folder: Path, name: str) -> Path:
    """Return where a file that is kept aside was."""
    return folder / ANCHORS_NAME / name if name == ANCHOR_NAME else folder / name


def _link_durably(source: Path, target: Path, fs: FsPort) -> None:
    try:
        fs.link(source, target)
    except FileExistsError:  # from an attempt that a crash ended, or from one before the old log went on
        if identity_of_name(source, fs) != identity_of_name(target, fs):
            raise _in_the_way(target) from None
    sync_file(target, fs=fs)
    sync_folder(target.parent, fs=fs)


def _in_the_way(path: Path) -> ForkRefusedError:
    return ForkRefusedError(
        f"Keep aside what the fork leaves behind: {path} is there from an earlier attempt, and is another file.",
        next_step=f"Move {path.parent} to a place of your own, then fork again.",
    )


def _cut_segment(folder: Path, aside: Path, end: Ancestor, fs: FsPort) -> None:
    """Write the kept part of the last segment anew, from the whole one that is kept aside, and put it in its place."""
    first = int(end.segment.partition(".")[0])
    target = folder / end.segment
    beside = temporary(target)
    with opened_segment(find_segment(aside, first=first, fs=fs), fs=fs) as read, created(beside, fs=fs) as fd:
        for offset in range(0, end.bytes, COPY_BYTES):
            write_all(fd, read(min(COPY_BYTES, end.bytes - offset), offset), fs=fs)
        if fs.fstat(fd).st_size != end.bytes:
            raise OSError(f"{aside / end.segment} became shorter than {end.bytes} bytes while it was copied")
        fs.sync(fd)
    fs.rename(beside, target)
    sync_folder(folder, fs=fs)
