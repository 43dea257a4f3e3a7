"""Owns the walk along the chain: which segments there are, which frames fit, and where and why the chain ends.

Reads in pieces of at most one largest frame, so memory is flat. A frame costs one search, one match of its commit line
and one SHA-256 (150 MB/s with one event to a frame, 600 MB/s with a hundred); records are not decoded here.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from eventlog.errors import LogCorruptError, LogError
from eventlog.files import opened_regular
from eventlog.frames import (
    FRAME_SPAN_BYTES_MAX,
    CommitLine,
    FrameHash,
    RawFrame,
    find_commit_line,
    hashed_end,
    read_commit_line,
)
from eventlog.fsport import OS_FS, FsPort
from eventlog.sealed import FORKING_NAME

if TYPE_CHECKING:  # signatures take longer to load than most logs take to read
    from eventlog.lineage import Life, Lineage
    from eventlog.manifest import Manifest

WINDOW_BYTES: Final = 1024 * 1024
AHEAD_BYTES_MAX: Final = 16 * 1024 * 1024  # of zeros behind the end: what is written ahead, and a batch that was lost
_SEQ_DIGITS: Final = 20
_SEALED_SUFFIX: Final = ".zst"
_COMMITS_MAX: Final = 10**18
_BACK_BYTES: Final = 64 * 1024
_SEGMENT_NAME: Final = re.compile(rf"[0-9]{{{_SEQ_DIGITS}}}\.ndjson(\.zst)?", re.ASCII)


class Segment(Struct, frozen=True, kw_only=True):
    """A file of the chain, its first seq (from its name) and the size up to which it is read."""

    path: Path
    first: int
    size: int
    problem: str = ""  # why nothing can be read from it
    manifest: Manifest | None = None  # of a sealed one, whose `size` is that of the raw bytes
    ahead: int = 0  # zeros behind `size` that the writer has put there for what it will write

    @property
    def blank(self) -> bool:
        """Return whether it is as its creation left it."""
        return not self.problem and self.size == 0


class Link(Struct, frozen=True, gc=False):
    """Where the chain stands: after this commit and seq, with the hash that the next frame must name."""

    commit: int
    seq: int
    hash: str
    epoch: int
    durable: int


class Gap(Struct, frozen=True, kw_only=True):
    """Why the chain goes no further, although there are bytes or segments behind it."""

    check: str
    expected: str
    actual: str


class Waypoint(Struct, frozen=True, kw_only=True):
    """A place from which the chain can be walked without what is before it."""

    link: Link
    index: int
    offset: int


def genesis_link(genesis_hash: str) -> Link:
    """Return where the chain begins."""
    return Link(commit=0, seq=0, hash=genesis_hash, epoch=0, durable=0)


def segment_path(folder: Path, *, first: int) -> Path:
    """Return the name of the segment that begins with this seq."""
    return folder / f"{first:0{_SEQ_DIGITS}d}.ndjson"


def list_segments(folder: Path, *, fs: FsPort = OS_FS) -> list[Segment]:
    """Return the segments in order, with their sizes now. Where both forms of one are there, the raw one is the truth.

    The names are taken before the sizes: one that has a successor in the list has its last size by then. The last one
    ends where its zeros begin; zeros at the end of any other are damage.
    """
    there = fs.names(folder)
    names = filter(_SEGMENT_NAME.fullmatch, there)
    firsts = sorted({int(name[:_SEQ_DIGITS]) for name in names})
    segments = [find_segment(folder, first=first, fs=fs) for first in firsts]
    segments[-1:] = [without_zeros(segment, fs=fs) for segment in segments[-1:]]
    if FORKING_NAME not in there:
        return segments
    from eventlog.lineage import kept_segments

    return kept_segments(folder, segments, fs=fs)


def find_segment(folder: Path, *, first: int, fs: FsPort) -> Segment:
    """Return the segment that begins with this seq, in the form that it has now. Raises FileNotFoundError."""
    path = segment_path(folder, first=first)
    try:
        return Segment(path=path, first=first, **_facts(path, fs))
    except FileNotFoundError:
        return _sealed_segment(path.with_name(path.name + _SEALED_SUFFIX), first=first, fs=fs)


def without_zeros(segment: Segment, *, fs: FsPort) -> Segment:
    """Return a segment that may be written to now without the zeros that stand behind its end.

    No frame ends with a zero, so none loses a byte. More zeros than are ever written ahead are counted as its bytes.
    """
    if segment.manifest is not None or segment.problem or segment.size == 0:
        return segment
    try:
        with opened_regular(segment.path, fs=fs) as fd:
            end = _end_before_zeros(fd, segment.size, fs)
    except FileNotFoundError:  # it was sealed since it was listed, so it had been cut before
        return segment
    return replace(segment, size=end, ahead=segment.size - end)


def _end_before_zeros(fd: int, size: int, fs: FsPort) -> int:
    floor, end = max(0, size - AHEAD_BYTES_MAX - 1), size
    while end > floor:  # every round goes back by a piece
        start = max(floor, end - _BACK_BYTES)
        piece = fs.read(fd, end - start, start).rstrip(b"\0")
        if piece:
            return start + len(piece)
        end = start
    return size if floor else 0


def _facts(path: Path, fs: FsPort) -> dict[str, Any]:
    info = fs.lstat(path)
    problem = "" if stat.S_ISREG(info.st_mode) else "a link, a pipe, a device or a folder"
    return {"size": info.st_size, "problem": problem}


def _sealed_segment(path: Path, *, first: int, fs: FsPort) -> Segment:
    from eventlog.compressed import read_manifest  # most logs have no sealed segment, and every start comes by here

    facts = _facts(path, fs)
    try:
        manifest, _ = read_manifest(path.parent, first=first, fs=fs)
    except (LogError, OSError) as error:
        return Segment(path=path, first=first, size=facts["size"], problem=facts["problem"] or str(error))
    return Segment(path=path, first=first, size=manifest.raw_bytes, problem=facts["problem"], manifest=manifest)


Read = Callable[[int, int], bytes]  # size and offset to raw bytes, fewer only at the end


@contextmanager
def opened_segment(segment: Segment, *, fs: FsPort) -> Iterator[Read]:
    """Open a segment in the form that it has now, whatever it had when it was listed.

    Raises LogCorruptError if it is sealed and damaged, OSError.
    """
    with ExitStack() as stack:
        if segment.manifest is None:
            try:
                fd = stack.enter_context(opened_regular(segment.path, fs=fs))
            except FileNotFoundError:  # it was sealed since it was listed
                segment = find_segment(segment.path.parent, first=segment.first, fs=fs)
            else:
                yield partial(fs.read, fd)
                return
        from eventlog.compressed import damaged, opened_sealed

        if segment.manifest is None:
            raise damaged(segment.path, segment.problem or "it comes and goes")
        yield stack.enter_context(opened_sealed(segment.path, segment.manifest, fs=fs)).pread


class ChainScan:
    """Walks segments from a waypoint on; `link`, `index`, `offset` say where it is, `gap` why it goes no further."""

    def __init__(
        self, *, lineage: Lineage, segments: Sequence[Segment], start: Waypoint, fs: FsPort, part: bool = False
    ) -> None:
        """Take a place to begin at; `part`: the log may go on behind these segments, so nothing is missed there."""
        self.fs = fs
        self._part = part
        self.lineage = lineage
        self.log_id = lineage.log_id
        self.segments = segments
        self.link = start.link
        self.index = start.index
        self.offset = start.offset
        self.segment_start = start  # where the segment that is walked begins, as far as this scan has seen it
        self.gap: Gap | None = None
        self._live(lineage.life_of(start.link.commit))

    @property
    def segment(self) -> Segment:
        return self.segments[self.index]

    @property
    def in_last_segment(self) -> bool:
        return self.index == len(self.segments) - 1

    @property
    def bytes_after(self) -> int:
        """Return how many bytes stand behind the end of the chain, later segments included."""
        return sum(segment.size for segment in self.segments[self.index :]) - self.offset

    def waypoint(self) -> Waypoint:
        return Waypoint(link=self.link, index=self.index, offset=self.offset)

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield each frame that fits, in commit order, until the end or the first gap."""
        for index in range(self.index, len(self.segments)):
            segment = self.segments[index]
            if index > self.index or self.offset == 0:
                if segment.first != self.link.seq + 1:
                    expected = segment_path(segment.path.parent, first=self.link.seq + 1).name
                    self.gap = Gap(check="segment", expected=expected, actual=segment.path.name)
                    return
                self.index, self.offset = index, 0
                if not self._enter():
                    return
                self.segment_start = self.waypoint()
            if segment.problem:
                self.gap = Gap(check="file", expected="a regular file, whole", actual=segment.problem)
                return
            try:
                with opened_segment(segment, fs=self.fs) as read:
                    yield from self._walk(read, segment)
            except LogCorruptError as error:
                why = error.message.partition(": ")[2].removesuffix(".")  # the finding names the segment itself
                self.gap = Gap(check="sealed", expected="the bytes that were sealed", actual=why)
            if self.gap is None and segment.manifest is not None and segment.size == segment.manifest.raw_bytes:
                self.gap = _contradiction(segment.manifest, self.link)
            if self.gap is not None:
                return
        if self._part or not self.segments:
            return
        if self.segments[-1].manifest is not None or self.commit_max < _COMMITS_MAX:
            expected = segment_path(self.segment.path.parent, first=self.link.seq + 1).name
            after = "a sealed segment" if self.commit_max == _COMMITS_MAX else f"the fork of log {self.life.log_id}"
            check = "fork" if self.lineage.unfinished else "segment"
            self.gap = Gap(check=check, expected=expected, actual=f"nothing behind {after}")

    def _live(self, life: Life) -> None:
        self.life = life
        self.hasher = FrameHash(life.log_id)
        self.commit_max = _COMMITS_MAX if life.end is None else life.end.commit

    def _enter(self) -> bool:
        """Go on in the life that the segment at hand is of: a fork begins a segment. False if the chain ends here."""
        entered = self.lineage.entered(self.link)
        if entered is None or (entered[0] is not self.life and self.link.commit != self.commit_max):
            expected = f"the end of log {self.life.log_id} at commit {self.commit_max}"
            self.gap = Gap(check="lineage", expected=expected, actual=f"commit {self.link.commit}")
            return False
        life, self.link = entered
        if life is not self.life:
            self._live(life)
        return True

    def _walk(self, read: Read, segment: Segment) -> Iterator[RawFrame]:
        window, at = b"", 0  # window[at] is the byte at self.offset
        view = memoryview(window)
        while self.offset < segment.size:  # every round goes forward by a frame or ends with a gap
            match = find_commit_line(window, at)
            if match is None:
                for size in (WINDOW_BYTES, FRAME_SPAN_BYTES_MAX):
                    window, at = read(min(size, segment.size - self.offset), self.offset), 0
                    match = find_commit_line(window, 0)
                    if match is not None:
                        break
                view = memoryview(window)
            if match is None:
                self.gap = _no_frame(window)
                return
            line = read_commit_line(match)
            middle = match.start()
            if line.bytes != middle - at:
                self.gap = Gap(
                    check="bytes", expected=f"{line.bytes} bytes before the commit line", actual=str(middle - at)
                )
                return
            hash_, link = self.hasher.of(view[at : hashed_end(match)]), self.link
            if not (
                line.hash == hash_
                and line.prev == link.hash
                and line.commit == link.commit + 1
                and line.first == link.seq + 1 <= line.last + 1
                and line.commit <= self.commit_max
            ):
                self.gap = _misfit(line, link, hash_, commit_max=self.commit_max)
                return
            offset, size = self.offset, match.end() - at
            self.link = Link(line.commit, line.last, line.hash, line.epoch, line.durable)
            self.offset += size
            yield RawFrame(line, window[at:middle], offset, self.offset)
            at = match.end()


