"""What signals do, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from cli.stopping import Stopping

def leave():
    print("left", flush=True)

with Stopping(leave=leave) as stopping:
    print("entered", flush=True)
    time.sleep({before})
    try:
        with stopping.interruptible():
            print("work", flush=True)
            time.sleep(30)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        time.sleep({after})
    print("ended", flush=True)
sys.exit(7)
"""


def start(*, before: float = 0, after: float = 0, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    program = PROGRAM.format(before=before, after=after)
    command = [*under, sys.executable, "-c", program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"it never said {word}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_first_signal_interrupts_and_the_end_is_undisturbed(number: signal.Signals) -> None:
    process = start(after=0.3)
    wait_for(process, "work")
    os.kill(process.pid, number)
    wait_for(process, "interrupted")
    os.kill(process.pid, signal.SIGHUP)  # a closed terminal comes twice, by the kernel and by the shell
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (7, "ended\n", "")


def test_a_signal_before_the_work_is_heeded_when_it_begins() -> None:
    process = start(before=0.5)
    wait_for(process, "entered")
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out.split() == ["interrupted", "ended"]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_second_one_ends_the_process_at_once_whatever_it_is_doing(second: signal.Signals) -> None:
    process = start(after=30)
    wait_for(process, "work")
    os.kill(process.pid, signal.SIGINT)
    wait_for(process, "interrupted")
    began = time.monotonic()
    os.kill(process.pid, second)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "left\n"
    assert err.startswith("stopped at once")
    assert time.monotonic() - began < 2  # about 0.02 on a quiet machine


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    process = start(under=("nohup",))
    wait_for(process, "work")
    os.kill(process.pid, signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out.split() == ["interrupted", "ended"]


def test_a_reader_who_does_not_read_holds_nobody_up() -> None:
    process = start(after=30)
    assert process.stderr is not None
    wait_for(process, "work")
    filler = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while os.write(filler, b"x" * 4096):
            pass
    except BlockingIOError:
        os.close(filler)
    os.kill(process.pid, signal.SIGINT)
    wait_for(process, "interrupted")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=10) == 130
    process.communicate(timeout=10)
