"""The words of `status` are read without the library only where both ways read the same."""

from __future__ import annotations

import pytest

from cli.standing import plain_words


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ([], (None, False)),
        (["--json"], (None, True)),
        (["--home", "./case one"], ("./case one", False)),
        (["--home", "h", "--json"], ("h", True)),
        (["--json", "--home", "h"], ("h", True)),
    ],
)
def test_plain_words_are_read(words: list[str], read: tuple[str | None, bool]) -> None:
    assert plain_words(words) == read


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--home"],
        ["--home", ""],
        ["--home", "--json"],
        ["--home=h"],
        ["--home", "a", "--home", "b"],
        ["more"],
        ["--json", "--tape", "x"],
    ],
)
def test_words_that_need_the_library_are_left_to_it(words: list[str]) -> None:
    assert plain_words(words) is None
