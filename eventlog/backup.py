"""Owns copying a log to a second folder, also while it is written to: what detects damage here mends it from there.

The copy is a log folder: the segments in the form that they have now, the last one up to the last durable commit,
ANCHOR, the public key, and a CLOSED of its own that says where it ends. Private keys are never copied.

Everything is written beside and proven first, then all of it gets its name: a crash leaves the copy as it was, and for
the moment of the renames one that the next backup completes. Nothing that the copy holds is replaced by something that
does not begin with it, so damage or another history here does not spread to it.
"""

from __future__ import annotations

import hashlib
from itertools import count
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import Segment, Waypoint, find_segment, opened_segment, segment_path
from eventlog.checkpoint import ANCHOR_PLACE, ANCHORS_NAME, read_anchor, read_checkpoint
from eventlog.errors import LogCorruptError, LogRegressedError, LogStorageError, OtherLogError
from eventlog.files import (
    COPY_BYTES,
    TEMPORARY_SUFFIX,
    created,
    exists,
    file_sha256,
    make_folder,
    opened_regular,
    read_small,
    remove,
    remove_durably,
    sync_ancestors,
    sync_folder,
    temporary,
    write_all,
    write_durably,
)
from eventlog.fsport import OS_FS, FsPort
from eventlog.keyfiles import PUBLIC_NAME, read_verifying_key
from eventlog.lock import LOCK_NAME, LockHolder, LogLock
from eventlog.reader import durable_end
from eventlog.recovery import remove_leftovers, require_genesis, require_lineage
from eventlog.sealed import CLOSED_NAME, GENESIS_NAME, Closed, ancestor_name, read_closed, write_closed
from eventlog.verify import Verification, verify

_CHANGED: Final = "it is not what the log holds there"


class Backup(Struct, frozen=True, kw_only=True):
    """What a backup did, and what an audit of the copy says. Kept files were there already, byte for byte."""

    copied_files: int
    copied_bytes: int
    kept_files: int
    verification: Verification


def back_up(
    folder: Path, target: Path, *, holder: LockHolder, public_key: Path | None = None, fs: FsPort = OS_FS
) -> Backup:
    """Copy the durable part of the log in `folder` to `target`, which is new, empty, or an older copy of the same log.

    Takes no lock of the log, and that of the copy. Repeated, it copies what is missing or has grown.
    Raises LogMissingError, LogCorruptError, LogRegressedError if the log is damaged or behind its copy, OtherLogError
    for a folder of anything else, LogLockedError if the copy is written to; LogStorageError.
    """
    require_genesis(folder, fs=fs)
    _require_ours(folder, target, fs)
    make_folder(target, fs=fs)
    lock = LogLock.acquire(target, holder, fs=fs)
    try:
        _require_ours(folder, target, fs)
        transfer = _Transfer(folder, target, fs)
        transfer.run(public_key)
    finally:
        lock.release()
    key = read_verifying_key(target / PUBLIC_NAME)
    return Backup(
        copied_files=transfer.copied_files,
        copied_bytes=transfer.copied_bytes,
        kept_files=transfer.kept_files,
        verification=verify(target, key=key, fs=fs),
    )


def _require_ours(folder: Path, target: Path, fs: FsPort) -> None:
    """Raise OtherLogError unless `target` holds nothing, or a copy of this log."""
    if not exists(target, fs=fs):
        return
    what = f"Back up the log in {folder} to {target}"
    if not fs.is_folder(target):
        raise OtherLogError(f"{what}: it is not a folder.", next_step="Name a new or empty folder.")
    if exists(target / GENESIS_NAME, fs=fs):
        if read_small(target / GENESIS_NAME, fs=fs) != read_small(folder / GENESIS_NAME, fs=fs):
            raise OtherLogError(f"{what}: it holds another log.", next_step="Name another folder.")
        return
    strangers = [name for name in fs.names(target) if name != LOCK_NAME and not name.endswith(TEMPORARY_SUFFIX)]
    if strangers:
        raise OtherLogError(
            f"{what}: it holds other things ({min(strangers)}) and no log.", next_step="Name a new or empty folder."
        )


