"""Owns what signals mean: the first asks for an orderly end, the second one ends at once.

SIGINT, SIGTERM and SIGHUP ask. A second SIGINT or SIGTERM does not wait any longer: what `leave` names is killed and
the process is gone. SIGHUP never ends at once: whoever closes a terminal causes it twice, by the kernel and the shell.

A thread of its own reads the signals' numbers from the wake-up pipe, so that the second one is heeded whatever the
main thread is doing. The main thread is interrupted only inside `interruptible`: a start or an end that is cut in
two would leave more behind than it saves.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from cli.errors import EXIT_INTERRUPTED

ASKING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INSISTING: Final = (signal.SIGINT, signal.SIGTERM)
LEAVE_SECONDS_MAX: Final = 0.5  # for `leave`; then the process ends, whatever it is waiting for
FAREWELL: Final = b"stopped at once: the guests were killed; run the same command again to go on\n"
SHOW_CURSOR: Final = b"\x1b[?25h"

_Disposition = Callable[[int, FrameType | None], object] | int | None


class Stopping:
    """Heeds signals while it is entered, by the main thread. `leave` is called from another thread, once."""

    def __init__(self, *, leave: Callable[[], None], farewell: bytes = FAREWELL) -> None:
        self._leave = leave
        self._farewell = farewell
        self._interruptible = False
        self._asked = False
        self._before: dict[signal.Signals, _Disposition] = {}
        self._terminals: tuple[int, ...] = ()

    def __enter__(self) -> Stopping:
        self._terminals = tuple(filter(os.isatty, (0, 1, 2)))  # once hung up, it does not say so any more
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._watcher = threading.Thread(target=self._watch, args=(read,), name="signals", daemon=True)
        self._watcher.start()
        self._wake_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in ASKING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup: the person wants it to go on
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wake_before)
        os.close(self._write)  # the watching thread ends
        # Waited for: it holds all that `leave` reaches, and what still lives when Python ends is told of as leaked.
        self._watcher.join(LEAVE_SECONDS_MAX)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether a signal has asked for an end, for those who look between two steps."""
        return self._asked

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise KeyboardInterrupt inside, once, for a signal that came before or comes meanwhile."""
        try:
            self._interruptible = True
            if self._asked:
                self._interruptible = False
                raise KeyboardInterrupt
            yield
        finally:
            self._interruptible = False

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt

    def _watch(self, read: int) -> None:
        """Count what comes, until the pipe is closed."""
        asked = False
        while numbers := os.read(read, 64):
            for number in numbers:
                if asked and number in INSISTING:
                    self._leave_at_once()
                if number == signal.SIGHUP:
                    _let_go(self._terminals)
                asked = asked or number in ASKING
        os.close(read)

    def _leave_at_once(self) -> None:
        late = threading.Timer(LEAVE_SECONDS_MAX, os._exit, (EXIT_INTERRUPTED,))
        late.daemon = True
        late.start()
        try:
            self._leave()
            _say_farewell(self._farewell)
        finally:
            os._exit(EXIT_INTERRUPTED)


def _say_farewell(farewell: bytes) -> None:
    """Tell the person, if stderr takes it now: nobody who reads slowly may hold us up."""
    with contextlib.suppress(OSError, ValueError):
        stderr = sys.stderr.fileno()
        if select.select([], [stderr], [], 0)[1]:
            os.write(stderr, (SHOW_CURSOR + b"\r\n" if os.isatty(stderr) else b"") + farewell)


def _let_go(terminals: tuple[int, ...]) -> None:
    """Send what is still said nowhere: the terminal has gone, and writing to it would fail."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in terminals:
            os.dup2(nowhere, stream)
        os.close(nowhere)
