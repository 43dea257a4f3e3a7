"""Opens a home for reading: the same answers with and without a run going on, and never a byte written."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cli.errors import CliError
from cli.home import Home

if TYPE_CHECKING:
    from projections.reader import Reader
    from reducers.explain import Fact, Interest

T = TypeVar("T")
logger = logging.getLogger("casparian.reading")  # heard with -v


@contextlib.contextmanager
def reading(home: Home) -> Iterator[Reader]:
    """Give a reader of the home's read model: of a copy, where a sentinel runs that lends one.

    Raises CliError when there is no log, or it cannot be read.
    """
    from eventlog.errors import LogMissingError
    from projections.reader import open_reader

    require_folder(home)
    try:
        reader = open_reader(home.root, home.log, lent=_lent(home))
    except LogMissingError as error:
        raise nothing_here(home) from error
    with contextlib.closing(reader):
        yield reader


def _lent(home: Home) -> Path | None:
    """Return a copy of the read model that a sentinel lends, None where there is none to be had."""
    from cli.messages import LendReadModel, ReadModelLent
    from cli.messages import ask as request
    from cli.reaching import reach
    from eventlog.ids import path_bytes
    from executors.errors import TransportError

    try:
        client = reach(home)
        if client is None:
            logger.info("no sentinel is running: the home is read by this process")
            return None
        with client:
            reply = client.ask(request(LendReadModel()))
    except TransportError as error:  # it left meanwhile, or is busy: the log has all that it could say
        logger.info("the sentinel did not answer (%s): the home is read by this process", error)
        return None
    if not isinstance(reply, ReadModelLent):
        logger.info("the sentinel lends no copy (%s): the home is read by this process", reply)
        return None
    logger.info("a sentinel is running: this process reads a copy of what it knows, up to record %d", reply.seq)
    return Path(os.fsdecode(path_bytes(reply.path)))


def ask(home: Home, question: Callable[..., T], **arguments: str | int | None) -> T:
    """Return the answer to one of the questions of projections/queries.py.

    From the sentinel that runs, which has the read model at hand; without one, or where the answer is too long to
    travel, by reading the home ourselves. Raises CliError as `reading` does.
    """
    from projections.questions import read_answer

    told = _told(home, question.__name__, arguments)
    if told is not None:
        return read_answer(question, told)
    with reading(home) as reader:
        return question(reader.connection, **arguments)


def _told(home: Home, question: str, arguments: dict[str, str | int | None]) -> bytes | None:
    """Return a sentinel's answer, None where there is none to be had."""
    from cli.messages import Ask, Told
    from cli.messages import ask as request
    from cli.reaching import reach
    from executors.errors import TransportError

    try:
        client = reach(home)
        if client is None:
            logger.info("no sentinel is running: the home is read by this process")
            return None
        with client:
            reply = client.ask(request(Ask(question=question, arguments={**arguments})))
    except TransportError as error:  # it left meanwhile, or is busy: the log has all that it could say
        logger.info("the sentinel did not answer (%s): the home is read by this process", error)
        return None
    if isinstance(reply, Told):
        logger.info("a sentinel is running: it has answered")
        return reply.data
    logger.info("the sentinel does not answer this (%s): the home is read by this process", reply)
    return None


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
