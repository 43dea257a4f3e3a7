"""Every system call that changes the log, made to fail or to be the last one, in one life of a real process.

The life is a recovery of a torn log, two commits and a clean close, in one segment or with a new one for each frame.
Whatever is injected: what was acknowledged is there after the next opening, nothing is there half, the verdict is
right, and so is the exit code.
"""

from __future__ import annotations

import collections
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog.log import AHEAD_BYTES, AHEAD_PIECE_BYTES, EXIT_STORAGE, SEGMENT_BYTES
from eventlog.verify import verify
from tests.eventlog.support import SEGMENT, append, crash_image, open_log, small_log
from tests.eventlog.test_processes import acked, command, run
from tests.strace import traced

CALLS = (
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
    "openat",
    "link",
    "linkat",
    "ftruncate",
    "mkdir",
)
FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")
SEGMENTS = tuple(f"{first:020d}.ndjson" for first in (1, 5, 7, 9, 11))  # of a life that rotates at each frame
FILES = ("LOCK", "GENESIS.json", "CLOSED", "CLOSED.tmp", "POISON", "BALLAST", "BALLAST.tmp", f"{SEGMENT}.tmp")
NAMES = (*FILES, *SEGMENTS)
ROTATING = 1  # bytes of a segment: each frame but the close's mark begins a new one
WHOLE_SEQS = [1, 2, 3, 4]  # of the log before its end was torn
OPENED_FRAME_SEQS = [5, 6]  # LogRecovered and WriterOpened
COMMITTED = [[7, 8], [9, 10]]


def torn_log(folder: Path) -> Path:
    """Make a log that a crash left with a torn end."""
    small_log(folder)
    append(folder / SEGMENT, b'{"seq":5,"type":"RunInt')
    return folder


def live(folder: Path, *options: str, segment_bytes: int) -> tuple[int, str, str]:
    """Let a process live on the log under strace; only calls that touch the log count."""
    paths = [folder, folder / "quarantine", *(folder / name for name in NAMES)]
    only = [part for path in paths for part in ("-P", str(path))]
    result = run(traced(command("life", folder, str(segment_bytes)), *only, *options))
    return result.returncode, result.stdout, result.stderr


def injected(folder: Path, call: str, fault: str, when: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
    """Inject one fault and prove that nothing that was acknowledged suffers."""
    inject = f"inject={call}:{fault}:when={when}"
    trace = folder.with_suffix(".trace")
    options = ("-y", "-e", f"trace={call}", "-e", inject, "-o", str(trace))
    code, told, complaints = live(folder, *options, segment_bytes=segment_bytes)
    where = f"{call} {fault} {when}: {complaints[-400:]}"
    if "KILL" in fault:
        assert code == -signal.SIGKILL, where
    else:
        assert code in (0, 1, EXIT_STORAGE), where
        assert (code == 0) == ("CLOSED" in told), where
        if call in ("pwrite64", "fdatasync") and _of_a_batch(trace):
            assert code == EXIT_STORAGE, where
    assert verify(folder).verdict in ("OK", "TORN"), where
    _whole_after_opening(folder, acked(told), opened="OPEN" in told, where=where)


def _of_a_batch(trace: Path) -> bool:
    """Return whether the call that failed was that of a batch (strace -y names files), not of the zeros behind it."""
    lines = [line for line in trace.read_text().splitlines() if "(INJECTED)" in line]
    return any(re.search(r"\(\d+<[^>]*/[0-9]{20}\.ndjson>(?!, \"\\0)", line) for line in lines)


def _whole_after_opening(folder: Path, acks: list[int], *, opened: bool, where: str) -> None:
    log = open_log(folder)
    batches: list[list[int]] = [
        [record.seq for record in frame.records] for frame in log.replay() if frame.epoch < log.epoch
    ]
    log.close()
    assert verify(folder).verdict == "OK", where
    seqs = [seq for batch in batches for seq in batch]
    wanted = [*WHOLE_SEQS, *(OPENED_FRAME_SEQS if opened else []), *(seq for ack in acks for seq in (ack - 1, ack))]
    assert seqs[: len(wanted)] == wanted, where
    assert seqs == list(range(1, len(seqs) + 1)), where
    assert [batch for batch in batches if batch and batch[0] > OPENED_FRAME_SEQS[-1]] == COMMITTED[: _whole(seqs)], (
        where
    )


def _whole(seqs: list[int]) -> int:
    return (len(seqs) - len(WHOLE_SEQS) - len(OPENED_FRAME_SEQS)) // 2 if len(seqs) > len(WHOLE_SEQS) else 0


@pytest.fixture(scope="module", params=[SEGMENT_BYTES, ROTATING], ids=["one segment", "a segment for each frame"])
def segment_bytes(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, segment_bytes: int) -> dict[str, int]:
    """Return how often each call is made in one undisturbed life."""
    folder = torn_log(tmp_path_factory.mktemp("counted") / "log")
    trace = folder.with_suffix(".trace")
    options = ("-e", f"trace={','.join(CALLS)}", "-o", str(trace))
    code, told, complaints = live(folder, *options, segment_bytes=segment_bytes)
    assert code == 0, complaints
    assert acked(told) == [8, 10]
    names = re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(), re.MULTILINE)
    counts = dict(collections.Counter(names))
    assert counts["fdatasync"] == 4, "the epoch, two commits, the mark of the close"
    assert {"write", "pwrite64", "fsync", "rename", "unlink", "openat"} <= counts.keys()
    return counts


