"""A verb that is loaded alone is the one that stands among the others, and loads nothing slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.alone import ALONE, application
from cli.app import app
from cli.home import Home
from cli.sentinel import Sentinel

SLOW = (
    "typer",
    "asyncio",
    "pynng",
    "duckdb",
    "pyarrow",
    "pydantic",
    "rich",
    "eventlog.events",
    "reducers",
    "cli.sentinel",
    "cli.app",
)


@pytest.mark.parametrize("verb", ALONE)
def test_a_verb_alone_is_the_same_as_among_all(verb: str) -> None:
    (alone,) = application([verb, "--help"]).registered_commands
    (among,) = [each for each in app.registered_commands if each.name == verb]
    assert alone.callback is among.callback
    assert (alone.name, alone.cls) == (among.name, among.cls)


def test_its_help_is_the_same_whichever_way(capsys: pytest.CaptureFixture[str]) -> None:
    for command_line in (app, application(["status"])):
        command_line(["status", "--help"], prog_name="casparian", standalone_mode=False)
    told = capsys.readouterr().out
    assert told[: len(told) // 2] == told[len(told) // 2 :]


@pytest.mark.parametrize("words", [[], ["job", "show"], ["--help"], ["-v", "status"], ["nothing"]])
def test_other_words_load_all_verbs(words: list[str]) -> None:
    assert application(words) is app


def test_asking_how_a_sentinel_stands_loads_nothing_slow(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words: list[str | Path] = [sys.executable, "-X", "importtime", "-m", "casparian", "status", "--home", home]
    with Sentinel(Home(home), purpose="test"):
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.startswith("another terminal's command is the sentinel")
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.split("\n") if "|" in line}
    assert {"cli.asking", "cli.wire"} <= loaded
    assert loaded & set(SLOW) == set()
