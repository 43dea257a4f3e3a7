"""One `run`: scan, plan, enqueue, wait, tell. Drives the sentinel by commands only; every choice is a decision's.

The plan is an anti-join of the keys that the run wants against those that the read model has recorded, made at a
known position of the log; `decide` refuses a plan that is behind. Each step has a module of its own (cli/run_*.py);
here is their order, and what is told of a run at its end.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from cli import clock
from cli.config import parser_words
from cli.earlier_jobs import ended
from cli.errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_USAGE, CliError
from cli.file_reports import file_report, quarantine_reports, refused_report, tally_of, told_shown_again
from cli.halt import Halt, HaltedError
from cli.lease_terms import JobLimits
from cli.planning import Plan, keys_of
from cli.progress import Talk
from cli.render import count
from cli.report import RunReport
from cli.results import Results, gather
from cli.run_commands import RunCommands
from cli.run_jobs import RunJobs
from cli.run_parser import require_declared, require_named, require_same_artifact
from cli.run_plan import RunPlanner
from cli.run_scan import RunScan
from cli.run_stop import stop_jobs
from cli.run_wait import ExhaustedFleetError, RunWait
from cli.target_claims import claim_for_run
from cli.watch import JobWatch
from commands.policy_words import PolicyWords
from commands.quarantine import cascade
from commands.run import REUSED_JOBS_MAX, FinishRun, InterruptRun, ReuseOutputs, exit_code
from eventlog.errors import LogFullError
from eventlog.events import RunStarted, StartRun
from eventlog.frames import Stamp
from eventlog.ids import ParserName, PathText, path_bytes, path_text
from executors.declared_schema import resolve_outputs
from projections import queries
from reducers.run_jobs import stoppable

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

INPUTS_SHOWN_MAX = 100  # in the event; a longer list of inputs is a blob
FOLDERS_MAX = 1000  # of the inputs, in which is looked for what is gone
GONE_LOOKED_AT_MAX = 100_000  # paths that an earlier run has met there and this one has not
GONE_SHOWN_MAX = 100  # in the report


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


class InterruptedRunError(Exception):
    """The run was stopped; the sentence says what was done about its jobs.

    `report` tells what had been done, None where nothing was planned yet.
    """

    def __init__(self, summary: str, report: RunReport | None) -> None:
        super().__init__(summary)
        self.report = report


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
        self._began = time.monotonic()

    def execute(self) -> RunReport:
        """Return the report. Raises CliError for a refused request, InterruptedRunError when it was halted."""
        with self._sentinel.watches.watching() as watch:
            self._claim_target()
            self._require_parser()
            started, commands = self._start()
            run = _StartedRun(
                self._sentinel,
                self._request,
                started,
                commands,
                watch,
                talk=self._talk,
                halt=self._halt,
                began=self._began,
            )
            self._sentinel.dispatcher.limit(started.run, self._limits)
            return run.carry_out()

    def _claim_target(self) -> None:
        uri, remake_lost = self._request.sink_uri, self._request.remake_lost
        if sentence := claim_for_run(self._sentinel, uri, remake_lost=remake_lost):
            self._talk.note(sentence)

    def _require_parser(self) -> None:
        request = self._request
        if request.own:  # trusted and deployed by now
            require_same_artifact(self._sentinel, request.parser, own=request.own, artifact_hash=request.artifact_hash)
        else:
            require_named(self._sentinel, request.parser)
        require_declared(self._sentinel, request.parser, request.settings)

    def _start(self) -> tuple[RunStarted, RunCommands]:
        """Have the run begin; return that, and how it speaks to the log from there on. Raises CliError."""
        request = self._request
        self._sentinel.write_to(request.sink_uri)
        inputs = tuple(path_text(name) for name in request.inputs)
        quarantine, quarantine_from = cascade(self._policies())
        flags = request.quarantine[-1]
        if not quarantine.allow and (flags.ppm_max, flags.count_max) != (None, None):
            self._talk.note("the limit for rejected rows counts for nothing without --allow-quarantine")
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
        started = outcome.events[0]
        assert isinstance(started, RunStarted)
        cause = outcome.seq - len(outcome.events)
        return started, RunCommands(self._sentinel.handler, actor=self._actor, cause=cause)

    def _policies(self) -> list[PolicyWords]:
        """Return what each place says of rejected rows: the configuration, the parser, the command line."""
        configured, *given = self._request.quarantine
        package = self._sentinel.packages.get(self._request.parser)
        if package is None:
            return [configured, *given]
        return [configured, parser_words(package), *given]


class _StartedRun:
    """The steps of a run that the log knows of, in their order; each ends in a report or in words of why not."""

    def __init__(
        self,
        sentinel: Sentinel,
        request: Request,
        started: RunStarted,
        commands: RunCommands,
        watch: JobWatch,
        *,
        talk: Talk,
        halt: Halt,
        began: float,
    ) -> None:
        self._sentinel = sentinel
        self._request = request
        self._started = started
        self._commands = commands
        self._watch = watch
        self._talk = talk
        self._halt = halt
        self._began = began
        self._package = resolve_outputs(sentinel.packages[started.parser], started.settings)
        self._scan = RunScan(started.run, commands=commands, talk=talk, halt=halt)
        self._jobs = RunJobs(sentinel, started, watch, commands=commands, talk=talk, halt=halt)
        self._wait = RunWait(sentinel, watch, talk=talk, halt=halt)

    def carry_out(self) -> RunReport:
        """Return the report. Raises InterruptedRunError when it was halted, CliError; the log knows that it is over."""
        plan: Plan | None = None
        try:
            self._scan.record(self._request.inputs, self._package.patterns)
            plan = self._plan()
            self._jobs.enqueue(plan, priority=self._request.priority)
            total = len(plan.new) + len(plan.attached_jobs) + len(self._jobs.also)
            self._wait.until_done(total, also=self._jobs.also)
            return self._finish(plan)
        except HaltedError as error:
            summary = self._interrupt(plan)
            done = self._report(plan, interrupted=summary) if plan else None
            raise InterruptedRunError(summary, done) from error
        except ExhaustedFleetError as error:
            self._close(str(error))
            run = self._started.run
            why = f"process the files of run {run}: {error}; the jobs that are open wait for the next start"
            raise CliError(
                "no_executors", why, "casparian jobs; then look at memory, limits and the messages above"
            ) from error
        except LogFullError:
            raise  # the log takes no more words: the next epoch records that the run did not go on
        except Exception as error:  # whatever it is, the run is over, and the log must not show it as going on
            self._close(f"{type(error).__name__}: {error}"[:1000])
            raise

    def _plan(self) -> Plan:
        planner = RunPlanner(self._sentinel, self._started, self._package, commands=self._commands, halt=self._halt)
        seen, refused = self._scan.seen, self._scan.refused
        plan = planner.plan(seen, refused, remake_lost=self._request.remake_lost)
        self._talk.planned(
            found=len(plan.wanted) + len(refused),
            reused=len(plan.reused),
            to_run=len(plan.new) + plan.attached_count,
            refused=len(refused),
        )
        return plan

    def _interrupt(self, plan: Plan | None) -> str:
        """Stop the run's own jobs, but for those that are committed or that another run waits for as well; return a
        sentence about it.
        """
        run = self._started.run
        self._watch.leave()
        attached = {*(plan.attached_jobs if plan else ()), *self._jobs.also}
        if self._halt.leaves_jobs:
            waiting = self._sentinel.handler.inspect(lambda state: len(stoppable(state, run, attached)))
            said = f"{count(waiting, 'job')} waiting for the next start"
        else:
            stopped = stop_jobs(self._sentinel, run, attached, reason=self._halt.reason, actor=self._commands.actor)
            said = f"{count(stopped, 'job')} stopped"
        self._close(self._halt.reason)
        return f"run {run} was interrupted: {said}; what had been published stays"

    def _close(self, reason: str) -> None:
        """Record that the run will not go on; what becomes of its jobs is told elsewhere."""
        self._commands.ask(InterruptRun(run=self._started.run, reason=reason, now=clock.now()))

    # --- tell ---------------------------------------------------------------------------------------------------------

    def _finish(self, plan: Plan) -> RunReport:
        report = self._report(plan)
        self._tell_also()
        if self._jobs.awaited & self._sentinel.promoter.stuck.keys():
            reason = "its outputs wait for a target that cannot be reached"
            self._close(reason)
        elif held := self._wait.held:
            reason = next(iter(held.values()))
            self._close(reason)
            self._talk.note(f"{count(len(held), 'job')} not made: {reason}")
            report = msgspec.structs.replace(report, exit=EXIT_REFUSED)
        else:
            report = self._show_again(plan, report)
            tally = tally_of(report.files, report.superseded)
            self._commands.call(FinishRun(run=self._started.run, tally=tally, now=clock.now()))
        return report

    def _tell_also(self) -> None:
        """Say how the jobs of earlier runs ended, where a person has to look: the report is of this run's files."""
        rows = self._sentinel.projection.ask(lambda connection: queries.jobs_of_ids(connection, self._jobs.also))
        if sentence := ended([row.status for row in rows]):
            self._talk.note(sentence)

    def _report(self, plan: Plan, *, interrupted: str = "") -> RunReport:
        started, package = self._started, self._package
        results = self._results(plan)
        stuck = self._sentinel.promoter.stuck
        reports = [file_report(item, plan, results, stuck=stuck, held=self._wait.held) for item in plan.wanted]
        files = tuple(sorted([*reports, *map(refused_report, self._scan.refused)], key=lambda file: file.path))
        superseded = self._sentinel.projection.ask(
            lambda connection: queries.superseded_by_run(connection, started.run)
        )
        tally = tally_of(files, superseded)
        gone, elsewhere = self._gone()
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
            passed_over=self._scan.passed_over,
            gone_total=len(gone),
            gone_elsewhere=elsewhere,
            gone=tuple(gone[:GONE_SHOWN_MAX]),
            patterns=package.patterns,
            seconds=round(time.monotonic() - self._began, 3),
            resumed=self._sentinel.recovery.requeued + self._sentinel.recovery.promoting,
            recovery=self._sentinel.recovery,
            main_output=package.outputs[0].output,
            quarantine=quarantine_reports(results.quarantine),
        )

    def _gone(self) -> tuple[list[str], int]:
        """Return what earlier runs have read in the folders of this one and is not there any more: evidence may be.

        First what was not met at all; then that whose content was, under another name: how many these are.
        """
        folders = [path_text(name) for name in self._request.inputs[:FOLDERS_MAX] if os.path.isdir(name)]  # noqa: PTH112
        if not folders:
            return [], 0
        missed = self._sentinel.projection.ask(
            lambda connection: queries.paths_not_met(connection, folders, self._started.run, limit=GONE_LOOKED_AT_MAX)
        )
        gone = [each for each in missed if _is_gone(path_bytes(PathText(each.path)))]
        met = {file.source_hash for file in self._scan.seen}
        lost = [each.path for each in gone if each.source_hash not in met]
        elsewhere = [each.path for each in gone if each.source_hash in met]
        return [*lost, *elsewhere], len(elsewhere)

    def _show_again(self, plan: Plan, report: RunReport) -> RunReport:
        """Have the tables show what this run asked for, where they show another reading of the same content."""
        done = {file.path for file in report.files if file.action != "failed"}
        keys = keys_of(item for item in plan.wanted if item.file.path in done)
        hidden = self._sentinel.projection.ask(lambda connection: queries.hidden_jobs(connection, keys))
        for start in range(0, len(hidden), REUSED_JOBS_MAX):
            jobs = tuple(hidden[start : start + REUSED_JOBS_MAX])
            self._commands.call(ReuseOutputs(run=self._started.run, jobs=jobs, now=clock.now()))
        files, shown_again = told_shown_again(report.files, set(hidden))
        return msgspec.structs.replace(report, files=files, shown_again=shown_again)

    def _results(self, plan: Plan) -> Results:
        keys = keys_of(plan.wanted)
        return self._sentinel.projection.ask(
            lambda connection: gather(
                connection, keys, run=self._started.run, attached={*plan.attached_jobs, *self._jobs.overtaken}
            )
        )


def _is_gone(name: bytes) -> bool:
    """Say whether there is surely no file of this name: of what may not be looked at, nobody can tell."""
    try:
        return stat.S_ISDIR(os.lstat(name).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
