"""Tests that what failed once is told from what fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import again

BY_COUNT = """
from pathlib import Path

def test_it():
    tries = Path(__file__).with_name("tries")
    count = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("x" * (count + 1))
    assert count not in {failing}
"""


def project(folder: Path, *, failing: set[int]) -> Path:
    (folder / "test_rare.py").write_text(BY_COUNT.format(failing=failing or "()"))
    return failed(folder, "test_rare.py::test_it")


def failed(folder: Path, *tests: str) -> Path:
    cache = folder / ".pytest_cache" / "v" / "cache"
    cache.mkdir(parents=True)
    (cache / "lastfailed").write_text(json.dumps(dict.fromkeys(tests, True)))
    return folder


@pytest.mark.slow
def test_what_passes_each_time_alone_had_failed_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert again.asked_again(project(tmp_path, failing=set())) == 0
    assert "FAILED ONCE, then passed 3 times alone: test_rare.py::test_it" in capfd.readouterr().out
    assert (tmp_path / "tries").read_text() == "xxx"


@pytest.mark.slow
def test_what_fails_once_more_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert again.asked_again(project(tmp_path, failing={2})) == 1
    assert "FAILED AGAIN test_rare.py::test_it" in capfd.readouterr().out


@pytest.mark.parametrize("count", [0, again.FAILED_MAX + 1])
def test_many_failures_are_no_accident_and_none_is_a_run_that_broke_off(tmp_path: Path, count: int) -> None:
    assert again.asked_again(failed(tmp_path, *(f"test_it.py::test_{number}" for number in range(count)))) == 1


def test_a_run_that_left_no_list_is_not_asked_again(tmp_path: Path) -> None:
    assert again.asked_again(tmp_path) == 1


def run(folder: Path, body: str) -> int:
    (folder / "test_it.py").write_text(body)
    return again.main(folder, ["-q", "test_it.py"])


@pytest.mark.slow
def test_a_run_that_passes_passes_and_one_whose_failure_stays_fails(tmp_path: Path) -> None:
    assert run(tmp_path, "def test_it(): pass") == 0
    assert run(tmp_path, "def test_it(): assert 0") == 1


@pytest.mark.slow
def test_a_run_that_was_stopped_after_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    stopped = "def test_a(): assert 0\ndef test_b(): raise KeyboardInterrupt"
    assert run(tmp_path, stopped) == pytest.ExitCode.INTERRUPTED
