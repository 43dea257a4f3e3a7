"""What needs no conversion is taken as it is, with what typer would make of it; anything else is typer's to refuse."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.core import TyperCommand

from cli.app import app
from cli.plain import PlainCommand


def taken(cls: type[TyperCommand], words: list[str]) -> Any:
    """Return what a verb of this class gets of the words, or how they are refused."""
    got: list[Any] = []
    made = typer.Typer()

    @made.command(cls=cls)
    def verb(
        number: Annotated[int, typer.Argument(min=1, max=500)],
        count: Annotated[int | None, typer.Option("--count", min=0)] = None,
        limit: Annotated[int, typer.Option("--limit")] = 7,
        text: Annotated[str, typer.Option("--text")] = "",
        also: Annotated[list[str] | None, typer.Option("--also")] = None,
        clamped: Annotated[int, typer.Option("--clamped", max=3, clamp=True)] = 1,
    ) -> None:
        got.append((number, count, limit, text, also, clamped))

    try:
        made(words, standalone_mode=False)
    except Exception as error:  # noqa: BLE001  # which it is, is compared
        return type(error), str(error)
    return got


VALUES = st.sampled_from(
    ["0", "1", "3", "7", "500", "501", "-1", "+3", "1_0", "007", " 3", "٣", "3.0", "x", "", "9" * 30]
)


@given(number=VALUES, count=VALUES, limit=VALUES, clamped=VALUES)
def test_numbers_become_what_typer_makes_of_them(number: str, count: str, limit: str, clamped: str) -> None:
    words = [number, "--count", count, "--limit", limit, "--clamped", clamped, "--text", number, "--also", count]
    assert taken(PlainCommand, words) == taken(TyperCommand, words)


@pytest.mark.parametrize("words", [["3"], ["3", "--count", "0"], ["3", "--also", "a", "--also", "b"], []])
def test_what_is_left_out_has_its_default(words: list[str]) -> None:
    assert taken(PlainCommand, words) == taken(TyperCommand, words)


def verbs(group: typer.Typer) -> list[tuple[str, type]]:
    own = [(str(each.name), each.cls or type(None)) for each in group.registered_commands]
    return own + [found for each in group.registered_groups for found in verbs(each.typer_instance or typer.Typer())]


def test_every_verb_takes_its_words_plainly() -> None:
    assert [name for name, cls in verbs(app) if cls is not PlainCommand] == []


def test_a_number_costs_no_library() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "casparian", "job", "show", "3", "--home", "/nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "| typer" in done.stderr
    assert "pydantic" not in done.stderr


def test_a_verb_that_is_interrupted_says_so_in_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    made = typer.Typer()

    @made.command(cls=PlainCommand)
    def verb() -> None:
        raise KeyboardInterrupt

    assert made([], standalone_mode=False) == 130
    assert capsys.readouterr().err == "interrupted\n"