def cases(counted: dict[str, int]) -> Iterator[tuple[str, str, int]]:
    for call, times in counted.items():
        for when in range(1, times + 1):
            for fault in FAULTS:
                yield call, fault, when


# One of each kind where it hurts most: the epoch's and a commit's batch, the copy forward, the close.
# The first pwrite64 is the epoch's batch, then come the zeros in pieces, then the commits and the close's mark.
ZEROS = AHEAD_BYTES // AHEAD_PIECE_BYTES
QUICK = [
    ("fdatasync", "error=EIO", 1),
    ("fdatasync", "signal=KILL", 2),
    ("fdatasync", "error=ENOSPC", 3),
    ("fdatasync", "error=EIO", 4),
    ("write", "error=ENOSPC", 2),
    ("pwrite64", "signal=KILL", 2),
    ("pwrite64", "error=ENOSPC", 3),
    ("pwrite64", "error=EIO", 3),
    ("pwrite64", "error=ENOSPC", ZEROS + 2),
    ("pwrite64", "signal=KILL", ZEROS + 2),
    ("pwrite64", "error=EIO", ZEROS + 3),
    ("ftruncate", "error=EIO", 2),
    ("ftruncate", "signal=KILL", 2),
    ("fsync", "error=EIO", 4),
    ("rename", "signal=KILL", 1),
    ("rename", "error=EIO", 2),
    ("unlink", "error=EIO", 1),
    ("openat", "error=EIO", 6),
]


@pytest.mark.parametrize(("call", "fault", "when"), QUICK)
def test_01_02_11_a_fault_loses_nothing_that_was_acknowledged(tmp_path: Path, call: str, fault: str, when: int) -> None:
    injected(torn_log(tmp_path / "log"), call, fault, when)


# The segment of the epoch, then that of the first commit: creation, its fsync, its folder's, the first write and sync.
QUICK_ROTATING = [
    ("openat", "error=ENOSPC", 20),
    ("fsync", "signal=KILL", 8),
    ("fsync", "error=EIO", 9),
    ("openat", "error=EIO", 24),
    ("fsync", "error=ENOSPC", 12),
    ("fsync", "signal=KILL", 13),
    ("pwrite64", "error=ENOSPC", 2),
    ("fdatasync", "error=EIO", 2),
]


@pytest.mark.parametrize(("call", "fault", "when"), QUICK_ROTATING)
def test_01_02_11_a_fault_while_the_log_rotates_loses_nothing_that_was_acknowledged(
    tmp_path: Path, call: str, fault: str, when: int
) -> None:
    injected(torn_log(tmp_path / "log"), call, fault, when, segment_bytes=ROTATING)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_01_02_11_any_fault_at_any_call_loses_nothing_that_was_acknowledged(
    tmp_path: Path, counted: dict[str, int], segment_bytes: int
) -> None:
    whole = torn_log(tmp_path / "whole")
    for call, fault, when in cases(counted):
        injected(crash_image(whole, tmp_path / "log"), call, fault, when, segment_bytes=segment_bytes)
