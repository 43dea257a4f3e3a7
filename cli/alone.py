"""Owns which verbs are loaded alone: the library builds all verbs with all their options before it looks at a word, and
all of them have to be imported for that, which takes longer than most take to answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

import typer

from cli.plain import PlainCommand
from cli.root import command_line

# The verb, and the file in cli/ where a function of that name is it. Groups of verbs are loaded with all the others.
ALONE: Final = {
    "run": "run",
    "sql": "sql",
    "jobs": "jobs",
    "files": "files",
    "outputs": "outputs",
    "balance": "balance",
    "record": "record",
    "start": "service",
    "stop": "service",
    "status": "status",
    "metrics": "metrics",
    "sentinel": "service",
    "executor": "executor",
}


def application(words: Sequence[str]) -> typer.Typer:
    """Return the command line with the one verb that the words begin with, or with all of them."""
    if words and words[0] in ALONE:
        app = command_line()
        verb = words[0]
        app.command(verb, cls=PlainCommand)(getattr(importlib.import_module(f"cli.{ALONE[verb]}"), verb))
        return app
    from cli.app import app

    return app
