"""What README and the tutorial show is what happens: their commands are run again, in order, in real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from docs.console import ROOT, steps
from docs.rerun import differences, told

pytestmark = pytest.mark.acceptance
SECONDS_MAX = 330  # more than a session may take


def check(document: Path) -> None:
    found = differences(document)
    assert not found, "\n\n".join(
        [told(step, real) for step, real in found]
        + [f"{document.name} shows what does not happen: correct the program, or run `make docs` and look at the diff"]
    )


@pytest.mark.timeout(SECONDS_MAX)
def test_readme_shows_what_happens() -> None:
    check(ROOT / "README.md")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS_MAX)
def test_the_tutorial_shows_what_happens() -> None:
    check(ROOT / "docs" / "TUTORIAL.md")


@pytest.mark.parametrize("name", ["README.md", "docs/TUTORIAL.md"])
def test_a_document_shows_the_output_of_every_command_that_asks(name: str) -> None:
    asking = [step for step in steps((ROOT / name).read_text()) if step.command.startswith("casparian")]
    assert asking
    assert [step.command for step in asking if not step.shown and not step.command.endswith("&")] == []


def test_readme_names_every_verb() -> None:
    from cli.app import app

    text = (ROOT / "README.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group; its class is not public
    assert [name for name in commands if f"casparian {name}" not in text and f"`{name}`" not in text] == []
