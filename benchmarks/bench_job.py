"""The overhead of a job, from the command that enqueues it to JobCompleted: empty on one executor, small on two.

Empty: the least that a job needs is one fork of a process of the guest parent's size (0.4 to 1 ms, page tables), one
round trip on a unix socket (10 us) and two durable appends (it was handed out, it is done; 0.1 to 0.3 ms each). That is
the other side. Ours has the real log, decider, promoter, read model, fleet over nng and one executor process with its
guest parent; four frames in one sync, one round trip with the executor and two with the guest parent.

Small: a file of a few lines becomes a Parquet file of as many rows, staged, synced, read again, published and recorded:
four syncs of files and folders and two of the log, of which the disk does some together.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import blake3

from benchmarks.pairs import Each, Ratio, cost_ratio, timed
from cli import clock
from cli.home import Home
from cli.lease_terms import JobLimits
from cli.sentinel import Sentinel
from cli.watch import JobWatch
from commands.file import RecordFiles
from commands.handle import Outcome
from commands.job import JOBS_MAX, EnqueueJobs, NewJob
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
from sinks.uri import open_sink

ROUNDS = 15
JOBS = 50
WAIT_SECONDS_MAX = 60.0
BAR = 2.5
FILES = int(os.environ.get("CASPARIAN_BENCH_FILES", "2000"))
FILE_ROUNDS = 3
WORKERS = 2
FILE_SECONDS_BAR = 0.015  # of one core
ALONE = JobLimits(jobs_per_lease=1)

MANIFEST = """
name = "NAME"
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
PARSER_OF_LINES = """
import pyarrow as pa

outputs = {"rows": {"columns": [{"name": "n", "type": "int64"}, {"name": "text", "type": "string"}]}}


def parse(path, settings):
    with open(path, encoding="utf-8") as lines:
        texts = lines.read().splitlines()
    yield "rows", pa.record_batch({"n": pa.array(range(len(texts)), pa.int64()), "text": texts})
    return {"unit": "lines", "output": "rows", "found": len(texts)}
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

    def __init__(
        self,
        sentinel: Sentinel,
        watch: JobWatch,
        *,
        parser: str,
        files: Sequence[SeenFile],
        out: Path,
        settings: dict[str, str] | None = None,
        limits: JobLimits,
    ) -> None:
        self._sentinel = sentinel
        self._watch = watch
        self._files = files
        self._settings = settings or {}
        package = sentinel.packages[ParserName(parser)]
        self._targets = tuple(_target(schema.output) for schema in package.outputs)
        self._run = self._planned(package.name, f"parquet://{out}")
        sentinel.dispatcher.limit(self._run, limits)

    def work(self) -> None:
        """Queue a job for each file and return when the last is completed."""
        now = clock.now()
        numbers: list[JobId] = []
        for start in range(0, len(self._files), JOBS_MAX):
            files = self._files[start : start + JOBS_MAX]
            jobs = tuple(NewJob(file=file, keys=tuple(map(_fresh_key, self._targets))) for file in files)
            queued = self._call(EnqueueJobs(run=self._run, jobs=jobs, now=now)).events
            numbers += [event.job for event in queued if isinstance(event, JobQueued)]
        assert len(numbers) == len(self._files)
        self._watch.expect(numbers)
        self._sentinel.hire()
        still_open = self._sentinel.handler.inspect(lambda state: {job for job in numbers if state.jobs.get(job)})
        self._watch.settle(still_open)
        while self._watch.wait(WAIT_SECONDS_MAX):
            assert not self._sentinel.fleet.exhausted, self._sentinel.fleet.exhausted

    def _planned(self, parser: ParserName, sink_uri: str) -> RunId:
        start = StartRun(
            parser=parser,
            inputs=(self._files[0].path,),
            inputs_total=1,
            inputs_digest="",
            sink_uri=sink_uri,
            sink_mode="append",
            settings=self._settings,
            workers=1,
            now=clock.now(),
        )
        started = next(event for event in self._call(start).events if isinstance(event, RunStarted))
        for first in range(0, len(self._files), JOBS_MAX):
            seen = tuple(self._files[first : first + JOBS_MAX])
            self._call(RecordFiles(run=started.run, seen=seen, refused=()))
        plan = PlanRun(
            run=started.run,
            at_seq=self._sentinel.handler.inspect(lambda state: state.seq),
            config_hash=ConfigHash("0" * 64),
            targets=self._targets,
            made_keys=frozenset(),
            artifact_hash=self._sentinel.packages[started.parser].artifact_hash,
            found=len(self._files),
            reused=0,
            queued=len(self._files),
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


def _fresh_key(target: Target) -> JobKey:
    """Return a key that no job has had: the same file may then be run again and again."""
    key = MaterializationKey(secrets.token_hex(32))
    return JobKey(output=target.output, target_key=target.target_key, materialization_key=key)


def run() -> Iterator[Ratio | Each]:
    """Measure JOBS empty jobs a round, the sentinel and its executor warm; then FILES small files on WORKERS."""
    with scratch() as folder, _bare(folder / "raw") as bare:
        empty = [written(folder / "source.txt", "nothing\n")] * JOBS
        with warm(folder, "nothing", empty, source=PARSER, workers=1, limits=ALONE) as jobs:

            def theirs() -> None:
                assert bare.stdin is not None and bare.stdout is not None
                bare.stdin.write(f"{JOBS}\n")
                bare.stdin.flush()
                assert bare.stdout.readline() == "done\n"

            jobs.work()
            theirs()
            name = f"{JOBS} empty jobs over fork + round trip + 2 appends"
            yield cost_ratio(name, ours=jobs.work, theirs=theirs, rounds=ROUNDS, bar=BAR)
    with scratch() as folder:
        small = [written(folder / f"{number}.csv", f"{number},small\n" * 5) for number in range(FILES)]
        with warm(folder, "lines", small, source=PARSER_OF_LINES, workers=WORKERS, limits=ALONE) as jobs:
            yield Each(
                name=f"{FILES:,} small files on {WORKERS} workers, each a core",
                seconds=tuple(timed(jobs.work) * WORKERS / FILES for _round in range(FILE_ROUNDS)),
                bar=FILE_SECONDS_BAR,
            )
        published = sum(1 for _ in (folder / "out").glob("*.parquet"))
        assert published == FILES * FILE_ROUNDS, f"{published} of {FILES * FILE_ROUNDS} files were published"


@contextmanager
def scratch() -> Iterator[Path]:
    """Have a folder with an empty target in it."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        (Path(folder) / "out").mkdir()
        yield Path(folder).absolute()


