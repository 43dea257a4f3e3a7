"""Decides the life of a run: start, plan, finish, interrupt; and what its exit code says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct

from commands.outcome import Decision, Refused
from commands.parser import may_run, paused_refusal, untrusted
from commands.quarantine import policy_fault
from eventlog.events import (
    OutputsLost,
    OutputsReused,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    StartRun,
    Target,
)
from eventlog.ids import ArtifactHash, ConfigHash, Digest, Instant, JobId, MaterializationKey, RunId, Seq
from reducers.fold import State

EXIT_OK, EXIT_ERROR, EXIT_PARTIAL, EXIT_POLICY, EXIT_ACCOUNTING = 0, 1, 3, 4, 5
REUSED_JOBS_MAX = 10_000  # of one command: less than 100 KiB
SWITCH = ("true", "false")  # what a setting takes whose default is one of them


class PlanRun(Struct, frozen=True, kw_only=True):
    """Fix what the run will do. The anti-join over the read model was made at `at_seq` and is passed in as counts."""

    run: RunId
    at_seq: Seq
    config_hash: ConfigHash
    targets: tuple[Target, ...]
    made_keys: frozenset[MaterializationKey]  # under which the plan found nothing, so that it makes them
    artifact_hash: ArtifactHash  # of the parser that the keys were reckoned with
    found: int
    reused: int
    queued: int
    attached: int
    refused: int
    plan_digest: Digest
    now: Instant


class ReuseOutputs(Struct, frozen=True, kw_only=True):
    """Have the tables show what these jobs recorded: the run asks for it, and they show another reading."""

    run: RunId
    jobs: tuple[JobId, ...]
    now: Instant


class LoseOutputs(Struct, frozen=True, kw_only=True):
    """Take what these jobs recorded as lost, so that the run makes it anew: a person's word, given with the run."""

    run: RunId
    jobs: tuple[JobId, ...]
    now: Instant


class RunTally(Struct, frozen=True, kw_only=True):
    """How the files of a run ended, counted by file: what the exit code is made of."""

    processed: int
    reused: int
    failed: int
    partial: int  # of processed and reused: rows quarantined or records unreadable
    forbidden: int = 0  # of failed: policy did not let the outputs be published
    unaccounted: int  # of failed: the balance sheet did not add up, or a published output is not there any more
    superseded: int  # earlier materializations that are no longer current


class FinishRun(Struct, frozen=True, kw_only=True):
    run: RunId
    tally: RunTally
    now: Instant


class InterruptRun(Struct, frozen=True, kw_only=True):
    run: RunId
    reason: str
    now: Instant


Command = StartRun | PlanRun | ReuseOutputs | LoseOutputs | FinishRun | InterruptRun


def decide(command: Command, state: State) -> Decision:
    """Return the events that a command about a run brings about, or why it is refused."""
    match command:
        case StartRun():
            return decide_start(command, state)
        case PlanRun():
            return decide_plan(command, state)
        case ReuseOutputs():
            return decide_reuse(command, state)
        case LoseOutputs():
            return decide_lose(command, state)
        case FinishRun():
            return decide_finish(command, state)
        case InterruptRun():
            return decide_interrupt(command, state)
        case _:
            assert_never(command)


def exit_code(tally: RunTally) -> int:
    """Return what is, not what was redone: a reused file that was damaged is as damaged the second time."""
    if tally.unaccounted:
        return EXIT_ACCOUNTING
    if tally.failed > tally.forbidden:
        return EXIT_ERROR
    if tally.forbidden:
        return EXIT_POLICY
    if tally.processed + tally.reused == 0:
        return EXIT_ERROR  # zero results must never look like success
    return EXIT_PARTIAL if tally.partial else EXIT_OK


def decide_start(command: StartRun, state: State) -> Decision:
    """Open a run. Refuses an unknown parser, a sink mode that is not built, and a run without inputs."""
    if command.parser not in state.parsers:
        return _unknown_parser(command.parser, sorted(state.parsers))
    deployed = state.parsers[command.parser].deployed
    if not may_run(command.parser, deployed.artifact_hash, state):
        return untrusted(command.parser, deployed.version)
    if (paused := state.parsers[command.parser].paused) is not None:
        return paused_refusal(paused)
    if command.sink_mode != "append":
        return Refused(
            "sink_mode_unsupported",
            f"sink mode {command.sink_mode!r} cannot be honoured yet",
            "use append, the default",
        )
    settings = settings_of(command.settings, deployed.settings)
    if isinstance(settings, Refused):
        return settings
    if (fault := policy_fault(command.quarantine)) is not None:
        return fault
    if not command.inputs:
        return Refused("no_inputs", "no file or folder was named", "casparian run evtx ./case")
    return [
        RunStarted(
            run=state.next_run,
            parser=command.parser,
            inputs=command.inputs,
            inputs_total=command.inputs_total,
            inputs_digest=command.inputs_digest,
            sink_uri=command.sink_uri,
            sink_mode=command.sink_mode,
            settings=settings,
            workers=command.workers,
            started_at=command.now,
            quarantine=command.quarantine,
            quarantine_from=command.quarantine_from,
        )
    ]


