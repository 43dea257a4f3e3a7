"""Every system call of sealing, made to fail or to be the last one, in a real process: no record is ever away."""

from __future__ import annotations

import collections
import re
import signal
from pathlib import Path
from typing import Final

import pytest

from eventlog.chain import list_segments
from eventlog.frames import Frame
from eventlog.lineage import alone
from eventlog.log import Log
from eventlog.reader import read_frames
from eventlog.sealing import seal_full_segments
from eventlog.verify import verify
from tests.eventlog.support import LOG_ID, crash_image, draft, event, fixed_clock, genesis_hash, stop
from tests.eventlog.test_faults import FAULTS
from tests.eventlog.test_processes import command, run
from tests.strace import traced

ENDS: Final = (".ndjson", ".ndjson.zst", ".ndjson.zst.tmp", ".seal", ".seal.tmp")
CALLS: Final = ("write", "fsync", "rename", "unlink", "openat", "pread64")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log of three segments, of which two are full."""
    folder = tmp_path_factory.mktemp("closed") / "log"
    log = Log.open(
        folder, clock=fixed_clock, new_log_id=lambda: LOG_ID, version="0.0.test", purpose="test", die=stop,
        ballast_bytes=0, segment_bytes=1500,
    )  # fmt: skip
    while log.full_segments < 2:
        log.commit([draft(event(log.head.seq, "why " * 20))])
    log.close()
    return folder


def sealing(folder: Path, *options: str) -> tuple[int, str, str]:
    names = [f"{segment.first:020d}" for segment in list_segments(folder)]
    files = [
        folder / f"{name}{end}"
        for name in names
        for end in (".ndjson", ".ndjson.zst", ".ndjson.zst.tmp", ".seal", ".seal.tmp")
    ]
    only = [part for path in (folder, *files) for part in ("-P", str(path))]
    result = run(traced(command("seal", folder), *only, *options))
    return result.returncode, result.stdout, result.stderr


def injected(folder: Path, frames: list[Frame], call: str, fault: str, when: int) -> None:
    """Inject one fault and prove that the log is what it was, and that sealing again ends what was begun."""
    inject = f"inject={call}:{fault}:when={when}"
    code, told, complaints = sealing(folder, "-e", f"trace={call}", "-e", inject, "-o", "/dev/null")
    where = f"{call} {fault} {when}: {complaints[-400:]}"
    assert code == -signal.SIGKILL if "KILL" in fault else code in (0, 1), where
    assert (code == 0) == ("SEALED 2" in told), where
    assert verify(folder).verdict == "OK", where
    assert list(read_frames(folder)) == frames, where
    seal_full_segments(folder, lineage=alone(LOG_ID, genesis_hash(folder)), key=None, leave=lambda: False)
    assert [segment.manifest is not None for segment in list_segments(folder)] == [True, True, False], where
    assert (verify(folder).verdict, list(read_frames(folder))) == ("OK", frames), where


QUICK = [
    ("write", "error=ENOSPC", 1),
    ("fsync", "error=EIO", 2),
    ("rename", "signal=KILL", 1),
    ("rename", "signal=KILL", 2),
    ("unlink", "signal=KILL", 1),
    ("unlink", "error=EIO", 2),
    ("pread64", "error=EIO", 3),
]


@pytest.mark.parametrize(("call", "fault", "when"), QUICK)
def test_01_a_fault_in_sealing_takes_no_record_away(
    tmp_path: Path, closed: Path, call: str, fault: str, when: int
) -> None:
    injected(crash_image(closed, tmp_path / "log"), list(read_frames(closed)), call, fault, when)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_01_no_fault_at_any_call_of_sealing_takes_a_record_away(tmp_path: Path, closed: Path) -> None:
    trace = tmp_path / "trace"
    options = ("-e", f"trace={','.join(CALLS)}", "-o", str(trace))
    code, told, complaints = sealing(crash_image(closed, tmp_path / "log"), *options)
    assert (code, told) == (0, "SEALED 2\n"), complaints
    counts = collections.Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(), re.MULTILINE))
    assert set(CALLS) <= counts.keys()
    frames = list(read_frames(closed))
    for call, times in counts.items():
        for when in range(1, times + 1):
            for fault in FAULTS:
                injected(crash_image(closed, tmp_path / "log"), frames, call, fault, when)
