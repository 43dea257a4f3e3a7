"""Owns how commands reach the deciding thread and how answers get back: to threads one by one, to event loops in turns.

Waking another thread costs more than deciding a command. The commands that the tasks of one event loop give in one turn
of it therefore travel as one item, and the answers of one batch come back with one wake of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError

from msgspec import Struct

from commands.decide import Command
from commands.outcome import Refused
from eventlog.events import Event
from eventlog.frames import Stamp
from eventlog.ids import Seq

BATCH_COMMANDS_MAX = 512
ASKED_COMMANDS_MAX = 10_000  # of one event loop, given and not yet answered


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a command, told when it is durable. `seq` is the position after it."""

    seq: Seq
    events: tuple[Event, ...]
    refused: Refused | None


class Request(Struct, frozen=True):
    """A command, and who waits for its outcome: a thread, or a task behind a port."""

    command: Command
    actor: str
    cause: int
    answer: Future[Outcome] | asyncio.Future[Outcome]
    stamp: Stamp | None = None  # of a request that came from outside and may come again
    port: AsyncPort | None = None


Answer = tuple[Request, Outcome | BaseException]


class AsyncPort:
    """Takes the commands of one event loop's tasks. Used on that loop only."""

    def __init__(self, put: Callable[[list[Request]], None], *, actor: str) -> None:
        self._put = put
        self._actor = actor
        self._loop = asyncio.get_running_loop()
        self._given: list[Request] = []  # in this turn of the loop
        self._waiting = 0

    def ask(self, command: Command, *, cause: int = 0) -> asyncio.Future[Outcome]:
        """Give a command; the future is done when its frame is durable. Raises asyncio.QueueFull, LogFullError later.

        At most ASKED_COMMANDS_MAX may wait: an event loop cannot be blocked until there is room, as a thread can.
        """
        if self._waiting >= ASKED_COMMANDS_MAX:
            raise asyncio.QueueFull
        self._waiting += 1
        if not self._given:
            self._loop.call_soon(self._hand_over)
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._given.append(Request(command, self._actor, cause, answer, port=self))
        return answer

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Have the loop answer its tasks; called on the deciding thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, answers)

    def _hand_over(self) -> None:
        given, self._given = self._given, []
        for start in range(0, len(given), BATCH_COMMANDS_MAX):
            self._put(given[start : start + BATCH_COMMANDS_MAX])

    def _settle(self, answers: Sequence[Answer]) -> None:
        self._waiting -= len(answers)
        for request, result in answers:
            if not request.answer.done():  # a task that was cancelled meanwhile
                _set(request.answer, result)


def settle(answers: Iterable[Answer]) -> None:
    """Tell everybody what became of their commands: threads at once, each loop with one wake."""
    ports: dict[AsyncPort, list[Answer]] = {}
    for answer in answers:
        port = answer[0].port
        if port is None:
            with contextlib.suppress(InvalidStateError):  # its caller has given up, or was told already
                _set(answer[0].answer, answer[1])
        elif port in ports:
            ports[port].append(answer)
        else:
            ports[port] = [answer]
    for port, batch in ports.items():
        port.deliver(batch)


def _set(answer: Future[Outcome] | asyncio.Future[Outcome], result: Outcome | BaseException) -> None:
    if isinstance(result, BaseException):
        answer.set_exception(result)
    else:
        answer.set_result(result)