def _unknown_parser(named: str, known: Sequence[str]) -> Refused:
    from difflib import get_close_matches

    nearest = "".join(f"; did you mean {name}?" for name in get_close_matches(named.lower(), known, n=1))
    return Refused(
        "unknown_parser",
        f"there is no parser named {named!r}{nearest}",
        f"known parsers: {', '.join(known) or 'none'}; your own are named by their file: ./mine.py",
    )


def settings_of(given: dict[str, str], declared: dict[str, str]) -> dict[str, str] | Refused:
    """Return every declared setting with its value; all of them are part of the key, so a default is no accident."""
    for name, value in given.items():
        if name not in declared:
            known = ", ".join(f"{each} (default {default})" for each, default in sorted(declared.items()))
            return Refused(
                "unknown_setting",
                f"the parser has no setting named {name!r}",
                f"it has: {known}" if known else "it has no settings: leave --set away",
            )
        if declared[name] in SWITCH and value not in SWITCH:
            return Refused(
                "bad_setting", f"setting {name} is {value!r}, which is neither true nor false", f"--set {name}=true"
            )
    return declared | given


def decide_plan(command: PlanRun, state: State) -> Decision:
    """Record the plan. Refuses one that something that it would make was recorded behind, or that forgets a file."""
    run = state.runs.get(command.run)
    if run is None:
        return Refused("run_not_open", f"run {command.run} is not open")
    if run.planned is not None:
        return []
    newer = state.recorded.since(command.at_seq)
    if newer is None or not newer.isdisjoint(command.made_keys):
        why = f"the plan of run {command.run} was made at {command.at_seq}; what it would make was recorded since"
        return Refused("stale_plan", why)
    files = state.files.get(command.run)
    if (command.found, command.refused) != ((files.seen, files.refused) if files else (0, 0)):
        return Refused("plan_forgets_files", f"the plan of run {command.run} does not count every file that was read")
    if command.found != command.reused + command.queued + command.attached:
        return Refused("plan_unbalanced", f"the plan of run {command.run} does not add up")
    parser = state.parsers[run.started.parser].deployed
    if command.artifact_hash != parser.artifact_hash:
        why = f"run {command.run} was planned for another artifact of {parser.parser} than the one that is current now"
        return Refused("parser_changed", why, "run the same command again")
    return [
        RunPlanned(
            run=command.run,
            at_seq=command.at_seq,
            parser=parser.parser,
            parser_version=parser.version,
            artifact_hash=parser.artifact_hash,
            env_hash=parser.env_hash,
            config_hash=command.config_hash,
            sink_uri=run.started.sink_uri,
            sink_mode=run.started.sink_mode,
            targets=command.targets,
            found=command.found,
            reused=command.reused,
            queued=command.queued,
            attached=command.attached,
            refused=command.refused,
            plan_digest=command.plan_digest,
            planned_at=command.now,
        )
    ]


def decide_reuse(command: ReuseOutputs, state: State) -> Decision:
    """Record which readings a run asked for again. Refuses jobs that never were or have not ended."""
    refused = _jobs_refusal(command, state)
    if refused is not None or not command.jobs:
        return refused or []
    return [OutputsReused(run=command.run, jobs=command.jobs, reused_at=command.now)]


def decide_lose(command: LoseOutputs, state: State) -> Decision:
    """Record which readings are lost. Refuses jobs that never were or have not ended, and a run that is planned."""
    refused = _jobs_refusal(command, state)
    if refused is not None or not command.jobs:
        return refused or []
    if state.runs[command.run].planned is not None:
        return Refused("run_planned", f"run {command.run} is planned: what is lost must be said before")
    return [OutputsLost(run=command.run, jobs=command.jobs, lost_at=command.now)]


def _jobs_refusal(command: ReuseOutputs | LoseOutputs, state: State) -> Refused | None:
    if command.run not in state.runs:
        return Refused("run_not_open", f"run {command.run} is not open")
    if len(command.jobs) > REUSED_JOBS_MAX:
        return Refused("too_many_jobs", f"at most {REUSED_JOBS_MAX} jobs in one command, not {len(command.jobs)}")
    jobs = state.jobs
    wrong = next((job for job in command.jobs if not 0 < job < jobs.next_id or jobs.get(job) is not None), None)
    return None if wrong is None else Refused("job_not_ended", f"job {wrong} has recorded nothing that could be used")


def decide_finish(command: FinishRun, state: State) -> Decision:
    """Close a run whose own jobs have all ended."""
    run = state.runs.get(command.run)
    if run is None:
        return []
    if run.open_jobs:
        return Refused("jobs_open", f"run {command.run} still has {run.open_jobs} open jobs")
    tally = command.tally
    return [
        RunFinished(
            run=command.run,
            exit=exit_code(tally),
            processed=tally.processed,
            reused=tally.reused,
            failed=tally.failed,
            superseded=tally.superseded,
            finished_at=command.now,
        )
    ]


def decide_interrupt(command: InterruptRun, state: State) -> Decision:
    """Close a run that will not go on; its open jobs are not touched here."""
    if command.run not in state.runs:
        return []
    return [RunInterrupted(run=command.run, reason=command.reason, interrupted_at=command.now)]
