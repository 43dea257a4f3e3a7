from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from executors.nng_transport import NngServer
from executors.protocol import (
    Aborted,
    Carry,
    Dispatch,
    Fault,
    Identify,
    OpCode,
    Succeeded,
    encode,
    payload,
)
from executors.worker import take_scratch
from tests.executors.jobs import FakeSentinel, is_alive, make_dispatch, make_source, wait_until

ROOT = Path(__file__).parents[2]


def test_an_executor_takes_its_temporary_folder_without_trying_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")  # which no trial would take
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() != "/no/such/folder"
    take_scratch()
    assert tempfile.gettempdir() == "/no/such/folder"


# --- real connections and processes ---------------------------------------------------------------------------------


class Process:
    """An executor's process and the sentinel that it talks to."""

    def __init__(self, folder: Path, sentinel: FakeSentinel) -> None:
        self.sentinel = sentinel
        self._server = NngServer(f"ipc://{folder}/socket")
        self._server.serve(lambda message, reply: reply(sentinel.request(message, timeout_seconds=1.0)))
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "executors.worker", "--connect", self._server.address, "--executor", "e1"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},  # a killed executor leaves its guest's folder
        )

    def end_of_parent(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def left(self) -> tuple[int, str]:
        """Wait for the process; its exit code and what it said."""
        assert self.popen.stderr is not None
        said = self.popen.stderr.read().decode()
        return self.popen.wait(timeout=10), said

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait(timeout=10)
        for pipe in (self.popen.stdin, self.popen.stderr):
            assert pipe is not None
            pipe.close()
        self._server.close()


@contextmanager
def executor_process(sentinel: FakeSentinel) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="casparian-test-") as folder:  # short: sockets have 107 bytes of path
        process = Process(Path(folder), sentinel)
        try:
            yield process
        finally:
            process.close()


def parquet_dispatch(folder: Path, mode: str) -> tuple[Dispatch, Path]:
    out = folder / "out"
    out.mkdir()
    return make_dispatch(make_source(folder), mode, sink_uri=f"parquet://{out}"), out


def test_a_process_stages_a_file_and_leaves_when_sent_home(tmp_path: Path) -> None:
    dispatch, out = parquet_dispatch(tmp_path, "normal")
    sentinel = FakeSentinel(dispatch)
    with executor_process(sentinel) as process:
        assert process.left() == (0, "")
    receipt = sentinel.receipts[1]
    assert isinstance(receipt, Succeeded), receipt
    assert [path.name for path in out.iterdir()] == [receipt.outputs[0].staged]
    table = pq.ParquetFile(out / receipt.outputs[0].staged).read()
    assert table["text"].to_pylist() == ["one", "two", "three"]
    assert payload(sentinel.heard[0], Identify).pid == process.popen.pid


def test_a_process_aborts_a_job_when_told(tmp_path: Path) -> None:
    dispatch, out = parquet_dispatch(tmp_path, "slow")
    sentinel = FakeSentinel(dispatch)
    sentinel.abort_after_beats, sentinel.abort_rows_min = 1, 1
    with executor_process(sentinel) as process:
        assert process.left() == (0, "")
    assert sentinel.receipts[1] == Aborted(reason="cancelled by a person")
    assert not is_alive(sentinel.acks[0].guest_pid)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("how", ["parent ends", "SIGTERM"])
def test_a_process_that_must_leave_kills_its_guest_and_cleans_up(tmp_path: Path, how: str) -> None:
    dispatch, out = parquet_dispatch(tmp_path, "hang")
    sentinel = FakeSentinel(dispatch)
    with executor_process(sentinel) as process:
        assert wait_until(lambda: any(out.iterdir()) and bool(sentinel.acks))
        if how == "SIGTERM":
            process.popen.send_signal(signal.SIGTERM)
        else:
            process.end_of_parent()
        assert process.left() == (0, "")
    assert sentinel.receipts == {}
    assert not is_alive(sentinel.acks[0].guest_pid)
    assert list(out.iterdir()) == []


def test_an_idle_process_leaves_when_its_parent_ends() -> None:
    sentinel = FakeSentinel()
    sentinel.idle_answer = encode(OpCode.HEARTBEAT, Carry())
    with executor_process(sentinel) as process:
        assert wait_until(lambda: len(sentinel.heard) > 2)
        process.end_of_parent()
        assert process.left() == (0, "")


def test_a_process_whose_parent_ended_before_it_could_be_reached_leaves_soon(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "executors.worker", "--connect", f"ipc://{tmp_path}/nobody", "--executor", "e1"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        time.sleep(1)  # it waits for somebody to listen by now
        process.stdin.close()
        assert process.wait(timeout=3) == 0


def test_a_killed_process_takes_its_guest_along(tmp_path: Path) -> None:
    dispatch, _out = parquet_dispatch(tmp_path, "hang")
    sentinel = FakeSentinel(dispatch)
    with executor_process(sentinel) as process:
        assert wait_until(lambda: bool(sentinel.acks))
        process.popen.kill()
        assert wait_until(lambda: not is_alive(sentinel.acks[0].guest_pid))


def test_a_person_s_interrupt_is_left_to_the_sentinel(tmp_path: Path) -> None:
    dispatch, _out = parquet_dispatch(tmp_path, "hang")
    sentinel = FakeSentinel(dispatch)
    sentinel.abort_after_beats = 3
    with executor_process(sentinel) as process:
        sentinel.on_ack = lambda _ack: process.popen.send_signal(signal.SIGINT)
        assert process.left() == (0, "")
    assert isinstance(sentinel.receipts[1], Aborted)


def test_a_process_that_is_refused_says_why_in_one_line() -> None:
    sentinel = FakeSentinel()
    sentinel.refuse = Fault(code="version", message="speak version 6")
    with executor_process(sentinel) as process:
        code, said = process.left()
    assert code == 1
    assert said == "executor e1: the sentinel refuses this executor (version): speak version 6\n"
