"""Owns the writer of the log: the one place that appends and the one that syncs.

What `commit` returns has reached the disk as far as the system can tell: in one gapless order, each frame whole. One
batch is in flight at a time; a batch costs one write and one fdatasync, whatever it holds.

A write or sync that fails ends the process (exit 70) and is never tried again: after a failed fsync the kernel may
call the same pages clean, and a second fsync that succeeds proves nothing. The next opening copies the log forward.

A batch that would make the active segment larger than its bound goes to a new one, whose name is on the disk before a
byte is in it. Nothing else tells of it: the first frame there names the last one here by `prev`.

A sync is dear where the file grows, because its size must be written too. So zeros are written ahead in steps, synced
with the batch before them, and the next batches overwrite them in place. They are no part of the log, and are cut off
before anything says where the file ends: before there is a next segment, and before CLOSED.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NoReturn

from msgspec.structs import replace

from eventlog.chain import ChainScan, Link, Segment, Waypoint, list_segments, segment_path
from eventlog.column_types import zone_release
from eventlog.errors import ForkedLogError, LogClosedError, LogCorruptError, LogError, LogStorageError
from eventlog.events import LogForked, LogRecovered, LogRepaired, WriterOpened
from eventlog.files import create_durably, exists, make_folder, remove_durably, sync_ancestors, write_all_at
from eventlog.fork import settle_fork
from eventlog.frames import (
    BATCH_BYTES_MAX,
    BATCH_FRAMES_MAX,
    COMMIT_LINE_BYTES_MAX,
    Frame,
    FrameDraft,
    FrameHash,
    Head,
    PreparedFrame,
    Seal,
    decoded,
    prepare_frame,
)
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId, Sha256
from eventlog.lineage import Lineage, lineage_of
from eventlog.lock import LockHolder, LogLock, identity, this_process
from eventlog.recovery import Recovery, Witness, leave_poison, recover, require_genesis
from eventlog.repair_note import read_note, remove_note
from eventlog.reserve import BALLAST_BYTES, RESERVE_BYTES, Reserve, give_up_ballast, keep_ballast
from eventlog.sealed import CLOSED_NAME, GENESIS_NAME, Closed, Fork, HeadClaim, write_closed, write_genesis
from eventlog.snapshot import Header as SnapshotHeader
from eventlog.verdict import WHAT_TO_DO

__all__ = ["EXIT_STORAGE", "Frame", "FrameDraft", "Head", "Log", "exit_process"]

EXIT_STORAGE: Final = 70
SEGMENT_BYTES: Final = 64 * 1024 * 1024
AHEAD_BYTES: Final = 1024 * 1024  # of zeros at a time: of small batches one in some thousand takes 2 ms longer
# Of one write. What is written at once is cached as one piece, and the sync of a small batch looks through all of it:
# with 1 MiB it takes a tenth longer than with this.
AHEAD_PIECE_BYTES: Final = 64 * 1024
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KEPT_FOLDERS_DEPTH: Final = 2  # quarantine, and what each fork keeps in it
_LOG_ACTOR: Final = "log"


def exit_process(message: str) -> NoReturn:
    """Say why on stderr and end the process at once: no cleanup may run on a log whose state is unknown."""
    try:
        print(message, file=sys.stderr, flush=True)
    finally:
        os._exit(EXIT_STORAGE)


class Log:
    """The log, open for writing by this process. Make one with `Log.open`; methods may be called from any thread."""

    def __init__(
        self, folder: Path, *, lock: LogLock, lineage: Lineage, recovery: Recovery, clock: Callable[[], Instant],
        die: Callable[[str], NoReturn], reserve: Reserve, fs: FsPort, segment_bytes: int, ahead_bytes: int,
    ) -> None:  # fmt: skip
        active = recovery.segments[-1]
        self.folder = folder
        self.lineage = lineage
        self.log_id: LogId = lineage.log_id
        self.epoch = recovery.link.epoch + 1
        self.recovered: LogRecovered | None = recovery.repairs[-1] if recovery.repairs else None
        self._fs = fs
        self._lock = lock
        self._pid = os.getpid()
        self._clock = clock
        self._die = die
        self._reserve = reserve
        self._room_asked = False
        self._hasher = FrameHash(lineage.log_id)
        self._waypoints = recovery.waypoints
        self._segment_bytes = segment_bytes
        self._ahead_bytes = ahead_bytes
        self._full = recovery.segments[:-1]
        self._file_bytes = 0  # of the active segment: up to the head, and the zeros behind it
        self._write_to(active, fs.open(active.path, os.O_RDWR | os.O_NOFOLLOW))
        link = recovery.link
        self.head = Head(seq=link.seq, hash=link.hash, commit=link.commit, bytes=active.size)
        self._marked = True  # nothing was committed by this process yet
        self._ended = ""  # why no more frames are taken
        self._turn = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        clock: Callable[[], Instant],
        new_log_id: Callable[[], LogId],
        version: str,
        purpose: str,
        witness_of: Callable[[LogId], Witness | None] = lambda _: None,
        snapshot_of: Callable[[LogId], SnapshotHeader | None] = lambda _: None,
        die: Callable[[str], NoReturn] = exit_process,
        reserve_bytes: int = RESERVE_BYTES,
        ballast_bytes: int = BALLAST_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        ahead_bytes: int = AHEAD_BYTES,
        fs: FsPort = OS_FS,
    ) -> Log:
        """Take the log in `folder`, creating it if there is none, recover it and begin a new epoch, durably.

        `witness_of` is asked, under the lock, who has seen the log of this id from outside: a log that is behind its
        witness is refused before a byte of it is changed. `snapshot_of` is asked likewise for a snapshot that fits it.
        `clock` gives the commit lines' `ts`; `new_log_id` is asked for a new log only; `purpose` is told to those who
        find the log locked. Frames are refused while the disk has less than `reserve_bytes` free (and one batch, or a
        sixteenth of a small disk); `ballast_bytes` are given up by an opening that finds the disk full; 0 is neither.
        A segment has at most `segment_bytes`, or one batch; `ahead_bytes` of zeros are written ahead of it at a time.
        Raises LogLockedError, LogCorruptError, LogRegressedError, LogFormatError,
        UnknownEventError, LogStorageError; each says what to do next, and leaves the log unlocked and as it was.
        """
        holder = this_process(since=clock(), purpose=purpose)
        lock: LogLock | None = None
        log: Log | None = None
        try:
            make_folder(folder, fs=fs)
            lock = LogLock.acquire(folder, holder, fs=fs)
            give_up_ballast(folder, ballast_bytes=ballast_bytes, fs=fs)
            _create_if_absent(folder, new_log_id=new_log_id, clock=clock, fs=fs)
            _refuse_second_name(folder, fs=fs)
            genesis, genesis_hash = require_genesis(folder, fs=fs)
            settle_fork(folder, genesis, genesis_hash, fs=fs)
            lineage = lineage_of(genesis, genesis_hash)
            witness, snapshot = witness_of(genesis.log_id), snapshot_of(genesis.log_id)
            recovery = recover(folder, lineage, witness=witness, snapshot=snapshot, fs=fs)
            # Before the first append: the mark of a clean close must never be behind the log.
            remove_durably(folder / CLOSED_NAME, fs=fs)
            reserve = Reserve(folder, reserve_bytes=reserve_bytes, fs=fs)
            log = cls(
                folder, lock=lock, lineage=lineage, recovery=recovery, clock=clock, die=die, reserve=reserve, fs=fs,
                segment_bytes=segment_bytes, ahead_bytes=ahead_bytes,
            )  # fmt: skip
            repaired = read_note(folder, epoch=log.epoch, fs=fs)
            fork = genesis.fork if recovery.link.hash == genesis_hash else None  # its first frame tells of it
            log._begin_epoch((*recovery.repairs, *repaired), fork=fork, version=version, holder=holder)
            remove_note(folder, fs=fs)
            keep_ballast(folder, reserve_bytes=reserve_bytes, ballast_bytes=ballast_bytes, fs=fs)
        except BaseException as error:
            if log is not None:
                log._let_go("its opening failed")
            elif lock is not None:
                lock.release()
            if isinstance(error, OSError) and not isinstance(error, LogError):
                raise _storage_error(folder, error) from error
            raise
        return log

    def commit(self, drafts: Sequence[FrameDraft]) -> list[Frame]:
        """Append each draft as one frame, in order, and return them when all are durable.

        More than one batch can hold is written and synced in several. Raises FrameTooLargeError, InvalidRecordError or
        LogFullError before anything is written, ForkedLogError, LogClosedError. A storage error does not return: `die`
        is called.
        """
        self._refuse_fork()
        with self._turn:
            self._refuse_ended()
            if not self._room_asked:
                self._reserve.require()
            self._room_asked = False
            return self._commit(drafts)

    def require_room(self) -> None:
        """Raise LogFullError if the next commit would; if not, that commit asks no more.

        For a caller that must know it before it makes drafts, because it cannot take back what follows from them.
        """
        with self._turn:
            self._reserve.require()
            self._room_asked = True

    def _commit(self, drafts: Sequence[FrameDraft]) -> list[Frame]:
        prepared: list[PreparedFrame] = []
        first = self.head.seq + 1
        for draft in drafts:
            prepared.append(prepare_frame(draft, first=first))
            first = prepared[-1].last + 1
        frames: list[Frame] = []
        for batch in _batches(prepared):
            frames += self._append(batch)
        return frames

    def mark(self) -> None:
        """Append an empty frame if anything was committed since the last one: its `durable` proves the end on disk."""
        self._refuse_fork()
        with self._turn:
            self._refuse_ended()
            self._mark()

    @property
    def full_segments(self) -> int:
        """Return how many segments are full: no byte of theirs changes any more, and they may be sealed."""
        return len(self._full)

    def rotate(self) -> None:
        """Go on in a new segment if the one that is written to has a record, so that it can be sealed."""
        self._refuse_fork()
        with self._turn:
            self._refuse_ended()
            self._mark()
            if self.head.seq >= self._active.first:
                try:
                    self._rotate()
                except OSError as error:
                    self._fail(str(error))

    def close(self) -> None:
        """Mark the end, write CLOSED and give the lock back. Harmless when done before or after a storage error.

        Raises ForkedLogError; LogStorageError if CLOSED could not be written (the log is whole, its next opening is
        that after a crash).
        """
        self._refuse_fork()
        with self._turn:
            if self._ended:
                self._let_go(self._ended)
                return
            try:
                self._mark()
                self._cut()
                self._write_closed()
            except OSError as error:
                raise _storage_error(self.folder, error) from error
            finally:
                self._let_go("it was closed")

    def replay(self, from_seq: int = 1) -> Generator[Frame, None, None]:
        """Return the frames that end at `from_seq` or later, in commit order, up to where the log ends now.

        Every frame is checked again. Raises, while iterating, UnknownEventError for a record of another version and
        LogCorruptError for bytes that have changed since the log was opened.
        """
        with self._turn:
            head = self.head
        start = [point for point in self._waypoints if point.link.seq < max(from_seq, 1)][-1]
        scan = ChainScan(lineage=self.lineage, segments=self._segments_up_to(head), start=start, fs=self._fs)
        return self._replay(scan, head=head, from_seq=from_seq)

    def hold_to(self, claim: HeadClaim) -> None:
        """Compare what is written with what somebody was told of this log when it was durable.

        Raises LogRegressedError if it is not so, behind a note that keeps the log from being opened again before it is;
        LogCorruptError for bytes that have changed since the log was opened; OSError.
        """
        from eventlog.head_claim import hold_to  # few logs are ever asked

        hold_to(claim, folder=self.folder, segments=self.segments(), lineage=self.lineage, head=self.head, fs=self._fs)

    def segments(self) -> list[Segment]:
        """Return the files of the chain, with their sizes up to where the log ends now."""
        with self._turn:
            return self._segments_up_to(self.head)

    def _segments_up_to(self, head: Head) -> list[Segment]:
        return [*self._full, replace(self._active, size=head.bytes)]

    def _replay(self, scan: ChainScan, *, head: Head, from_seq: int) -> Generator[Frame, None, None]:
        with closing(scan.frames()) as frames:  # who stops early closes the segment here, not when memory is tidied
            yield from decoded(frames, from_seq=from_seq)
        if scan.link.hash != head.hash:
            raise LogCorruptError(
                f"Replay the log in {self.folder}: after commit {scan.link.commit} its bytes are no longer what was "
                f"there when it was opened.",
                next_step=WHAT_TO_DO["CORRUPT"],
            )

    # --- the one way to the disk ---

    def _append(self, batch: Sequence[PreparedFrame]) -> list[Frame]:
        """Chain, write and sync one batch; publishes the head only then."""
        frames: list[Frame] = []
        pieces: list[bytes] = []
        head = self.head
        commit, prev = head.commit, head.hash
        # The head is published after its sync, and recovery has synced what it found: it is what is durable.
        seal = Seal(self._hasher, ts=self._clock(), epoch=self.epoch, durable=head.seq)
        for prepared in batch:
            commit += 1
            frame, line = seal.close(prepared, commit=commit, prev=prev)
            frames.append(frame)
            pieces += (prepared.lines, line)
            prev = frame.hash
        data = b"".join(pieces)
        self._write_and_sync(data)
        self._marked = False
        self.head = Head(seq=frames[-1].last, hash=prev, commit=commit, bytes=self.head.bytes + len(data))
        return frames

    def _write_and_sync(self, data: bytes) -> None:
        try:
            why = self._foreign_change()
            if not why:
                if self._is_full(len(data)):
                    self._rotate()
                self._write(data)
                self._fs.sync_data(self._fd)
        except OSError as error:
            why = str(error)
        if why:
            self._fail(why)

    def _write(self, data: bytes) -> None:
        """Write behind the head: over the zeros there, or growing the file, and then zeros for the next ones too."""
        end = self.head.bytes + len(data)
        write_all_at(self._fd, data, self.head.bytes, fs=self._fs)
        if end > self._file_bytes:
            grown = end + self._write_ahead(end)
            self._reserve.take(grown - self._file_bytes)
            self._file_bytes = grown

    def _write_ahead(self, end: int) -> int:
        """Write zeros from `end` on, as far as segment and disk have room beside the reserve; return how many."""
        size = min(self._ahead_bytes, self._segment_bytes - end)
        written = 0
        if not self._reserve.has(size):
            return written
        try:
            while written < size:  # every round writes a byte or raises, or ends it
                taken = self._fs.write_at(self._fd, bytes(min(AHEAD_PIECE_BYTES, size - written)), end + written)
                if taken == 0:
                    break
                written += taken
        except OSError as error:  # a quota or a limit: the log works without them
            if error.errno not in _NO_ROOM:
                raise
        return written

    def _cut(self) -> None:
        """Take the zeros away that were written ahead, durably."""
        if self._file_bytes > self.head.bytes:
            self._fs.truncate(self._fd, self.head.bytes)
            self._fs.sync(self._fd)
            self._file_bytes = self.head.bytes

    def _is_full(self, size: int) -> bool:
        """Return whether so many bytes must go to a new segment; one without a record would get its own name again."""
        return self.head.bytes + size > self._segment_bytes and self.head.seq >= self._active.first

    def _rotate(self) -> None:
        """Go on in a new segment. All that is in the one before is synced, so damage there is never a torn tail."""
        head, before = self.head, self._fd
        self._cut()
        first = head.seq + 1
        path = segment_path(self.folder, first=first)
        fd = create_durably(path, fs=self._fs)
        self._full = (*self._full, replace(self._active, size=head.bytes))
        self._write_to(Segment(path=path, first=first, size=0), fd)
        self.head = replace(head, bytes=0)
        link = Link(commit=head.commit, seq=head.seq, hash=head.hash, epoch=self.epoch, durable=head.seq)
        self._waypoints = (*self._waypoints, Waypoint(link=link, index=len(self._full), offset=0))
        self._fs.close(before)

    def _write_to(self, segment: Segment, fd: int) -> None:
        self._active = segment
        self._fd = fd
        self._path = os.fspath(segment.path)
        status = self._fs.fstat(fd)
        self._identity = identity(status)
        self._file_bytes = status.st_size

    def _foreign_change(self) -> str:
        """Return what somebody else did to the log, "" if nothing: a second writer must not be written over."""
        try:
            device, inode, size = self._fs.place(self._path)
        except FileNotFoundError:
            return "its name leads to no file: somebody else moved or removed it"
        if (device, inode) != self._identity:
            return "its name leads to another file: somebody else moved or replaced it"
        if size != self._file_bytes:
            return f"the file has {size} bytes and must have {self._file_bytes}: somebody else wrote to it"
        if not self._ends_at_head():
            return f"what was written last does not end at byte {self.head.bytes}: somebody else wrote to it"
        if not self._lock.still_ours():
            return "its lock file was replaced: another process may hold the log"
        return ""

    def _ends_at_head(self) -> bool:
        """Return whether our last line ends before the head and nothing stands behind it: the size does not tell."""
        at = self.head.bytes
        around = self._fs.read(self._fd, 2, at - 1) if at else b"\n" + self._fs.read(self._fd, 1, 0)
        return around in (b"\n", b"\n\0")

    def _fail(self, why: str) -> NoReturn:
        """End everything: whether the last batch is on the disk cannot be known from here."""
        message = (
            f"Append to {self._active.path}: {why}. Nothing of this batch was acknowledged. "
            f"Correct the cause and start again; the log recovers by itself."
        )
        self._ended = "a storage error ended it"
        message += leave_poison(self.folder, message, fs=self._fs)
        self._die(message)

    # --- epochs, marks, the end ---

    def _begin_epoch(
        self, repairs: Sequence[LogRecovered | LogRepaired], *, fork: Fork | None, version: str, holder: LockHolder
    ) -> None:
        opened = WriterOpened(
            epoch=self.epoch,
            version=version,
            host=holder.host,
            pid=holder.pid,
            boot_id=holder.boot_id,
            opened_at=holder.since,
            zones=zone_release(),
        )
        told = () if fork is None else (self._forked(fork),)
        actor = _LOG_ACTOR if fork is None else fork.actor
        self._commit([FrameDraft(events=(*told, *repairs, opened), actor=actor)])  # the reserve is for this too

    def _forked(self, fork: Fork) -> LogForked:
        end = self.lineage.lives[-2].end
        assert end is not None
        return LogForked(
            old_log_id=fork.old_log_id, seq=end.seq, hash=Sha256(end.hash), abandoned_seq=fork.abandoned_seq,
            reason=fork.reason,
        )  # fmt: skip

    def _mark(self) -> None:
        if self._marked:
            return
        seq = self.head.seq
        draft = FrameDraft(events=(), actor=_LOG_ACTOR)
        self._append([PreparedFrame(draft=draft, first=seq + 1, last=seq, lines=b"")])
        self._marked = True

    def _write_closed(self) -> None:
        head = self.head
        write_closed(
            self.folder,
            Closed(seq=head.seq, hash=head.hash, commit=head.commit, segment=self._active.path.name, bytes=head.bytes),
            fs=self._fs,
        )

    def _let_go(self, why: str) -> None:
        self._ended = self._ended or why
        if self._fd >= 0:
            self._fs.close(self._fd)
            self._fd = -1
        self._lock.release()

    def _refuse_fork(self) -> None:
        """Checked before the turn is taken: in a child it may be held by a thread that does not exist there."""
        if os.getpid() != self._pid:
            raise ForkedLogError(
                f"Use the log in {self.folder}: it was opened by process {self._pid}, this is its child {os.getpid()}.",
                next_step="Start workers as processes of their own, and let the parent write.",
            )

    def _refuse_ended(self) -> None:
        if self._ended:
            raise LogClosedError(f"Append to the log in {self.folder}: {self._ended}.", next_step="Open the log again.")


def _batches(prepared: Sequence[PreparedFrame]) -> Iterator[list[PreparedFrame]]:
    """Split frames into what one write and sync may hold."""
    batch: list[PreparedFrame] = []
    size = 0
    for frame in prepared:
        span = len(frame.lines) + COMMIT_LINE_BYTES_MAX
        if batch and (len(batch) == BATCH_FRAMES_MAX or size + span > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(frame)
        size += span
    if batch:
        yield batch


def _create_if_absent(
    folder: Path, *, new_log_id: Callable[[], LogId], clock: Callable[[], Instant], fs: FsPort
) -> None:
    """Create the first segment, then GENESIS.json: with a genesis and no segment, a segment was lost."""
    if exists(folder / GENESIS_NAME, fs=fs) or exists(folder / CLOSED_NAME, fs=fs):
        return
    segments = list_segments(folder, fs=fs)
    if not all(segment.blank for segment in segments):
        return  # require_genesis refuses it, with the reason
    sync_ancestors(folder, fs=fs)
    if not segments:
        fs.close(create_durably(segment_path(folder, first=1), fs=fs))
    write_genesis(folder, log_id=new_log_id(), created_at=clock(), fs=fs)


def _refuse_second_name(folder: Path, *, fs: FsPort) -> None:
    """Raise LogStorageError if the segment that would be written to has a name outside of this folder as well.

    Then another folder is a copy of this one by hard links (`cp -al`): what is written here would be written there,
    behind what that folder says of itself, and would be damage. A name in this folder is what a recovery keeps.
    """
    for segment in list_segments(folder, fs=fs)[-1:]:
        facts = fs.lstat(segment.path)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink == 1:  # what is no file is refused with its own reason
            continue
        if facts.st_nlink > _names_of(facts, folder, fs=fs, depth=KEPT_FOLDERS_DEPTH):
            raise LogStorageError(
                f"Open the log in {folder} for writing: {segment.path.name} has a second name in another folder, which "
                "is a copy of this one by hard links. What is written to one of them would change both.",
                next_step="Remove the copy, and make it anew by `cp -a` or `casparian log backup`.",
            )


def _names_of(file: os.stat_result, folder: Path, *, fs: FsPort, depth: int) -> int:
    """Return how many names a file has in a folder and the folders in it, so many levels down."""
    found = 0
    for name in fs.names(folder):
        facts = fs.lstat(folder / name)
        if stat.S_ISDIR(facts.st_mode) and depth:
            found += _names_of(file, folder / name, fs=fs, depth=depth - 1)
        found += (facts.st_dev, facts.st_ino) == (file.st_dev, file.st_ino)
    return found


def _storage_error(folder: Path, error: OSError) -> LogStorageError:
    return LogStorageError(
        f"Use the log in {folder}: {error}.",
        next_step="Check that the folder can be written and that the disk has room, then start again.",
    )
