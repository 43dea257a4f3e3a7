"""The overhead of a job: a parser that yields nothing, one executor, from the command that enqueues it to JobCompleted.

Sketch: the least that a job needs is one fork of a process of the guest parent's size (0.4 to 1 ms, page tables), one
round trip on a unix socket (10 us) and two durable appends (it was handed out, it is done; 0.1 to 0.3 ms each). That is
the other side. Ours has the real log, decider, promoter, read model, fleet over nng and one executor process with its
guest parent; four durable frames, three round trips with the executor and two with the guest parent.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import blake3

from benchmarks.pairs import Ratio, cost_ratio
from cli import clock
from cli.home import Home
from cli.sentinel import Sentinel
from cli.watch import JobWatch
from commands.file import RecordFiles
from commands.handle import Outcome
from commands.job import EnqueueJobs, NewJob
from commands.run import PlanRun
from eventlog.events import JobKey, JobQueued, RunStarted, SeenFile, StartRun, Target
from eventlog.ids import (
    ConfigHash,
    Digest,
    JobId,
    MaterializationKey,
    OutputName,
    ParserName,
    RunId,
    SchemaHash,
    Sha256,
    SourceHash,
    TargetKey,
    path_text,
)
from executors.parser_catalog import load_parser

ROUNDS = 15
JOBS = 50
WAIT_SECONDS_MAX = 60.0
BAR = 2.5

MANIFEST = """
name = "nothing"
version = "0.1.0"
protocol_version = "0.1"
runtime_kind = "python_shim"
entrypoint = "parser.py"
patterns = ["*"]
"""
PARSER = """
outputs = {"rows": {"columns": [{"name": "n", "type": "int64"}]}}


def parse(path, settings):
    yield from ()
"""

# The least: a process with pyarrow forks, exchanges a byte with the child, reaps it, and appends twice, durably.
BARE = """
import gc, os, socket, sys
import pyarrow
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
gc.collect()
gc.freeze()
for line in sys.stdin:
    for _job in range(int(line)):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            theirs.sendall(theirs.recv(1))
            os._exit(0)
        ours.sendall(b"x")
        ours.recv(1)
        os.waitpid(pid, 0)
        ours.close()
        theirs.close()
        for _append in range(2):
            os.write(log, b"x" * 400)
            os.fdatasync(log)
    print("done", flush=True)
"""


class Jobs:
    """Queues jobs of one open run and waits for their end."""

    def __init__(self, sentinel: Sentinel, watch: JobWatch, folder: Path) -> None:
        self._sentinel = sentinel
        self._watch = watch
        self._file = _seen(folder / "source.txt")
        self._target = _target()
        self._run = self._planned(f"parquet://{folder / 'out'}")

    def work(self, count: int = JOBS) -> None:
        """Queue so many jobs at once and return when the last is completed."""
        now = clock.now()
        jobs = tuple(NewJob(file=self._file, keys=(self._fresh_key(),)) for _job in range(count))
        queued = self._call(EnqueueJobs(run=self._run, jobs=jobs, now=now)).events
        numbers: list[JobId] = [event.job for event in queued if isinstance(event, JobQueued)]
        assert len(numbers) == count
        self._watch.expect(numbers)
        self._sentinel.hire()
        still_open = self._sentinel.handler.inspect(lambda state: {job for job in numbers if state.jobs.get(job)})
        self._watch.settle(still_open)
        while self._watch.wait(WAIT_SECONDS_MAX):
            assert not self._sentinel.fleet.exhausted, self._sentinel.fleet.exhausted

    def _planned(self, sink_uri: str) -> RunId:
        start = StartRun(
            parser=ParserName("nothing"),
            inputs=(self._file.path,),
            inputs_total=1,
            inputs_digest="",
            sink_uri=sink_uri,
            sink_mode="append",
            settings={},
            workers=1,
            now=clock.now(),
        )
        started = next(event for event in self._call(start).events if isinstance(event, RunStarted))
        self._call(RecordFiles(run=started.run, seen=(self._file,), refused=()))
        plan = PlanRun(
            run=started.run,
            at_seq=self._sentinel.handler.inspect(lambda state: state.seq),
            config_hash=ConfigHash("0" * 64),
            targets=(self._target,),
            found=1,
            reused=0,
            queued=1,
            attached=0,
            refused=0,
            plan_digest=Digest("0" * 64),
            now=clock.now(),
        )
        self._call(plan)
        return started.run

    def _call(self, command: StartRun | RecordFiles | PlanRun | EnqueueJobs) -> Outcome:
        outcome = self._sentinel.handler.call(command, actor="bench")
        assert outcome.refused is None, outcome.refused
        return outcome

    def _fresh_key(self) -> JobKey:
        """Return a key that no job has had: the same file may then be run again and again."""
        key = MaterializationKey(secrets.token_hex(32))
        return JobKey(output=self._target.output, target_key=self._target.target_key, materialization_key=key)


def run() -> Iterator[Ratio]:
    """Measure JOBS jobs a round, the sentinel and its executor warm."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", "."))))
        folder = folder.absolute()
        (folder / "out").mkdir()
        (folder / "source.txt").write_text("nothing\n")
        bare = stack.enter_context(_bare(folder / "raw"))
        watch = JobWatch()
        sink_uri = f"parquet://{folder / 'out'}"
        sentinel = Sentinel(Home(folder / "home"), purpose="bench", workers=1, sink_uri=sink_uri, watch=watch.observe)
        _add_parser(sentinel, folder / "parser")
        stack.enter_context(sentinel)
        jobs = Jobs(sentinel, watch, folder)

        def theirs(count: int = JOBS) -> None:
            assert bare.stdin is not None and bare.stdout is not None
            bare.stdin.write(f"{count}\n")
            bare.stdin.flush()
            assert bare.stdout.readline() == "done\n"

        jobs.work()
        theirs()
        name = f"{JOBS} empty jobs over fork + round trip + 2 appends"
        yield cost_ratio(name, ours=jobs.work, theirs=theirs, rounds=ROUNDS, bar=BAR)


def _bare(log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BARE, str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _add_parser(sentinel: Sentinel, folder: Path) -> None:
    folder.mkdir()
    (folder / "casparian.toml").write_text(MANIFEST)
    (folder / "parser.py").write_text(PARSER)
    package = load_parser(folder)
    sentinel.packages[package.name] = package


def _seen(path: Path) -> SeenFile:
    facts = path.stat()
    return SeenFile(
        path=path_text(str(path).encode()),
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        file_uid=f"unix:{facts.st_dev}:{facts.st_ino}",
        source_hash=SourceHash(blake3.blake3(path.read_bytes()).hexdigest()),
        sha256=Sha256("0" * 64),
    )


def _target() -> Target:
    zeros = "0" * 64
    return Target(output=OutputName("rows"), table_name="", schema_hash=SchemaHash(zeros), target_key=TargetKey(zeros))
