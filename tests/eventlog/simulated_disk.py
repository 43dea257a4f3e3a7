"""Owns the simulated disk: an FsPort in memory that forgets, tears, reorders and lies as real disks do.

What is written is in memory; what is synced is on the disk. A killed process leaves the memory as it is; a power cut
leaves, of what was not synced, whatever a seeded chance lets survive: nothing, a beginning, single sectors, a rename
before its data. A sync that fails drops what it should have written, as Linux does: the bytes are still read, no later
sync brings them to the disk. A crash inside a call is a BaseException, and nothing works after it before `restart`.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct

SECTOR_BYTES: Final = 512
ROOT: Final = Path("/dev/null/disk")  # cannot exist on a real file system: what misses the port fails at once
_ABOVE: Final = frozenset(map(str, ROOT.parents))
CHANGES: Final = frozenset(
    {"write", "truncate", "allocate", "sync_data", "sync", "make_folder", "rename", "link", "unlink"}
)
CALLS_MAX: Final = 1_000_000  # of one disk; more is a loop that does not end


class CrashError(BaseException):
    """The process ends here: no handler of the product may go on."""


class Fail(Struct, frozen=True):
    """The call fails with this errno. A sync that fails has lost what it was to write."""

    errno: int


class Crash(Struct, frozen=True):
    """The process ends instead of the call."""


class Lie(Struct, frozen=True):
    """A sync returns and has done nothing."""


class Short(Struct, frozen=True):
    """A write takes only so many bytes."""

    size: int


class Misdirect(Struct, frozen=True):
    """A write returns as if it had been done, and its bytes are at this offset of the file instead of where they go."""

    offset: int


Fault = Fail | Crash | Lie | Short | Misdirect


class _Bytes(Struct, frozen=True):
    """A change of a file: these bytes from `offset` on."""

    offset: int
    data: bytes


class _Size(Struct, frozen=True):
    """A change of a file: its size, or only that it is no smaller."""

    size: int
    cuts: bool = True


_numbers = itertools.count(1)


class _File:
    """A file: what is read (`memory`), what a power cut leaves for sure (`disk`), and what is between the two."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.memory = bytearray()
        self.disk = bytearray()
        self.pending: list[_Bytes | _Size] = []

    def change(self, change: _Bytes | _Size) -> None:
        _apply(self.memory, change)
        self.pending.append(change)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.disk, change)
        self.pending.clear()

    def fail_sync(self, chance: Random) -> None:
        """Bring some of it to the disk and forget the rest, which is still read."""
        for change in _survivors(self.pending, chance):
            _apply(self.disk, change)
        self.pending.clear()

    def power_cut(self, chance: Random) -> None:
        self.fail_sync(chance)
        self.memory = bytearray(self.disk)


