"""One `run`: scan, plan, enqueue, wait, tell. Drives the sentinel by commands only; every choice is a decision's.

The plan is an anti-join of the keys that the run wants against those that the read model has recorded, made at a
known position of the log; `decide` refuses a plan that is behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Protocol

import msgspec
from msgspec import Struct

from cli import clock
from cli.errors import EXIT_USAGE, CliError
from cli.render import count
from cli.report import Action, FileReport, OutputReport, RangeReport, RunReport
from cli.results import Results, gather
from cli.sentinel import Sentinel
from cli.setbacks import Setbacks
from commands.decide import Command
from commands.file import FILES_MAX, RecordFiles
from commands.handle import Outcome
from commands.job import JOBS_MAX, EnqueueJobs, NewJob
from commands.run import FinishRun, InterruptRun, PlanRun, RunTally, exit_code
from eventlog.events import (
    JobAborted,
    JobCompleted,
    JobFailed,
    JobKey,
    JobQueued,
    RefusedFile,
    RunStarted,
    SeenFile,
    StartRun,
    Target,
)
from eventlog.frames import Frame
from eventlog.ids import (
    ConfigHash,
    Digest,
    JobId,
    ParserName,
    PathText,
    Seq,
    SourceHash,
    config_hash,
    path_text,
)
from eventlog.keys import MaterializationComponents, TargetComponents, materialization_key, target_key
from eventlog.schema import schema_hash
from executors.parser_catalog import ParserPackage
from executors.scanner import PassedOver, batches, scan
from projections import queries
from projections.catalog import lost_reason
from projections.queries import RecordedFile
from projections.rows import JobRow, MaterializationRow
from sinks.sink import Sink
from sinks.uri import open_sink

TICK_SECONDS = 0.2
ABORT_TICK_SECONDS = 0.05
ABORT_SECONDS = 10.0  # how long running guests get to be killed and reported after an interrupt
FILES_BYTES_MAX = 256 * 1024
JOBS_BYTES_MAX = 1024 * 1024  # of one EnqueueJobs: a frame holds four times as much
JOB_OVERHEAD_BYTES = 1024
PLANS_MAX = 100  # for one run: each is overtaken only by an output of an earlier job, and those end
INPUTS_SHOWN_MAX = 100  # in the event; a longer list of inputs is a blob


class Request(Struct, frozen=True, kw_only=True):
    """What the person asked for, checked in form only."""

    parser: ParserName
    inputs: tuple[bytes, ...]
    sink_uri: str
    settings: dict[str, str]


class Talk(Protocol):
    """Shows progress on stderr; three phases, in this order."""

    def scanning(self, files: int, bytes_: int) -> None: ...
    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None: ...
    def working(self, *, done: int, total: int, rows: int) -> None: ...
    def note(self, sentence: str) -> None: ...


class InterruptedRunError(Exception):
    """The person stopped the run; `summary` says what was done about its jobs."""

    def __init__(self, summary: str) -> None:
        super().__init__(summary)
        self.summary = summary


class ExhaustedFleetError(Exception):
    """No executor stays alive, so the open jobs wait for a later start."""


class JobWatch:
    """Knows which jobs have ended, as told by the log."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[JobId] = set()
        self.setbacks = Setbacks()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        self.setbacks.observe(frames)
        ended = [
            record.data.job
            for frame in frames
            for record in frame.events
            if isinstance(record.data, JobCompleted | JobFailed | JobAborted)
        ]
        if ended:
            with self._changed:
                self._open.difference_update(ended)
                self._changed.notify_all()

    def expect(self, jobs: Iterable[JobId]) -> None:
        """Wait for these as well; those that have ended by now must be taken out again with `settle`."""
        with self._changed:
            self._open.update(jobs)

    def settle(self, still_open: set[JobId]) -> None:
        """Forget the expected jobs that are not open any more."""
        with self._changed:
            self._open &= still_open

    def wait(self, seconds: float) -> set[JobId]:
        """Return the expected jobs that are open, after a change or after `seconds`."""
        with self._changed:
            if self._open:
                self._changed.wait(seconds)
            return set(self._open)


class _Wanted(Struct, frozen=True):
    """One file of the run with the keys of the outputs that it should have."""

    file: SeenFile
    keys: tuple[JobKey, ...]


class _Plan(Struct, frozen=True, kw_only=True):
    """What is to be done: `new` jobs, `attached` open ones that make the same outputs, the rest is reused."""

    wanted: tuple[_Wanted, ...]
    new: tuple[NewJob, ...]
    attached_jobs: tuple[JobId, ...]
    reused: frozenset[PathText]
    attached_count: int


