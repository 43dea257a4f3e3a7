"""What documents say of the command line can be typed: examples parse, and every verb that is named exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.app import app
from docs.console import ROOT, steps
from docs.generate import PAGES, commands

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOT_COMMAND: Any = typer.main.get_command(app)  # its class is not public


def leaves(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from leaves(command)
        else:
            yield command


def parse(words: list[str]) -> None:
    """Parse words as the command line would, running nothing; raises what it would tell the person."""
    command, context = ROOT_COMMAND, None
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no verb {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    context = command.make_context(command.name, words, parent=context)
    context.close()


EXAMPLES = sorted(
    {
        " ".join(found[1].split())
        for command in leaves(ROOT_COMMAND)
        for found in re.finditer(r"Example: `(.+?)`", command.help, re.DOTALL)
    }
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_of_a_verb_can_be_typed(example: str) -> None:
    first, *words = shlex.split(example)
    assert first == "casparian"
    parse(words)


def test_every_verb_has_an_example_of_its_own_and_says_what_it_does() -> None:
    page = PAGES["COMMANDS.md"]()
    for verb in commands._verbs(ROOT_COMMAND, "casparian"):
        section = page.split(f"\n## {verb.words}\n")[1].split("\n## ")[0]
        assert f"Example:\n\n```\n{verb.words}" in section


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_verb_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    told = [f"casparian {each[1]}" for each in re.finditer(r"`casparian ([a-z][^`]*)`", text)]
    told += [step.command for step in steps(text) if step.command.startswith("casparian ")]
    for line in told:
        command, words = ROOT_COMMAND, line.split()[1:]
        while hasattr(command, "commands") and words:
            assert words[0] in command.commands, f"{document.name}: {line}"
            command, words = command.commands[words[0]], words[1:]


def test_every_error_code_has_an_exit_code_and_is_told() -> None:
    page = PAGES["COMMANDS.md"]()
    assert "| `home_in_use` | 1 |" in page
    assert "| `log_corrupt` | 5 |" in page
    assert "| 70 | the log could not be written |" in page
    assert "| `job_not_queued` | job … is not waiting" in PAGES["EVENTS.md"]()
