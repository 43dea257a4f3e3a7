"""The composition: one process that holds the log, decides, promotes, projects, and drives its executors.

Order of a start: the log (lock, recovery, new epoch), the fold, the read model, the decider; then what the last epoch
left open is put back, and what it had committed is promoted. Order of an end: executors, promoter, decider, read
model, and the log last, with its clean-close mark.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import ExitStack
from types import TracebackType

from msgspec import Struct

from casparian import __version__
from cli import clock
from cli.fleet import Fleet
from cli.home import Home, prepare_home, read_model_witness
from cli.projecting import ProjectionThread
from cli.promoter import Promoter
from commands.epoch import BeginEpoch
from commands.handle import Handler, Subscriber
from commands.job import DispatchJob, WithdrawJob
from commands.parser import DeployParser
from eventlog.blobs import FolderBlobStore
from eventlog.frames import Frame
from eventlog.ids import JobId, ParserName
from eventlog.log import Log
from executors.parser_catalog import ParserPackage, builtin_parsers
from executors.transport import NngServer, remove_socket, socket_address
from projections.readmodel import checkpoint, open_writer
from reducers.fold import State
from sinks.uri import open_sink

logger = logging.getLogger("casparian.sentinel")

ACTOR = "sentinel"
GUEST_FOLDER_PREFIX = "casparian-guest-"  # as executors/guest/host.py names them
CONTEXTS_PER_WORKER = 3  # a question that waits for work, a heartbeat, a report
CONTEXTS_SPARE = 4


class Resumed(Struct, frozen=True, kw_only=True):
    """What this start found open and goes on with."""

    requeued: int
    promoting: int
    interrupted_runs: int
    withdrawn: int


class Sentinel:
    """One home's authority. Use as a context manager: entering resumes, leaving closes the log cleanly."""

    def __init__(self, home: Home, *, purpose: str, workers: int, sink_uri: str, watch: Subscriber) -> None:
        self.home = home
        self.workers = workers
        self.blobs = FolderBlobStore(home.blobs)
        self.packages: dict[ParserName, ParserPackage] = builtin_parsers()
        self.resumed = Resumed(requeued=0, promoting=0, interrupted_runs=0, withdrawn=0)
        self._purpose = purpose
        self._watch = watch
        self._sink_uris = {sink_uri}

    def __enter__(self) -> Sentinel:
        with ExitStack() as stack:
            self._open(stack)
            self._resume()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        """Start every part, and have it stopped in the opposite order, however far the start came."""
        prepare_home(self.home)
        self.log = Log.open(
            self.home.log,
            clock=clock.now,
            new_log_id=clock.new_log_id,
            version=__version__,
            purpose=self._purpose,
            witness_of=lambda log_id: read_model_witness(self.home, log_id),
        )
        stack.callback(self.log.close)
        self._clear_scratch()
        stack.callback(self._clear_scratch)
        self.handler = Handler(self.log, manager=self._manage, actor=ACTOR)
        self.projection = self._open_read_model()
        self.projection.start()
        stack.callback(self.projection.stop)
        self.handler.replay(self._replayed)
        self.promoter = Promoter(self.handler, open_sink=open_sink)
        address = socket_address(self.home.root)
        remove_socket(address)  # we hold the lock: whatever is there is of a process that is gone
        stack.callback(remove_socket, address)
        server = NngServer(address, contexts=self.workers * CONTEXTS_PER_WORKER + CONTEXTS_SPARE)
        self.fleet = Fleet(
            server,
            self.handler,
            log_id=self.log.log_id,
            epoch=self.log.epoch,
            packages=self.packages,
            scratch=self.home.scratch,
        )
        for subscriber in (self.projection.observe, self.promoter.observe, self.fleet.observe, self._watch):
            self.handler.subscribe(subscriber)
        self.handler.start()
        stack.callback(self.handler.stop)
        stack.callback(self._sweep)  # an executor that had to be killed cannot have cleaned up behind itself
        self.promoter.start()
        stack.callback(self.promoter.stop)
        stack.callback(self.fleet.stop)

    def hire(self) -> None:
        """Have the executors that the work needs: none while nothing is open, so that a rerun costs no process.

        Raises LogFullError when the log takes no more: whoever waits for the work would wait in vain.
        """
        self.handler.refuse_full()
        open_jobs = self.handler.inspect(lambda state: len(state.jobs.queued) + len(state.jobs.leased))
        if open_jobs and not self.fleet.size:
            self.fleet.start()
        if open_jobs:
            self.fleet.grow(min(self.workers, open_jobs))

    def _deploy(self, package: ParserPackage) -> None:
        """Make a built-in parser current under its name; its recorded hash is why it is trusted."""
        command = DeployParser(
            parser=package.name,
            version=package.version,
            artifact_hash=package.artifact_hash,
            env_hash=package.env_hash,
            builtin=True,
            outputs=package.outputs,
            components=package.components,
            now=clock.now(),
        )
        self.handler.call(command, actor=ACTOR)

    def _open_read_model(self) -> ProjectionThread:
        """Open the read model; one that does not belong to this log's history was refused as a witness before."""
        projector = open_writer(self.home.root, self.log.log_id)
        return ProjectionThread(projector, at=checkpoint(projector)[0])

    def _replayed(self, frame: Frame) -> None:
        self.projection.feed(frame)

    def _manage(self, state: State) -> list[DispatchJob]:
        return self.fleet.plan(state)

    def _resume(self) -> None:
        """Put back what the last epoch held, promote what it committed, end jobs whose parser is not here any more."""
        before = self.handler.inspect(_open_work)
        self.handler.call(BeginEpoch(now=clock.now()), actor=ACTOR)
        for package in self.packages.values():
            self._deploy(package)
        self._sink_uris |= self.handler.inspect(_open_sinks)
        self._sweep()
        for committed in self.handler.inspect(lambda state: [job.committed for job in state.jobs.promoting.values()]):
            self.promoter.recover(committed)
        withdrawn = self._withdraw(self.handler.inspect(self._outdated), "its parser is not the one it was queued for")
        self.resumed = Resumed(
            requeued=before[0] - withdrawn, promoting=before[1], interrupted_runs=before[2], withdrawn=withdrawn
        )

    def _outdated(self, state: State) -> list[JobId]:
        hashes = {package.artifact_hash for package in self.packages.values()}
        return [job_id for job_id, job in state.jobs.queued.items() if job.spec.artifact_hash not in hashes]

    def _clear_scratch(self) -> None:
        """Remove what guests left, by its name: the folder is ours, but what somebody put there is not."""
        self.home.scratch.mkdir(mode=0o700, exist_ok=True)
        for left in self.home.scratch.glob(f"{GUEST_FOLDER_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove staged artifacts of this log that no commit waits for. Only while no executor has a lease."""
        kept = self.handler.inspect(_committed_stages)
        for uri in self._sink_uris:
            sink = open_sink(uri)
            for staged in set(sink.staged_names(self.log.log_id)) - kept:
                try:
                    sink.discard(staged)
                except OSError as error:  # it is hidden and in nobody's way; the next start sweeps again
                    logger.warning("sweep %s: %s; left for the next start", uri, error)

    def _withdraw(self, jobs: list[JobId], reason: str) -> int:
        answers = [
            self.handler.submit(WithdrawJob(job=job, reason=reason, now=clock.now()), actor=ACTOR) for job in jobs
        ]
        for answer in answers:
            answer.result()
        return len(jobs)

    def withdraw_all(self, reason: str) -> int:
        """End every job that waits; how many they were."""
        return self._withdraw(self.handler.inspect(lambda state: list(state.jobs.queued)), reason)


def _open_sinks(state: State) -> set[str]:
    return {job.spec.sink_uri for job in map(state.jobs.get, state.jobs) if job is not None}


def _committed_stages(state: State) -> set[str]:
    return {output.staged for job in state.jobs.promoting.values() for output in job.committed.outputs}


def _open_work(state: State) -> tuple[int, int, int]:
    return len(state.jobs.queued) + len(state.jobs.leased), len(state.jobs.promoting), len(state.runs)