@contextmanager
def warm(
    folder: Path,
    name: str,
    files: Sequence[SeenFile],
    *,
    source: str = "",
    settings: dict[str, str] | None = None,
    workers: int,
    limits: JobLimits,
) -> Iterator[Jobs]:
    """Start a sentinel, with one parser more if its source is given."""
    sink_uri = f"parquet://{folder / 'out'}"
    sentinel = Sentinel(Home(folder / "home"), purpose="bench", workers=workers, sink_uri=sink_uri)
    if source:
        _add_parser(sentinel, folder / "parser", name, source)
    open_sink(sink_uri).mark()
    with sentinel, sentinel.watches.watching() as watch:
        yield Jobs(sentinel, watch, parser=name, files=files, out=folder / "out", settings=settings, limits=limits)


def _bare(log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BARE, str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _add_parser(sentinel: Sentinel, folder: Path, name: str, source: str) -> None:
    folder.mkdir()
    (folder / "casparian.toml").write_text(MANIFEST.replace("NAME", name))
    (folder / "parser.py").write_text(source)
    package = load_parser(folder)
    sentinel.packages[package.name] = package


def written(path: Path, text: str) -> SeenFile:
    """Write a file and return it as the scanner would see it."""
    path.write_text(text)
    return seen(path)


def seen(path: Path) -> SeenFile:
    """Return a file as the scanner would see it."""
    facts = path.stat()
    return SeenFile(
        path=path_text(str(path).encode()),
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        file_uid=f"unix:{facts.st_dev}:{facts.st_ino}",
        source_hash=SourceHash(blake3.blake3(path.read_bytes()).hexdigest()),
        sha256=Sha256("0" * 64),
    )


def _target(output: OutputName) -> Target:
    zeros = "0" * 64
    return Target(
        output=output, table_name="", schema_hash=SchemaHash(zeros), target_key=TargetKey(f"{output} {zeros}")
    )