class _Folder:
    """A folder: its entries as they are seen, as they are on the disk, and the changes between the two, in order."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.memory: dict[str, _Node] = {}
        self.disk: dict[str, _Node] = {}
        self.pending: list[dict[str, _Node | None]] = []

    def change(self, entries: dict[str, _Node | None]) -> None:
        """Change entries together: a rename is one change of two."""
        _set_entries(self.memory, entries)
        self.pending.append(entries)

    def sync(self) -> None:
        for entries in self.pending:
            _set_entries(self.disk, entries)
        self.pending.clear()

    def fail_sync(self, chance: Random) -> None:
        """Leave the changes to the next one: a journal that fails ends its file system, it does not forget."""

    def power_cut(self, chance: Random) -> None:
        for entries in _kept(self.pending, chance):
            _set_entries(self.disk, entries)
        self.pending.clear()
        self.memory = dict(self.disk)


_Node = _File | _Folder


class _Open:
    """An open file: its node, how it was opened, where it stands, and its lock (0 for none)."""

    def __init__(self, node: _Node, flags: int) -> None:
        self.node = node
        self.flags = flags
        self.position = 0
        self.lock = 0


class SimulatedDisk:
    """An FsPort over a disk in memory.

    `calls` is the record; `faults` says what happens at the n-th call, `change_faults` at the n-th of CHANGES, from 1,
    and `next_faults` at the next call of a name, once.
    """

    def __init__(self, chance: Random | None = None) -> None:
        self.calls: list[str] = []
        self._chance = chance or Random(0)
        self.changes = 0
        self.faults: dict[int, Fault] = {}
        self.change_faults: dict[int, Fault] = {}
        self.next_faults: dict[str, Fault] = {}
        self.met: list[tuple[str, Fault]] = []  # what has happened of them, and at which call
        self.free_bytes = 10**12
        self.crashed = False
        self._root = _Folder()
        self._open: dict[int, _Open] = {}
        self._next_fd = 1000

    # --- what tests do to it ---

    def power_cut(self) -> None:
        """Leave what was synced, and of the rest what chance lets survive; then the machine starts again."""
        for node in list(self._nodes()):  # before: a lost entry hides its node, a kept one shows it as it is then
            node.power_cut(self._chance)
        self.restart()

    def restart(self) -> None:
        """End the process that used the disk: its files are closed, its locks are gone, the memory stays."""
        self._open.clear()
        self.crashed = False

    def content(self, folder: Path) -> dict[str, bytes]:
        """Return every file under a folder, as it is read, by its path there."""
        found: dict[str, bytes] = {}
        for name, node in self._folder(folder).memory.items():
            if isinstance(node, _File):
                found[name] = bytes(node.memory)
            else:
                found |= {f"{name}/{inner}": data for inner, data in self.content(folder / name).items()}
        return found

    def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        self.faults.clear()
        self.change_faults.clear()
        self.next_faults.clear()
        self.met.clear()

    def put(self, path: Path, data: bytes) -> None:
        """Put a whole file on the disk, name and bytes."""
        file = _File()
        file.memory, file.disk = bytearray(data), bytearray(data)
        folder = self._folder(path.parent)
        folder.memory[path.name] = folder.disk[path.name] = file

    def next_call(self) -> int:
        """Return the number of the next call, for `faults`."""
        return len(self.calls) + 1

    # --- FsPort ---

    def open(self, path: Path, flags: int) -> int:
        self._step("open", path)
        node = self._find(path)
        if node is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            node = _File()
            self._folder(path.parent).change({path.name: node})
        elif flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        elif flags & os.O_DIRECTORY and isinstance(node, _File):
            raise _error(errno.ENOTDIR, path)
        elif flags & os.O_ACCMODE != os.O_RDONLY and isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        elif flags & os.O_TRUNC and isinstance(node, _File) and node.memory:
            node.change(_Size(0))
        self._next_fd += 1
        self._open[self._next_fd] = _Open(node, flags)
        return self._next_fd

    def close(self, fd: int) -> None:
        self._step("close")
        self._opened(fd)
        del self._open[fd]

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._step("read")
        file = self._file(fd, refused=os.O_WRONLY)
        return bytes(file.memory[offset : offset + size])

    def write(self, fd: int, data: bytes | memoryview) -> int:
        opened = self._opened(fd)
        taken = self.write_at(fd, data, opened.position)
        node = opened.node
        opened.position = (
            len(node.memory) if opened.flags & os.O_APPEND and isinstance(node, _File) else opened.position + taken
        )
        return taken

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at an offset; a file that is open for appending is appended to all the same, as Linux does."""
        fault = self._step("write")
        file, opened = self._file(fd, refused=os.O_RDONLY), self._opened(fd)
        taken = bytes(data[: fault.size] if isinstance(fault, Short) else data)
        offset = len(file.memory) if opened.flags & os.O_APPEND else offset
        if isinstance(fault, Misdirect):
            offset = fault.offset
        if taken:
            file.change(_Bytes(offset, taken))
        return len(taken)

    def truncate(self, fd: int, size: int) -> None:
        self._step("truncate")
        self._file(fd, refused=os.O_RDONLY).change(_Size(size))

    def allocate(self, fd: int, size: int) -> None:
        self._step("allocate")
        file = self._file(fd, refused=os.O_RDONLY)
        file.change(_Size(size, cuts=False))

    def sync_data(self, fd: int) -> None:
        self._sync("sync_data", fd)

    def sync(self, fd: int) -> None:
        self._sync("sync", fd)

    def forget(self, fd: int) -> None:
        self._step("forget")
        self._opened(fd)

    def flock(self, fd: int, operation: int) -> None:
        self._step("flock")
        asked = self._opened(fd)
        wanted = operation & (fcntl.LOCK_EX | fcntl.LOCK_SH)
        others = [each.lock for each in self._open.values() if each.node is asked.node and each is not asked]
        if (wanted == fcntl.LOCK_EX and any(others)) or (wanted == fcntl.LOCK_SH and fcntl.LOCK_EX in others):
            assert operation & fcntl.LOCK_NB, "nobody can wait in a simulation of one thread"
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        asked.lock = wanted

    def fstat(self, fd: int) -> os.stat_result:
        self._step("fstat")
        return _status(self._opened(fd).node)

    def lstat(self, path: Path | str) -> os.stat_result:
        """Return the status of a name; what is above ROOT is another device."""
        self._step("lstat", path)
        if os.fspath(path) in _ABOVE:
            return os.stat_result((stat.S_IFDIR, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        node = self._find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        return _status(node)

    def place(self, path: Path | str) -> tuple[int, int, int]:
        info = self.lstat(path)
        return info.st_dev, info.st_ino, info.st_size

    def is_folder(self, path: Path) -> bool:
        self._step("is_folder", path)
        return isinstance(self._find(path), _Folder)

    def names(self, folder: Path) -> list[str]:
        self._step("names", folder)
        return list(self._folder(folder).memory)

    def make_folder(self, path: Path) -> None:
        self._step("make_folder", path)
        node = self._find(path)
        if isinstance(node, _File):
            raise _error(errno.EEXIST, path)
        if node is None:
            self._folder(path.parent).change({path.name: _Folder()})

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", target)
        assert source.parent == target.parent, "the log renames inside a folder only"
        node = self._find(source)
        if node is None:
            raise _error(errno.ENOENT, source)
        if self._find(target) is not node:
            self._folder(target.parent).change({source.name: None, target.name: node})

    def link(self, source: Path, target: Path) -> None:
        self._step("link", target)
        node = self._find(source)
        if node is None:
            raise _error(errno.ENOENT, source)
        if self._find(target) is not None:
            raise _error(errno.EEXIST, target)
        self._folder(target.parent).change({target.name: node})

    def unlink(self, path: Path) -> None:
        self._step("unlink", path)
        node = self._find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        self._folder(path.parent).change({path.name: None})

    def space(self, folder: Path) -> tuple[int, int]:
        self._step("space", folder)
        return self.free_bytes, 10**12

    # --- inside ---

    def _step(self, call: str, path: Path | str = "") -> Fault | None:
        """Record a call and do what `faults` says of it; a fault that is the call's own matter is returned."""
        if self.crashed:
            raise CrashError(call)
        self.calls.append(f"{call} {os.fspath(path).rpartition('/')[2]}" if path else call)
        assert len(self.calls) < CALLS_MAX, "the log makes calls without end"
        fault = self.faults.get(len(self.calls))
        if call in CHANGES:
            self.changes += 1
            fault = fault or self.change_faults.get(self.changes)
        fault = fault or self.next_faults.pop(call, None)
        if fault is not None:
            self.met.append((call, fault))
        if isinstance(fault, Crash):
            self.crashed = True
            raise CrashError(self.calls[-1])
        if isinstance(fault, Fail):
            raise _error(fault.errno, path or call)
        return fault

    def _sync(self, call: str, fd: int) -> None:
        node = self._opened(fd).node
        try:
            fault = self._step(call)
        except OSError:
            node.fail_sync(self._chance)
            raise
        if not isinstance(fault, Lie):
            node.sync()

    def _opened(self, fd: int) -> _Open:
        if self.crashed:
            raise CrashError
        if fd not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[fd]

    def _file(self, fd: int, *, refused: int) -> _File:
        opened = self._opened(fd)
        if opened.flags & os.O_ACCMODE == refused or isinstance(opened.node, _Folder):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return opened.node

    def _find(self, path: Path | str) -> _Node | None:
        node: _Node | None = self._root
        _, _, below = os.fspath(path).partition(f"{ROOT}")
        for name in below.split("/")[1:]:
            if isinstance(node, _File):
                raise _error(errno.ENOTDIR, path)
            node = None if node is None else node.memory.get(name)
        return node

    def _folder(self, path: Path) -> _Folder:
        node = self._find(path)
        if not isinstance(node, _Folder):
            raise _error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        return node

    def _nodes(self) -> Iterator[_Node]:
        """Yield every node that is seen, on the disk or between the two, once."""
        waiting: deque[_Node] = deque([self._root])
        seen: set[int] = set()
        while waiting:  # ends: a node is looked into once
            node = waiting.popleft()
            if node.number in seen:
                continue
            seen.add(node.number)
            if isinstance(node, _Folder):
                changed = [entry for entries in node.pending for entry in entries.values() if entry is not None]
                waiting += [*node.memory.values(), *node.disk.values(), *changed]
            yield node


def _status(node: _Node) -> os.stat_result:
    kind, size = (stat.S_IFREG | 0o600, len(node.memory)) if isinstance(node, _File) else (stat.S_IFDIR | 0o700, 0)
    return os.stat_result((kind, node.number, 1, 1, 0, 0, size, 0, 0, 0))


def _error(number: int, what: Path | str) -> OSError:
    return OSError(number, os.strerror(number), str(what))


def _apply(data: bytearray, change: _Bytes | _Size) -> None:
    if isinstance(change, _Size):
        if change.cuts:
            del data[change.size :]
        data.extend(bytes(max(0, change.size - len(data))))
        return
    data.extend(bytes(max(0, change.offset - len(data))))
    data[change.offset : change.offset + len(change.data)] = change.data


def _set_entries(folder: dict[str, _Node], entries: dict[str, _Node | None]) -> None:
    for name, node in entries.items():
        if node is None:
            folder.pop(name, None)
        else:
            folder[name] = node


def _kept(changes: list[dict[str, _Node | None]], chance: Random) -> list[dict[str, _Node | None]]:
    """Choose the changes that survive: none, all, the first few, or any: no file system keeps their order for us."""
    match chance.randrange(4):
        case 0:
            return []
        case 1:
            return changes
        case 2:
            return changes[: chance.randint(0, len(changes))]
        case _:
            return [change for change in changes if chance.random() < 0.5]


def _survivors(changes: list[_Bytes | _Size], chance: Random) -> list[_Bytes | _Size]:
    """Choose what survives of a file's changes: nothing, all, a beginning that ends at a sector, or any sectors.

    The size is kept apart from the bytes: it may survive them, and zeros stand in their place then.
    """
    pieces = [piece for change in changes for piece in _sectors(change)]
    match chance.randrange(4):
        case 0:
            kept: list[_Bytes | _Size] = []
        case 1:
            kept = pieces
        case 2:
            kept = pieces[: chance.randint(0, len(pieces))]
        case _:
            kept = [piece for piece in pieces if chance.random() < 0.5]
    ends = [piece.offset + len(piece.data) for piece in pieces if isinstance(piece, _Bytes)]
    if ends and len(kept) < len(pieces) and chance.random() < 0.25:
        return [*kept, _Size(max(ends), cuts=False)]
    return kept


def _sectors(change: _Bytes | _Size) -> Iterator[_Bytes | _Size]:
    """Cut a write where the disk may: at multiples of a sector of the file."""
    if isinstance(change, _Size):
        yield change
        return
    at, end = change.offset, change.offset + len(change.data)
    while at < end:  # every round goes forward to the next sector
        stop = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield _Bytes(at, change.data[at - change.offset : stop - change.offset])
        at = stop
