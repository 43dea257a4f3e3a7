"""Durable append against raw write + fdatasync of the same bytes.

Sketch, one frame of n events: n x 0.4 kB encoded, one SHA-256 over them, one write, one fdatasync. Both sides sync once
a frame; what remains on our side is encoding and hashing, about 1.5 us an event. The safe default is what is measured:
there is no other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pairs import Ratio, speed_ratio
from cli import clock
from eventlog.events import JobStarted
from eventlog.frames import FrameDraft
from eventlog.ids import JobId, LeaseId
from eventlog.log import Log

ROUNDS = 200
BARS = {1: 0.75, 10: 0.75, 100: 0.7, 1000: 0.45}


def draft(events: int) -> FrameDraft:
    """Return a frame of so many events of the common kind."""
    made = tuple(
        JobStarted(job=JobId(n), attempt=1, lease=LeaseId("0" * 32), started_at=clock.now())
        for n in range(1, events + 1)
    )
    return FrameDraft(events=made, actor="bench")


def run() -> Iterator[Ratio]:
    """Measure frames of 1, 10, 100 and 1,000 events."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        home = Path(folder) / "log"
        log = Log.open(home, clock=clock.now, new_log_id=clock.new_log_id, version="bench", purpose="bench")
        raw = os.open(Path(folder) / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for events, bar in BARS.items():
            frame = draft(events)
            before = log.head.bytes
            log.commit([frame])
            payload = b"x" * (log.head.bytes - before)

            def append(frame: FrameDraft = frame) -> None:
                log.commit([frame])

            def plain(payload: bytes = payload) -> None:
                os.write(raw, payload)
                os.fdatasync(raw)

            yield speed_ratio(f"append, frames of {events}", ours=append, theirs=plain, rounds=ROUNDS, bar=bar)
        os.close(raw)
        log.close()
