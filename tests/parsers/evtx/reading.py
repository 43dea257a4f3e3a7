"""Owns how these tests make event logs and read them with the parser, in this process."""

from __future__ import annotations

import functools
import io
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from msgspec.structs import replace

from cli.demo.evtx_writer import (
    Event,
    Layout,
    write_evtx,
)
from parsers.evtx import parser

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "parsers" / "evtx"
REAL_DATA: Final = Path(os.environ.get("CASPARIAN_REAL_DATA", ROOT.parent / "shared" / "data"))
NOON: Final = datetime(2026, 1, 20, 12, 0, 0, 123456, tzinfo=UTC)


class Read:
    """All that one parse gave."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.batches: list[tuple[str, pa.RecordBatch]] = []
        running = parser.parse(str(path), settings)
        while True:
            try:
                self.batches.append(next(running))
            except StopIteration as stop:
                self.statement: dict[str, Any] = stop.value
                break
        for _, batch in self.batches:
            batch.validate(full=True)

    def rows(self, output: str = "evtx_events") -> list[dict[str, Any]]:
        return [row for name, batch in self.batches if name == output for row in batch.to_pylist()]

    def count(self, output: str = "evtx_events") -> int:
        return sum(batch.num_rows for name, batch in self.batches if name == output)

    @property
    def ids(self) -> set[int]:
        events = [batch for name, batch in self.batches if name == "evtx_events"]
        columns: list[Any] = [batch.column("header_record_id") for batch in events]
        return {each for column in columns for each in column.to_pylist()}

    def content(self, output: str = "evtx_events") -> list[dict[str, Any]]:
        """Return the rows without the reference to the file, which differs with every byte of it."""
        return [{name: value for name, value in row.items() if name != "file_ref"} for row in self.rows(output)]

    def notes(self) -> Counter[tuple[str, str]]:
        return Counter((row["note_type"], row["note_key"]) for row in self.rows("evtx_record_annotations"))

    @property
    def ranges(self) -> list[tuple[int, int, str]]:
        return [(each["offset"], each["length"], each["reason"]) for each in self.statement["ranges"]]


def read(data: bytes, folder: Path, **settings: str) -> Read:
    path = folder / "log.evtx"
    path.write_bytes(data)
    return Read(path, **settings)


def a_logon(record_id: int, **changes: Any) -> Event:
    event = Event(
        record_id=record_id,
        time=NOON + timedelta(seconds=record_id),
        provider="Microsoft-Windows-Security-Auditing",
        provider_guid="54849625-5478-4994-a5ba-3e3b0328c30d",
        event_id=4624,
        channel="Security",
        computer="HOST1",
        data={"TargetUserName": f"user{record_id}", "LogonType": "3"},
    )
    return replace(event, **changes)


def written(made: list[Event], **options: Any) -> tuple[bytes, Layout]:
    stream = io.BytesIO()
    layout = write_evtx(stream, made, **options)
    return stream.getvalue(), layout


@functools.cache
def whole_log() -> tuple[bytes, Layout]:
    return written([a_logon(number) for number in range(1, 901)])


def assert_adds_up(result: Read) -> None:
    statement = result.statement
    assert statement["found"] == result.count() + statement["unreadable"]
    assert statement["unreadable"] <= len(statement["ranges"])
    (row,) = result.rows("evtx_files")
    assert (row["record_count"], row["unreadable"]) == (result.count(), statement["unreadable"])
