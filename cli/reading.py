"""Opens a home for reading: the same answers with and without a run going on, and never a byte written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cli.errors import CliError
from cli.home import Home

if TYPE_CHECKING:
    from projections.reader import Reader
    from reducers.explain import Fact, Interest


@contextlib.contextmanager
def reading(home: Home) -> Iterator[Reader]:
    """Give a reader of the home's read model. Raises CliError when there is no log, or it cannot be read."""
    from eventlog.errors import LogMissingError
    from projections.reader import open_reader

    require_folder(home)
    try:
        reader = open_reader(home.root, home.log)
    except LogMissingError as error:
        raise nothing_here(home) from error
    with contextlib.closing(reader):
        yield reader


def require_folder(home: Home) -> None:
    """Raise CliError if what was named as a home is no folder."""
    if home.root.exists() and not home.root.is_dir():
        raise CliError(
            "not_a_home", f"use {home.root} as a home: it is a file, not a folder", "name the home: --home ./home"
        )


def nothing_here(home: Home) -> CliError:
    """Return the error of a verb that needs a home where nothing was run yet."""
    return CliError(
        "no_log",
        f"read the log of {home.root}: nothing was run there yet",
        "casparian run evtx ./case, or name another --home",
    )


def read_facts(home: Home, interest: Interest) -> list[Fact]:
    """Return what the log says of an interest: one pass to widen it, one to collect. Raises CliError without a log."""
    from eventlog.reader import read_frames
    from reducers.explain import collect

    pass_facts(home, interest.widen)
    return collect(interest, read_frames(home.log))


def pass_facts(home: Home, see: Callable[[Fact], None]) -> None:
    """Show every fact of the log, in order. Raises CliError without a log."""
    from eventlog.errors import LogMissingError
    from eventlog.reader import read_frames
    from reducers.explain import facts_of

    require_folder(home)
    try:
        for fact in facts_of(read_frames(home.log)):
            see(fact)
    except LogMissingError as error:
        raise nothing_here(home) from error
