"""The verbs of `schema`: what columns files have, and the schema files that declare them."""

from __future__ import annotations

import typer

from cli.plain import PlainGroup

app = typer.Typer(
    cls=PlainGroup, no_args_is_help=True, help="Columns and schemas. Example: `casparian schema show evtx`"
)


@app.callback()
def main() -> None:
    """Group the verbs that speak of columns."""
