"""Every system call of a backup and of a repair, made to fail or to be the last one, in a real process.

Whatever is injected: the log that is copied keeps every byte, the next backup completes the copy; a repair that was
interrupted has lost nothing that was there, and the next one mends the log.
"""

from __future__ import annotations

import collections
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from eventlog.chain import list_segments
from eventlog.reader import read_frames
from eventlog.repair_note import REPAIRED_NAME
from tests.eventlog.support import draft, event, flip_bit
from tests.eventlog.test_backup import backed_up, contents
from tests.eventlog.test_faults import FAULTS
from tests.eventlog.test_processes import command, run
from tests.eventlog.test_repair import Case
from tests.eventlog.test_sealed_log import seal, written
from tests.strace import traced

CALLS: Final = (
    "write", "pwrite64", "fsync", "rename", "unlink", "link", "linkat", "openat", "pread64", "mkdir", "ftruncate",
)  # fmt: skip
FILES: Final = ("GENESIS.json", "CLOSED", "LOCK", REPAIRED_NAME)


def touched(*folders: Path) -> Iterator[Path]:
    """Yield what a process may touch of logs: the folders, their files, and those that are written beside them."""
    firsts = {segment.first for folder in folders for segment in list_segments(folder)}
    names = [f"{first:020d}{end}" for first in firsts for end in (".ndjson", ".ndjson.zst", ".seal")]
    for folder in folders:
        yield from (folder, folder / "quarantine")
        for name in (*FILES, *names):
            yield from (folder / name, folder / f"{name}.tmp")


def faulty(mode: str, folder: Path, other: Path, *options: str) -> tuple[int, str, str]:
    """Let a process work under strace; only calls that touch the logs count."""
    only = [part for path in touched(folder, other) for part in ("-P", str(path))]
    result = run(traced(command(mode, folder, str(other)), *only, *options))
    return result.returncode, result.stdout, result.stderr


def counted(mode: str, folder: Path, other: Path, trace: Path) -> dict[str, int]:
    """Return how often each call is made when nothing fails."""
    code, told, complaints = faulty(mode, folder, other, "-e", f"trace={','.join(CALLS)}", "-o", str(trace))
    assert (code, told) == (0, "DONE\n"), complaints
    return dict(collections.Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(), re.MULTILINE)))


def injected(mode: str, folder: Path, other: Path, call: str, fault: str, when: int) -> str:
    """Inject one fault; return what to say of it where something is wrong afterwards."""
    inject = f"inject={call}:{fault}:when={when}"
    code, told, complaints = faulty(mode, folder, other, "-e", f"trace={call}", "-e", inject, "-o", "/dev/null")
    where = f"{call} {fault} {when}: {complaints[-400:]}"
    assert code == -signal.SIGKILL if "KILL" in fault else code in (0, 1), where
    assert (code == 0) == ("DONE" in told), where
    return where


# --- backup ----------------------------------------------------------------------------------------------------------


class Copied(Struct, frozen=True):
    """A log of which all but the last segment are sealed, and an older copy that holds less, all of it raw."""

    folder: Path
    older: Path


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Copied:
    root = tmp_path_factory.mktemp("grown")
    log = written(root / "log", frames=6)
    backed_up(root / "log", root / "older")
    for number in range(8):
        log.commit([draft(event(number, "why " * 30))])
    log.close()
    seal(root / "log")
    return Copied(root / "log", root / "older")


def backup_with_a_fault(grown: Copied, target: Path, call: str, fault: str, when: int) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(grown.older, target)
    before = contents(grown.folder)
    where = injected("backup", grown.folder, target, call, fault, when)
    assert contents(grown.folder) == before, where
    backed_up(grown.folder, target)
    assert list(read_frames(target)) == list(read_frames(grown.folder)), where
    assert not list(target.glob("*.tmp")), where


