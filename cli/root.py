"""Owns what stands before every verb: the name, the help and the options of the command line as a whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from casparian import ROOT_LOGGER, __version__
from cli.plain import PlainGroup


def command_line() -> typer.Typer:
    """Return the command line without a verb."""
    app = typer.Typer(
        cls=PlainGroup,
        name="casparian",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # importing what paints boxes takes as long as all the rest of --help
        help="A folder of messy files becomes typed tables that can prove how they were made.\n\n"
        "Example: `casparian run evtx ./case --sink parquet://./out`",
    )
    app.callback()(main)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"casparian {__version__}")
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Say also who carries the command out: a sentinel, or this process.")
    ] = False,
    recording: Annotated[
        Path | None,
        typer.Option("--tape", metavar="FILE", help="Write what this command asks, does and answers as a tape."),
    ] = None,  # read by cli/main.py, which tapes the whole of the command
) -> None:
    """Read the options that stand before the verb."""
    if verbose:
        logging.getLogger(ROOT_LOGGER).setLevel(logging.INFO)
