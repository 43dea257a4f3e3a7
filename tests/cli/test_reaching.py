"""Who is asked in the name of a home: its own sentinel, by whatever name it is called, and no other home's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cli import reaching
from cli.asking import ask_running
from cli.home import Home
from cli.messages import Ping, Pong, ask
from cli.reaching import reach
from cli.sentinel import Sentinel


def test_a_home_that_was_copied_while_its_sentinel_runs_does_not_reach_that(tmp_path: Path) -> None:
    home, copy = Home(tmp_path / "home"), Home(tmp_path / "copy")
    with Sentinel(home, purpose="test") as original:
        shutil.copytree(home.root, copy.root)
        assert copy.control.read_text() == home.control.read_text()
        assert reach(copy) is None
        assert ask_running(copy, ask(Ping())) is None
        with Sentinel(copy, purpose="of the copy") as other:
            assert other.log_id == original.log_id
            told = [ask_running(place, ask(Ping())) for place in (home, copy)]
    assert [reply.purpose for reply in told if isinstance(reply, Pong)] == ["test", "of the copy"]


def test_a_home_is_reached_by_another_spelling_of_its_name(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with Sentinel(home, purpose="test"):
        (tmp_path / "link").symlink_to(home.root)
        client = reach(Home(tmp_path / "link"))
        assert client is not None
        with client:
            assert isinstance(client.ask(ask(Ping())), Pong)


@pytest.mark.parametrize("announced", ["", "\n", "ipc:///nowhere/at/all\n", "\0"])
def test_nobody_is_reached_by_an_address_that_is_none(tmp_path: Path, announced: str) -> None:
    home = Home(tmp_path / "home")
    home.control.parent.mkdir(parents=True)
    home.control.write_text(announced)
    assert reach(home) is None


def test_nobody_connects_past_the_look_at_whose_address_it_is() -> None:
    sources = {path.name: path.read_text() for path in Path(reaching.__file__).parent.glob("*.py")}
    past = re.compile(r"from cli\.client import .*\bconnect\b|client\.connect\(")
    assert {name for name, text in sources.items() if past.search(text)} == {"reaching.py"}
