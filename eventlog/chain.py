"""Owns the walk along the chain: which segments there are, which frames fit, and where and why the chain ends.

Reads in pieces of at most one largest frame, so memory is flat. A frame costs one search, one match of its commit line
and one SHA-256 (150 MB/s with one event to a frame, 600 MB/s with a hundred); records are not decoded here.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

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
from eventlog.ids import LogId

WINDOW_BYTES: Final = 1024 * 1024
_SEQ_DIGITS: Final = 20
_SEGMENT_NAME: Final = re.compile(rf"[0-9]{{{_SEQ_DIGITS}}}\.ndjson", re.ASCII)


class Segment(Struct, frozen=True, kw_only=True):
    """A file of the chain, its first seq (from its name) and the size up to which it is read.

    Not `regular` is a link, a pipe, a device or a folder in its place: nothing is read from such a thing.
    """

    path: Path
    first: int
    size: int
    regular: bool = True

    @property
    def blank(self) -> bool:
        """Return whether it is as its creation left it."""
        return self.regular and self.size == 0


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
    """Return the segments in order, with their sizes now.

    The names are taken before the sizes: one that has a successor in the list has its last size by then.
    """
    segments: list[Segment] = []
    for name in sorted(filter(_SEGMENT_NAME.fullmatch, fs.names(folder))):
        path = folder / name
        info = fs.lstat(path)
        regular = stat.S_ISREG(info.st_mode)
        segments.append(Segment(path=path, first=int(path.stem), size=info.st_size, regular=regular))
    return segments


class ChainScan:
    """Walks segments from a waypoint on; `link`, `index`, `offset` say where it is, `gap` why it goes no further."""

    def __init__(self, *, log_id: LogId, segments: Sequence[Segment], start: Waypoint, fs: FsPort) -> None:
        self.fs = fs
        self.segments = segments
        self.link = start.link
        self.index = start.index
        self.offset = start.offset
        self.segment_start = start  # where the segment that is walked begins, as far as this scan has seen it
        self.gap: Gap | None = None
        self.hasher = FrameHash(log_id)

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
                self.segment_start = self.waypoint()
            if not segment.regular:
                self.gap = Gap(check="file", expected="a regular file", actual="a link, a pipe, a device or a folder")
                return
            with opened_regular(segment.path, fs=self.fs) as fd:
                yield from self._walk(fd, segment)
            if self.gap is not None:
                return

    def _walk(self, fd: int, segment: Segment) -> Iterator[RawFrame]:
        window, at = b"", 0  # window[at] is the byte at self.offset
        while self.offset < segment.size:  # every round goes forward by a frame or ends with a gap
            match = find_commit_line(window, at)
            for size in (WINDOW_BYTES, FRAME_SPAN_BYTES_MAX):
                if match is not None:
                    break
                window, at = self.fs.read(fd, min(size, segment.size - self.offset), self.offset), 0
                match = find_commit_line(window, 0)
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
            self.gap = _misfit(line, self.link, self.hasher.of(window[at : hashed_end(match)]))
            if self.gap is not None:
                return
            offset, size = self.offset, match.end() - at
            self.link = Link(line.commit, line.last, line.hash, line.epoch, line.durable)
            self.offset += size
            yield RawFrame(line, window[at:middle], offset, self.offset)
            at = match.end()


def _no_frame(window: bytes) -> Gap:
    actual = f"{window[:60]!r}" if window else "the file became shorter while it was read"
    return Gap(check="frame", expected="a frame that ends with a whole commit line", actual=actual)


def _misfit(line: CommitLine, link: Link, actual_hash: str) -> Gap | None:
    """Return why a whole frame does not continue the chain, None if it does."""
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
    return None
