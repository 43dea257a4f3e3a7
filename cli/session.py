"""One `run`: scan, plan, enqueue, wait, tell. Drives the sentinel by commands only; every choice is a decision's.

The plan is an anti-join of the keys that the run wants against those that the read model has recorded, made at a
known position of the log; `decide` refuses a plan that is behind.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Struct

from cli import clock
from cli.config import parser_words
from cli.earlier_jobs import ended, held_up, taken_up
from cli.errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_USAGE, CliError
from cli.file_reports import file_report, lost_output, quarantine_reports, refused_report, tally_of, told_shown_again
from cli.lease_terms import JobLimits
from cli.pace import Pace, say_stall
from cli.planning import Plan, Wanted, compare, keys_of, targets_of, wanted_of
from cli.render import count
from cli.report import RunReport
from cli.results import Results, gather
from cli.run_stop import stop_jobs
from cli.target_claims import claim
from commands.decide import Command
from commands.file import FILES_MAX, RecordFiles
from commands.handle import Outcome
from commands.job import JOBS_MAX, EnqueueJobs, NewJob
from commands.policy_words import PolicyWords
from commands.quarantine import cascade
from commands.run import REUSED_JOBS_MAX, FinishRun, InterruptRun, LoseOutputs, PlanRun, ReuseOutputs, exit_code
from eventlog.errors import LogFullError
from eventlog.events import (
    JobQueued,
    RefusedFile,
    RunStarted,
    SeenFile,
    StartRun,
    Target,
)
from eventlog.frames import Stamp
from eventlog.ids import (
    ArtifactHash,
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
from reducers.fold import State
from reducers.run_jobs import claimed, held_back, left_over, stoppable
from sinks.sink import Sink
from sinks.uri import open_sink

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

TICK_SECONDS = 0.2
FILES_BYTES_MAX = 256 * 1024
JOBS_BYTES_MAX = 1024 * 1024  # of one EnqueueJobs: a frame holds four times as much
JOB_OVERHEAD_BYTES = 1024
PLANS_MAX = 100  # for one run: each is overtaken only by an output that it would make itself
INPUTS_SHOWN_MAX = 100  # in the event; a longer list of inputs is a blob


class Request(Struct, frozen=True, kw_only=True):
    """What the person asked for, checked in form only."""

    parser: ParserName
    inputs: tuple[bytes, ...]
    own: str = ""  # how the parser was named, if it is no built-in one
    artifact_hash: str = ""  # of one's own parser, as it was admitted
    sink_uri: str
    settings: dict[str, str]
    quarantine: tuple[PolicyWords, ...]  # what the configuration says of rejected rows, then the command line
    remake_lost: bool = False  # what was published and is not there any more is made anew
    priority: int = 0  # of its jobs


class Talk(Protocol):
    """Shows progress on stderr; three phases, in this order."""

    def scanning(self, files: int, bytes_: int) -> None: ...
    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None: ...
    def working(self, *, done: int, total: int, rows: int, seconds_left: int | None) -> None: ...
    def note(self, sentence: str) -> None: ...


class HaltedError(Exception):
    """Somebody has asked the run to stop."""


class Halt:
    """Whether a run is to stop, and how: the run looks between any two of its steps. For any thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.reason = ""
        self.leaves_jobs = False

    def ask(self, reason: str, *, leaves_jobs: bool = False) -> None:
        """Have the run stop. With `leaves_jobs` what is queued stays so for the next start. The first wish stands."""
        if not self._asked.is_set():
            self.reason, self.leaves_jobs = reason, leaves_jobs
            self._asked.set()

    def is_asked(self) -> bool:
        return self._asked.is_set()

    def heed(self) -> None:
        """Raise HaltedError if the run is to stop."""
        if self._asked.is_set():
            raise HaltedError(self.reason)


class InterruptedRunError(Exception):
    """The run was stopped; the sentence says what was done about its jobs.

    `report` tells what had been done, None where nothing was planned yet.
    """

    def __init__(self, summary: str, report: RunReport | None) -> None:
        super().__init__(summary)
        self.report = report


