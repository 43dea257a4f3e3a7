"""Tests of the log in real processes: locks, signals, limits, failing disks, and the order of system calls."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eventlog.errors import LogLockedError
from eventlog.lock import holder_now, is_locked
from eventlog.log import AHEAD_BYTES, AHEAD_PIECE_BYTES, EXIT_STORAGE
from eventlog.verify import verify
from tests.eventlog.support import ROOT, SEGMENT, draft, event, open_log
from tests.strace import traced

SECONDS_MAX = 60
ZEROS = AHEAD_BYTES // AHEAD_PIECE_BYTES  # writes of them, behind a batch that does not fit


def command(mode: str, folder: Path, *rest: str) -> list[str]:
    return [sys.executable, "-m", "tests.eventlog.child", mode, str(folder), *rest]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX)


def start(mode: str, folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command(mode, folder), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"OPEN\n"
    return process


def acked(output: str) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("ACK ")]


def recovered_seqs(folder: Path) -> list[int]:
    """Open a log after its writer has died; return the seqs of all records before the new epoch."""
    log = open_log(folder)
    seqs: list[int] = [record.seq for frame in log.replay() for record in frame.records if frame.epoch < log.epoch]
    log.close()
    assert verify(folder).verdict == "OK"
    return seqs


def test_20_a_second_opener_in_another_process_is_refused_by_name(tmp_path: Path) -> None:
    with start("hold", tmp_path / "log") as holder:
        with pytest.raises(LogLockedError, match=rf"process {holder.pid} on .* \(child\) .* since 2026-01-22") as error:
            open_log(tmp_path / "log")
        assert error.value.next_step
        assert is_locked(tmp_path / "log")
        named = holder_now(tmp_path / "log")
        assert named is not None
        assert (named.pid, named.purpose) == (holder.pid, "child")
        holder.communicate(timeout=SECONDS_MAX)
    assert not is_locked(tmp_path / "log")
    assert holder_now(tmp_path / "log") is None
    log = open_log(tmp_path / "log")
    assert log.epoch == 2
    log.close()


def test_20_a_second_opener_in_the_same_process_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    with pytest.raises(LogLockedError, match=f"process {os.getpid()} on .* holds it"):
        open_log(tmp_path / "log")
    assert log.commit([draft(event(1))])[0].first == 2
    log.close()


# A folder that two containers share: other mounts, other process ids, another name and path for the same files.
CONTAINED = """mount --bind "$1" "$2" && shift && exec "$0" -m tests.eventlog.child hold "$1" """


def test_20_a_writer_in_another_container_holds_the_log_that_both_share(tmp_path: Path) -> None:
    shared, inside = tmp_path / "shared", tmp_path / "inside"
    shared.mkdir()
    inside.mkdir()
    namespaces = ["unshare", "--user", "--map-root-user", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or run([*namespaces, "mount", "--bind", str(shared), str(inside)]).returncode:
        pytest.skip("this system makes no namespaces for us, which is what a container is")
    command_line = [*namespaces, "sh", "-c", CONTAINED, sys.executable, str(shared), str(inside)]
    with subprocess.Popen(command_line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"OPEN\n"
        assert not list(inside.iterdir()), "the other name is seen in there only"
        with pytest.raises(LogLockedError, match=r"process [0-9]+ on .* \(child\) holds it"):
            open_log(shared)
        assert is_locked(shared)
        holder.communicate(timeout=SECONDS_MAX)
    log = open_log(shared)
    assert log.epoch == 2
    log.close()


def _second_writer(folder: Path) -> None:
    """Take the log through a lock file that is not the first writer's, append, and leave."""
    (folder / "LOCK").unlink()
    log = open_log(folder)
    log.commit([draft(event(99))])
    log.close()


def _echo(folder: Path) -> None:
    """Append with a tool that knows no lock."""
    with (folder / SEGMENT).open("ab") as file:
        file.write(b"a note\n")


