"""Owns the faults that are put into the log on purpose: a simulation that finds none of them proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from eventlog.chain import ChainScan
from eventlog.files import created, sync_folder, temporary, write_all
from eventlog.frames import RawFrame
from eventlog.fsport import FsPort
from eventlog.log import Log

Mutant = Callable[[], AbstractContextManager[Any]]


def _write_only(log: Log, data: bytes) -> None:
    if log._is_full(len(data)):
        log._rotate()
    log._write(data)


def _sync_first(log: Log, data: bytes) -> None:
    log._fs.sync_data(log._fd)
    _write_only(log, data)


def _write_once(fd: int, data: bytes, offset: int, *, fs: FsPort) -> None:
    fs.write_at(fd, data, offset)


def _rename_first(path: Path, data: bytes, *, fs: FsPort) -> None:
    beside = temporary(path)
    with created(beside, fs=fs) as fd:
        write_all(fd, data, fs=fs)
        fs.rename(beside, path)
        sync_folder(path.parent, fs=fs)
        fs.sync(fd)


def _create_without_folder(path: Path, *, fs: FsPort) -> int:
    fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    fs.sync(fd)
    return fd


def _cut_in_place(_folder: Path, scan: ChainScan) -> None:
    fd = scan.fs.open(scan.segment.path, os.O_RDWR)
    scan.fs.truncate(fd, scan.offset)
    scan.fs.sync(fd)
    scan.fs.close(fd)


def _all_frames(_folder: Path, scan: ChainScan, *_: object, **__: object) -> Iterator[RawFrame]:
    yield from scan.frames()


def _nothing(*_: object, **__: object) -> None:
    """Do nothing where something must be done."""


def _no_note(*_: object, **__: object) -> str:
    return ""


def _fault(target: str, replacement: object) -> Mutant:
    return lambda: patch(target, replacement)


MUTANTS: Final[dict[str, Mutant]] = {
    "acknowledge without a sync": _fault("eventlog.log.Log._write_and_sync", _write_only),
    "acknowledge before the sync": _fault("eventlog.log.Log._write_and_sync", _sync_first),
    "take a short write for a whole one": _fault("eventlog.log.write_all_at", _write_once),
    "rename before the fsync": _fault("eventlog.sealed.write_durably", _rename_first),
    "create a segment without its folder": _fault("eventlog.log.create_durably", _create_without_folder),
    "create a log without the folders above": _fault("eventlog.log.sync_ancestors", _nothing),
    "believe the memory when opening": _fault("eventlog.recovery.sync_file", _nothing),
    "believe the memory after a failed sync": _fault("eventlog.recovery.exists", _nothing),
    "tell nobody of a failed sync": _fault("eventlog.log.leave_poison", _no_note),
    "cut a torn end in place": _fault("eventlog.recovery._copy_forward", _cut_in_place),
    "append behind the mark of a clean close": _fault("eventlog.log.remove_durably", _nothing),
    "show what is not known to be durable": _fault("eventlog.reader._durable_frames", _all_frames),
}