class RunSession:
    """Carries out one request on a started sentinel. `watch` must be subscribed before the sentinel starts."""

    def __init__(self, sentinel: Sentinel, request: Request, *, watch: JobWatch, talk: Talk) -> None:
        self._sentinel = sentinel
        self._request = request
        self._watch = watch
        self._talk = talk
        self._actor = clock.actor()
        self._cause = 0
        self._refused: list[RefusedFile] = []
        self._passed_over = 0
        self._began = time.monotonic()

    def execute(self) -> RunReport:
        """Return the report. Raises CliError for a refused request, InterruptedRunError on Ctrl-C."""
        try:
            started = self._start()
            package = self._sentinel.packages[started.parser]
            files = self._scan(started, package)
            plan = self._plan(started, package, files)
            self._enqueue(started, plan)
            self._wait(plan)
            return self._finish(started, plan, package)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(self._interrupt()) from error
        except ExhaustedFleetError as error:
            self._call(InterruptRun(run=started.run, reason=str(error), now=clock.now()))
            why = f"process the files of run {started.run}: {error}; the jobs that are open wait for the next start"
            raise CliError(
                "no_executors", why, "casparian jobs; then look at memory, limits and the messages above"
            ) from error

    # --- start and scan -----------------------------------------------------------------------------------------------

    def _start(self) -> RunStarted:
        request = self._request
        inputs = tuple(path_text(name) for name in request.inputs)
        command = StartRun(
            parser=request.parser,
            inputs=inputs[:INPUTS_SHOWN_MAX],
            inputs_total=len(inputs),
            inputs_digest=self._sentinel.blobs.put(msgspec.json.encode(inputs))
            if len(inputs) > INPUTS_SHOWN_MAX
            else "",
            sink_uri=request.sink_uri,
            sink_mode="append",
            settings=request.settings,
            workers=self._sentinel.workers,
            now=clock.now(),
        )
        outcome = self._sentinel.handler.call(command, actor=self._actor)
        if outcome.refused is not None:
            refused = outcome.refused
            raise CliError(refused.code, refused.why, refused.next_step, exit_code=EXIT_USAGE)
        self._cause = outcome.seq - len(outcome.events)
        started = outcome.events[0]
        assert isinstance(started, RunStarted)
        return started

    def _call(self, command: Command) -> Outcome:
        outcome = self._sentinel.handler.call(command, actor=self._actor, cause=self._cause)
        if outcome.refused is not None:
            refused = outcome.refused
            raise CliError(refused.code, refused.why, refused.next_step)
        return outcome

    def _scan(self, started: RunStarted, package: ParserPackage) -> list[SeenFile]:
        """Read and hash every file, recording batch by batch; return the files that were read."""
        seen: list[SeenFile] = []
        bytes_ = 0
        for batch in batches(self._met(package), count_max=FILES_MAX, bytes_max=FILES_BYTES_MAX, size_of=_event_bytes):
            files = tuple(item for item in batch if isinstance(item, SeenFile))
            refused = tuple(item for item in batch if isinstance(item, RefusedFile))
            self._call(RecordFiles(run=started.run, seen=files, refused=refused))
            seen.extend(files)
            self._refused.extend(refused)
            bytes_ += sum(file.size for file in files)
            self._talk.scanning(len(seen), bytes_)
        return seen

    def _met(self, package: ParserPackage) -> Iterator[SeenFile | RefusedFile]:
        for item in scan(self._request.inputs, patterns=package.patterns):
            if isinstance(item, PassedOver):
                self._passed_over += 1
            else:
                yield item

    # --- plan ---------------------------------------------------------------------------------------------------------

    def _plan(self, started: RunStarted, package: ParserPackage, files: list[SeenFile]) -> _Plan:
        targets = _targets(started, package)
        settings_hash = config_hash(started.settings)
        wanted = tuple(
            _Wanted(file, _keys(targets, package, settings_hash=settings_hash, source=file.source_hash))
            for file in files
        )
        plan = self._fix_plan(started, wanted, targets, settings_hash)
        to_run = len(plan.new) + plan.attached_count
        self._talk.planned(
            found=len(wanted) + len(self._refused), reused=len(plan.reused), to_run=to_run, refused=len(self._refused)
        )
        return plan

    def _fix_plan(
        self, started: RunStarted, wanted: tuple[_Wanted, ...], targets: tuple[Target, ...], settings_hash: ConfigHash
    ) -> _Plan:
        """Make a plan and record it; make it anew while outputs of earlier jobs are recorded in between."""
        for attempt in range(1, PLANS_MAX + 1):
            plan, at_seq = self._compare(wanted)
            command = PlanRun(
                run=started.run,
                at_seq=at_seq,
                config_hash=settings_hash,
                targets=targets,
                found=len(wanted),
                reused=len(plan.reused),
                queued=len(plan.new),
                attached=plan.attached_count,
                refused=len(self._refused),
                plan_digest=self._store(plan),
                now=clock.now(),
            )
            outcome = self._sentinel.handler.call(command, actor=self._actor, cause=self._cause)
            refused = outcome.refused
            if refused is None:
                break
            if refused.code != "stale_plan" or attempt == PLANS_MAX:
                raise CliError(refused.code, refused.why, refused.next_step)
        return plan

    def _compare(self, wanted: tuple[_Wanted, ...]) -> tuple[_Plan, Seq]:
        """Return what is missing, and the position at which it was looked at."""
        at_seq, claimed = self._sentinel.handler.inspect(lambda state: (state.seq, dict(state.jobs.by_key)))
        keys = [key.materialization_key for item in wanted for key in item.keys]
        missing = self._sentinel.projection.ask(lambda connection: queries.missing_keys(connection, keys))
        new: list[NewJob] = []
        reused: set[PathText] = set()
        attached_jobs: set[JobId] = set()
        attached_count = 0
        begun: set[SourceHash] = set()
        for item in wanted:
            open_job = next(
                (claimed[k.materialization_key] for k in item.keys if k.materialization_key in claimed), None
            )
            if not any(key.materialization_key in missing for key in item.keys):
                reused.add(item.file.path)
            elif open_job is not None or item.file.source_hash in begun:
                attached_count += 1
                if open_job is not None:
                    attached_jobs.add(open_job)
            else:
                begun.add(item.file.source_hash)
                new.append(NewJob(file=item.file, keys=item.keys))
        plan = _Plan(
            wanted=wanted,
            new=tuple(new),
            attached_jobs=tuple(sorted(attached_jobs)),
            reused=frozenset(reused),
            attached_count=attached_count,
        )
        return plan, at_seq

    def _store(self, plan: _Plan) -> Digest:
        """Store the list of what will run or was refused, one JSON line a file; the event carries its digest."""
        lines = [*plan.new, *self._refused]
        return self._sentinel.blobs.put(msgspec.json.Encoder(order="deterministic").encode_lines(lines))

    def _enqueue(self, started: RunStarted, plan: _Plan) -> None:
        jobs: list[JobId] = list(plan.attached_jobs)
        self._watch.expect(jobs)
        for chunk in batches(plan.new, count_max=JOBS_MAX, bytes_max=JOBS_BYTES_MAX, size_of=_job_bytes):
            outcome = self._call(EnqueueJobs(run=started.run, jobs=tuple(chunk), now=clock.now()))
            queued = [event.job for event in outcome.events if isinstance(event, JobQueued)]
            self._watch.expect(queued)
            jobs.extend(queued)
            self._sentinel.hire()
        self._sentinel.hire()
        self._watch.settle(self._sentinel.handler.inspect(lambda state: {job for job in jobs if state.jobs.get(job)}))

    # --- wait ---------------------------------------------------------------------------------------------------------

    def _wait(self, plan: _Plan) -> None:
        """Wait until every job has ended or cannot be published now."""
        total = len(plan.new) + len(plan.attached_jobs)
        while True:
            still_open = self._watch.wait(TICK_SECONDS)
            self._tell_setbacks()
            waiting = still_open - self._sentinel.promoter.stuck.keys()
            self._talk.working(done=total - len(still_open), total=total, rows=self._sentinel.fleet.progress().rows)
            if not waiting:
                return
            self._sentinel.hire()
            if self._sentinel.fleet.exhausted and not self._sentinel.fleet.size:
                raise ExhaustedFleetError(self._sentinel.fleet.exhausted)

    def _tell_setbacks(self) -> None:
        def sink_of(job: JobId) -> str:
            found = self._sentinel.handler.inspect(lambda state: state.jobs.get(job))
            return found.spec.sink_uri if found else ""

        for sentence in self._watch.setbacks.tell(sink_of=sink_of, unreachable=self._sentinel.promoter.unreachable):
            self._talk.note(sentence)

    def _interrupt(self) -> str:
        """Abort what runs, end what waits, leave what is committed; return a sentence about it.

        An executor that does not report in ABORT_SECONDS is killed: its jobs are put back, and end like those that
        wait. The run is looked up in the state, because the interrupt may have come before its start was answered.
        """
        sentinel = self._sentinel
        self._talk.note("interrupted: stopping the guests; press Ctrl-C again to leave at once")
        sentinel.fleet.abort_running("the run was interrupted")
        deadline = time.monotonic() + ABORT_SECONDS
        while sentinel.handler.inspect(lambda state: len(state.jobs.leased)) and time.monotonic() < deadline:
            time.sleep(ABORT_TICK_SECONDS)
        sentinel.fleet.stop()
        withdrawn = sentinel.withdraw_all("the run was interrupted")
        runs = sentinel.handler.inspect(lambda state: list(state.runs))
        for run in runs:
            interrupt = InterruptRun(run=run, reason="interrupted by the person who started it", now=clock.now())
            sentinel.handler.call(interrupt, actor=self._actor, cause=self._cause)
        which = f"run {runs[0]}" if runs else "the run"
        return f"{which} was interrupted: {count(withdrawn, 'job')} stopped; what had been published stays"

    # --- tell ---------------------------------------------------------------------------------------------------------

    def _finish(self, started: RunStarted, plan: _Plan, package: ParserPackage) -> RunReport:
        files = tuple(
            sorted([*self._file_reports(started, plan), *self._refused_reports()], key=lambda file: file.path)
        )
        superseded = self._sentinel.projection.ask(
            lambda connection: queries.superseded_by_run(connection, started.run)
        )
        tally = _tally(files, superseded)
        if self._sentinel.promoter.stuck:
            reason = "its outputs wait for a target that cannot be reached"
            self._call(InterruptRun(run=started.run, reason=reason, now=clock.now()))
        else:
            self._call(FinishRun(run=started.run, tally=tally, now=clock.now()))
        return RunReport(
            run=started.run,
            exit=exit_code(tally),
            files=files,
            parser=package.name,
            parser_version=package.version,
            sink=started.sink_uri,
            home=str(self._sentinel.home.root),
            found=len(files),
            processed=tally.processed,
            reused=tally.reused,
            failed=tally.failed,
            superseded=superseded,
            passed_over=self._passed_over,
            patterns=package.patterns,
            seconds=round(time.monotonic() - self._began, 3),
            resumed=self._sentinel.recovery.requeued + self._sentinel.recovery.promoting,
            recovery=self._sentinel.recovery,
        )

    def _refused_reports(self) -> Iterator[FileReport]:
        for refused in self._refused:
            yield _failed_report(refused.path, None, reason=refused.reason, next_step="")

    def _file_reports(self, started: RunStarted, plan: _Plan) -> list[FileReport]:
        keys = [key.materialization_key for item in plan.wanted for key in item.keys]
        results = self._sentinel.projection.ask(
            lambda connection: gather(connection, keys, run=started.run, attached=plan.attached_jobs)
        )
        return [self._file_report(item, plan, results) for item in plan.wanted]

    def _file_report(self, item: _Wanted, plan: _Plan, results: Results) -> FileReport:
        made = [results.materializations.get(key.materialization_key) for key in item.keys]
        recorded = [row for row in made if row is not None]
        if len(recorded) < len(made):
            return self._unfinished(item, results)
        job = results.jobs[recorded[0].job_id]
        lost = next(filter(None, map(_lost, recorded)), "")
        if lost:
            return self._lost_report(item, job, lost)
        reused = item.file.path in plan.reused
        action: Action = "reused" if reused else "run"
        outputs = tuple(
            OutputReport(name=row.output_name, rows=row.rows, bytes=row.bytes, path=_place(row))
            for row in sorted(recorded, key=lambda row: row.output_name)
        )
        return FileReport(
            path=item.file.path,
            source_hash=item.file.source_hash,
            sha256=item.file.sha256,
            action=action,
            job=job.job_id,
            found=job.found if job.unit else None,
            written=job.written if job.unit else None,
            quarantined=job.quarantined if job.unit else None,
            skipped=job.skipped if job.unit else None,
            unreadable=job.unreadable if job.unit else None,
            ranges=tuple(
                RangeReport(offset=row.byte_offset, length=row.byte_length, reason=row.reason)
                for row in results.ranges.get(job.job_id, ())
            ),
            outputs=outputs,
            accounting="balanced" if job.unit else "unaccounted",
            status=job.completion_status or "success",
            reason=_why(item, job, reused=reused),
            next_step=f"casparian job show {job.job_id}",
        )

    @staticmethod
    def _lost_report(item: _Wanted, job: JobRow, lost: str) -> FileReport:
        """Return the report of a file whose outputs were published and are not there any more: no silent reuse."""
        return _failed_report(
            item.file.path,
            item.file,
            reason=f"its output was published by job {job.job_id}, but {lost}",
            next_step="put it back from a copy, or run into another --sink",
            job=job.job_id,
            status="lost",
        )

    def _unfinished(self, item: _Wanted, results: Results) -> FileReport:
        """Return the report of a file without outputs: its job failed, was stopped, or waits for its target."""
        job = results.by_source.get(item.file.source_hash)
        if job is None:
            return _failed_report(item.file.path, item.file, reason="no job was made for it", next_step="run again")
        stuck = self._sentinel.promoter.stuck.get(JobId(job.job_id))
        reason = f"its outputs are staged but cannot be published: {stuck}" if stuck else job.error_reason or job.status
        next_step = "run again when the target can be reached" if stuck else job.error_hint or ""
        return _failed_report(
            item.file.path,
            item.file,
            reason=reason,
            next_step=next_step or f"casparian job show {job.job_id}",
            job=job.job_id,
            status=job.error_class or job.status,
        )