@pytest.mark.parametrize("come_between", [_second_writer, _echo])
def test_20_a_writer_that_somebody_else_came_between_ends_before_it_writes_over_them(
    tmp_path: Path, come_between: Callable[[Path], None]
) -> None:
    folder = tmp_path / "log"
    with subprocess.Popen(
        command("ask", folder), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"OPEN\n"
        first.stdin.write(b"go\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"ACK 2\n"
        come_between(folder)
        image = (folder / SEGMENT).read_bytes()
        told, complaints = first.communicate(b"go\n", timeout=SECONDS_MAX)
    assert (first.returncode, told) == (EXIT_STORAGE, b"")
    assert b"somebody else" in complaints
    assert (folder / SEGMENT).read_bytes() == image
    assert verify(folder).verdict == ("OK" if come_between is _second_writer else "TORN")
    assert recovered_seqs(folder)[:2] == [1, 2]


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    with start("hold", tmp_path / "log") as holder:
        holder.kill()
        holder.communicate(timeout=SECONDS_MAX)
    log = open_log(tmp_path / "log")
    assert log.epoch == 2
    log.close()


def test_20_a_forked_child_of_a_killed_writer_does_not_keep_the_lock(tmp_path: Path) -> None:
    with start("orphan", tmp_path / "log") as writer:
        children = Path(f"/proc/{writer.pid}/task/{writer.pid}/children")
        if not children.exists():
            pytest.skip("this system does not list child processes under /proc")
        (child,) = [int(pid) for pid in children.read_text().split()]
        try:
            writer.kill()
            writer.wait(timeout=SECONDS_MAX)
            open_log(tmp_path / "log").close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_writer_that_may_write_no_more_ends_with_70(tmp_path: Path) -> None:
    result = run(command("limited", tmp_path / "log", "5000"))
    assert result.returncode == EXIT_STORAGE, result.stderr
    assert "File too large" in result.stderr
    assert (tmp_path / "log" / SEGMENT).stat().st_size == 5000, "a short write went before"
    assert (tmp_path / "log" / "POISON").exists()
    assert verify(tmp_path / "log").verdict == "TORN"
    assert recovered_seqs(tmp_path / "log") == [1, *acked(result.stdout)]


def test_a_failing_sync_ends_the_process_and_acknowledges_nothing(tmp_path: Path) -> None:
    arguments = command("acks", tmp_path / "log", "5")
    options = ("-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=4", "-o", str(tmp_path / "trace"))
    result = run(traced(arguments, *options))
    assert result.returncode == EXIT_STORAGE, result.stderr
    assert acked(result.stdout) == [2, 3], "the first sync is that of the new epoch"
    assert (tmp_path / "trace").read_text().count("fdatasync(") == 4, "it was not tried again"
    assert "Input/output error" in (tmp_path / "log" / "POISON").read_text()
    inode = (tmp_path / "log" / SEGMENT).stat().st_ino
    assert recovered_seqs(tmp_path / "log")[:3] == [1, 2, 3]
    assert (tmp_path / "log" / SEGMENT).stat().st_ino != inode, "copied forward"
    assert not (tmp_path / "log" / "POISON").exists()


def test_a_failing_write_ends_the_process_and_acknowledges_nothing(tmp_path: Path) -> None:
    arguments = command("acks", tmp_path / "log", "5")
    segment = tmp_path / "log" / SEGMENT
    options = ("-P", str(segment), "-e", "trace=pwrite64", "-e", f"inject=pwrite64:error=ENOSPC:when={3 + ZEROS}")
    result = run(traced(arguments, *options))
    assert result.returncode == EXIT_STORAGE, result.stderr
    assert acked(result.stdout) == [2], "the first commit is one write, and those of the zeros behind it"
    assert "No space left on device" in result.stderr
    assert recovered_seqs(tmp_path / "log") == [1, 2]


def test_an_answer_is_given_only_after_write_and_sync(tmp_path: Path) -> None:
    arguments = command("acks", tmp_path / "log", "5")
    result = run(
        traced(arguments, "-y", "-s", "16", "-e", "trace=write,pwrite64,fdatasync", "-o", str(tmp_path / "trace"))
    )
    assert acked(result.stdout) == [2, 3, 4, 5, 6], result.stderr
    steps = ""
    for line in (tmp_path / "trace").read_text().splitlines():
        if re.search(rf"pwrite64\(\d+<[^>]*{SEGMENT}>, \"\\0", line):
            steps += "0"
        elif re.search(rf"pwrite64\(\d+<[^>]*{SEGMENT}>", line):
            steps += "W"
        elif re.search(rf"fdatasync\(\d+<[^>]*{SEGMENT}>\)\s+= 0", line):
            steps += "S"
        elif "write(1<" in line and '"ACK ' in line:
            steps += "A"
    assert steps == "WS" + "W" + "0" * ZEROS + "SA" + "WSA" * 4 + "WS"


@pytest.mark.parametrize("when", [2, 3, 4])
def test_a_writer_killed_between_write_and_sync_loses_nothing_that_it_answered(tmp_path: Path, when: int) -> None:
    arguments = command("acks", tmp_path / "log", "5")
    result = run(traced(arguments, "-e", "trace=fdatasync", "-e", f"inject=fdatasync:signal=KILL:when={when}"))
    assert acked(result.stdout) == list(range(2, when)), "one sync is that of the new epoch"
    seqs = recovered_seqs(tmp_path / "log")
    assert seqs[: 1 + len(acked(result.stdout))] == [1, *acked(result.stdout)]
    assert seqs == list(range(1, len(seqs) + 1))
