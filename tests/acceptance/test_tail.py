"""`log tail -f` says the same whoever tells: a sentinel that runs, the log without one, and both in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.client import connect
from cli.home import Home
from cli.messages import RevokeParser, ask
from tests.acceptance.crashes import FixtureTerminal, write_source
from tests.acceptance.terminal import eventually, interrupt
from tests.acceptance.test_service import sentinel

pytestmark = pytest.mark.acceptance

LEAVE_SECONDS = 10.0


class Follower:
    """A `log tail -f` in a terminal of its own."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self.process = process

    @property
    def said(self) -> str:
        return (self._folder / "said").read_text()

    @property
    def shown(self) -> list[int]:
        """The seqs of the records that were printed, in order."""
        lines = (self._folder / "shown").read_text().split("\n")[:-1]
        return [json.loads(line)["seq"] for line in lines]

    @property
    def text(self) -> str:
        return (self._folder / "shown").read_text()


@contextmanager
def following(terminal: FixtureTerminal) -> Iterator[Follower]:
    folder = terminal.folder / "tail"
    folder.mkdir()
    with (folder / "shown").open("wb") as shown, (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*terminal.command, "-v", "log", "tail", "-f", "-n", "100000", "--json"],
            env=terminal.env,
            cwd=terminal.folder,
            stdin=subprocess.DEVNULL,
            stdout=shown,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield Follower(folder, process)
    finally:
        process.kill()
        process.wait(LEAVE_SECONDS)


def head(terminal: FixtureTerminal) -> int:
    seq: int = terminal.casparian("status", "--json").json["sentinel"]["seq"]
    return seq


def test_what_is_followed_is_the_log_with_a_sentinel_without_one_and_in_between(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path)
    case = terminal.folder / "case"
    for number in range(3):
        write_source(case / f"{number}.txt", "normal", lines=3, seed=number)
    assert terminal.finish(case / "0.txt").code == 0
    with following(terminal) as follower:
        eventually(lambda: "no sentinel is running" in follower.said, what="the log to be read")
        with sentinel(terminal, workers=1) as process:
            eventually(lambda: "it tells what comes" in follower.said, what="the sentinel to be found")
            assert terminal.finish(case / "1.txt").code == 0
            seq = head(terminal)
            eventually(lambda: follower.shown[-1:] == [seq], what="all to be shown")
            process.send_signal(signal.SIGKILL)
            process.wait()
        eventually(lambda: "the sentinel tells nothing more" in follower.said, what="its end to be noticed")
        assert terminal.finish(case / "2.txt").code == 0
        log = terminal.casparian("log", "show", "--json").out
        eventually(lambda: follower.text == log, what="the rest to be shown")
        interrupt(follower.process)
        assert follower.process.wait(LEAVE_SECONDS) == 130


@pytest.mark.slow
def test_a_follower_that_was_stopped_misses_nothing(tmp_path: Path) -> None:
    """The sentinel has told far more meanwhile than is kept for anybody."""
    terminal = FixtureTerminal(tmp_path)
    with sentinel(terminal, workers=0), following(terminal) as follower:
        eventually(lambda: "it tells what comes" in follower.said, what="the sentinel to be found")
        os.kill(follower.process.pid, signal.SIGSTOP)
        client = connect(Home(terminal.home).control)
        assert client is not None
        with client:
            for number in range(1500):
                client.ask(ask(RevokeParser(parser=f"nobody{number}", reason="r" * 500)))
        seq = head(terminal)
        os.kill(follower.process.pid, signal.SIGCONT)
        eventually(lambda: follower.shown[-1:] == [seq], what="all to be shown")
        assert follower.shown == list(range(1, seq + 1))
