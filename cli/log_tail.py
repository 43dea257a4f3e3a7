"""`casparian log tail`: the newest records, and with -f those that come, never one that may still be lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.home import Home, find_home
from cli.log import print_record
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder

if TYPE_CHECKING:
    from cli.told import ToldFrame, ToldRecord
    from cli.wire import Pipe
    from eventlog.records import LogRecord

LOOK_SECONDS: Final = 0.25  # between two looks at the log, where nobody tells what comes
QUIET_SECONDS: Final = 1.0  # without a word, after which the log is looked at: the last frame told may have been missed
LOOKS_PER_SEARCH: Final = 8  # at the log, between two searches for a sentinel
DIAL_SECONDS: Final = 0.5
TAIL_RECORDS: Final = 10
logger = logging.getLogger("casparian.reading")  # heard with -v


def tail(
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="How many of the newest records first.")] = (
        TAIL_RECORDS
    ),
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest records; with -f wait for more. Shown is only what is known to be on the disk.

    A sentinel that runs tells what comes at once; without one, the log is read, which shows it a second later.

    Example: `casparian log tail -f`
    """
    from eventlog.errors import LogMissingError
    from eventlog.reader import durable_head
    from eventlog.reader import follow as follow_log

    place = find_home(home)
    require_folder(place)
    try:
        head = durable_head(place.log)
        first = max(1, (head.seq if head else 0) - number + 1)
        shown = _Shown(first - 1, as_json=as_json)
        listening = _Listening(place, shown)
        for frame in follow_log(place.log, after=first - 1, wait=listening.wait if follow else _stop):
            shown.show(frame.records, last=frame.last, ts=frame.ts, actor=frame.actor)
    except LogMissingError as error:
        raise nothing_here(place) from error


def _stop() -> bool:
    return False


class _Shown:
    """Prints records, each once. `last` is the seq up to which all were."""

    def __init__(self, last: int, *, as_json: bool) -> None:
        self.last = last
        self._as_json = as_json

    def show(self, records: Sequence[LogRecord | ToldRecord], *, last: int, ts: str, actor: str) -> None:
        for record in records:
            if record.seq > self.last:
                print_record(record, ts=ts, actor=actor, as_json=self._as_json)
        self.last = max(self.last, last)


class _Listening:
    """Shows what a sentinel tells, as long as nothing is missing between it and what was shown."""

    def __init__(self, place: Home, shown: _Shown) -> None:
        self._place = place
        self._shown = shown
        self._pipe: Pipe | None = None
        self._early: ToldFrame | None = None  # told before what stands between it and what was shown
        self._looks = 0
        self._is_told = True  # nothing was said yet of who answers

    def wait(self) -> bool:
        """Return when the log should be looked at again: there is a gap, a silence, or nobody who tells."""
        if self._pipe is None and self._looks % LOOKS_PER_SEARCH == 0:
            self._search()
        self._looks += 1
        if self._pipe is None:
            time.sleep(LOOK_SECONDS)
        else:
            self._listen(self._pipe)
        return True

    def _search(self) -> None:
        self._pipe = _subscribed(self._place)
        if self._pipe is not None:
            logger.info("a sentinel is running: it tells what comes")
        elif self._is_told:
            logger.info("no sentinel is running: the log is read by this process")
        self._is_told = self._pipe is not None

    def _listen(self, pipe: Pipe) -> None:
        from executors.errors import TransportError

        try:
            while self._show_next(pipe):
                pass
        except TimeoutError:
            return
        except TransportError as error:
            logger.info("the sentinel tells nothing more (%s): the log is read by this process", error)
            pipe.close()
            self._pipe, self._early, self._looks, self._is_told = None, None, 1, False

    def _show_next(self, pipe: Pipe) -> bool:
        """Show the next frame; False if something before it is missing, which the log will have in a moment."""
        from cli.told import read_told

        waited = self._early is not None
        frame = self._early or read_told(pipe.receive())
        self._early = None
        if frame.first > self._shown.last + 1:
            self._early = frame
            if waited:
                time.sleep(LOOK_SECONDS)
            return False
        self._shown.show(frame.records, last=frame.last, ts=frame.ts, actor=frame.actor)
        return True


def _subscribed(home: Home) -> Pipe | None:
    """Return a pipe on which a sentinel tells what comes, None if there is none."""
    from cli.messages import Tail, TailTold, ask
    from cli.reaching import reach
    from cli.told import FRAME_BYTES_MAX
    from cli.wire import dial
    from executors.errors import TransportError

    try:
        client = reach(home)
        if client is None:
            return None
        with client:
            reply = client.ask(ask(Tail()))
        if not isinstance(reply, TailTold):
            return None
        path = Path(reply.address.removeprefix("ipc://"))
        pipe = dial(path, part="sub", message_bytes_max=FRAME_BYTES_MAX, seconds=DIAL_SECONDS)
        pipe.give(QUIET_SECONDS)
    except TransportError:  # it left meanwhile
        return None
    return pipe
