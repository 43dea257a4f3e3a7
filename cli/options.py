"""Owns the options that verbs share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The case's home folder. Default: $CASPARIAN_HOME, else ~/.casparian_flow."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data as JSON on stdout; talk stays on stderr.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
