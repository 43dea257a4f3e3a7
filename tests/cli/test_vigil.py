"""The watch over executors that are nobody's children."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.vigil import Vigil
from eventlog.ids import ExecutorId
from tests.executors.jobs import wait_until

E1, E2 = ExecutorId("e1"), ExecutorId("e2")
HERE = socket.gethostname()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def vigil() -> Iterator[Vigil]:
    vigil = Vigil()
    yield vigil
    vigil.close()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_stranger_that_was_killed_has_ended_until_it_is_forgotten(
    vigil: Vigil, stranger: subprocess.Popen[bytes]
) -> None:
    vigil.watch(E1, pid=stranger.pid, host=HERE)
    vigil.watch(E2, pid=os.getpid(), host=HERE)
    assert vigil.ended() == []
    stranger.kill()
    wait_until(lambda: vigil.ended() == [E1])
    assert vigil.ended() == [E1]
    vigil.forget(E1)
    assert vigil.ended() == []


def test_one_that_has_come_again_is_another_process(vigil: Vigil, stranger: subprocess.Popen[bytes]) -> None:
    vigil.watch(E1, pid=stranger.pid, host=HERE)
    stranger.kill()
    stranger.wait()
    vigil.watch(E1, pid=os.getpid(), host=HERE)
    assert vigil.ended() == []


def test_who_cannot_be_watched_is_left_to_its_lease(vigil: Vigil, stranger: subprocess.Popen[bytes]) -> None:
    stranger.kill()
    stranger.wait()
    for pid, host in ((stranger.pid, HERE), (os.getpid(), "another machine")):
        vigil.watch(E1, pid=pid, host=host)
        assert vigil.ended() == []


def test_nothing_is_held_when_it_is_over(vigil: Vigil) -> None:
    before = descriptors()
    for number in range(20):
        vigil.watch(ExecutorId(f"e{number}"), pid=os.getpid(), host=HERE)
        vigil.watch(ExecutorId(f"e{number}"), pid=os.getpid(), host=HERE)
    assert descriptors() == before + 20
    vigil.close()
    assert descriptors() == before