class _Transfer:
    """One backup under way: `_staged` waits beside its names, `_superseded` goes when that has them."""

    def __init__(self, source: Path, target: Path, fs: FsPort) -> None:
        self.source = source
        self.target = target
        self.fs = fs
        self.copied_files = 0
        self.copied_bytes = 0
        self.kept_files = 0
        self._staged: list[Path] = []
        self._superseded: list[Path] = []

    def run(self, public_key: Path | None) -> None:
        """Copy everything. GENESIS comes first, so that what is interrupted is known again, and is read but once."""
        genesis = read_small(self.source / GENESIS_NAME, fs=self.fs)
        earlier = [ancestor_name(life.log_id) for life in require_lineage(self.source, fs=self.fs).lives[:-1]]
        anchor = read_anchor(self.source, fs=self.fs)  # before the sizes: what it has seen is then in the copy
        if anchor is not None:
            read_checkpoint(anchor, None)  # a damaged one is refused before anything is copied
        segments, end = durable_end(self.source, fs=self.fs)
        self._require_no_loss(end)
        remove_leftovers(self.target, fs=self.fs)
        sync_ancestors(self.target, fs=self.fs)
        self._require_same_log(genesis, self.target)
        self._small(GENESIS_NAME, genesis)
        for name in earlier:
            self._small(name, read_small(self.source / name, fs=self.fs))
        if public_key is not None and exists(public_key, fs=self.fs):
            self._public_key(public_key)
        for segment in segments[: end.index]:
            self._full(segment)
        # Raw even if it is full and sealed by now: nothing that is behind it is copied, and a seal says that there is.
        self._raw(segments[end.index], end.offset)
        closed = _closed(segments[end.index].path.name, end)
        self._require_same_log(genesis, self.source)
        self._promote()
        if anchor is not None:
            self._anchor(anchor)
        write_closed(self.target, closed, fs=self.fs)

    def _require_same_log(self, genesis: bytes, folder: Path) -> None:
        """Raise OtherLogError if a folder holds another log, as the source does when it is forked meanwhile."""
        path = folder / GENESIS_NAME
        if exists(path, fs=self.fs) and read_small(path, fs=self.fs) != genesis:
            for staged in self._staged:
                remove(temporary(staged), fs=self.fs)
            raise OtherLogError(
                f"Back up the log in {self.source} to {self.target}: {folder} has become another log meanwhile, as "
                f"by a fork. The copy is what it was.",
                next_step="Keep it, and back up what is there now to a new folder.",
            )

    def _require_no_loss(self, end: Waypoint) -> None:
        """Raise LogRegressedError if the copy says that it ends behind the log. A damaged CLOSED says nothing."""
        try:
            held = read_closed(self.target, fs=self.fs)
        except LogCorruptError:
            return
        if held is not None and held.commit > end.link.commit:
            raise LogRegressedError(
                f"Back up {self.source}: it ends at commit {end.link.commit}, its copy at commit {held.commit}.",
                next_step="Keep both. The copy has seen more than is here: it is the one to go on from.",
            )

    def _small(self, name: str, data: bytes) -> None:
        path = self.target / name
        if exists(path, fs=self.fs) and read_small(path, fs=self.fs) == data:
            self.kept_files += 1
            return
        write_durably(path, data, fs=self.fs)
        self._count(len(data))

    def _public_key(self, path: Path) -> None:
        data, held = read_small(path, fs=self.fs), self.target / PUBLIC_NAME
        if exists(held, fs=self.fs) and read_small(held, fs=self.fs) != data:
            raise OtherLogError(
                f"Back up the public key {path}: {held} is another key, and a key is never written over.",
                next_step="Find out which of them is the case's, or name a new folder.",
            )
        self._small(PUBLIC_NAME, data)

    def _anchor(self, data: bytes) -> None:
        """Take over ANCHOR, unless the copy has a newer one; two of one size are the same."""
        held = read_anchor(self.target, fs=self.fs)
        if held is not None and read_checkpoint(held, None).size > read_checkpoint(data, None).size:
            return
        make_folder(self.target / ANCHORS_NAME, fs=self.fs)
        self._small(ANCHOR_PLACE, data)

    def _count(self, size: int) -> None:
        self.copied_files += 1
        self.copied_bytes += size

    # --- segments ---

    def _full(self, listed: Segment) -> None:
        segment = find_segment(self.source, first=listed.first, fs=self.fs)
        if segment.problem:  # a seal that cannot be read now: its compressed bytes are no raw ones
            raise LogCorruptError(
                f"Back up {segment.path}: {segment.problem}",
                next_step="Run `casparian log verify`. If it finds nothing, the disk could not be read: back up again.",
            )
        if segment.manifest is not None:
            self._sealed(segment)
        else:
            self._raw(segment, listed.size)

    def _raw(self, segment: Segment, size: int) -> None:
        """Copy the first `size` bytes of a segment to a raw one, whatever form it has by now."""
        held = self._held(segment, size)
        if held is not None and held.size == size:
            self.kept_files += 1
            return
        path = segment_path(self.target, first=segment.first)
        with created(temporary(path), fs=self.fs) as fd, opened_segment(segment, fs=self.fs) as read:
            for offset in range(0, size, COPY_BYTES):
                write_all(fd, read(min(COPY_BYTES, size - offset), offset), fs=self.fs)
            self.fs.sync(fd)
            self.fs.forget(fd)
        staged = Segment(path=temporary(path), first=segment.first, size=self.fs.lstat(temporary(path)).st_size)
        if staged.size != size or not _begins_with(segment, staged, self.fs):
            raise _unreadable(staged.path)
        self._stage(path, size)

    def _held(self, segment: Segment, size: int) -> Segment | None:
        """Return what the copy has of a segment, None if that is nothing or is known to be damaged.

        Raises LogRegressedError, OtherLogError if the segment does not begin with it.
        """
        try:
            held = find_segment(self.target, first=segment.first, fs=self.fs)
            if held.problem:
                return None
            fits = held.size <= size and _begins_with(segment, held, self.fs)
        except (FileNotFoundError, LogCorruptError):
            return None
        if held.size > size:
            raise LogRegressedError(
                f"Back up {segment.path}: it has {size} bytes that are known to be durable, its copy {held.size}.",
                next_step="Keep both. The copy has seen more than is here: it is the one to go on from.",
            )
        if not fits:
            raise OtherLogError(
                f"Back up {segment.path}: it does not begin with what {held.path} holds. That copy is damaged, or it "
                f"is of another history.",
                next_step="Keep both, run `casparian log verify --log` on the copy, and name a new folder.",
            )
        return held

    def _sealed(self, segment: Segment) -> None:
        from eventlog.compressed import damaged, manifest_path, read_manifest, sealed_path

        manifest, data = read_manifest(self.source, first=segment.first, fs=self.fs)
        path, seal = sealed_path(self.target, first=segment.first), manifest_path(self.target, first=segment.first)
        raw = segment_path(self.target, first=segment.first)
        if exists(raw, fs=self.fs):
            self._superseded.append(raw)
        if self._has_sealed(path, seal, data, manifest.zst_sha256):
            self.kept_files += 2
            return
        self._held(segment, manifest.raw_bytes)
        with created(temporary(seal), fs=self.fs) as fd:
            write_all(fd, data, fs=self.fs)
            self.fs.sync(fd)
        if self._copied_sha256(segment.path, temporary(path)) != manifest.zst_sha256:
            raise damaged(segment.path, "its bytes are not those that its manifest names")
        if file_sha256(temporary(path), fs=self.fs) != manifest.zst_sha256:
            raise _unreadable(temporary(path))
        self._stage(seal, len(data))  # the manifest has its name first: without a segment it leads nowhere
        self._stage(path, manifest.zst_bytes)

    def _has_sealed(self, path: Path, seal: Path, manifest: bytes, sha256: str) -> bool:
        try:
            return read_small(seal, fs=self.fs) == manifest and file_sha256(path, fs=self.fs) == sha256
        except FileNotFoundError:
            return False

    def _copied_sha256(self, source: Path, beside: Path) -> str:
        digest = hashlib.sha256()
        with opened_regular(source, fs=self.fs) as origin, created(beside, fs=self.fs) as fd:
            for offset in count(0, COPY_BYTES):  # ends with the file
                piece = self.fs.read(origin, COPY_BYTES, offset)
                if not piece:
                    break
                digest.update(piece)
                write_all(fd, piece, fs=self.fs)
            self.fs.sync(fd)
            self.fs.forget(fd)
        return digest.hexdigest()

    def _stage(self, path: Path, size: int) -> None:
        self._staged.append(path)
        self._count(size)

    def _promote(self) -> None:
        """Give everything that was proven its name, then remove what it stands for."""
        # The end that it names is about to move; without it the copy is one of a log that was not closed.
        remove_durably(self.target / CLOSED_NAME, fs=self.fs)
        for path in self._staged:
            self.fs.rename(temporary(path), path)
        sync_folder(self.target, fs=self.fs)
        for path in self._superseded:
            remove_durably(path, fs=self.fs)


def _begins_with(segment: Segment, held: Segment, fs: FsPort) -> bool:
    """Return whether the raw bytes of a segment begin with all raw bytes of the other. Raises LogCorruptError."""
    with opened_segment(segment, fs=fs) as ours, opened_segment(held, fs=fs) as theirs:
        for offset in range(0, held.size, COPY_BYTES):
            size = min(COPY_BYTES, held.size - offset)
            if ours(size, offset) != theirs(size, offset):
                return False
    return True


def _closed(name: str, end: Waypoint) -> Closed:
    link = end.link
    return Closed(seq=link.seq, hash=link.hash, commit=link.commit, segment=name, bytes=end.offset)


def _unreadable(path: Path) -> LogStorageError:
    return LogStorageError(
        f"Back up to {path}: {_CHANGED} when it is read back.", next_step="Check that disk, or name another folder."
    )
