"""One small run, again and again, with one system call that fails or kills: the next run ends as if nothing had been.

A first run under strace tells every write, sync, link, unlink and rename that the process tree makes (some 190); these
are the points. strace counts calls per thread, so that "the n-th" is hit in whichever thread comes to n first.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from msgspec import Struct

from tests.acceptance.crashes import FixtureTerminal, Outcome, write_source
from tests.acceptance.terminal import Done
from tests.strace import traced, was_hit

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(240),  # CASE_SECONDS_MAX, one more run, and what a session prepares once
]

CALLS = "write,pwrite64,fsync,fdatasync,link,linkat,unlink,unlinkat,rename,renameat,renameat2"
FAULTS = ("error=EIO", "signal=KILL", "error=ENOSPC")
CASES = 6  # in `make test`, spread evenly over points and faults; `make test-long` has every point
POINTS_MAX = 240  # in `make test-long`: every point once, the faults in turn
CASE_SECONDS_MAX = 60
SEGMENT = "home/log/00000000000000000001.ndjson"
CALL = re.compile(r'(\d+) +(\w+)\((?:\d+<([^>]*)>|(?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]*)")')
STAGE = re.compile(r"out/\.[0-9a-f]{8}(-.*\.stage)")
OF_ANY_THREAD = "home/readmodel/"  # DuckDB has some, which share its writes as it happens
KNOWN = re.compile(
    rf"home|out|home/(log|log/(LOCK|(GENESIS\.json|CLOSED)(\.tmp)?)|readmodel(/\S+)?)|{SEGMENT}|{STAGE.pattern}"
)


class Point(Struct, frozen=True, order=True):
    """The n-th call of one kind by a thread, on a path below the terminal's folder; with no path, on any."""

    call: str
    path: str
    n: int


