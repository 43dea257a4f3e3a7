"""Owns the options that verbs share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _folder(text: str) -> Path:
    if not text:
        raise typer.BadParameter("an empty name is no folder")
    return Path(text)


def complete_parser(begun: str) -> list[str]:
    """Return the names of parsers that begin so, for the shell; reads their manifests (some 10 ms), runs nothing."""
    from executors.parser_catalog import builtin_parsers

    return [name for name in builtin_parsers() if name.startswith(begun)]


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", parser=_folder, metavar="FOLDER", help="The home. Default: $CASPARIAN_HOME, else ~/.casparian_flow."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data as JSON on stdout; talk stays on stderr.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
