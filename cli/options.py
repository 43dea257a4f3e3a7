"""Owns the options that verbs share, so that they are spelled and explained once."""

from __future__ import annotations

from typing import Annotated

import typer


def _named(text: str | None) -> str | None:
    if text is not None and not text:
        raise typer.BadParameter("an empty name is no folder")
    return text


HomeOption = Annotated[
    str | None,
    typer.Option(
        "--home", callback=_named, metavar="FOLDER", help="The home. Default: $CASPARIAN_HOME, else ~/.casparian_flow."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data as JSON on stdout; talk stays on stderr.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
