"""The control plane: a request against bare nng, the status of a long queue, a cancel under load, an idle sentinel.

Sketch: a bare request is two writes and two wake-ups, 0.1 ms, and twice a hand-over inside of nng; ours has the writes
and wake-ups, and 0.02 ms of naming the user, an id and JSON. The status of a queue reads four lengths and one GROUP BY:
what it takes is starting Python. A cancel is a durable append, an answered poll, and the death of a process group.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pynng

from benchmarks.bench_evtx import COMMAND
from benchmarks.bench_job import written
from benchmarks.bench_rerun import ENVIRONMENT
from benchmarks.pairs import Difference, Each, Ratio, Size, cost_difference, cost_ratio, speed_ratio
from cli import clock
from cli.client import DIAL_SECONDS, ControlClient, connect
from cli.home import Home
from cli.messages import CancelJob as CancelRequest
from cli.messages import GetJob, JobSeen, Ping, ask
from cli.sentinel import Sentinel
from cli.told import FRAME_BYTES_MAX
from cli.wire import dial
from commands.file import RecordFiles
from commands.job import JOBS_MAX, EnqueueJobs, NewJob
from commands.run import PlanRun
from eventlog.events import JobKey, RevokeParser, RunStarted, SeenFile, StartRun, Target
from eventlog.ids import (
    ConfigHash,
    Digest,
    MaterializationKey,
    OutputName,
    ParserName,
    SchemaHash,
    TargetKey,
)

ROUNDS = 7
REQUESTS = 500
COMMANDS = 1000
QUEUED = int(os.environ.get("CASPARIAN_BENCH_QUEUED", "100000"))
IDLE_SECONDS = 10.0
CANCELS = 20
SLOW = """
import time

name = "slow"
version = "1"
fresh_process = True
outputs = {"rows": {"columns": [{"name": "n", "type": "int64"}]}}


def parse(path, settings):
    time.sleep(600)
    yield "rows", {"n": [1]}
"""
EVTX = ParserName("evtx")
ECHO = """
import sys
import pynng

with pynng.Rep0() as socket:
    socket.listen(sys.argv[1])
    print("ready", flush=True)
    while True:
        socket.send(socket.recv())
"""


def run() -> Iterator[Ratio | Difference | Each | Size]:
    """Measure requests, an idle sentinel, cancels, and the status of a long queue."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as scratch:
        folder = Path(scratch).absolute()
        with _lasting(folder / "home") as client, _echo(folder / "echo") as echo:
            data = msgspec.json.encode(ask(Ping()))

            def theirs() -> None:
                for _ in range(REQUESTS):
                    echo.send(data)
                    echo.recv()

            def ours() -> None:
                for _ in range(REQUESTS):
                    client.ask(ask(Ping()))

            yield speed_ratio("a control request, of bare nng", ours=ours, theirs=theirs, rounds=ROUNDS, bar=0.6)
            yield Each(name="a second of an idle sentinel", seconds=_idle(_pid(folder / "home")), bar=0.01)
        yield _with_a_deaf_listener(folder / "told")
        yield Each(name="a cancel until its guest is gone, 99 of 100", seconds=_cancels(folder), bar=0.5)
        yield from _long_queue(folder / "long")


def _with_a_deaf_listener(home: Path) -> Ratio:
    """Give commands while somebody who never reads is told of each, and while nobody is."""
    with Sentinel(Home(home), purpose="bench") as sentinel:
        socket = Path(sentinel.teller.address.removeprefix("ipc://"))

        def commands() -> None:
            now = clock.now()
            given = [
                RevokeParser(parser=ParserName(f"nobody{number}"), by="bench", reason="bench", now=now)
                for number in range(COMMANDS)
            ]
            for answer in [sentinel.handler.submit(command, actor="bench") for command in given]:
                answer.result()

        def told() -> None:
            deaf = dial(socket, part="sub", message_bytes_max=FRAME_BYTES_MAX, seconds=DIAL_SECONDS)
            while not sentinel.teller.listeners:
                time.sleep(0.0001)
            commands()
            deaf.hang_up()
            deaf.close()

        def untold() -> None:
            while sentinel.teller.listeners:
                time.sleep(0.0001)
            commands()

        return cost_ratio(
            "commands told to a deaf listener, of untold", ours=told, theirs=untold, rounds=ROUNDS, bar=1.2
        )


def _long_queue(home: Path) -> Iterator[Difference | Size]:
    _queue_up(home, QUEUED)
    with _lasting(home, workers=0):
        status: list[str | Path] = [COMMAND, "status", "--home", home]
        yield cost_difference(
            f"status of {QUEUED:,} queued jobs, over --version",
            ours=lambda: _run(status),
            theirs=lambda: _run([COMMAND, "--version"]),
            rounds=ROUNDS,
            bar=0.1,
        )
        yield Size(
            name=f"memory of a sentinel with {QUEUED:,} queued jobs",
            ours_bytes=_resident(_pid(home)),
            theirs_bytes=400_000_000,
            bar=1.0,
        )


