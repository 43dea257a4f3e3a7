"""Owns how a run gets its plan: made on what is recorded at one position of the log, made anew until it still holds.

What is compared with what is cli/planning.py's; whether a plan has been overtaken is for `decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from cli import clock
from cli.errors import CliError
from cli.file_reports import lost_output
from cli.halt import Halt
from cli.planning import Plan, Wanted, compare, keys_of, targets_of, wanted_of
from cli.run_commands import RunCommands
from commands.job import WithdrawJob
from commands.run import REUSED_JOBS_MAX, LoseOutputs, PlanRun
from eventlog.events import RefusedFile, RunStarted, SeenFile
from eventlog.ids import Digest, Seq, config_hash
from executors.parser_catalog import ParserPackage
from projections import queries
from reducers.run_jobs import waiting_otherwise

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

PLANS_MAX = 100  # for one run: each is overtaken only by an output that it would make itself


class RunPlanner:
    """Plans one run, once its files are recorded."""

    def __init__(
        self, sentinel: Sentinel, started: RunStarted, package: ParserPackage, *, commands: RunCommands, halt: Halt
    ) -> None:
        self._sentinel = sentinel
        self._run = started.run
        self._policy = started.quarantine
        self._package = package
        self._commands = commands
        self._halt = halt
        self._targets = targets_of(started, package)
        self._settings_hash = config_hash(started.settings)

    def plan(self, files: Sequence[SeenFile], refused: Sequence[RefusedFile], *, remake_lost: bool) -> Plan:
        """Return the plan for these files, as it is recorded. Raises CliError if it is refused, HaltedError."""
        wanted = wanted_of(files, self._targets, self._package, settings_hash=self._settings_hash)
        if remake_lost:
            self._give_up_lost(wanted)
        self._withdraw_other(wanted)
        return self._fix(wanted, refused)

    def _withdraw_other(self, wanted: tuple[Wanted, ...]) -> None:
        """End what waits for these outputs under another policy for rejected rows, as a retry has the one of its job.

        What is at work, or of a run that goes on, or waited for by one, stays: its policy is the one that holds.
        """
        keys = keys_of(wanted)
        reason = f"run {self._run} wants its outputs under another policy for rejected rows"
        waiting = self._sentinel.handler.inspect(lambda state: waiting_otherwise(state, keys, self._policy))
        for job in sorted(waiting - self._sentinel.watches.waited_for()):
            self._commands.ask(WithdrawJob(job=job, reason=reason, now=clock.now()))  # refused if it has begun by now

    def _give_up_lost(self, wanted: tuple[Wanted, ...]) -> None:
        """Have the log say what is not there any more as it was published, so that the plan makes it anew."""
        keys = keys_of(wanted)
        recorded = self._sentinel.projection.ask(lambda connection: queries.materializations_of(connection, keys))
        lost = sorted({row.job_id for row in recorded if lost_output(row)})
        for start in range(0, len(lost), REUSED_JOBS_MAX):
            jobs = tuple(lost[start : start + REUSED_JOBS_MAX])
            self._commands.call(LoseOutputs(run=self._run, jobs=jobs, now=clock.now()))

    def _fix(self, wanted: tuple[Wanted, ...], refused: Sequence[RefusedFile]) -> Plan:
        """Make a plan and record it; make it anew while outputs of earlier jobs are recorded in between."""
        for attempt in range(1, PLANS_MAX + 1):
            at_seq, plan = self._compared(wanted)
            why_not = self._commands.ask(self._command(plan, refused, at_seq)).refused
            if why_not is None:
                break
            if why_not.code != "stale_plan" or attempt == PLANS_MAX:
                raise CliError(why_not.code, why_not.why, why_not.next_step)
            self._halt.heed()
        return plan

    def _compared(self, wanted: tuple[Wanted, ...]) -> tuple[Seq, Plan]:
        """Return a plan, and the position of the log that it was made at."""
        keys = keys_of(wanted)
        at_seq, claimed = self._sentinel.handler.inspect(lambda state: (state.seq, dict(state.jobs.by_key)))
        missing = self._sentinel.projection.ask(lambda connection: queries.missing_keys(connection, keys))
        return at_seq, compare(wanted, claimed=claimed, missing=missing)

    def _command(self, plan: Plan, refused: Sequence[RefusedFile], at_seq: Seq) -> PlanRun:
        return PlanRun(
            run=self._run,
            at_seq=at_seq,
            config_hash=self._settings_hash,
            targets=self._targets,
            made_keys=frozenset(key.materialization_key for job in plan.new for key in job.keys),
            artifact_hash=self._package.artifact_hash,
            found=len(plan.wanted),
            reused=len(plan.reused),
            queued=len(plan.new),
            attached=plan.attached_count,
            refused=len(refused),
            plan_digest=self._store(plan, refused),
            now=clock.now(),
        )

    def _store(self, plan: Plan, refused: Sequence[RefusedFile]) -> Digest:
        """Store the list of what will run or was refused, one JSON line a file; the event carries its digest."""
        lines = [*plan.new, *refused]
        return self._sentinel.blobs.put(msgspec.json.Encoder(order="deterministic").encode_lines(lines))