class ExhaustedFleetError(Exception):
    """No executor stays alive, so the open jobs wait for a later start."""


class RunSession:
    """Carries out one request on a started sentinel, in the name of `actor`, until `halt` is asked."""

    def __init__(
        self,
        sentinel: Sentinel,
        request: Request,
        *,
        actor: str,
        stamp: Stamp,
        talk: Talk,
        halt: Halt,
        limits: JobLimits,
    ) -> None:
        self._sentinel = sentinel
        self._request = request
        self._talk = talk
        self._halt = halt
        self._limits = limits
        self._actor = actor
        self._stamp = stamp
        self._cause = 0
        self._refused: list[RefusedFile] = []
        self._passed_over = 0
        self._is_idleness_told = False
        self._began = time.monotonic()
        self._jobs: set[JobId] = set()  # that it waits for
        self._also: set[JobId] = set()  # those of them that are of earlier runs
        self._overtaken: set[JobId] = set()  # those of another run that were queued between our plan and our jobs
        self._held: dict[JobId, str] = {}  # jobs that a paused parser holds back, with why

    def execute(self) -> RunReport:
        """Return the report. Raises CliError for a refused request, InterruptedRunError when it was halted."""
        with self._sentinel.watches.watching() as watch:
            self._watch = watch
            self._claim_target()
            self._require_named_parser()
            self._refuse_undeclared()
            started = self._start()
            return self._carry_out(started)

    def _carry_out(self, started: RunStarted) -> RunReport:
        plan: Plan | None = None
        package = resolve_outputs(self._sentinel.packages[started.parser], started.settings)
        self._sentinel.dispatcher.limit(started.run, self._limits)
        try:
            files = self._scan(started, package)
            plan = self._plan(started, package, files)
            self._enqueue(started, plan)
            self._wait(plan)
            return self._finish(started, plan, package)
        except HaltedError as error:
            summary = self._interrupt(started, plan)
            done = self._report(started, plan, package, interrupted=summary) if plan else None
            raise InterruptedRunError(summary, done) from error
        except ExhaustedFleetError as error:
            self._close(started, str(error))
            why = f"process the files of run {started.run}: {error}; the jobs that are open wait for the next start"
            raise CliError(
                "no_executors", why, "casparian jobs; then look at memory, limits and the messages above"
            ) from error
        except LogFullError:
            raise  # the log takes no more words: the next epoch records that the run did not go on
        except Exception as error:  # whatever it is, the run is over, and the log must not show it as going on
            self._close(started, f"{type(error).__name__}: {error}"[:1000])
            raise

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
        if self._request.own:  # trusted and deployed by now
            self._require_same_artifact()
            return
        known = self._sentinel.handler.inspect(lambda state: state.parsers.get(self._request.parser))
        if known is not None and not known.deployed.builtin:
            raise CliError(
                "parser_needs_path",
                f"run {self._request.parser}: it is no built-in parser, so it is named by its file",
                f"casparian run {shlex.quote(known.deployed.file)} FILE",
                exit_code=EXIT_USAGE,
            )

    def _require_same_artifact(self) -> None:
        """Raise CliError if another run has put another artifact in the place of the one that was admitted."""
        package = self._sentinel.packages.get(self._request.parser)
        if package is None or package.artifact_hash != self._request.artifact_hash:
            raise CliError(
                "parser_changed",
                f"run {self._request.own}: another run has brought another version of {self._request.parser} since",
                "run the same command again",
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
        self._sentinel.write_to(request.sink_uri)
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
        outcome = self._sentinel.handler.submit(command, actor=self._actor, stamp=self._stamp).result()
        if outcome.refused is not None:
            refused = outcome.refused
            exit_code = EXIT_REFUSED if refused.code == "parser_paused" else EXIT_USAGE
            raise CliError(refused.code, refused.why, refused.next_step, exit_code=exit_code)
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
        self._halt.heed()
        return seen

    def _met(self, package: ParserPackage) -> Iterator[SeenFile | RefusedFile]:
        for item in scan(self._request.inputs, patterns=package.patterns, stop=self._halt.is_asked):
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
        plan = self._fix_plan(started, wanted, targets, settings_hash, package.artifact_hash)
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
        self,
        started: RunStarted,
        wanted: tuple[Wanted, ...],
        targets: tuple[Target, ...],
        settings_hash: ConfigHash,
        artifact_hash: ArtifactHash,
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
                made_keys=frozenset(key.materialization_key for job in plan.new for key in job.keys),
                artifact_hash=artifact_hash,
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
            self._halt.heed()
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
            outcome = self._call(
                EnqueueJobs(run=started.run, jobs=tuple(chunk), priority=self._request.priority, now=clock.now())
            )
            queued = [event.job for event in outcome.events if isinstance(event, JobQueued)]
            self._watch.expect(queued)
            jobs.extend(queued)
            self._sentinel.hire()
            self._halt.heed()
        keys = {key.materialization_key for job in plan.new for key in job.keys}
        self._overtaken = self._sentinel.handler.inspect(lambda state: claimed(state, keys)) - set(jobs)
        self._watch.expect(self._overtaken)
        jobs.extend(sorted(self._overtaken))
        if not self._sentinel.lasting:
            jobs.extend(self._take_up(started, jobs))
        self._sentinel.hire()
        self._jobs.update(jobs)
        self._watch.settle(self._sentinel.handler.inspect(lambda state: {job for job in jobs if state.jobs.get(job)}))

    def _take_up(self, started: RunStarted, jobs: Collection[JobId]) -> list[JobId]:
        """Return the jobs of earlier runs that this one makes as well, and say so; a paused parser's stay where they
        are.
        """
        left = self._sentinel.handler.inspect(lambda state: left_over(state, started.sink_uri))
        held = self._sentinel.handler.inspect(held_back)
        others = sorted(set(left) - set(jobs) - held.keys())
        waiting = sorted((set(left) & held.keys()) - set(jobs))
        for sentence in (taken_up(others), held_up(waiting, "; ".join(sorted({held[job] for job in waiting})))):
            if sentence:
                self._talk.note(sentence)
        self._also.update(others)
        self._watch.expect(others)
        return others

    # --- wait ---------------------------------------------------------------------------------------------------------

    def _wait(self, plan: Plan) -> None:
        """Wait until every job has ended or cannot be published now."""
        total = len(plan.new) + len(plan.attached_jobs) + len(self._also)
        pace = Pace(total, now=time.monotonic())
        while True:
            still_open = self._watch.wait(TICK_SECONDS)
            self._tell_setbacks()
            held = self._sentinel.handler.inspect(held_back)
            self._held = {job: held[job] for job in sorted(still_open - self._also) if job in held}
            waiting = still_open - self._sentinel.promoter.stuck.keys() - held.keys()
            self._tell_pace(pace, total, still_open, is_waiting=bool(waiting))
            if not waiting:
                self._tell_setbacks()  # what went wrong since we asked may be why nothing is waited for
                return
            self._halt.heed()
            self._sentinel.hire()
            self._tell_idleness()
            if self._sentinel.fleet.exhausted and not self._sentinel.handler.inspect(_executors):
                raise ExhaustedFleetError(self._sentinel.fleet.exhausted)

    def _tell_idleness(self) -> None:
        """Say once that nobody works here, where the sentinel starts no executors itself."""
        if not self._sentinel.workers and not self._is_idleness_told and not self._sentinel.handler.inspect(_executors):
            self._is_idleness_told = True
            step = self._sentinel.home.hint("casparian executor")
            self._talk.note(f"no executor is here, and the sentinel starts none (--workers 0); next: {step}")

    def _tell_pace(self, pace: Pace, total: int, still_open: set[JobId], *, is_waiting: bool) -> None:
        """Publish how far the run is, when it is time; and once, when nothing moves, what it is that does not."""
        rows, bytes_read = self._sentinel.dispatcher.in_flight(still_open)
        done, now = total - len(still_open), time.monotonic()
        seconds_left = pace.seconds_left(done, now)
        if pace.is_due(done, now):
            self._talk.working(done=done, total=total, rows=rows, seconds_left=seconds_left)
        if is_waiting and pace.has_stalled((done, rows, bytes_read), now):
            self._talk.note(self._sentinel.handler.inspect(lambda state: say_stall(state, still_open)))

    def _tell_setbacks(self) -> None:
        def sink_of(job: JobId) -> str:
            found = self._sentinel.handler.inspect(lambda state: state.jobs.get(job))
            return found.spec.sink_uri if found else ""

        for sentence in self._watch.setbacks.tell(sink_of=sink_of, unreachable=self._sentinel.promoter.unreachable):
            self._talk.note(sentence)

    def _interrupt(self, started: RunStarted, plan: Plan | None) -> str:
        """Stop the run's own jobs, but for those that are committed or that another run waits for as well; return a
        sentence about it.
        """
        self._watch.leave()
        attached = {*(plan.attached_jobs if plan else ()), *self._also}
        if self._halt.leaves_jobs:
            waiting = self._sentinel.handler.inspect(lambda state: len(stoppable(state, started.run, attached)))
            said = f"{count(waiting, 'job')} waiting for the next start"
        else:
            stopped = stop_jobs(self._sentinel, started.run, attached, reason=self._halt.reason, actor=self._actor)
            said = f"{count(stopped, 'job')} stopped"
        self._close(started, self._halt.reason)
        return f"run {started.run} was interrupted: {said}; what had been published stays"

    def _close(self, started: RunStarted, reason: str) -> None:
        """Record that the run will not go on; what becomes of its jobs is told elsewhere."""
        command = InterruptRun(run=started.run, reason=reason, now=clock.now())
        self._sentinel.handler.call(command, actor=self._actor, cause=self._cause)

    # --- tell ---------------------------------------------------------------------------------------------------------

    def _finish(self, started: RunStarted, plan: Plan, package: ParserPackage) -> RunReport:
        report = self._report(started, plan, package)
        self._tell_also()
        if self._jobs & self._sentinel.promoter.stuck.keys():
            reason = "its outputs wait for a target that cannot be reached"
            self._close(started, reason)
        elif self._held:
            reason = next(iter(self._held.values()))
            self._close(started, reason)
            self._talk.note(f"{count(len(self._held), 'job')} not made: {reason}")
            report = msgspec.structs.replace(report, exit=EXIT_REFUSED)
        else:
            report = self._show_again(started, plan, report)
            tally = tally_of(report.files, report.superseded)
            self._call(FinishRun(run=started.run, tally=tally, now=clock.now()))
        return report

    def _tell_also(self) -> None:
        """Say how the jobs of earlier runs ended, where a person has to look: the report is of this run's files."""
        rows = self._sentinel.projection.ask(lambda connection: queries.jobs_of_ids(connection, self._also))
        if sentence := ended([row.status for row in rows]):
            self._talk.note(sentence)

    def _report(self, started: RunStarted, plan: Plan, package: ParserPackage, *, interrupted: str = "") -> RunReport:
        results = self._results(started, plan)
        stuck = self._sentinel.promoter.stuck
        reports = [file_report(item, plan, results, stuck=stuck, held=self._held) for item in plan.wanted]
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
            stopped=sum(file.is_stopped for file in files),
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
            lambda connection: gather(
                connection, keys, run=started.run, attached={*plan.attached_jobs, *self._overtaken}
            )
        )


def _executors(state: State) -> int:
    return len(state.executors)


def _event_bytes(item: SeenFile | RefusedFile) -> int:
    return len(msgspec.json.encode(item))


def _job_bytes(job: NewJob) -> int:
    """Return the size of the job's event, from above: the file and its keys, and what the run adds to them."""
    return len(msgspec.json.encode(job)) + JOB_OVERHEAD_BYTES