class Bench:
    """A folder for the cases, with what each of them starts from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = write_source(folder / "case" / "one.txt", "two_outputs_interleaved", lines=3)
        calm = FixtureTerminal(folder / "calm")
        self.calm: Outcome = calm.outcome(calm.finish(self.source, workers=1))
        # A home whose log exists: then the names of staged files, which begin with the log's id, can be foretold.
        self.opened = FixtureTerminal(folder / "opened")
        (folder / "nothing").mkdir()
        assert self.opened.finish(folder / "nothing").json["found"] == 0
        (staged_of,) = re.findall(r'"log_id":"([0-9a-f]{8})', (self.opened.home / "log" / "GENESIS.json").read_text())
        self.stage_prefix: str = f"out/.{staged_of}"
        self.points = self._record()

    def _record(self) -> list[Point]:
        terminal = FixtureTerminal(self.folder / "recorded")
        trace = self.folder / "recorded.trace"
        done = self.run(terminal, trace, [])
        assert done.returncode == 0, done.stderr
        highest: Counter[tuple[str, str]] = Counter()
        by_thread: Counter[tuple[str, str, str]] = Counter()
        for found in map(CALL.match, trace.read_text(errors="replace").splitlines()):
            place = _place(found, terminal.folder) if found else None
            if found is None or place is None:
                continue
            thread, call = found[1], found[2]
            by_thread[thread, call, place] += 1
            highest[call, place] = max(highest[call, place], by_thread[thread, call, place])
        return sorted(Point(call, place, n) for (call, place), count in highest.items() for n in range(1, count + 1))

    def run(self, terminal: FixtureTerminal, trace: Path, options: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run under strace, which ends when the last process of the tree has ended."""
        command = [*map(str, terminal.command), *map(str, terminal.words(self.source, workers=1))]
        try:
            return subprocess.run(
                traced(command, "-y", "-o", str(trace), "-e", f"trace={CALLS}", *options),
                env=terminal.env,
                cwd=terminal.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CASE_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            for pid, _ in terminal.processes():  # a run that hangs is a finding, and must not hang on after it
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise


def _place(found: re.Match[str], folder: Path) -> str | None:
    """Return where a call went, as a case can name it; "" for a random name, None for what is not ours to fail."""
    named = found[3] if found[3] is not None else found[4]
    path = os.path.relpath(os.path.join(folder, named), folder)  # noqa: PTH118  a text, not a file
    if KNOWN.fullmatch(path):
        return STAGE.sub(r"stage\1", path)
    # Writes to pipes, sockets and event counters do not fail in life, and a random name cannot be told beforehand.
    return "" if found[2] not in ("write", "pwrite64") and path.startswith(("home/", "out/")) else None


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("case", range(CASES))
def test_a_run_with_one_failing_call_ends_with_a_sentence_and_the_next_run_finishes_it(
    bench: Bench, tmp_path: Path, case: int
) -> None:
    at = case * len(bench.points) // CASES
    _inject(bench, tmp_path, bench.points[at], FAULTS[case % len(FAULTS)])


@pytest.mark.slow
@pytest.mark.parametrize("at", range(POINTS_MAX))
def test_each_call_of_a_run_may_fail(bench: Bench, tmp_path: Path, at: int) -> None:
    assert len(bench.points) <= POINTS_MAX, "the run makes more calls than this test has cases: raise POINTS_MAX"
    if at >= len(bench.points):
        pytest.skip(f"the run makes {len(bench.points)} calls")
    _inject(bench, tmp_path, bench.points[at], FAULTS[at % len(FAULTS)])


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_log_that_cannot_be_written_or_synced_ends_the_run_with_exit_code_70(
    bench: Bench, tmp_path: Path, call: str
) -> None:
    done = _inject(bench, tmp_path, Point(call, SEGMENT, 5), "error=EIO")
    assert done.returncode == 70
    assert b"Nothing of this batch was acknowledged" in done.stderr


def _inject(bench: Bench, folder: Path, point: Point, fault: str) -> subprocess.CompletedProcess[bytes]:
    """Run with the fault, look at how it ended; run again without, and compare."""
    print(point, fault)
    terminal = FixtureTerminal(folder / "t")
    if point.path.startswith("stage"):
        shutil.copytree(bench.opened.home, terminal.home)
    path = str(terminal.folder / point.path.replace("stage", bench.stage_prefix, 1)) if point.path else ""
    options = ["-P", path] if path else []
    done = bench.run(terminal, folder / "trace", [*options, "-e", f"inject={point.call}:{fault}:when={point.n}"])
    print(done.returncode, done.stderr.decode(errors="replace"))
    hit = was_hit((folder / "trace").read_text(errors="replace"), point.call, fault)
    assert hit or point.path.startswith(OF_ANY_THREAD), f"nothing was injected: {point} {fault}"
    _check_end(done, fault, hit=hit)
    again = terminal.finish(bench.source, workers=1)
    print(again.err)
    terminal.check_whole(again, bench.calm)
    return done


def _check_end(done: subprocess.CompletedProcess[bytes], fault: str, *, hit: bool) -> None:
    """Assert that a run ended in one of the ways that are documented, and told why it did not succeed."""
    Done(done)  # no stack trace
    assert hit or done.returncode == 0, "the run failed without a fault"
    if fault == "signal=KILL":
        assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL)
    else:
        assert done.returncode in (0, 1, 5, 70)
        assert done.returncode == 0 or done.stderr.strip() or done.stdout.strip()


def test_the_points_cover_every_kind_of_call_and_file(bench: Bench) -> None:
    calls = Counter(point.call for point in bench.points)
    assert set(calls) >= {"write", "fsync", "fdatasync", "linkat", "unlink", "unlinkat", "rename"}, calls
    paths = {point.path.rsplit("-", 1)[-1] for point in bench.points}
    assert paths >= {SEGMENT, "home/log", "out", "lines.stage", "notes.stage", "home/log/CLOSED.tmp"}, paths
    assert len(bench.points) <= POINTS_MAX
