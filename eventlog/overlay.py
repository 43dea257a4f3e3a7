"""Owns looking at a log folder as if some of its files had other content: a repair is proven here before it is made."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import Read, Segment, opened_segment
from eventlog.fsport import FILE_MODE, FsPort

_FIRST_DESCRIPTOR: Final = 1 << 30  # no real one is as large


class Part(Struct, frozen=True, kw_only=True):
    """The raw bytes of a segment, in whatever form it has, from `start` up to `end`."""

    segment: Segment
    start: int
    end: int


class Spliced(Struct, frozen=True, kw_only=True):
    """A raw segment put together from parts that follow each other."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return self.parts[-1].end


Content = Path | Spliced | None  # of another file; made of segments; not there


@contextmanager
def opened_spliced(spliced: Spliced, *, fs: FsPort) -> Iterator[Read]:
    """Open all parts for reading as one. Raises LogCorruptError, while reading too, OSError."""
    with ExitStack() as stack:
        reads = [stack.enter_context(opened_segment(part.segment, fs=fs)) for part in spliced.parts]

        def read(size: int, offset: int) -> bytes:
            pieces = [
                each(min(offset + size, part.end) - max(offset, part.start), max(offset, part.start))
                for part, each in zip(spliced.parts, reads, strict=True)
                if offset < part.end and part.start < offset + size
            ]
            return b"".join(pieces)

        yield read


class Overlay:
    """A file system as it is, but for the names in one folder that were given other content. Nothing can be written."""

    def __init__(self, folder: Path, *, fs: FsPort) -> None:
        self._fs = fs
        self._folder = folder
        self._contents: dict[str, Content] = {}
        self._opened: dict[int, tuple[ExitStack, Read, int]] = {}
        self._next = _FIRST_DESCRIPTOR

    def put(self, name: str, content: Content) -> None:
        """Have a name in the folder lead to this content from now on."""
        self._contents[name] = content

    def open(self, path: Path, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            raise _read_only()
        content = self._content(path)
        if not isinstance(content, Spliced):
            return self._fs.open(content, flags)
        stack = ExitStack()
        read = stack.enter_context(opened_spliced(content, fs=self._fs))
        self._next += 1
        self._opened[self._next] = (stack, read, content.size)
        return self._next

    def close(self, fd: int) -> None:
        if fd in self._opened:
            self._opened.pop(fd)[0].close()
        else:
            self._fs.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return self._opened[fd][1](size, offset) if fd in self._opened else self._fs.read(fd, size, offset)

    def fstat(self, fd: int) -> os.stat_result:
        return _facts(self._opened[fd][2]) if fd in self._opened else self._fs.fstat(fd)

    def lstat(self, path: Path | str) -> os.stat_result:
        content = self._content(Path(path))
        return _facts(content.size) if isinstance(content, Spliced) else self._fs.lstat(content)

    def place(self, path: Path | str) -> tuple[int, int, int]:
        info = self.lstat(path)
        return info.st_dev, info.st_ino, info.st_size

    def names(self, folder: Path) -> list[str]:
        names = set(self._fs.names(folder))
        if folder == self._folder:
            names |= self._contents.keys()
            names -= {name for name, content in self._contents.items() if content is None}
        return sorted(names)

    def is_folder(self, path: Path) -> bool:
        return self._fs.is_folder(path)

    def flock(self, fd: int, operation: int) -> None:
        self._fs.flock(fd, operation)

    def forget(self, fd: int) -> None:
        if fd not in self._opened:
            self._fs.forget(fd)

    def space(self, folder: Path) -> tuple[int, int]:
        return self._fs.space(folder)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        raise _read_only()

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        raise _read_only()

    def truncate(self, fd: int, size: int) -> None:
        raise _read_only()

    def allocate(self, fd: int, size: int) -> None:
        raise _read_only()

    def sync_data(self, fd: int) -> None:
        raise _read_only()

    def sync(self, fd: int) -> None:
        raise _read_only()

    def make_folder(self, path: Path) -> None:
        raise _read_only()

    def rename(self, source: Path, target: Path) -> None:
        raise _read_only()

    def link(self, source: Path, target: Path) -> None:
        raise _read_only()

    def unlink(self, path: Path) -> None:
        raise _read_only()

    def _content(self, path: Path) -> Path | Spliced:
        if path.parent != self._folder or path.name not in self._contents:
            return path
        content = self._contents[path.name]
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return content


def _read_only() -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS))


def _facts(size: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | FILE_MODE, 0, 0, 1, 0, 0, size, 0, 0, 0))
