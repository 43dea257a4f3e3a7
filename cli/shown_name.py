"""Leads from a file's name as a summary shows it, relative to the folder of the run, to the path that was read."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CliError
from cli.home import Home
from cli.render import count, printable

if TYPE_CHECKING:
    from projections.queries import Connection

PATHS_LOOKED_FOR_MAX = 100


def file_not_met(place: Home, connection: Connection, *, doing: str, file: Path, command: str) -> CliError:
    """Return that no run has met a file, with the path that may be meant: the one that ends in the name.

    Nothing is guessed: which file of a case is looked at is for the person to say.
    """
    from eventlog.ids import path_text
    from projections import queries

    name = path_text(os.fsencode(os.path.normpath(file)))
    ending = queries.paths_ending(connection, name, limit=PATHS_LOOKED_FOR_MAX)
    why = f"{doing}: no run of this home has met a file of this path"
    if not ending:
        return CliError("not_found", why, place.hint("casparian files"))
    meant = f"{printable(ending[0])} ends in {printable(name)}"
    others = f", and {count(len(ending) - 1, 'other')}" if len(ending) > 1 else ""
    return CliError("not_found", f"{why}; {meant}{others}", place.hint(f"{command} {shlex.quote(ending[0])}"))