def _no_frame(window: bytes) -> Gap:
    actual = f"{window[:60]!r}" if window else "the file became shorter while it was read"
    return Gap(check="frame", expected="a frame that ends with a whole commit line", actual=actual)


def _contradiction(manifest: Manifest, link: Link) -> Gap | None:
    """Return why a sealed segment does not end where its manifest says, None if it does."""
    says = f"commit {manifest.last_commit}, record {manifest.last}, {manifest.hash}"
    found = f"commit {link.commit}, record {link.seq}, {link.hash}"
    return Gap(check="manifest", expected=says, actual=found) if says != found else None


def _misfit(line: CommitLine, link: Link, actual_hash: str, *, commit_max: int) -> Gap:
    """Return why a whole frame does not continue the chain."""
    if line.hash != actual_hash:
        return Gap(check="hash", expected=line.hash, actual=actual_hash)
    if line.prev != link.hash:
        return Gap(check="link", expected=link.hash, actual=line.prev)
    if line.commit != link.commit + 1:
        return Gap(check="commit", expected=str(link.commit + 1), actual=str(line.commit))
    if line.first != link.seq + 1:
        return Gap(check="seq", expected=str(link.seq + 1), actual=str(line.first))
    if line.last < line.first - 1:
        return Gap(check="seq", expected=f"last of at least {line.first - 1}", actual=str(line.last))
    assert line.commit > commit_max, "one of what makes a frame fit must be wrong"
    return Gap(check="lineage", expected="the segment of the fork", actual=f"commit {line.commit}")
