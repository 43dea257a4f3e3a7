"""The composition: one process that holds the log, decides, promotes, projects, and drives its executors.

Order of a start: the log (lock, recovery, new epoch), the fold, the read model, the decider; then what the last epoch
left open is put back, what it had committed is promoted, and the control socket opens. Order of an end: runs, control
socket, executors, promoter, decider, read model, and the log last, with its clean-close mark.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from casparian import __version__
from cli import clock
from cli.clock_watch import ClockWatch
from cli.control import ControlServer
from cli.dispatching import Dispatcher
from cli.fleet import Fleet
from cli.hiring import Hirer
from cli.home import Home, newest_witness, prepare_home
from cli.hosting import RunHost
from cli.lending import Lender
from cli.messages import ExecutorSeen, ExecutorsSeen, QueueStats, StatusSeen
from cli.metrics import log_bytes
from cli.projecting import ProjectionThread
from cli.promoter import Promoter
from cli.reaching import PURPOSE
from cli.render import talk
from cli.report import Recovery
from cli.resuming import open_sinks, publish_committed, sweep
from cli.roster import STRANGERS_MAX
from cli.sealer import Sealer
from cli.sentinel_parsers import SentinelParsers
from cli.snapshots import Snapshots
from cli.target_claims import other_claim
from cli.target_watch import TargetWatch
from cli.telling import Teller
from cli.watch import Watches
from commands.decide import Command
from commands.dispatch import plan_records
from commands.epoch import BeginEpoch
from commands.handle import Handler, Outcome
from eventlog.blobs import FolderBlobStore
from eventlog.frames import Stamp
from eventlog.ids import ExecutorId, JobId, LogId, ParserName, Seq
from eventlog.log import Log
from executors.addresses import remove_socket, socket_address
from executors.nng_transport import NngServer
from executors.parser_catalog import ParserPackage, builtin_parsers
from projections import queries
from projections.metrics import Readings
from projections.readmodel import open_writer
from projections.rows import JobWord
from reducers.fold import State
from sinks.sink import Sink
from sinks.uri import open_sink

logger = logging.getLogger("casparian.sentinel")

ACTOR = "sentinel"
GUEST_FOLDER_PREFIX = "casparian-guest-"  # as executors/guest/host.py names them
CONTEXTS_PER_WORKER = 3  # a question that waits for work, a heartbeat, a report
CONTEXTS_SPARE = 4
PARK_SECONDS = 0.1  # for the decider to finish a write, when we leave at once
PARKED_SECONDS_MAX = 10.0  # the process is gone long before
ENDED: tuple[JobWord, ...] = ("completed", "failed", "aborted")
STOP_SECONDS = 30.0  # for what runs to be stopped in order
STOP_TICK_SECONDS = 0.05
SERVE_TICK_SECONDS = 0.2


class Sentinel:
    """One home's authority. Use as a context manager: entering resumes, leaving closes the log cleanly."""

    def __init__(
        self,
        home: Home,
        *,
        purpose: str,
        workers: int = 0,
        sink_uri: str | None = None,
        withhold: JobId | None = None,
        lasting: bool = False,
        soon: ParserName | None = None,
    ) -> None:
        """Take what to do; nothing is touched. The promotion of `withhold` is not resumed: a person decides on it.

        Jobs of the parser `soon` are to come: in a home that never had one, an executor is started for them at once.

        A `lasting` one stays until it is told to stop, works on whatever is open, and takes in foreign executors.
        """
        self.home = home
        self.workers = workers
        self.blobs = FolderBlobStore(home.blobs)
        self.snapshots = Snapshots(home)
        self.packages: dict[ParserName, ParserPackage] = builtin_parsers()
        self.recovery = Recovery()
        self.purpose = purpose
        self.lasting = lasting
        self.watches = Watches()
        self.host = RunHost(self)
        self.started_at = clock.now()
        self.told_to_stop = threading.Event()
        self.stop_reason = ""
        self.metrics_url = ""  # where whoever serves us tells them
        self._withhold = withhold
        self._soon = soon
        self._hired_ahead = 0
        self._sink_uris = set() if sink_uri is None else {sink_uri}
        self._last_steps: list[Callable[[], None]] = []

    def __enter__(self) -> Sentinel:
        with ExitStack() as stack:
            self._open(stack)
            self._resume()
            self._open_control(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def log_id(self) -> LogId:
        return self.log.log_id

    def abandon(self, job: JobId, *, reason: str, actor: str, stamp: Stamp) -> Future[Outcome]:
        """Undo the promotion of a job and end it, on a person's word."""
        return self.promoter.abandon(job, reason=reason, actor=actor, stamp=stamp)

    def leave_at_once(self) -> None:
        """Kill the executors and their guests and remove our sockets; the process must end now. From any thread.

        The log is whole: its writer is stopped between two commits, or has written all of one. The next start does
        what an orderly end would have done.
        """
        for step in list(self._last_steps):
            with suppress(Exception):  # the process ends here: a step that fails must not keep the others from going
                step()

    def _park_decider(self) -> None:
        parked = threading.Event()

        def park(_state: State) -> None:
            parked.set()
            threading.Event().wait(PARKED_SECONDS_MAX)

        threading.Thread(target=self.handler.inspect, args=(park,), daemon=True).start()
        parked.wait(PARK_SECONDS)

    def _open(self, stack: ExitStack) -> None:
        """Start every part, and have it stopped in the opposite order, however far the start came."""
        prepare_home(self.home)
        self.log = Log.open(
            self.home.log,
            clock=clock.now,
            new_log_id=clock.new_log_id,
            version=__version__,
            purpose=self.purpose,
            witness_of=lambda log_id: newest_witness(self.home, log_id),
            snapshot_of=self.snapshots.choose,
        )
        stack.callback(self.log.close)
        scratch_removed = self._clear_scratch()
        stack.callback(self._clear_scratch)
        self._clock_watch = ClockWatch(wall=clock.now, steady_us=clock.steady_us)
        self.handler = Handler(self.log, manager=self._manage, actor=ACTOR)
        self.parsers = SentinelParsers(self.home, self.handler, self.packages, actor=ACTOR)
        self.projection = self._open_read_model()
        self.projection.start()
        stack.callback(self.projection.stop)
        self.handler.replay(self.projection.feed, start=self.snapshots.state, observed=Seq(self.projection.at))
        stack.callback(self._leave_snapshot)
        self.promoter = Promoter(self.handler, open_sink=open_sink)
        address, stale = self._take_address(stack, "executors")
        self._control_address, stale_control = self._take_address(stack, PURPOSE)
        tail_address, stale_tail = self._take_address(stack, "tail")
        self.recovery = Recovery(scratch_removed=scratch_removed, sockets_removed=stale + stale_control + stale_tail)
        workers = self.workers + (STRANGERS_MAX if self.lasting else 0)
        server = NngServer(address, contexts=workers * CONTEXTS_PER_WORKER + CONTEXTS_SPARE)
        self.dispatcher = Dispatcher(
            self.handler,
            log=self.log,
            packages=self.packages,
            workers=self.workers,
        )
        self.fleet = Fleet(server, self.handler, self.dispatcher, scratch=self.home.scratch)
        self.sealer = Sealer(self.log, self.home)
        self.teller = Teller(tail_address)
        observers = (self.projection.observe, self.promoter.observe, self.dispatcher.observe, self.sealer.observe)
        for subscriber in (*observers, self.watches.observe, self.teller.observe):
            self.handler.subscribe(subscriber)
        self.handler.start()
        self._last_steps[:0] = [self._park_decider, self.fleet.kill_now]
        stack.callback(self.handler.stop)
        stack.callback(self._sweep)  # an executor that had to be killed cannot have cleaned up behind itself
        self.sealer.start()
        stack.callback(self.sealer.stop)
        self.promoter.start()
        stack.callback(self.promoter.stop)
        self._hirer = Hirer(self._hire)
        self._hirer.start()
        stack.callback(self._hirer.stop)
        stack.callback(self.fleet.stop)

    def _take_address(self, stack: ExitStack, purpose: str) -> tuple[str, int]:
        """Return an address that is free until we end, and how many stale sockets stood there (none or one)."""
        address = socket_address(self.home.root, purpose=purpose)
        stale = Path(address.removeprefix("ipc://")).exists()
        remove_socket(address)  # we hold the lock: whatever is there is of a process that is gone
        stack.callback(remove_socket, address)
        self._last_steps.append(lambda: remove_socket(address))
        return address, int(stale)

    def _open_control(self, stack: ExitStack) -> None:
        if self.lasting:
            self.fleet.start()  # foreign executors may be waiting for us
        self.control = ControlServer(self, self._control_address, announced_in=self.home.control)
        self.teller.start()
        stack.callback(self.teller.close)
        self.lender = Lender(self.projection, self.home.scratch)
        self.lender.clear()
        stack.callback(self.lender.clear)
        stack.callback(self.control.close)
        self.control.start()
        stack.callback(self.host.halt_all, "the sentinel is leaving", leaves_jobs=True)

    def hire(self) -> None:
        """Have the executors that the work needs soon; from any thread.

        Raises LogFullError when the log takes no more: whoever waits for the work would wait in vain. Raises
        TransportError when executors cannot be spoken with.
        """
        self.handler.refuse_full()
        self._hirer.wake()

    def _hire(self) -> None:
        """Start what the work needs: nothing while no job is open, so that a rerun costs no process."""
        open_jobs = self.handler.inspect(lambda state: len(state.jobs.queued) + len(state.jobs.leased))
        wanted, self._hired_ahead = max(open_jobs, self._hired_ahead), 0
        if wanted and self.workers:
            self.fleet.start()
            self.fleet.grow(min(self.workers, wanted))

    def _hire_ahead(self) -> None:
        """Have one executor start beside us, with its parser, where the first run of a home cannot but need it."""
        package = self.packages.get(self._soon) if self._soon is not None else None
        if package is not None and self.handler.inspect(lambda state: state.jobs.next_id) == 1:
            self.dispatcher.await_jobs_of(package)
            self._hired_ahead = 1
            self._hirer.wake()

    def dismiss(self, executor: ExecutorId, reason: str) -> bool:
        """Part with an executor now; False if there is no such one. Its jobs wait again, uncharged."""
        known = self.handler.inspect(lambda state: executor in state.executors)
        if known:
            self.fleet.dismiss(executor, reason)
        return known

    def stop(self, reason: str) -> None:
        """Have a lasting sentinel leave in order; whoever serves it is waiting for that."""
        self.stop_reason = self.stop_reason or reason
        self.told_to_stop.set()

    def serve(self, asked: Callable[[], bool]) -> None:
        """Be there until somebody has us stop, or `asked` says that a signal has; then halt the runs.

        Raises what ended the deciding thread, should something have: nothing goes on without it.
        """
        targets = TargetWatch()
        while not self.told_to_stop.wait(SERVE_TICK_SECONDS):
            self.handler.refuse_dead()
            for sentence in targets.look(self.promoter.unreachable):
                talk(sentence)
            if asked():
                self.stop("stopped by a signal")
        self.host.halt_all(self.stop_reason, leaves_jobs=True)

    def give_back(self, reason: str) -> int:
        """Have everything that runs stopped and put back, for STOP_SECONDS at most; how many jobs wait then.

        An executor that does not say in time that it has stopped is killed with all that is below it, and the log
        says of its jobs why they were given back: nobody has to guess.
        """
        self.fleet.abort_running(reason)
        deadline = time.monotonic() + STOP_SECONDS
        while self.handler.inspect(lambda state: len(state.jobs.leased)) and time.monotonic() < deadline:
            time.sleep(STOP_TICK_SECONDS)
        late = f"it did not confirm within {STOP_SECONDS:g} s that it stopped: {reason}"
        for executor in self.handler.inspect(lambda state: {job.executor for job in state.jobs.leased.values()}):
            self.fleet.dismiss(executor, late)
        return self.handler.inspect(lambda state: len(state.jobs.queued))

    def status(self) -> StatusSeen:
        """Return how we stand."""
        stood = self.projection.ask(queries.job_counts)
        completed, failed, aborted = (stood.get(word, 0) for word in ENDED)
        queued, running, promoting, oldest, executors, seq = self.handler.inspect(_standing)
        queue = QueueStats(
            queued=queued,
            running=running,
            promoting=promoting,
            completed=completed,
            failed=failed,
            aborted=aborted,
            total=queued + running + promoting + completed + failed + aborted,
        )
        return StatusSeen(
            version=__version__,
            pid=os.getpid(),
            purpose=self.purpose,
            lasting=self.lasting,
            started_at=self.started_at,
            log_id=self.log.log_id,
            epoch=self.log.epoch,
            seq=seq,
            workers=self.workers,
            executors=executors,
            runs=tuple(run.name for run in self.host.going_on),
            queue=queue,
            oldest_queued_at=oldest,
            unreachable=dict(self.promoter.unreachable),
            metrics_url=self.metrics_url,
        )

    def readings(self) -> Readings:
        """Return what is told as metrics; from any thread."""
        head = self.handler.inspect(lambda state: state.seq)
        lag = max(0, head - self.projection.at)  # before the question, which waits until there is none
        return Readings(
            meters=self.projection.ask(queries.meters),
            at=clock.now(),
            lag_events=lag,
            log_bytes=log_bytes(self.home.log),
            traffic=(self.control.traffic.seen(), self.dispatcher.traffic.seen()),
        )

    def executors(self) -> ExecutorsSeen:
        """Return who works here, and on what."""
        return ExecutorsSeen(executors=tuple(self.handler.inspect(self._executors)))

    def _executors(self, state: State) -> list[ExecutorSeen]:
        holds: dict[ExecutorId, list[JobId]] = {}
        for job_id, job in state.jobs.leased.items():
            holds.setdefault(job.executor, []).append(job_id)
        return [
            ExecutorSeen(
                executor=name,
                pid=executor.joined.pid,
                host=executor.joined.host,
                version=executor.joined.version,
                capacity=executor.joined.capacity,
                ours=self.fleet.is_ours(name),
                draining=executor.draining,
                joined_at=executor.joined.joined_at,
                jobs=tuple(holds.get(name, ())),
            )
            for name, executor in state.executors.items()
        ]

    def _open_read_model(self) -> ProjectionThread:
        """Open the read model; one that does not belong to this log's history was refused as a witness before."""
        writer = open_writer(self.home.root, self.log.log_id)
        return ProjectionThread(writer, head=self.log.head.seq)

    def _leave_snapshot(self) -> None:
        state = self.handler.at_rest()
        if state is not None:
            self.snapshots.leave(self.log, state)

    def _manage(self, state: State) -> list[Command]:
        return [*self._clock_watch.steps(), *plan_records(state, now=clock.now()), *self.dispatcher.plan(state)]

    def _resume(self) -> None:
        """Put back what the last epoch held, promote what it committed, end jobs whose parser is not here any more."""
        own = frozenset(self._sink_uris)
        before = self.handler.inspect(_open_work)
        self.handler.call(BeginEpoch(now=clock.now()), actor=ACTOR)
        self._hire_ahead()
        for package in self.packages.values():
            self.parsers.deploy(package)
        self.parsers.find_kept()
        self._sink_uris |= self.handler.inspect(open_sinks)
        swept = self._sweep()
        publish_committed(self.handler, self.promoter, withhold=self._withhold)
        withdrawn = self.parsers.withdraw_outdated()
        here = self.handler.inspect(lambda state: _unpublished_for(state, own))
        torn = self.log.recovered
        self.recovery = Recovery(
            requeued=here,
            waiting=before[0] - withdrawn - here,
            promoting=before[1],
            interrupted_runs=before[2],
            withdrawn=withdrawn,
            stages_removed=swept,
            sockets_removed=self.recovery.sockets_removed,
            scratch_removed=self.recovery.scratch_removed,
            log=torn.reason if torn else "",
            log_kept_as=torn.kept_as if torn else "",
            read_model=self.projection.caught_up() if self.log.epoch > 1 else "",
            snapshots=self.snapshots.doubts,
        )

    def _clear_scratch(self) -> int:
        """Remove what guests left, by its name: the folder is ours, but what somebody put there is not. How many."""
        self.home.scratch.mkdir(mode=0o700, exist_ok=True)
        found = list(self.home.scratch.glob(f"{GUEST_FOLDER_PREFIX}*"))
        for left in found:
            shutil.rmtree(left, ignore_errors=True)
        return len(found)

    def _sweep(self) -> int:
        """Remove what was staged in vain; how many. Only while no executor has a lease.

        What is staged in the target of another home may be of a run of that, which this home is a copy of.
        """

        def is_foreign(sink: Sink) -> bool:
            other = other_claim(sink, self.home, self.log.log_id)
            return other is not None and other.there

        return sweep(self.handler, self._sink_uris, open_sink=open_sink, log_id=self.log.log_id, is_foreign=is_foreign)

    def write_to(self, sink_uri: str) -> None:
        """Take note of a target that something may be staged in, to be swept at the end."""
        self._sink_uris.add(sink_uri)


def _unpublished_for(state: State, sink_uris: frozenset[str]) -> int:
    jobs = [*state.jobs.queued.values(), *state.jobs.leased.values()]
    return sum(job.spec.sink_uri in sink_uris for job in jobs)


def _standing(state: State) -> tuple[int, int, int, str | None, int, int]:
    jobs = state.jobs
    oldest = next((job.spec.queued_at for job in jobs.queued.values()), None)
    return len(jobs.queued), len(jobs.leased), len(jobs.promoting), oldest, len(state.executors), state.seq


def _open_work(state: State) -> tuple[int, int, int]:
    return len(state.jobs.queued) + len(state.jobs.leased), len(state.jobs.promoting), len(state.runs)
