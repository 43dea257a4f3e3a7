"""A target is one home's of each log; a copy of that home is told, and a home that moved takes it along."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cli.home import Home
from cli.target_claims import claim, other_claim, take
from eventlog.ids import LogId
from eventlog.recovery import require_genesis
from sinks.memory import MemorySink
from tests.eventlog.support import open_log


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    open_log(made.log).close()
    return made


def log_id(home: Home) -> LogId:
    return require_genesis(home.log)[0].log_id


@pytest.fixture
def sink() -> MemorySink:
    made = MemorySink()
    made.mark()
    return made


def test_a_home_claims_a_target_once_and_finds_it_its_own(home: Home, sink: MemorySink) -> None:
    assert claim(sink, home, log_id(home)) is None
    assert sink.claims == {log_id(home): str(home.root)}
    assert claim(sink, home, log_id(home)) is None


def test_a_copy_is_told_whose_the_target_is_and_does_not_get_it(home: Home, sink: MemorySink, tmp_path: Path) -> None:
    claim(sink, home, log_id(home))
    copy = Home(Path(shutil.copytree(home.root, tmp_path / "copy")))
    for _again in range(2):
        other = claim(sink, copy, log_id(copy))
        assert other is not None
        assert (other.home, other.there) == (str(home.root), True)
        assert "one of the two is a copy" in other.sentence()
    assert other_claim(sink, home, log_id(home)) is None, "the original is not told of anything"
    take(sink, copy, log_id(copy))
    other = other_claim(sink, home, log_id(home))
    assert other is not None
    assert other.home == str(copy.root)


def test_a_home_that_moved_takes_its_target_along(home: Home, sink: MemorySink, tmp_path: Path) -> None:
    number = log_id(home)
    claim(sink, home, number)
    moved = Home(home.root.rename(tmp_path / "moved"))
    other = claim(sink, moved, number)
    assert other is not None
    assert (other.there, "not there now" in other.sentence()) == (False, True)
    assert claim(sink, moved, number) is None


def test_a_home_by_another_path_is_the_same_home(home: Home, sink: MemorySink, tmp_path: Path) -> None:
    claim(sink, home, log_id(home))
    (tmp_path / "link").symlink_to(home.root)
    assert other_claim(sink, Home(tmp_path / "link"), log_id(home)) is None


def test_a_copy_by_hard_links_is_a_copy(home: Home, sink: MemorySink, tmp_path: Path) -> None:
    """Its files are those of the original, its folder is not."""
    claim(sink, home, log_id(home))
    copy = Home(Path(shutil.copytree(home.root, tmp_path / "copy", copy_function=os.link)))
    other = other_claim(sink, copy, log_id(copy))
    assert other is not None
    assert (other.home, other.there) == (str(home.root), True)


def test_another_log_at_the_path_of_the_claim_shares_nothing(home: Home, sink: MemorySink, tmp_path: Path) -> None:
    number = log_id(home)
    claim(sink, home, number)
    moved = Home(home.root.rename(tmp_path / "moved"))
    open_log(home.log).close()
    genesis = home.log / "GENESIS.json"
    genesis.write_text(genesis.read_text().replace(number, "f" * len(number)))
    other = claim(sink, moved, number)
    assert other is not None
    assert not other.there
