"""Owns one FIX log while it is written: its bytes, packed or not, and the truth that is counted as they are written."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from cli.demo.fix_truth import FileTruth, Form, Tally
from cli.demo.fix_writer import Cut

# The dirt that breaks a declared type: such a message must end in quarantine.
QUARANTINED: Final = frozenset({"bad_price", "long_fraction", "bad_sending_time"})


class Made(Struct, frozen=True):
    """A message with its bytes and what is true of them."""

    data: bytes
    msg_type: str
    groups: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]

    @property
    def quarantined(self) -> bool:
        return not QUARANTINED.isdisjoint(self.notes)


class LogFile:
    """One file while it is written, and what is counted of it."""

    def __init__(self, folder: Path, name: str, date: str, form: Form) -> None:
        self.date = date
        self.text_bytes = 0
        self.dirt: Counter[str] = Counter()
        self._path = folder / name
        self._form: Form = form
        self._newlines = 0
        self._ends_open = False  # its last line has no end
        self._made, self._quarantined = _Counts(), _Counts()
        self._unreadable = self._foreign = 0
        self._group_entries: Counter[int] = Counter()
        self._raw: BinaryIO = self._path.open("xb")
        # Without name and time in its header, the same text makes the same bytes.
        self._out: BinaryIO | gzip.GzipFile = (
            gzip.GzipFile("", "wb", 6, self._raw, mtime=0) if form == "gzip" else self._raw
        )

    def write_line(self, line: bytes, made: Sequence[Made]) -> None:
        """Write one line with what is in it."""
        self._write(line)
        for message in made:
            self._made.add(message)
            if message.quarantined:
                self._quarantined.add(message)
            self.dirt.update(message.notes)
            for counter, entries in message.groups:
                self._group_entries[counter] += entries

    def write_foreign(self, line: bytes) -> None:
        self._write(line + b"\n")
        self._foreign += 1

    def write_fragment(self, text: bytes, msg_type: str, cut: Cut) -> None:
        """Write what is left of a message at the end of the file."""
        self._write(text)
        self.dirt["cut_at_rotation"] += 1
        if cut.kind == "unreadable":
            self._unreadable += 1
            return
        self._made.add_cut(msg_type)
        if cut.kind == "header":
            self._quarantined.add_cut(msg_type)

    def write_rest(self, rest: bytes, *, newline: bool) -> None:
        """Write what a cut took off: a line without a message, or what stands before the first one of a body."""
        self._write(rest + b"\n" if newline else rest)
        self._foreign += newline

    def finished(self) -> FileTruth:
        """Close the file and return the truth about it."""
        if self._out is not self._raw:
            self._out.close()
        self._raw.close()
        return FileTruth(
            path=self._path.name,
            bytes=self._path.stat().st_size,
            form=self._form,
            lines=self._newlines + self._ends_open,
            made=self._made.tally(),
            quarantined=self._quarantined.tally(),
            unreadable=self._unreadable,
            foreign_lines=self._foreign,
            group_entries={str(tag): entries for tag, entries in sorted(self._group_entries.items())},
            dirt=dict(sorted(self.dirt.items())),
        )

    def _write(self, text: bytes) -> None:
        self._out.write(text)
        self.text_bytes += len(text)
        self._ends_open = not text.endswith(b"\n")
        self._newlines += not self._ends_open


class _Counts:
    """A Tally while it is made."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.checksum_bad = self.body_length_bad = self.cut = 0

    def add(self, made: Made) -> None:
        self.messages[made.msg_type] += 1
        self.checksum_bad += "wrong_checksum" in made.notes
        self.body_length_bad += "wrong_body_length" in made.notes

    def add_cut(self, msg_type: str) -> None:
        self.messages[msg_type] += 1
        self.cut += 1

    def tally(self) -> Tally:
        whole = self.messages.total() - self.cut
        return Tally(
            messages=dict(sorted(self.messages.items())),
            checksum_ok=whole - self.checksum_bad,
            checksum_bad=self.checksum_bad,
            checksum_absent=self.cut,
            body_length_ok=whole - self.body_length_bad,
            body_length_bad=self.body_length_bad,
            body_length_absent=self.cut,
        )