QUICK_BACKUP = [
    ("write", "error=ENOSPC", 2),
    ("fsync", "error=EIO", 2),
    ("fsync", "signal=KILL", 3),
    ("rename", "signal=KILL", 2),
    ("rename", "error=EIO", 3),
    ("unlink", "signal=KILL", 1),
    ("pread64", "error=EIO", 9),
]


@pytest.mark.parametrize(("call", "fault", "when"), QUICK_BACKUP)
def test_01_02_11_a_fault_in_a_backup_leaves_what_the_next_one_completes(
    tmp_path: Path, grown: Copied, call: str, fault: str, when: int
) -> None:
    backup_with_a_fault(grown, tmp_path / "copy", call, fault, when)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_01_02_11_a_fault_at_any_system_call_of_a_backup_leaves_what_the_next_one_completes(
    tmp_path: Path, grown: Copied
) -> None:
    shutil.copytree(grown.older, tmp_path / "copy")
    counts = counted("backup", grown.folder, tmp_path / "copy", tmp_path / "trace")
    assert {"write", "fsync", "rename", "unlink", "openat", "pread64"} <= counts.keys()
    for call, times in counts.items():
        for when in range(1, times + 1):
            for fault in FAULTS:
                backup_with_a_fault(grown, tmp_path / "copy", call, fault, when)


# --- repair ----------------------------------------------------------------------------------------------------------


class Damaged:
    """A log with two damaged places, its copy that covers both, and the log as it was found."""

    def __init__(self, root: Path, *, sealed: bool) -> None:
        self.case = Case(root, sealed=sealed, frames=12)
        self.found = root / "found"
        first, second = self.case.firsts[:2]
        if sealed:
            flip_bit(self.case.folder / f"{first:020d}.ndjson.zst", byte=100, bit=1)
            (self.case.folder / f"{second:020d}.seal").unlink()
        else:
            flip_bit(self.case.path(0), byte=700, bit=1)
            self.case.path(1).unlink()
        shutil.copytree(self.case.folder, self.found)

    def repair_with_a_fault(self, call: str, fault: str, when: int) -> None:
        case, there = self.case, {path.read_bytes() for path in self.found.glob("0*")}
        where = injected("repair", case.folder, case.copy, call, fault, when)
        kept = {path.read_bytes() for path in (case.folder / "quarantine").glob("*")}
        here = {path.read_bytes() for path in case.folder.glob("0*")}
        assert there <= kept | here, f"what was there is there under one name or the other: {where}"
        found = case.require_mended()
        assert len(found) == len({each.segment for each in found}) > 0, f"each file is told of once: {where}"
        shutil.rmtree(case.folder)
        shutil.copytree(self.found, case.folder)


QUICK_REPAIR = [
    ("write", "error=ENOSPC", 1),
    ("fsync", "error=EIO", 2),
    ("fsync", "signal=KILL", 4),
    ("rename", "signal=KILL", 1),
    ("rename", "signal=KILL", 2),
    ("rename", "error=EIO", 2),
    ("pread64", "error=EIO", 20),
]


@pytest.mark.parametrize(("call", "fault", "when"), QUICK_REPAIR)
def test_01_02_11_a_fault_in_a_repair_leaves_what_the_next_one_completes(
    tmp_path: Path, call: str, fault: str, when: int
) -> None:
    Damaged(tmp_path, sealed=False).repair_with_a_fault(call, fault, when)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("sealed", [False, True], ids=["raw", "sealed"])
def test_01_02_11_a_fault_at_any_system_call_of_a_repair_leaves_what_the_next_one_completes(
    tmp_path: Path, sealed: bool
) -> None:
    damaged = Damaged(tmp_path, sealed=sealed)
    case = damaged.case
    counts = counted("repair", case.folder, case.copy, tmp_path / "trace")
    assert {"write", "fsync", "rename", "openat", "pread64"} <= counts.keys()
    shutil.rmtree(case.folder)
    shutil.copytree(damaged.found, case.folder)
    for call, times in counts.items():
        for when in range(1, times + 1):
            for fault in FAULTS:
                damaged.repair_with_a_fault(call, fault, when)
