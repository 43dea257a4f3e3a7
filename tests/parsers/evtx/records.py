"""Owns records as the decoder would give them, for tests of what becomes of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from parsers.evtx import parser
from parsers.evtx.events import read_events
from parsers.evtx.rows import Rows
from tests.parsers.evtx.reading import (
    NOON,
)

SYSTEM: Final = {
    "Provider": {"#attributes": {"Name": "P"}},
    "EventID": 1,
    "TimeCreated": {"#attributes": {"SystemTime": "2026-01-20T12:00:00.123456Z"}},
    "EventRecordID": 5,
}

A_SECOND_LATER: Final = (
    (NOON.replace(microsecond=0) + timedelta(seconds=1) - datetime(1601, 1, 1, tzinfo=UTC))
    // (timedelta(microseconds=1))
    * 10
)


class Loose:
    """A record as the decoder would give it, with the two values of its header."""

    def __init__(
        self, system: dict[str, Any] | None, *, record_id: int = 9, filetime: int = A_SECOND_LATER, **more: Any
    ) -> None:
        event = {} if system is None else {"System": system}
        self.text = json.dumps({"Event": event | more})
        self.record_id = record_id
        self.filetime = filetime


record_of = Loose


def table_of(*records: Loose) -> Any:
    rows = Rows()
    rows.texts = [record.text for record in records]
    rows.xml = [None] * len(records)
    rows.header_ids = [record.record_id for record in records]
    rows.filetimes = [record.filetime for record in records]
    rows.lengths = [100] * len(records)
    rows.offsets = [100 * position for position in range(len(records))]
    rows.chunks = [0] * len(records)
    return read_events(rows, "0123456789abcdef", parser.TABLES.events)


def one(record: Loose) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """Return the row of a record that can be one, and the type, key and value of its notes."""
    table = table_of(record)
    assert table.bad == {}
    (row,) = table.batch.to_pylist()
    return row, [(note.note_type, note.key, note.value) for note in table.notes]
