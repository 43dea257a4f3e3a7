"""Opens a home for reading: the same answers with and without a run going on, and never a byte written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.errors import CliError
from cli.home import Home

if TYPE_CHECKING:
    from projections.reader import Reader


@contextlib.contextmanager
def reading(home: Home) -> Iterator[Reader]:
    """Give a reader of the home's read model. Raises CliError when there is no log, or it cannot be read."""
    from eventlog.errors import LogMissingError
    from projections.reader import open_reader

    try:
        reader = open_reader(home.root, home.log)
    except LogMissingError as error:
        raise nothing_here(home) from error
    with contextlib.closing(reader):
        yield reader


def nothing_here(home: Home) -> CliError:
    """Return the error of a verb that needs a home where nothing was run yet."""
    return CliError(
        "no_log",
        f"read the log of {home.root}: nothing was run there yet",
        "casparian run evtx ./case, or name another --home",
    )
