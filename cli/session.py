"""One `run`: scan, plan, enqueue, wait, tell. Drives the sentinel by commands only; every choice is a decision's.

The plan is an anti-join of the keys that the run wants against those that the read model has recorded, made at a
known position of the log; `decide` refuses a plan that is behind.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import Protocol

import msgspec
from msgspec import Struct

from cli import clock
from cli.config import parser_words
from cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CliError
from cli.file_reports import file_report, lost_output, quarantine_reports, refused_report, tally_of, told_shown_again
from cli.own_parser import OwnParser
from cli.planning import Plan, Wanted, compare, keys_of, targets_of, wanted_of
from cli.render import count
from cli.report import RunReport
from cli.results import Results, gather
from cli.sentinel import Sentinel
from cli.target_claims import claim
from cli.watch import JobWatch
from commands.decide import Command
from commands.file import FILES_MAX, RecordFiles
from commands.handle import Outcome
from commands.job import JOBS_MAX, EnqueueJobs, NewJob
from commands.quarantine import PolicyWords, cascade
from commands.run import REUSED_JOBS_MAX, FinishRun, InterruptRun, LoseOutputs, PlanRun, ReuseOutputs, exit_code
from eventlog.events import (
    JobQueued,
    RefusedFile,
    RunStarted,
    SeenFile,
    StartRun,
    Target,
)
from eventlog.ids import (
    ConfigHash,
    Digest,
    JobId,
    ParserName,
    config_hash,
    path_text,
)
from executors.declared_schema import SchemaTextError, resolve_outputs
from executors.parser_catalog import ParserPackage
from executors.scanner import PassedOver, batches, scan
from projections import queries
from projections.catalog import lost_reason
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
    own: OwnParser | None = None  # what the parser was named by, if it is no built-in one
    sink_uri: str
    settings: dict[str, str]
    quarantine: tuple[PolicyWords, ...]  # what the configuration says of rejected rows, then the command line
    remake_lost: bool = False  # what was published and is not there any more is made anew


class Talk(Protocol):
    """Shows progress on stderr; three phases, in this order."""

    def scanning(self, files: int, bytes_: int) -> None: ...
    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None: ...
    def working(self, *, done: int, total: int, rows: int) -> None: ...
    def note(self, sentence: str) -> None: ...


class InterruptedRunError(Exception):
    """The person stopped the run; the sentence says what was done about its jobs.

    `report` tells what had been done, None where nothing was planned yet.
    """

    def __init__(self, summary: str, report: RunReport | None) -> None:
        super().__init__(summary)
        self.report = report


class ExhaustedFleetError(Exception):
    """No executor stays alive, so the open jobs wait for a later start."""


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
        plan: Plan | None = None
        try:
            self._claim_target()
            self._require_named_parser()
            self._refuse_undeclared()
            started = self._start()
            package = resolve_outputs(self._sentinel.packages[started.parser], started.settings)
            files = self._scan(started, package)
            plan = self._plan(started, package, files)
            self._enqueue(started, plan)
            self._wait(plan)
            return self._finish(started, plan, package)
        except KeyboardInterrupt as error:
            summary = self._interrupt()
            done = self._report(started, plan, package, interrupted=summary) if plan else None
            raise InterruptedRunError(summary, done) from error
        except ExhaustedFleetError as error:
            self._call(InterruptRun(run=started.run, reason=str(error), now=clock.now()))
            why = f"process the files of run {started.run}: {error}; the jobs that are open wait for the next start"
            raise CliError(
                "no_executors", why, "casparian jobs; then look at memory, limits and the messages above"
            ) from error

    # --- the target ---------------------------------------------------------------------------------------------------

    def _claim_target(self) -> None:
        """Mark a target that is new to us, and claim it for this home; tell of another home of this log that has it."""
        sink = open_sink(self._request.sink_uri)
        if not sink.is_marked():
            self._mark_target(sink)
        other = claim(sink, self._sentinel.home, self._sentinel.log.log_id)
        if other is not None:
            self._talk.note(other.sentence() if other.there else f"{other.sentence()}; it is this home's from now on")

    def _mark_target(self, sink: Sink) -> None:
        """Mark the target. Raises CliError for one that has lost its mark and all that is known of it: where a disk is
        not mounted, its mount point is an empty folder, and nothing may be written or concluded there.
        """
        uri = self._request.sink_uri
        published = self._sentinel.projection.ask(queries.recorded_files)
        known = [each for each in published if each.sink_uri == uri]
        waiting = self._sentinel.handler.inspect(
            lambda state: sum(job.spec.sink_uri == uri for job in state.jobs.promoting.values())
        )
        here = any(not lost_reason(each) for each in known)
        if (known or waiting) and not here and not self._request.remake_lost:
            raise CliError(
                "target_without_mark",
                f"write tables to {uri}: {count(len(known), 'table')} published there and the mark of the folder are "
                "gone, so its disk may not be mounted",
                "mount it and run again; if they are gone for good, run again with --remake-lost",
            )
        sink.mark()

    # --- the parser ---------------------------------------------------------------------------------------------------

    def _require_named_parser(self) -> None:
        """Raise CliError for the bare name of a parser that is not built in: what lies in its file may be another."""
        if self._request.own is not None:  # trusted and deployed by now
            return
        known = self._sentinel.handler.inspect(lambda state: state.parsers.get(self._request.parser))
        if known is not None and not known.deployed.builtin:
            raise CliError(
                "parser_needs_path",
                f"run {self._request.parser}: it is no built-in parser, so it is named by its file",
                f"casparian run {shlex.quote(known.deployed.file)} FILE",
                exit_code=EXIT_USAGE,
            )

    def _refuse_undeclared(self) -> None:
        """Refuse a run whose parser leaves its columns to a setting that does not declare any."""
        package = self._sentinel.packages.get(self._request.parser)
        if package is None:
            return  # which parsers there are is a decision
        try:
            resolve_outputs(package, self._request.settings)
        except SchemaTextError as error:
            next_step = f"casparian schema infer FILE --parser {package.name}"
            raise CliError("no_columns", str(error), next_step, exit_code=EXIT_USAGE) from error

    # --- start and scan -----------------------------------------------------------------------------------------------

    def _start(self) -> RunStarted:
        request = self._request
        inputs = tuple(path_text(name) for name in request.inputs)
        quarantine, quarantine_from = cascade(self._policies())
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
            quarantine=quarantine,
            quarantine_from=quarantine_from,
        )
        outcome = self._sentinel.handler.call(command, actor=self._actor)
        if outcome.refused is not None:
            refused = outcome.refused
            raise CliError(refused.code, refused.why, refused.next_step, exit_code=EXIT_USAGE)
        self._cause = outcome.seq - len(outcome.events)
        started = outcome.events[0]
        assert isinstance(started, RunStarted)
        return started

    def _policies(self) -> list[PolicyWords]:
        """Return what each place says of rejected rows: the configuration, the parser, the command line."""
        configured, *given = self._request.quarantine
        package = self._sentinel.packages.get(self._request.parser)
        if package is None:
            return [configured, *given]
        return [configured, parser_words(package), *given]

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

    def _plan(self, started: RunStarted, package: ParserPackage, files: list[SeenFile]) -> Plan:
        targets = targets_of(started, package)
        settings_hash = config_hash(started.settings)
        wanted = wanted_of(files, targets, package, settings_hash=settings_hash)
        if self._request.remake_lost:
            self._give_up_lost(started, wanted)
        plan = self._fix_plan(started, wanted, targets, settings_hash)
        to_run = len(plan.new) + plan.attached_count
        self._talk.planned(
            found=len(wanted) + len(self._refused), reused=len(plan.reused), to_run=to_run, refused=len(self._refused)
        )
        return plan

    def _give_up_lost(self, started: RunStarted, wanted: tuple[Wanted, ...]) -> None:
        """Have the log say what is not there any more as it was published, so that the plan makes it anew."""
        keys = keys_of(wanted)
        recorded = self._sentinel.projection.ask(lambda connection: queries.materializations_of(connection, keys))
        lost = sorted({row.job_id for row in recorded if lost_output(row)})
        for start in range(0, len(lost), REUSED_JOBS_MAX):
            jobs = tuple(lost[start : start + REUSED_JOBS_MAX])
            self._call(LoseOutputs(run=started.run, jobs=jobs, now=clock.now()))

    def _fix_plan(
        self, started: RunStarted, wanted: tuple[Wanted, ...], targets: tuple[Target, ...], settings_hash: ConfigHash
    ) -> Plan:
        """Make a plan and record it; make it anew while outputs of earlier jobs are recorded in between."""
        inspect, keys = self._sentinel.handler.inspect, keys_of(wanted)
        for attempt in range(1, PLANS_MAX + 1):
            at_seq, claimed = inspect(lambda state: (state.seq, dict(state.jobs.by_key)))
            missing = self._sentinel.projection.ask(lambda connection: queries.missing_keys(connection, keys))
            plan = compare(wanted, claimed=claimed, missing=missing)
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

    def _store(self, plan: Plan) -> Digest:
        """Store the list of what will run or was refused, one JSON line a file; the event carries its digest."""
        lines = [*plan.new, *self._refused]
        return self._sentinel.blobs.put(msgspec.json.Encoder(order="deterministic").encode_lines(lines))

    def _enqueue(self, started: RunStarted, plan: Plan) -> None:
        jobs: list[JobId] = list(plan.attached_jobs)
        self._watch.expect(jobs)
        settings_bytes = len(msgspec.json.encode(started.settings))  # they stand in the event of each job

        def size_of(job: NewJob) -> int:
            return _job_bytes(job) + settings_bytes

        for chunk in batches(plan.new, count_max=JOBS_MAX, bytes_max=JOBS_BYTES_MAX, size_of=size_of):
            outcome = self._call(EnqueueJobs(run=started.run, jobs=tuple(chunk), now=clock.now()))
            queued = [event.job for event in outcome.events if isinstance(event, JobQueued)]
            self._watch.expect(queued)
            jobs.extend(queued)
            self._sentinel.hire()
        self._sentinel.hire()
        self._watch.settle(self._sentinel.handler.inspect(lambda state: {job for job in jobs if state.jobs.get(job)}))

    # --- wait ---------------------------------------------------------------------------------------------------------

    def _wait(self, plan: Plan) -> None:
        """Wait until every job has ended or cannot be published now."""
        total = len(plan.new) + len(plan.attached_jobs)
        while True:
            still_open = self._watch.wait(TICK_SECONDS)
            self._tell_setbacks()
            waiting = still_open - self._sentinel.promoter.stuck.keys()
            self._talk.working(
                done=total - len(still_open), total=total, rows=self._sentinel.dispatcher.progress().rows
            )
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

    def _finish(self, started: RunStarted, plan: Plan, package: ParserPackage) -> RunReport:
        report = self._report(started, plan, package)
        if self._sentinel.promoter.stuck:
            reason = "its outputs wait for a target that cannot be reached"
            self._call(InterruptRun(run=started.run, reason=reason, now=clock.now()))
        else:
            report = self._show_again(started, plan, report)
            tally = tally_of(report.files, report.superseded)
            self._call(FinishRun(run=started.run, tally=tally, now=clock.now()))
        return report

    def _report(self, started: RunStarted, plan: Plan, package: ParserPackage, *, interrupted: str = "") -> RunReport:
        results = self._results(started, plan)
        stuck = self._sentinel.promoter.stuck
        reports = [file_report(item, plan, results, stuck=stuck) for item in plan.wanted]
        files = tuple(sorted([*reports, *map(refused_report, self._refused)], key=lambda file: file.path))
        superseded = self._sentinel.projection.ask(
            lambda connection: queries.superseded_by_run(connection, started.run)
        )
        tally = tally_of(files, superseded)
        return RunReport(
            run=started.run,
            exit=EXIT_INTERRUPTED if interrupted else exit_code(tally),
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
            shown_again=0,
            interrupted=interrupted,
            passed_over=self._passed_over,
            patterns=package.patterns,
            seconds=round(time.monotonic() - self._began, 3),
            resumed=self._sentinel.recovery.requeued + self._sentinel.recovery.promoting,
            recovery=self._sentinel.recovery,
            main_output=package.outputs[0].output,
            quarantine=quarantine_reports(results.quarantine),
        )

    def _show_again(self, started: RunStarted, plan: Plan, report: RunReport) -> RunReport:
        """Have the tables show what this run asked for, where they show another reading of the same content."""
        done = {file.path for file in report.files if file.action != "failed"}
        keys = keys_of(item for item in plan.wanted if item.file.path in done)
        hidden = self._sentinel.projection.ask(lambda connection: queries.hidden_jobs(connection, keys))
        for start in range(0, len(hidden), REUSED_JOBS_MAX):
            jobs = tuple(hidden[start : start + REUSED_JOBS_MAX])
            self._call(ReuseOutputs(run=started.run, jobs=jobs, now=clock.now()))
        files, shown_again = told_shown_again(report.files, set(hidden))
        return msgspec.structs.replace(report, files=files, shown_again=shown_again)

    def _results(self, started: RunStarted, plan: Plan) -> Results:
        keys = keys_of(plan.wanted)
        return self._sentinel.projection.ask(
            lambda connection: gather(connection, keys, run=started.run, attached=plan.attached_jobs)
        )


def _event_bytes(item: SeenFile | RefusedFile) -> int:
    return len(msgspec.json.encode(item))


def _job_bytes(job: NewJob) -> int:
    """Return the size of the job's event, from above: the file and its keys, and what the run adds to them."""
    return len(msgspec.json.encode(job)) + JOB_OVERHEAD_BYTES
