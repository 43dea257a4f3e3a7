"""Asks the state which open jobs concern a run: which it may stop, which it takes up, which are held back."""

from __future__ import annotations

from collections.abc import Collection

from eventlog.events import QuarantinePolicy
from eventlog.ids import ExecutorId, JobId, MaterializationKey, RunId
from reducers.fold import State
from reducers.job import Queued


def stoppable(
    state: State, run: RunId, attached: Collection[JobId], *, waited_for: Collection[JobId] = ()
) -> dict[JobId, ExecutorId | None]:
    """Return the jobs of a run before their commit point, and who is at work on each.

    Those that it shares with another run that is open are that run's; so are its own that another one waits for.
    """
    mine: dict[JobId, ExecutorId | None] = {}
    for job_id, job in (*state.jobs.queued.items(), *state.jobs.leased.items()):
        if job_id in waited_for:
            continue
        if job.spec.run == run or (job_id in attached and job.spec.run not in state.runs):
            mine[job_id] = None if isinstance(job, Queued) else job.executor
    return mine


def waiting_otherwise(state: State, keys: Collection[MaterializationKey], policy: QuarantinePolicy) -> set[JobId]:
    """Return the jobs that wait with these keys under another policy for rejected rows, and whose run is over."""
    specs = {job: state.jobs.queued[job].spec for job in claimed(state, keys) if job in state.jobs.queued}
    return {job for job, spec in specs.items() if spec.quarantine != policy and spec.run not in state.runs}


def claimed(state: State, keys: Collection[MaterializationKey]) -> set[JobId]:
    """Return the open jobs that make what these keys name, whoever queued them."""
    return {job for key in keys if (job := state.jobs.by_key.get(key)) is not None}


def left_over(state: State, sink_uri: str) -> list[JobId]:
    """Return the open jobs that no run waits for and this one takes up: those that a person had made again, and what a
    crash left for the same target."""
    return [
        job.spec.job
        for job in state.jobs.open_jobs()
        if job.spec.retry_of is not None or (job.spec.sink_uri == sink_uri and job.spec.run not in state.runs)
    ]


def held_back(state: State) -> dict[JobId, str]:
    """Return the waiting jobs of paused parsers, with why; what is being made goes on."""
    paused = {
        name: f"parser {name} is paused: {parser.paused.reason}"
        for name, parser in state.parsers.items()
        if parser.paused is not None
    }
    if not paused:
        return {}
    waiting = state.jobs.queued.values()
    return {job.spec.job: paused[job.spec.parser] for job in waiting if job.spec.parser in paused}