@contextmanager
def _lasting(home: Path, *, workers: int = 1) -> Iterator[ControlClient]:
    """Have a sentinel in the background, and a client of it."""
    _run([COMMAND, "start", "--workers", str(workers), "--home", home])
    try:
        client = connect(Home(home).control)
        assert client is not None
        with client:
            yield client
    finally:
        _run([COMMAND, "stop", "--home", home])


@contextmanager
def _echo(socket: Path) -> Iterator[pynng.Req0]:
    address = f"ipc://{socket}"
    echo = subprocess.Popen([sys.executable, "-c", ECHO, address], stdout=subprocess.PIPE)
    try:
        assert echo.stdout is not None
        echo.stdout.readline()
        with pynng.Req0() as asking:
            asking.dial(address)
            yield asking
    finally:
        echo.kill()
        echo.communicate()


def _idle(pid: int) -> tuple[float, ...]:
    """Return the processor time of a process in each of some seconds in which nobody asks it anything."""
    before = _processor_seconds(pid)
    time.sleep(IDLE_SECONDS)
    return ((_processor_seconds(pid) - before) / IDLE_SECONDS,)


def _cancels(folder: Path) -> tuple[float, ...]:
    """Cancel jobs whose guests sleep while another one works; return the time of the slowest but one in a hundred."""
    parser = folder / "slow.py"
    parser.write_text(SLOW)
    home, case = folder / "cancels", folder / "case"
    case.mkdir()
    for number in range(CANCELS):
        (case / f"{number}.txt").write_text(str(number))
    with _lasting(home, workers=2) as client:
        _run([COMMAND, "parser", "trust", parser, "--reason", "bench", "--home", home])
        run = subprocess.Popen(
            [COMMAND, "run", parser, *sorted(case.iterdir()), "--home", home],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds = []
        for job in range(1, CANCELS + 1):
            _until(client, job, "running")
            begin = time.perf_counter()
            client.ask(ask(CancelRequest(job=job, reason="bench")))
            _until(client, job, "aborted")
            seconds.append(time.perf_counter() - begin)
        run.wait()
    return (statistics.quantiles(seconds, n=100)[98],)


def _until(client: ControlClient, job: int, state: str) -> None:
    for _ in range(60_000):
        seen = client.ask(ask(GetJob(job=job)))
        if isinstance(seen, JobSeen) and seen.state == state:
            return
        time.sleep(0.001)
    raise AssertionError(f"job {job} was never {state}")


def _queue_up(home: Path, jobs: int) -> None:
    """Queue so many jobs and leave them."""
    file = written(home.parent / "one.evtx", "one")
    with Sentinel(Home(home), purpose="bench") as sentinel:
        for first in range(0, jobs, JOBS_MAX):
            _queue_batch(sentinel, file, range(first, min(jobs, first + JOBS_MAX)))


def _queue_batch(sentinel: Sentinel, file: SeenFile, numbers: range) -> None:
    target = TargetKey("t" * 64)
    seen = tuple(msgspec.structs.replace(file, path=f"/case/{number:06}.evtx") for number in numbers)
    start = StartRun(
        parser=EVTX,
        inputs=(seen[0].path,),
        inputs_total=1,
        inputs_digest="",
        sink_uri=f"parquet://{sentinel.home.output}",
        sink_mode="append",
        settings={},
        workers=0,
        now=clock.now(),
    )
    call = sentinel.handler.call
    started = next(event for event in call(start, actor="bench").events if isinstance(event, RunStarted))
    call(RecordFiles(run=started.run, seen=seen, refused=()), actor="bench")
    plan = PlanRun(
        run=started.run,
        at_seq=sentinel.handler.inspect(lambda state: state.seq),
        config_hash=ConfigHash("0" * 64),
        targets=(
            Target(output=OutputName("evtx_events"), table_name="", schema_hash=SchemaHash("0"), target_key=target),
        ),
        made_keys=frozenset(),
        artifact_hash=sentinel.packages[EVTX].artifact_hash,
        found=len(seen),
        reused=0,
        queued=len(seen),
        attached=0,
        refused=0,
        plan_digest=Digest("0" * 64),
        now=clock.now(),
    )
    assert call(plan, actor="bench").refused is None
    new = tuple(
        NewJob(
            file=each,
            keys=(
                JobKey(
                    output=OutputName("evtx_events"),
                    target_key=target,
                    materialization_key=MaterializationKey(f"{number:064}"),
                ),
            ),
        )
        for number, each in zip(numbers, seen, strict=True)
    )
    queued = call(EnqueueJobs(run=started.run, jobs=new, now=clock.now()), actor="bench")
    assert len(queued.events) == len(seen), queued


def _pid(home: Path) -> int:
    told = subprocess.run([COMMAND, "status", "--json", "--home", home], capture_output=True, check=True)
    return int(json.loads(told.stdout)["sentinel"]["pid"])


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _run(words: list[str | Path]) -> None:
    subprocess.run(words, capture_output=True, check=True, env=ENVIRONMENT)