def _event_bytes(item: SeenFile | RefusedFile) -> int:
    return len(msgspec.json.encode(item))


def _job_bytes(job: NewJob) -> int:
    """Return the size of the job's event, from above: the file and its keys, and what the run adds to them."""
    return len(msgspec.json.encode(job)) + JOB_OVERHEAD_BYTES


def _targets(started: RunStarted, package: ParserPackage) -> tuple[Target, ...]:
    """Return where each declared output of the run goes."""
    targets = []
    for schema in package.outputs:
        shape = schema_hash(schema)
        components = TargetComponents(
            output_name=schema.output,
            sink_uri=started.sink_uri,
            sink_mode=started.sink_mode,
            table_name="",
            schema_hash=shape,
        )
        targets.append(
            Target(output=schema.output, table_name="", schema_hash=shape, target_key=target_key(components))
        )
    return tuple(targets)


def _keys(
    targets: tuple[Target, ...], package: ParserPackage, *, settings_hash: ConfigHash, source: SourceHash
) -> tuple[JobKey, ...]:
    """Return the materialization key of each target for one content."""
    return tuple(
        JobKey(
            output=target.output,
            target_key=target.target_key,
            materialization_key=materialization_key(
                MaterializationComponents(
                    output_target_key=target.target_key,
                    source_hash=source,
                    artifact_hash=package.artifact_hash,
                    env_hash=package.env_hash,
                    config_hash=settings_hash,
                )
            ),
        )
        for target in targets
    )


