"""Owns the front that a verb speaks to: the sentinel that runs, or, where none does, this process as one.

Both take the same requests and give the same replies, so that no verb knows the difference.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from cli.client import ControlClient
from cli.home import Home
from cli.messages import Asked, Reply
from cli.reaching import reach
from cli.render import talk
from cli.stopping import Stopping
from eventlog.errors import LogLockedError

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

HOLDER_SECONDS_MAX: Final = 15.0  # a sentinel that is starting or leaving holds the log, but cannot be asked
RETRY_SECONDS: Final = 0.1
logger = logging.getLogger("casparian.front")  # heard with -v

LEFT: Final = b"left at once: the sentinel goes on stopping the run; casparian status\n"


class Front(Protocol):
    """Takes requests. `stopping` heeds the signals of this process meanwhile."""

    @property
    def stopping(self) -> Stopping: ...
    @property
    def is_remote(self) -> bool: ...
    def ask(self, asked: Asked) -> Reply:
        """Return the reply. Raises PeerGoneError and other TransportErrors where a sentinel does not answer."""
        ...

    def close(self, tell: Callable[[str], None]) -> None:
        """Do what is owed to others before leaving; what it waits for is told."""
        ...


class Remote:
    """The sentinel that holds the home's log, in another process."""

    is_remote = True

    def __init__(self, client: ControlClient, stopping: Stopping) -> None:
        self.stopping = stopping
        self._client = client

    def ask(self, asked: Asked) -> Reply:
        return self._client.ask(asked)

    def close(self, tell: Callable[[str], None]) -> None:
        """Leave: the sentinel stays, whatever it is doing."""


class Embedded:
    """This process, being the home's sentinel for one command."""

    is_remote = False

    def __init__(self, sentinel: Sentinel, stopping: Stopping) -> None:
        self.stopping = stopping
        self._sentinel = sentinel

    def ask(self, asked: Asked) -> Reply:
        return self._sentinel.control.answer(asked)

    def close(self, tell: Callable[[str], None]) -> None:
        """Stay until the runs are done that other terminals have handed over meanwhile."""
        self._sentinel.host.close_when_done(tell)


@contextmanager
def front_of(home: Home, authority: Callable[[], Sentinel]) -> Iterator[Front]:
    """Give the front of a home. `authority` makes the sentinel that we become where nobody holds the log.

    Waits for a holder that is starting or leaving. Raises LogLockedError if it holds the log and never answers.
    """
    deadline = time.monotonic() + HOLDER_SECONDS_MAX
    while True:
        with ExitStack() as stack:
            front = _remote(home, stack) or _embedded(authority(), stack, last_try=time.monotonic() > deadline)
            if front is not None:
                yield front
                return
        time.sleep(RETRY_SECONDS)


def _remote(home: Home, stack: ExitStack) -> Front | None:
    client = reach(home)
    if client is None:
        return None
    logger.info("a sentinel is running: it carries this out")
    stack.enter_context(client)
    return Remote(client, stack.enter_context(Stopping(leave=_nothing, farewell=LEFT)))


def _embedded(sentinel: Sentinel, stack: ExitStack, *, last_try: bool) -> Front | None:
    stopping = stack.enter_context(Stopping(leave=sentinel.leave_at_once))
    try:
        stack.enter_context(sentinel)
    except LogLockedError:
        if last_try:
            raise
        return None
    logger.info("no sentinel is running: this process is one for now")
    for sentence in sentinel.recovery.sentences():
        talk(sentence)
    return Embedded(sentinel, stopping)


def _nothing() -> None:
    """Leave: nothing here has to be stopped first."""
