"""What README and the tutorial show is what happens: their commands are run again, in order, in real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from docs.console import ROOT, steps
from docs.rerun import DOCUMENTS, differences, told

pytestmark = pytest.mark.acceptance
SECONDS_MAX = 660  # more than a session may take


@pytest.mark.timeout(SECONDS_MAX)
@pytest.mark.parametrize(
    "document",
    [pytest.param(path, marks=pytest.mark.slow if path.name == "TUTORIAL.md" else ()) for path in DOCUMENTS],
    ids=lambda path: path.name,
)
def test_a_document_shows_what_happens(document: Path) -> None:
    found = differences(document)
    assert not found, "\n\n".join(
        [told(step, real) for step, real in found]
        + [f"{document.name} shows what does not happen: correct the program, or run `make docs` and look at the diff"]
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_shows_the_output_of_every_command_that_asks(document: Path) -> None:
    asking = [step for step in steps(document.read_text()) if step.command.startswith("casparian")]
    assert asking
    assert [step.command for step in asking if not step.shown and not step.command.endswith("&")] == []


def test_readme_names_every_verb() -> None:
    from cli.app import app

    text = (ROOT / "README.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group; its class is not public
    assert [name for name in commands if f"casparian {name}" not in text and f"`{name}`" not in text] == []
