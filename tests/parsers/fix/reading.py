"""Owns how these tests make FIX messages and read logs with the parser, in this process."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from parsers.fix import limits, log, parser

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "parsers" / "fix"
REAL_DATA: Final = Path(os.environ.get("CASPARIAN_REAL_DATA", ROOT.parent / "shared" / "data"))
MESSAGES: Final = ("fix_order_lifecycle", "fix_session_events", "fix_other_messages")
SOH: Final = "\x01"


def message(body: str, *, begin: str = "FIX.4.4", delimiter: str = SOH) -> bytes:
    """Return a whole message, its fields given with `|` between them; BodyLength and CheckSum are those of SOH."""
    return sealed(body.replace("|", SOH), begin=begin).replace(SOH.encode(), delimiter.encode())


def sealed(body: str, *, begin: str = "FIX.4.4") -> bytes:
    """Return a whole message, its fields given with SOH between them."""
    inner = (body + SOH).encode()
    sent = f"8={begin}{SOH}9={len(inner)}{SOH}".encode() + inner
    return sent + f"10={sum(sent) & 0xFF:03}{SOH}".encode()


def order(number: int = 1, more: str = "") -> str:
    """Return the body of an order."""
    head = f"35=D|49=BUYER|56=VENUE|34={number}|52=20260120-14:30:00.123"
    return f"{head}|11=C{number}|55=MSFT|54=1|38=500|40=2|44=101.25{more}"


def sent(*bodies: str, **options: str) -> bytes:
    """Return a log of whole messages, one in a line."""
    return b"".join(message(body, **options) + b"\n" for body in bodies)


class Read:
    """All that one parse gave."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.batches: list[tuple[str, pa.RecordBatch]] = []
        running = parser.parse(str(path), settings)
        while True:
            try:
                self.batches.append(next(running))
            except StopIteration as stop:
                self.statements: list[dict[str, Any]] = stop.value
                break
        for _, batch in self.batches:
            batch.validate(full=True)

    def rows(self, output: str) -> list[dict[str, Any]]:
        return [row for name, batch in self.batches if name == output for row in batch.to_pylist()]

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Return all rows of each output that has some, in the order in which they were given."""
        outputs = dict.fromkeys(name for name, _ in self.batches)
        return {
            output: pa.Table.from_batches([batch for name, batch in self.batches if name == output]).combine_chunks()
            for output in outputs
        }

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the rows of all messages, in the order of the log."""
        rows = [row for output in MESSAGES for row in self.rows(output)]
        return sorted(rows, key=lambda row: row["byte_offset"])

    @property
    def only(self) -> dict[str, Any]:
        (row,) = self.messages
        return row

    @property
    def errors(self) -> list[str]:
        return [row["error_reason"] for row in self.rows("fix_parse_errors")]

    def notes(self) -> Counter[str]:
        """Count the words of the notes, without what stands behind their colon."""
        told = [note for row in self.messages for note in (row["notes"] or "").split("; ") if note]
        return Counter(note.partition(":")[0] for note in told)

    def check_balance(self) -> None:
        """Hold both statements against what was given."""
        messages, lines = self.statements
        assert messages["output"] == list(MESSAGES)
        assert messages["found"] == len(self.messages) + messages["unreadable"]
        assert lines["found"] == lines["accepted"] + lines["skipped"] + lines["unreadable"]
        assert lines["skipped"] == sum(skip["count"] for skip in lines["skips"])
        assert all(each["offset"] >= 0 and each["length"] >= 0 and each["reason"] for each in messages["ranges"])


def read(data: bytes, folder: Path, **settings: str) -> Read:
    path = folder / "day.fix"
    path.write_bytes(data)
    done = Read(path, **settings)
    done.check_balance()
    return done


def read_both_ways(path: Path, **settings: str) -> tuple[Read, Read]:
    """Read a log with its plain lines together, and again line by line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SCANNED_BYTES_MIN", 0)
        together = Read(path, **settings)
        patch.setattr(log, "plain_lines", lambda *_: None)
        return together, Read(path, **settings)
