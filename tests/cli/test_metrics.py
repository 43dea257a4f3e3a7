"""What the log takes on the disk, as metrics tell it."""

from __future__ import annotations

from pathlib import Path

from cli.home import Home
from cli.metrics import log_bytes
from cli.sentinel import Sentinel
from eventlog.reserve import BALLAST_NAME


def test_the_log_s_bytes_are_those_of_its_words_and_not_of_the_room_that_it_keeps(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with Sentinel(home, purpose="test"):
        pass
    ballast = (home.log / BALLAST_NAME).stat().st_size
    words = sum(file.stat().st_size for file in home.log.iterdir() if file.name != BALLAST_NAME)
    assert 0 < log_bytes(home.log) == words < ballast
