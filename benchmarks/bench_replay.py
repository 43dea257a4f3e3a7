"""Replay against the `eventsourcing` library: our log to state and into DuckDB, theirs from SQLite to domain events.

Sketch, one event of 0.5 kB in a frame of five: 1 us to hash and match, 2 us to decode, 3 us to fold. Ours proves every
hash and link, decodes and folds to the state that decides, or folds into a new read model file and closes it. Theirs
selects notifications and maps them to domain events with the same fields, and stops there: no hash, no fold, no table.
Both read a file that the page cache holds.

CASPARIAN_BENCH_EVENTS sets the number of events (200,000; the bar is meant for 1,000,000).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import (
    DatetimeAsISO,
    DecimalAsStr,
    JSONTranscoder,
    Mapper,
    StoredEvent,
    UUIDAsHex,
)
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from benchmarks.history import make_log
from benchmarks.pairs import Ratio, speed_ratio
from cli import clock
from commands.handle import Handler
from eventlog.frames import LogRecord
from eventlog.log import Log
from eventlog.reader import read_frames
from projections.readmodel import replay_into_duckdb

EVENTS: Final = int(os.environ.get("CASPARIAN_BENCH_EVENTS", "200000"))
SECTION_EVENTS: Final = 1000  # of one query of theirs; larger ones were no faster
ROUNDS: Final = 5
BAR: Final = 4.0
DUCKDB_BAR: Final = 2.5
NAMESPACE: Final = UUID(int=0)
HAPPENED_AT: Final = datetime(2026, 1, 22, 10, 11, 12, 123456, tzinfo=UTC)  # every event of theirs has a timestamp


class Happened(DomainEvent):
    """What they decode: an event with the fields of ours, one class for all, which spares them look-ups."""


def run() -> Iterator[Ratio]:
    """Measure the whole log against the whole table."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        home = Path(folder) / "log"
        last = make_log(home, events=EVENTS)
        recorder, mapper = _fill_sqlite(Path(folder) / "events.sqlite", home)
        log = Log.open(home, clock=clock.now, new_log_id=clock.new_log_id, version="bench", purpose="bench")

        def ours() -> None:
            handler = Handler(log, manager=lambda _: (), actor="bench")
            handler.replay(lambda _: None)

        def theirs() -> None:
            assert sum(1 for _ in _pulled(recorder, mapper)) == last

        yield speed_ratio(f"replay of {last} events", ours=ours, theirs=theirs, rounds=ROUNDS, bar=BAR)
        log.close()
        database = Path(folder) / "readmodel.duckdb"

        def ours_into_duckdb() -> None:
            database.unlink(missing_ok=True)
            assert replay_into_duckdb(home, database) >= last

        yield speed_ratio(
            f"replay of {last} events into DuckDB", ours=ours_into_duckdb, theirs=theirs, rounds=ROUNDS, bar=DUCKDB_BAR
        )


def _fill_sqlite(path: Path, log: Path) -> tuple[SQLiteApplicationRecorder, Mapper[UUID]]:
    """Put every event of the log into their table, as their application would: one aggregate for each job or run."""
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(path)))
    recorder.create_table()
    mapper = new_mapper()
    versions: dict[UUID, int] = {}
    records = (record for frame in read_frames(log) for record in frame.records)
    while section := [stored(record, mapper, versions) for record in islice(records, SECTION_EVENTS)]:
        recorder.insert_events(section)
    return recorder, mapper


def new_mapper() -> Mapper[UUID]:
    """Return what turns their events into rows, as their Application makes it."""
    transcoder = JSONTranscoder()
    for transcoding in (UUIDAsHex(), DatetimeAsISO(), DecimalAsStr()):  # those that their Application registers
        transcoder.register(transcoding)
    return Mapper(transcoder)


def stored(record: LogRecord, mapper: Mapper[UUID], versions: dict[UUID, int]) -> StoredEvent:
    """Return the row of an event with the fields of ours, the next of its aggregate by `versions`, which counts on."""
    fields: dict[str, Any] = msgspec.to_builtins(record.data)
    noun = next((f"{key}-{fields[key]}" for key in ("job", "run", "executor", "parser") if key in fields), "log")
    aggregate = uuid5(NAMESPACE, noun)
    versions[aggregate] = versions.get(aggregate, 0) + 1
    event = object.__new__(Happened)
    own = {"originator_id": aggregate, "originator_version": versions[aggregate], "timestamp": HAPPENED_AT}
    vars(event).update({**own, "type": record.type, **fields})
    return mapper.to_stored_event(event)


def _pulled(recorder: SQLiteApplicationRecorder, mapper: Mapper[UUID]) -> Iterator[object]:
    """Yield their domain events in the order of their notification log."""
    start = 1
    while section := recorder.select_notifications(start=start, limit=SECTION_EVENTS):
        yield from map(mapper.to_domain_event, section)
        start = section[-1].id + 1
