"""A command line on tape: names of ours are told, what a person said is a value, whatever stands where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from cli.app import app
from cli.errors import CliError
from cli.taping import Spoken, new_tape, recorded, spoken
from eventlog.tape_reader import Entry, read_entries, read_lines

TREE: Any = typer.main.get_command(app)


def said(*words: str) -> Spoken:
    return spoken(words, TREE)


def test_verbs_and_options_are_names_and_the_rest_is_values() -> None:
    taken = said("--tape", "t", "run", "evtx", "./case", "--sink", "parquet://./out", "--json")
    assert taken.verb == "run"
    assert taken.options == (("--tape", "t"), ("--sink", "parquet://./out"), ("--json", None))
    assert taken.values == ("evtx", "./case")


@pytest.mark.parametrize(
    ("words", "verb", "values"),
    [
        (("job", "show", "17"), "job show", ("17",)),
        (("jobs", "--limit=3"), "jobs", ()),
        (("jos", "17"), "", ("jos", "17")),
        (("jobs", "--secret=x"), "jobs", ("--secret=x",)),
        (("jobs", "--secret", "x"), "jobs", ("--secret", "x")),
        (("run", "jobs"), "run", ("jobs",)),
        (("run", "--", "--json"), "run", ("--",)),
        (("sql", "select 'a'", "--help"), "sql", ("select 'a'",)),
        (("jobs", "--limit"), "jobs", ()),
        ((), "", ()),
    ],
)
def test_what_the_tree_does_not_know_is_a_value(words: tuple[str, ...], verb: str, values: tuple[str, ...]) -> None:
    taken = said(*words)
    assert (taken.verb, taken.values) == (verb, values)


def test_a_file_that_exists_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(CliError, match="there is a file of that name"), new_tape(path):
        pass
    assert path.read_text() == "mine"


def entries(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        return list(read_entries(read_lines(file)))


def named(path: Path) -> list[str]:
    return [each.envelope.event_name.name for each in entries(path) if each.envelope is not None]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return ["--tape", str(tmp_path / "t"), "jobs", "--home", str(tmp_path / "home")]


def test_a_command_that_answers_is_taped_with_its_exit_code(tmp_path: Path, words: list[str]) -> None:
    assert recorded(words, TREE, lambda: 0, lambda _: None) == 0
    assert named(tmp_path / "t") == ["TapeStarted", "jobs", "CommandSucceeded", "TapeStopped"]


def test_an_exit_code_that_is_not_0_is_an_error(tmp_path: Path, words: list[str]) -> None:
    assert recorded(words, TREE, lambda: 3, lambda _: None) == 3
    (error,) = [each.envelope.payload for each in entries(tmp_path / "t")[2:3] if each.envelope is not None]
    assert error == {"exit": 3, "code": "exit_code", "message": ""}


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (CliError("not_found", "there is no /case/secret", exit_code=4), "not_found", 4),
        (KeyboardInterrupt(), "interrupted", 130),
        (ZeroDivisionError("secret"), "internal_error", 1),
        (SystemExit(9), "internal_error", 1),
    ],
)
def test_whatever_ends_a_command_is_taped_and_goes_on(
    tmp_path: Path, words: list[str], error: BaseException, code: str, exit_code: int
) -> None:
    def fail() -> int:
        raise error

    with pytest.raises(type(error)):
        recorded(words, TREE, fail, lambda each: each if isinstance(each, CliError) else None)
    (told,) = [each.envelope.payload for each in entries(tmp_path / "t")[2:3] if each.envelope is not None]
    assert (told["code"], told["exit"]) == (code, exit_code)
    assert b"secret" not in (tmp_path / "t").read_bytes()


def test_without_the_option_nothing_is_written(tmp_path: Path) -> None:
    assert recorded(["jobs"], TREE, lambda: 0, lambda _: None) == 0
    assert list(tmp_path.iterdir()) == []
