"""Shows how a run is going, on stderr: a moving line on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from cli.render import count, size, talk

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

PLAIN_SECONDS = 5.0


class Talk(Protocol):
    """Whoever is told how a run is going; three phases, in this order."""

    def scanning(self, files: int, bytes_: int) -> None: ...
    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None: ...
    def working(self, *, done: int, total: int, rows: int, seconds_left: int | None) -> None: ...
    def note(self, sentence: str) -> None: ...


class PlainTalk:
    """A line at each change of phase, and at most one every PLAIN_SECONDS in between."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        self._done = -1

    def scanning(self, files: int, bytes_: int) -> None:
        if self._due():
            talk(f"reading: {count(files, 'file')}, {size(bytes_)}")

    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None:
        unreadable = f", {refused} cannot be read" if refused else ""
        talk(f"plan: {count(found, 'file')} found, {to_run} to process, {reused} reused{unreadable}")

    def working(self, *, done: int, total: int, rows: int, seconds_left: int | None) -> None:
        if total and done != self._done and (done == total or self._due()):
            self._done = done
            talk(f"processing: {done} of {count(total, 'file')} done{_left(seconds_left)}")

    def note(self, sentence: str) -> None:
        talk(sentence)

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._told < PLAIN_SECONDS:
            return False
        self._told = now
        return True


class TerminalTalk:
    """One line that moves, with throughput and the time that is left."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status

    def scanning(self, files: int, bytes_: int) -> None:
        self._status.update(f"reading and hashing: {count(files, 'file')}, {size(bytes_)}")

    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None:
        unreadable = f", {refused} cannot be read" if refused else ""
        self._console.print(f"plan: {count(found, 'file')} found, {to_run} to process, {reused} reused{unreadable}")

    def working(self, *, done: int, total: int, rows: int, seconds_left: int | None) -> None:
        in_flight = f", {rows:,} rows in flight" if rows else ""
        self._status.update(f"processing: {done} of {count(total, 'file')}{in_flight}{_left(seconds_left)}")

    def note(self, sentence: str) -> None:
        self._console.print(sentence)


def _left(seconds: int | None) -> str:
    return "" if seconds is None else f", about {seconds:,} s left"


@contextlib.contextmanager
def make_talk() -> Iterator[Talk]:
    """Give the talk that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield PlainTalk()
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    with console.status("opening the log") as status:
        yield TerminalTalk(console, status)
