"""Owns the reading of evidence from disk: which files are there, what their bytes hash to, and what could not be read.

Records nothing and decides nothing; every name that the walk meets comes out as one of three values, so that what was
not read is as visible as what was. Names are bytes until they become PathText.

Cost: both hashes of one read go at 1.1 GB/s from the page cache, bound by SHA-256 (1.7 GB/s alone). A second thread for
it gained nothing at 1 MiB a read and a quarter at 4 MiB, at the price of a core that the guests can use.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import blake3
from msgspec import Struct

from eventlog.events import RefusedFile, SeenFile
from eventlog.ids import PathText, Sha256, SourceHash, path_text

READ_BYTES: Final = 1024 * 1024
BATCH_COUNT_MAX: Final = 1000
BATCH_BYTES_MAX: Final = 256 * 1024

# O_NONBLOCK: a FIFO that took the file's place cannot hang the scan; it changes nothing for a regular file.
OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

Opener = Callable[[bytes, int], int]
Stop = Callable[[], bool]
T = TypeVar("T")


class PassedOver(Struct, frozen=True, kw_only=True):
    """A name inside a scanned folder that the parser's patterns do not claim; it was not opened."""

    path: PathText


Found = SeenFile | RefusedFile | PassedOver


def scan(
    inputs: Sequence[bytes],
    *,
    patterns: Sequence[str],
    stop: Stop = lambda: False,
    opener: Opener = os.open,
) -> Iterator[Found]:
    """Yield what the inputs, files or folders, hold: every path once, in an order that depends on the names alone.

    Inputs are taken in their order, made absolute without resolving symbolic links; one that is itself a link is
    followed. A folder is walked depth first, names in byte order, links never followed. `patterns` are globs that a
    name inside a folder has to match, upper and lower case being equal; none claim everything, and a file that is named
    as an input is always taken. An input that lies inside another one is reported at its own place only.

    Nothing that cannot be read ends the walk: it comes out as a RefusedFile whose reason continues the sentence "the
    path ...". `stop` is asked before each name and each read; once it answers True the iteration ends.
    """
    walker = _Walker(
        roots=dict.fromkeys(absolute(name) for name in inputs), patterns=patterns, stop=stop, opener=opener
    )
    for root in walker.roots:
        yield from walker.input(root)


def claimed(inputs: Sequence[bytes], *, patterns: Sequence[str]) -> list[bytes]:
    """Return the regular files that `scan` would read, in its order, without opening one."""
    walker = _Lister(
        roots=dict.fromkeys(absolute(name) for name in inputs), patterns=patterns, stop=lambda: False, opener=os.open
    )
    for root in walker.roots:
        for _refused_or_passed in walker.input(root):
            pass  # the run itself tells of them
    return walker.files


def passed_over(inputs: Sequence[bytes], *, patterns: Sequence[str]) -> Iterator[PassedOver]:
    """Yield the names that `scan` would pass over, in its order, without opening a file."""
    walker = _Lister(
        roots=dict.fromkeys(absolute(name) for name in inputs), patterns=patterns, stop=lambda: False, opener=os.open
    )
    for root in walker.roots:
        yield from (found for found in walker.input(root) if isinstance(found, PassedOver))


def batches(
    items: Iterable[T],
    *,
    size_of: Callable[[T], int],
    count_max: int = BATCH_COUNT_MAX,
    bytes_max: int = BATCH_BYTES_MAX,
) -> Iterator[list[T]]:
    """Yield the items in order, in lists of at most `count_max` whose sizes add up to at most `bytes_max` bytes.

    No list is empty; an item that is larger than `bytes_max` by itself travels alone.
    """
    assert count_max > 0, "a batch holds at least one item"
    batch: list[T] = []
    size = 0
    for item in items:
        size_item = size_of(item)
        if batch and (len(batch) == count_max or size + size_item > bytes_max):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += size_item
    if batch:
        yield batch


def absolute(name: bytes) -> bytes:
    """Return the absolute path of a name, no link of it resolved; an empty name stays one."""
    if not name:
        return name  # not the working folder, as abspath would have it: nobody asked for that
    # POSIX lets two leading slashes mean something else; here they would make two paths of one file.
    return re.sub(rb"\A//+", b"/", os.path.abspath(name))  # noqa: PTH100  pathlib has no bytes


def _claims(patterns: Sequence[str]) -> Callable[[bytes], bool]:
    """Return whether a name is claimed. A byte that is not UTF-8 matches `*` and `?` like any character."""
    if not patterns:
        return lambda _name: True
    matcher = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns), re.IGNORECASE)
    return lambda name: matcher.match(name.decode("utf-8", "surrogateescape")) is not None


class _Listing(NamedTuple):
    """The entries of a folder in byte order, and the report if not all could be had."""

    entries: list[os.DirEntry[bytes]]
    refused: list[RefusedFile]


