"""Owns the truth about made-up FIX logs: what is counted of each file, and which table must have which message."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

Form = Literal["soh", "time_prefix", "direction_prefix", "pipe", "body", "gzip"]  # of the lines of a log

OUTPUTS: Final = ("fix_order_lifecycle", "fix_session_events", "fix_other_messages")
_OUTPUT_OF: Final = dict.fromkeys("D8FG9H", OUTPUTS[0]) | dict.fromkeys("A012345j", OUTPUTS[1])


class Tally(Struct, frozen=True, kw_only=True):
    """Messages, counted. `checksum_absent` and `body_length_absent` are those that were cut before their end."""

    messages: dict[str, int]  # by MsgType
    checksum_ok: int
    checksum_bad: int
    checksum_absent: int
    body_length_ok: int
    body_length_bad: int
    body_length_absent: int

    @property
    def total(self) -> int:
        return sum(self.messages.values())


class FileTruth(Struct, frozen=True, kw_only=True):
    """What a log holds. `made` counts all messages with a MsgType, `quarantined` those with a value that fits no type.

    `unreadable` ones begin with 8=FIX and have no MsgType. `group_entries` has the tag of the groups' counter as key.
    """

    path: str  # relative to the folder
    bytes: int
    form: Form
    lines: int
    made: Tally
    quarantined: Tally
    unreadable: int
    foreign_lines: int
    group_entries: dict[str, int]
    dirt: dict[str, int]

    def quarantined_rows(self, output: str) -> int:
        """Return how many rows of an output must end in quarantine."""
        return sum(rows for msg_type, rows in self.quarantined.messages.items() if output_of(msg_type) == output)


class Truth(Struct, frozen=True, kw_only=True):
    """What was made: one entry a file, in the order of writing."""

    seed: int
    files: tuple[FileTruth, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def messages(self) -> int:
        return sum(file.made.total for file in self.files)

    @property
    def dirt(self) -> Counter[str]:
        """Return how often each dirt was made."""
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.dirt)
        return total

    def save(self, path: Path) -> None:
        """Write one JSON line a file."""
        path.write_bytes(b"\n".join(msgspec.json.encode(file) for file in self.files) + b"\n")


def output_of(msg_type: str) -> str:
    """Return the table that has the messages of a type."""
    return _OUTPUT_OF.get(msg_type, OUTPUTS[2])
