"""Owns the account of a log: what was counted, in messages and in lines, and which bytes could not be read."""

from collections import Counter
from typing import Any

from . import limits
from .dictionary import MESSAGE_TABLES
from .lines import Line

Statement = dict[str, Any]


class Account:
    """What was read so far. A line is booked once, also where it is read in pieces or holds many messages."""

    def __init__(self) -> None:
        self.messages = 0
        self.unreadable = 0
        self.accepted_lines = 0
        self.unreadable_lines = 0
        self.skips: Counter[str] = Counter()
        self._ranges: list[dict[str, Any]] = []  # the first RANGES_MAX
        self._ranges_total = 0
        self._held = False  # the line holds a message

    def note_range(self, offset: int, length: int, reason: str) -> None:
        """Name bytes that could not be read."""
        self._ranges_total += 1
        if len(self._ranges) < limits.RANGES_MAX:
            self._ranges.append({"offset": offset, "length": length, "reason": reason})

    def close_line(self, line: Line, *, rows: int) -> None:
        """Book a line as holding a message or as unreadable; one in pieces once, by all of them."""
        if line.piece < 2:
            self._held = False
            self.unreadable_lines += 1
        if rows and not self._held:
            self._held = True
            self.unreadable_lines -= 1
            self.accepted_lines += 1

    def plain(self, count: int) -> None:
        """Book plain lines, each of which is a message."""
        self.messages += count
        self.accepted_lines += count

    def statements(self, lines: int) -> list[Statement]:
        """Return the account of the messages, then that of the lines."""
        return [self._of_messages(), self._of_lines(lines)]

    def _of_messages(self) -> Statement:
        return {
            "unit": "messages",
            "output": list(MESSAGE_TABLES),
            "found": self.messages + self.unreadable,
            "unreadable": self.unreadable,
            "ranges": self._ranges,
            "ranges_total": self._ranges_total,
        }

    def _of_lines(self, found: int) -> Statement:
        return {
            "unit": "lines",
            "accepted": self.accepted_lines,
            "found": found,
            "skipped": self.skips.total(),
            "skips": [{"count": count, "reason": reason} for reason, count in sorted(self.skips.items())],
            "unreadable": self.unreadable_lines,
            "ranges": self._ranges,
            "ranges_total": self._ranges_total,
        }
