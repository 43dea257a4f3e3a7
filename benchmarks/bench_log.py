"""The log against its peers and its limits: durable frames, `verify`, replay to state, and the size of a sealed log.

Sketch, a frame of 100 events of 0.2 kB: 0.1 ms to encode and hash, one write, one sync. sqlite3 binds 100 rows and
syncs its write-ahead log once; `eventsourcing` maps 100 events to JSON in Python (15 us each) and commits them the same
way. PostgreSQL is not measured: its driver is not among what is pinned.
Verify hashes (0.35 us an event of 0.6 kB), decodes every record (0.9 us), sees that each line is in its place (0.35 us)
and reads one commit line a frame (4 us). From 32 MiB on two processes share that; the second one needs 0.12 s to come,
in which the hash alone has done 200 MB, so the ratio grows with the log.

CASPARIAN_BENCH_EVENTS sets the events of the logs that are read (200,000), CASPARIAN_BENCH_FILES the files of the run
whose log is sealed (300).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from benchmarks.bench_append import draft
from benchmarks.bench_evtx import COMMAND
from benchmarks.bench_replay import EVENTS, new_mapper, stored
from benchmarks.bench_rerun import write_case
from benchmarks.history import make_log
from benchmarks.pairs import Ratio, Size, speed_ratio
from cli import clock
from commands.handle import Handler
from eventlog.compressed import sealed_path
from eventlog.events import JobStarted
from eventlog.frames import FrameDraft, LogRecord
from eventlog.ids import Seq
from eventlog.log import Log
from eventlog.reader import read_frames
from eventlog.recovery import require_genesis
from eventlog.sealing import first_seal, seal_segment
from eventlog.verify import verify

FILES: Final = int(os.environ.get("CASPARIAN_BENCH_FILES", "300"))
FRAME_EVENTS: Final = 100
APPEND_ROUNDS: Final = 200
READ_ROUNDS: Final = 5
SQLITE_BAR: Final = 1.3
EVENTSOURCING_BAR: Final = 3.0
VERIFY_BARS: Final = {1: 0.1, 5: 0.2, 100: 0.35}  # by events of a frame
STATE_BAR: Final = 0.35
SEALED_BAR: Final = 0.3


def run() -> Iterator[Ratio | Size]:
    """Measure appends, reads and the size of a sealed log, each in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        yield from _appends(Path(folder))
        for events, bar in VERIFY_BARS.items():
            yield _verify(Path(folder) / f"frames-of-{events}", frame_events=events, bar=bar)
        yield _to_state(Path(folder) / "frames-of-5")
        yield _sealed(Path(folder))


# --- durable frames --------------------------------------------------------------------------------------------------


def _appends(folder: Path) -> Iterator[Ratio]:
    log = _opened(folder / "append")
    frame = draft(FRAME_EVENTS)
    before = log.head.bytes
    log.commit([frame])
    payload = b"x" * ((log.head.bytes - before) // FRAME_EVENTS)
    database = sqlite3.connect(folder / "peer.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    rows = [(payload,)] * FRAME_EVENTS

    def insert() -> None:
        database.execute("BEGIN")
        database.executemany("INSERT INTO event (data) VALUES (?)", rows)
        database.execute("COMMIT")

    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(folder / "eventsourcing.sqlite")))
    recorder.create_table()
    frames = _theirs(frame)

    def ours() -> None:
        log.commit([frame])

    name = f"durable frames of {FRAME_EVENTS} against"
    yield speed_ratio(f"{name} sqlite3", ours=ours, theirs=insert, rounds=APPEND_ROUNDS, bar=SQLITE_BAR)
    yield speed_ratio(
        f"{name} eventsourcing",
        ours=ours,
        theirs=lambda: recorder.insert_events(next(frames)),
        rounds=APPEND_ROUNDS,
        bar=EVENTSOURCING_BAR,
    )
    database.close()
    log.close()


def _theirs(frame: FrameDraft) -> Iterator[list[StoredEvent]]:
    """Yield the frame's events as their application would store them, the mapping paid by whoever asks for the next."""
    mapper = new_mapper()
    versions: dict[UUID, int] = {}
    records = [LogRecord(seq=Seq(seq), data=event) for seq, event in enumerate(frame.events, 1)]
    assert all(isinstance(record.data, JobStarted) for record in records)
    while True:  # as many as are asked for
        yield [stored(record, mapper, versions) for record in records]


def _opened(folder: Path) -> Log:
    return Log.open(folder, clock=clock.now, new_log_id=clock.new_log_id, version="bench", purpose="bench")


# --- reading ---------------------------------------------------------------------------------------------------------


def _verify(folder: Path, *, frame_events: int, bar: float) -> Ratio:
    last = make_log(folder, events=EVENTS, frame_events=frame_events)
    data = b"".join(path.read_bytes() for path in sorted(folder.glob("*.ndjson")))

    def ours() -> None:
        said = verify(folder)
        assert (said.verdict, said.head_seq) == ("OK", last)

    return speed_ratio(
        f"verify, frames of {frame_events}, against SHA-256",
        ours=ours,
        theirs=lambda: hashlib.sha256(data).digest(),
        rounds=READ_ROUNDS,
        bar=bar,
    )


def _to_state(folder: Path) -> Ratio:
    log = _opened(folder)

    def ours() -> None:
        Handler(log, manager=lambda _: (), actor="bench").replay(lambda _: None)

    def theirs() -> None:
        assert sum(len(frame.records) for frame in read_frames(folder)) >= EVENTS

    ratio = speed_ratio("replay to state against decoding", ours=ours, theirs=theirs, rounds=READ_ROUNDS, bar=STATE_BAR)
    log.close()
    return ratio


# --- size ------------------------------------------------------------------------------------------------------------


def _sealed(folder: Path) -> Size:
    """Seal the log that a run over FILES files leaves behind."""
    case, home = folder / "case", folder / "home"
    write_case(case, files=FILES)
    subprocess.run([COMMAND, "run", "evtx", case, "--home", home], capture_output=True, check=True)
    log = home / "log"
    genesis, genesis_hash = require_genesis(log)
    manifest = seal_segment(log, log_id=genesis.log_id, start=first_seal(genesis_hash), key=None)
    return Size(
        name=f"sealed log of a run over {FILES} files, of its raw size",
        ours_bytes=sealed_path(log, first=manifest.first).stat().st_size,
        theirs_bytes=manifest.raw_bytes,
        bar=SEALED_BAR,
    )