def _failed_report(
    path: PathText,
    file: SeenFile | None,
    *,
    reason: str,
    next_step: str,
    job: int | None = None,
    status: str = "refused",
) -> FileReport:
    return FileReport(
        path=path,
        source_hash=file.source_hash if file else None,
        sha256=file.sha256 if file else None,
        action="failed",
        job=job,
        found=None,
        written=None,
        quarantined=None,
        skipped=None,
        unreadable=None,
        ranges=(),
        outputs=(),
        accounting=None,
        status=status,
        reason=reason,
        next_step=next_step,
    )


def _why(item: _Wanted, job: JobRow, *, reused: bool) -> str:
    """Return the reason for what was done with a file, in words."""
    if reused:
        return f"same content, parser, settings and target as job {job.job_id} of run {job.run_id}"
    if job.path != item.file.path:
        return f"same content as {job.path}, parsed once, by job {job.job_id}"
    return "no outputs were recorded for this content, parser, settings and target"


def _lost(row: MaterializationRow) -> str:
    """Return what is wrong with a published output, as far as a look at its size tells; "" if nothing is."""
    if not row.file:
        return ""
    recorded = RecordedFile(
        parser=row.parser,
        output_name=row.output_name,
        sink_uri=row.sink_uri,
        file=row.file,
        bytes=row.bytes,
        schema_hash=row.schema_hash,
        current=True,
    )
    why = lost_reason(recorded)
    return f"{row.file}: {why}" if why else ""


def _place(row: MaterializationRow) -> str | None:
    return _sink(row.sink_uri).locate(row.file) if row.file else None


@cache
def _sink(uri: str) -> Sink:
    return open_sink(uri)


def _tally(files: Sequence[FileReport], superseded: int) -> RunTally:
    done = [file for file in files if file.action != "failed"]
    return RunTally(
        processed=sum(file.action == "run" for file in files),
        reused=sum(file.action == "reused" for file in files),
        failed=len(files) - len(done),
        partial=sum(file.status == "partial_success" for file in done),
        unaccounted=sum(file.status in ("accounting", "lost") for file in files),
        superseded=superseded,
    )