class _Walker:
    def __init__(self, *, roots: dict[bytes, None], patterns: Sequence[str], stop: Stop, opener: Opener) -> None:
        self.roots = roots
        self._claims = _claims(patterns)
        self._stop = stop
        self._opener = opener

    def input(self, path: bytes) -> Iterator[Found]:
        """Yield what one input holds; the input itself may be a link."""
        if self._stop():
            return
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116  pathlib has no bytes
        except (OSError, ValueError) as error:
            yield _refused(path, _missing(path, error))
            return
        if stat.S_ISDIR(mode):
            yield from self._folder(path)
        else:
            yield from self._file(path, flags=OPEN_FLAGS)

    def _folder(self, root: bytes) -> Iterator[Found]:
        """Walk a folder. The depth is bounded by the longest path that the system opens (PATH_MAX, 4,096 bytes)."""
        listing = _list(root)
        yield from listing.refused
        stack = [iter(listing.entries)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif self._stop():
                return
            elif entry.path in self.roots:
                continue  # an input of its own, reported there
            elif _is_folder(entry):
                listing = _list(entry.path)
                yield from listing.refused
                stack.append(iter(listing.entries))
            else:
                yield from self._entry(entry)

    def _entry(self, entry: os.DirEntry[bytes]) -> Iterator[Found]:
        if not self._claims(entry.name):
            yield PassedOver(path=path_text(entry.path))
            return
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError as error:
            yield _refused(entry.path, f"cannot be examined: {_words(error)}")
            return
        if stat.S_ISREG(mode):
            yield from self._file(entry.path, flags=OPEN_FLAGS | os.O_NOFOLLOW)
        else:
            # Devices are not even opened: that alone can have effects.
            yield _refused(entry.path, _not_regular(mode))

    def _file(self, path: bytes, *, flags: int) -> Iterator[Found]:
        """Read one file; yields nothing if told to stop meanwhile."""
        try:
            file = self._opener(path, flags)
        except OSError as error:
            reason = _not_regular(stat.S_IFLNK) if error.errno == errno.ELOOP else f"cannot be opened: {_words(error)}"
            yield _refused(path, reason)
            return
        try:
            found = _read(file, path, self._stop)
        except OSError as error:
            found = _refused(path, f"cannot be read to its end: {_words(error)}")
        finally:
            os.close(file)
        if found is not None:
            yield found


class _Lister(_Walker):
    """Walks without reading: the files that are claimed are gathered instead."""

    def __init__(self, *, roots: dict[bytes, None], patterns: Sequence[str], stop: Stop, opener: Opener) -> None:
        super().__init__(roots=roots, patterns=patterns, stop=stop, opener=opener)
        self.files: list[bytes] = []

    def _file(self, path: bytes, *, flags: int) -> Iterator[Found]:
        if os.path.isfile(path):  # noqa: PTH113  pathlib has no bytes
            self.files.append(path)
        return iter(())


def _read(file: int, path: bytes, stop: Stop) -> SeenFile | RefusedFile | None:
    """Hash an open file; None if told to stop. Reads at most one block past the size it had when it was opened.

    Never mapped into memory: a file that shrinks under a mapping kills the process with SIGBUS.
    """
    before = os.fstat(file)
    if not stat.S_ISREG(before.st_mode):
        return _refused(path, _not_regular(before.st_mode))
    block = memoryview(bytearray(min(READ_BYTES, before.st_size + 1)))
    blake, sha = blake3.blake3(), hashlib.sha256()
    size = 0
    while size <= before.st_size:
        if stop():
            return None
        count = os.readv(file, [block])
        if count == 0:
            break
        blake.update(block[:count])
        sha.update(block[:count])
        size += count
    after = os.fstat(file)
    if (size, before.st_size, before.st_mtime_ns) != (after.st_size, after.st_size, after.st_mtime_ns):
        return _refused(path, "changed while it was being read; run again when nothing writes to it")
    return SeenFile(
        path=path_text(path),
        size=size,
        mtime_ns=before.st_mtime_ns,
        file_uid=f"unix:{before.st_dev}:{before.st_ino}",
        source_hash=SourceHash(blake.hexdigest()),
        sha256=Sha256(sha.hexdigest()),
    )


def _list(folder: bytes) -> _Listing:
    entries: list[os.DirEntry[bytes]] = []
    refused: list[RefusedFile] = []
    try:
        with os.scandir(folder) as names:
            for entry in names:  # one by one, so that what came before an error is kept
                entries.append(entry)
    except OSError as error:
        refused.append(_refused(folder, f"cannot be listed{' to its end' if entries else ''}: {_words(error)}"))
    entries.sort(key=lambda entry: entry.name)
    return _Listing(entries, refused)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # its status cannot be read; _entry says so


def _refused(path: bytes, reason: str) -> RefusedFile:
    return RefusedFile(path=path_text(path), reason=reason)


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _missing(path: bytes, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "holds a zero byte, which no path can"
    if not isinstance(error, FileNotFoundError):
        return f"cannot be examined: {_words(error)}"
    return "is a symbolic link to something that does not exist" if os.path.islink(path) else "does not exist"  # noqa: PTH114


def _not_regular(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is a symbolic link; not followed"
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
    }
    return f"is {kinds.get(stat.S_IFMT(mode), 'of an unknown kind')}; only regular files are read"
