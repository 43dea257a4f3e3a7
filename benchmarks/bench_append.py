"""Durable append against raw write + fdatasync of the same bytes.

Sketch, one frame of n events: n x 0.4 kB encoded, one SHA-256 over them, one write, one fdatasync. Both sides sync once
a frame; what remains on our side is encoding and hashing, about 1.5 us an event. The safe default is what is measured:
there is no other.

One hundred callers: 100 asyncio tasks give one command after the other through the handler, one event each. Both sides
make the same number of events durable; ours share syncs (about 100 commands each), theirs sync each event. A command
may cost 20 us in all, of thread and task, for ten times the speed of a sync of 200 us.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pairs import Ratio, speed_ratio
from cli import clock
from cli.home import Home
from cli.sealer import Sealer
from commands.executor import JoinExecutor, LoseExecutor
from commands.handle import AsyncPort, Handler
from eventlog.events import JobStarted
from eventlog.frames import FrameDraft
from eventlog.ids import ExecutorId, JobId, LeaseId
from eventlog.log import Log

ROUNDS = 200
CALLERS = 100
CALLER_COMMANDS = 10
CALLER_ROUNDS = 30
CALLERS_BAR = 10.0
SEALED_SEGMENT_BYTES = 512 * 1024  # about ten segments in the rounds of one line
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
        yield sealing(Path(folder), raw)
        yield callers(log, raw)
        os.close(raw)
        log.close()


def sealing(folder: Path, raw: int) -> Ratio:
    """Measure frames of 100 events while the log goes on in new segments and seals the full ones."""
    home = Home(folder / "sealing")
    log = Log.open(
        home.log, clock=clock.now, new_log_id=clock.new_log_id, version="bench", purpose="bench",
        segment_bytes=SEALED_SEGMENT_BYTES,
    )  # fmt: skip
    sealer = Sealer(log, home)
    sealer.start()
    frame = draft(100)
    before = log.head.bytes
    log.commit([frame])
    payload = b"x" * (log.head.bytes - before)

    def append() -> None:
        sealer.observe(log.commit([frame]))

    def plain() -> None:
        os.write(raw, payload)
        os.fdatasync(raw)

    name = "append, frames of 100, rotating and sealing"
    ratio = speed_ratio(name, ours=append, theirs=plain, rounds=ROUNDS, bar=BARS[100])
    sealer.stop()
    assert list(home.log.glob("*.seal")), "no segment was sealed meanwhile"
    log.close()
    return ratio


def callers(log: Log, raw: int) -> Ratio:
    """Measure 100 tasks that each wait for one command after the other, against as many synced writes of one event."""
    handler = Handler(log, manager=lambda _: (), actor="bench")
    handler.replay(lambda _: None)
    handler.start()
    before = log.head
    with asyncio.Runner() as runner:

        async def all_call() -> None:
            port = handler.port(actor="bench")
            await asyncio.gather(*(_call(port, number) for number in range(CALLERS)))

        runner.run(all_call())
        events = log.head.seq - before.seq
        assert events == CALLERS * CALLER_COMMANDS, "one event for each command"
        payload = b"x" * ((log.head.bytes - before.bytes) // events)

        def plain() -> None:
            for _ in range(events):
                os.write(raw, payload)
                os.fdatasync(raw)

        ratio = speed_ratio(
            f"{CALLERS} asyncio callers, one event each",
            ours=lambda: runner.run(all_call()),
            theirs=plain,
            rounds=CALLER_ROUNDS,
            bar=CALLERS_BAR,
        )
    handler.stop()
    return ratio


async def _call(port: AsyncPort, number: int) -> None:
    """Join and leave in turns, as an executor does: each is one command and one event."""
    executor, now = ExecutorId(f"executor-{number}"), clock.now()
    join = JoinExecutor(executor=executor, pid=number, host="bench", version="bench", capacity=1, now=now)
    lose = LoseExecutor(executor=executor, reason="it left", charged=False, now=now)
    commands: tuple[JoinExecutor | LoseExecutor, ...] = (join, lose)
    for command in itertools.islice(itertools.cycle(commands), CALLER_COMMANDS):
        outcome = await port.ask(command)
        assert len(outcome.events) == 1
