"""A lease that dies under an executor with rows staged: real guests and Parquet, the memory transport, a real log."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import blake3
import msgspec
import pyarrow.parquet as pq
import pytest

from cli import clock
from cli.dispatching import Dispatcher
from cli.lease_terms import JobLimits
from cli.promoter import Promoter
from commands.attempt import ReleaseJob
from commands.decide import Command
from commands.dispatch import plan_records
from commands.file import RecordFiles
from commands.handle import Handler
from commands.job import EnqueueJobs, NewJob
from commands.parser import DeployParser
from eventlog.events import JobKey, JobRequeued, OutputsCommitted, SeenFile
from eventlog.frames import Frame
from eventlog.ids import JobId, LogId, MaterializationKey, PathText, RunId, Sha256, SourceHash, TargetKey
from eventlog.log import Log
from executors import protocol
from executors.executor_loop import Worker
from executors.memory_transport import MemoryClient, MemoryHub
from executors.parser_catalog import ParserPackage, load_parser
from executors.protocol import OpCode
from reducers.fold import State
from sinks.uri import open_sink
from tests.acceptance.crashes import write_source
from tests.acceptance.driver import FIXTURE
from tests.acceptance.terminal import eventually
from tests.executors.jobs import IDENTITY, TIMES
from tests.support import LOG_ID, NOW, plan, start

VICTIM = JobId(2)  # the job before it warms a guest parent, so that rows are there long before the first pulse
LINES = 60


class Case:
    """Two jobs of the fixture parser in a log; handler, dispatcher and promoter are those of a run."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.out.mkdir()
        self.sink = open_sink(f"parquet://{self.out}")
        self.sink.mark()
        self.events: list[object] = []
        package = load_parser(FIXTURE)
        log_id = LogId(LOG_ID)
        self._log = Log.open(folder / "log", clock=lambda: NOW, new_log_id=lambda: log_id, version="t", purpose="t")
        self.handler = Handler(self._log, manager=self._manage, actor="test")
        self.dispatcher = Dispatcher(
            self.handler,
            log=self._log,
            packages={package.name: package},
        )
        self.dispatcher.limit(RunId(1), JobLimits(jobs_per_lease=1))
        self.promoter = Promoter(self.handler, open_sink=open_sink)
        self.handler.replay(lambda _: None)
        for subscriber in (self._note, self.promoter.observe, self.dispatcher.observe):
            self.handler.subscribe(subscriber)
        self.handler.start()
        self.promoter.start()
        quick = write_source(folder / "quick.txt", "normal", lines=LINES)
        paced = write_source(folder / "paced.txt", "paced rest_ms=200", lines=LINES)
        for command in planned(package, self.sink.uri, quick, paced):
            assert self.handler.call(command, actor="test").refused is None

    def stages(self) -> list[str]:
        return self.sink.staged_names(LogId(LOG_ID))

    def drop_lease(self) -> None:
        """Give the victim back while its executor is at work, as if that had not been heard."""
        lease = self.handler.inspect(lambda state: state.jobs.leased[VICTIM].lease)
        release = ReleaseJob(job=VICTIM, lease=lease, declined=False, reason="dropped", now=clock.now())
        assert self.handler.call(release, actor="test").refused is None

    def is_over(self) -> bool:
        return self.handler.inspect(lambda state: not list(state.jobs))

    def close(self) -> None:
        self.dispatcher.send_home("the test is over")
        self.promoter.stop()
        self.handler.stop()
        self._log.close()

    def _manage(self, state: State) -> list[Command]:
        return [*plan_records(state, now=clock.now()), *self.dispatcher.plan(state)]

    def _note(self, frames: Sequence[Frame]) -> None:
        # `events` leaves out the one record of a frame that may be a command.
        self.events += [record.data for frame in frames for record in frame.events]


def planned(package: ParserPackage, sink_uri: str, *files: Path) -> list[Command]:
    """Return the commands of a run that has a job for each file."""
    deployed = DeployParser(
        parser=package.name,
        version=package.version,
        artifact_hash=package.artifact_hash,
        env_hash=package.env_hash,
        builtin=True,
        outputs=package.outputs,
        settings=package.settings,
        components=package.components,
        now=NOW,
    )
    begun = start(parser=package.name)
    seen = [seen_file(file) for file in files]
    jobs = tuple(NewJob(file=file, keys=keys(package, file.source_hash)) for file in seen)
    return [
        deployed,
        msgspec.structs.replace(begun, sink_uri=sink_uri),
        RecordFiles(run=RunId(1), seen=tuple(seen), refused=()),
        plan(len(files), len(files), artifact=package.artifact_hash),
        EnqueueJobs(run=RunId(1), jobs=jobs, now=NOW),
    ]


def seen_file(file: Path) -> SeenFile:
    facts = file.stat()
    return SeenFile(
        path=PathText(str(file)),
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        file_uid=f"unix:{facts.st_dev}:{facts.st_ino}",
        source_hash=SourceHash(blake3.blake3(file.read_bytes()).hexdigest()),
        sha256=Sha256("0" * 64),
    )


def keys(package: ParserPackage, source: SourceHash) -> tuple[JobKey, ...]:
    return tuple(
        JobKey(
            output=schema.output,
            target_key=TargetKey(f"target-{schema.output}"),
            materialization_key=MaterializationKey(f"{schema.output}-{source}"),
        )
        for schema in package.outputs
    )


class Meddler:
    """A client that has the lease of the victim die before the first `at` about it is sent, with rows staged."""

    def __init__(self, client: MemoryClient, case: Case, at: OpCode, dropped: threading.Event) -> None:
        self._client, self._case, self._at, self._dropped = client, case, at, dropped

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        said = protocol.decode(message)
        if said.op is self._at and said.job == VICTIM and not self._dropped.is_set():
            self._dropped.set()
            eventually(lambda: bool(self._case.stages()), what="rows to be staged")
            self._case.drop_lease()
        return self._client.request(message, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("at", "pulse_delay"), [(OpCode.DISPATCH_ACK, 0.5), (OpCode.HEARTBEAT, 0.5), (OpCode.CONCLUDE, 60)]
)
def test_what_was_staged_under_a_dead_lease_is_removed_and_never_published(
    case: Case, at: OpCode, pulse_delay: float
) -> None:
    hub, dropped = MemoryHub(), threading.Event()
    server = hub.server()
    server.serve(case.dispatcher.receive)
    worker = Worker(
        identity=IDENTITY,
        client_factory=lambda: Meddler(hub.client(), case, at, dropped),
        sink_factory=open_sink,
        times=msgspec.structs.replace(TIMES, request=8, pulse_delay=pulse_delay),
    )
    working = threading.Thread(target=worker.run)
    working.start()
    eventually(case.is_over, what="both jobs to be over")
    case.dispatcher.send_home("enough")
    working.join(timeout=10)
    server.close()
    assert dropped.is_set()
    assert not working.is_alive()
    assert case.stages() == []
    assert [event.job for event in case.events if isinstance(event, JobRequeued)] == [VICTIM]
    commits = [event for event in case.events if isinstance(event, OutputsCommitted)]
    assert [(commit.job, commit.attempt) for commit in commits] == [(1, 1), (VICTIM, 2)]
    published = sorted(case.out.glob("*.parquet"))
    assert sorted(file.name for file in published) == sorted(out.final for commit in commits for out in commit.outputs)
    assert {pq.read_metadata(file).num_rows for file in published} == {LINES}
