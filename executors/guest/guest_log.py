"""Owns what is kept of a guest's log: its last words, and how much was dropped."""

from __future__ import annotations

import logging
import re
from collections import deque

from executors.guest.limits import LOG_JOB_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_TAIL_BYTES_MAX

# Control characters (a terminal must not obey a guest), line separators that only some programs honour, and
# surrogates (they cannot be stored as UTF-8).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def plain_text(text: str, *, chars_max: int) -> str:
    """Return a guest's words in one line without control characters, cut to `chars_max` with an ellipsis."""
    line = _UNPRINTABLE.sub("?", text[: chars_max + 1].replace("\n", " ").replace("\t", " "))
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


class GuestLog:
    """Keep the last LOG_TAIL_BYTES_MAX of a log that may be endless."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._tail_bytes = 0
        self._bytes = 0
        self._partial = b""
        self.dropped = 0

    def add(self, level: int, text: str) -> bool:
        """Keep a line; say whether it counts as a sign of life.

        After LOG_JOB_BYTES_MAX only errors are kept, so that the trace of a talkative parser is not lost, and nothing
        counts as life any more, so that an endless talker ends as a silent one does. Debug lines are not kept.
        """
        size = len(text.encode("utf-8", "replace")) + 1
        within = self._bytes + size <= LOG_JOB_BYTES_MAX
        self._bytes += size
        if not within and level < logging.ERROR:
            self.dropped += 1
        elif level > logging.DEBUG:
            self._keep(text, size)
        return within

    def add_bytes(self, data: bytes) -> bool:
        """Take raw output of the process, split it into lines and keep them; say whether any was a sign of life."""
        lines = (self._partial + data).split(b"\n")
        pieces = [line[at : at + LOG_LINE_BYTES_MAX] for line in lines[:-1] for at in _cuts(line)]
        *whole, rest = [lines[-1][at : at + LOG_LINE_BYTES_MAX] for at in _cuts(lines[-1])]
        self._partial = rest
        alive = False
        for piece in pieces + whole:
            alive = self.add(logging.INFO, piece.decode("utf-8", "replace")) or alive
        return alive

    def flush(self) -> None:
        """Keep the last line although no newline ended it."""
        if self._partial:
            self.add(logging.INFO, self._partial.decode("utf-8", "replace"))
            self._partial = b""

    def tail(self) -> str:
        """Return the last lines kept, and a line that says how many were dropped."""
        lines = list(self._lines)
        if self.dropped:
            lines.append(f"[{self.dropped} further lines were dropped: a job may log {LOG_JOB_BYTES_MAX:,} bytes]")
        return _UNPRINTABLE.sub("?", "\n".join(lines))

    def _keep(self, text: str, size: int) -> None:
        self._lines.append(text)
        self._tail_bytes += size
        while self._tail_bytes > LOG_TAIL_BYTES_MAX and len(self._lines) > 1:
            self._tail_bytes -= len(self._lines.popleft().encode("utf-8", "replace")) + 1


def _cuts(line: bytes) -> range:
    """Return where the pieces of a line begin; an empty line has one piece."""
    return range(0, max(len(line), 1), LOG_LINE_BYTES_MAX)
