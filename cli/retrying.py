"""Has jobs made again on a person's word: looks up what was queued and how it ended, and asks again if that is stale.

A job that has ended is not in the state any more. What was queued stands in the log, at the place that the read model
names; whether its outputs exist, the read model says. The choice is the decision's (commands/retry.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from commands.handle import Outcome
from commands.outcome import Refused
from commands.retry import RETRIED_JOBS_MAX
from eventlog import events
from eventlog.events import JobQueued, RetriedJob
from eventlog.ids import JobId, MaterializationKey, Seq
from projections import queries
from projections.rows import JobRow
from reducers.fold import State

if TYPE_CHECKING:
    from cli.projecting import ProjectionThread
    from cli.sentinel_parsers import SentinelParsers
    from commands.handle import Handler
    from eventlog.ids import Instant
    from eventlog.log import Log

LOOKS_MAX: Final = 25  # for one wish: each is overtaken only by jobs that are queued meanwhile
LOOK_AGAIN_SECONDS: Final = 0.2
SPECS_BYTES_MAX: Final = 512 * 1024  # of one command: a frame holds four times as much, and each job twice

Stood = Literal["open", "completed", "failed", "aborted"]


class Authority(Protocol):
    """What this may use of the sentinel."""

    @property
    def handler(self) -> Handler: ...
    @property
    def projection(self) -> ProjectionThread: ...
    @property
    def log(self) -> Log: ...
    @property
    def parsers(self) -> SentinelParsers: ...


def retry_jobs(
    authority: Authority,
    rows: Sequence[JobRow],
    *,
    reason: str,
    actor: str,
    now: Callable[[], Instant],
    submit: Callable[[events.RetryJobs, int], Outcome],
) -> tuple[Outcome, list[JobId]]:
    """Have these jobs made again; of several, those that can be, and no more at once than a command holds.

    Return what came of it, and of which jobs. `submit` gets the command and which look it is of. Refused as the
    decision refuses, and where this home has lost a parser.
    """
    assert rows
    specs = _bounded(queued_specs(authority.log, rows[:RETRIED_JOBS_MAX]))
    gone = authority.parsers.have_kept(sorted({spec.parser for spec in specs}))
    if gone:
        why = f"make job {specs[0].job} again: this home has no copy of parser {gone[0]} any more"
        refused = Refused("parser_gone", why, "name its file: casparian run PATH FILE")
        return Outcome(seq=Seq(0), events=(), refused=refused), [spec.job for spec in specs]
    for look in range(LOOKS_MAX):
        seq, next_job, found = _look_up(authority, specs)
        command = events.RetryJobs(jobs=found, at_seq=seq, next_job=next_job, by=actor, reason=reason, now=now())
        outcome = submit(command, look)
        if outcome.refused is None or outcome.refused.code != "stale_plan":
            break
        time.sleep(LOOK_AGAIN_SECONDS)
    return outcome, [spec.job for spec in specs]


def _bounded(specs: list[JobQueued]) -> list[JobQueued]:
    """Return the first of these jobs, at least one, that one command can hold."""
    total = 0
    for number, spec in enumerate(specs):
        total += len(msgspec.json.encode(spec))
        if total > SPECS_BYTES_MAX:
            return specs[: max(number, 1)]
    return specs


def _look_up(authority: Authority, specs: Sequence[JobQueued]) -> tuple[Seq, JobId, tuple[RetriedJob, ...]]:
    """Return how the jobs stand: who holds their keys first, then what is recorded under them."""
    keys = [key.materialization_key for spec in specs for key in spec.keys]
    ids = [spec.job for spec in specs]

    def look(state: State) -> tuple[Seq, JobId, set[MaterializationKey]]:
        return state.seq, state.jobs.next_id, {key for key in keys if key in state.jobs.by_key}

    seq, next_job, held = authority.handler.inspect(look)
    missing = authority.projection.ask(lambda connection: queries.missing_keys(connection, keys))
    rows = authority.projection.ask(lambda connection: queries.jobs_of_ids(connection, ids))
    statuses = {row.job_id: row.status for row in rows}
    return seq, next_job, tuple(_found(spec, statuses[spec.job], held=held, missing=missing) for spec in specs)


def _found(
    spec: JobQueued, status: str, *, held: Collection[MaterializationKey], missing: Collection[MaterializationKey]
) -> RetriedJob:
    keys = [key.materialization_key for key in spec.keys]
    ended: dict[str, Stood] = {"completed": "completed", "failed": "failed", "aborted": "aborted"}
    stood = "open" if any(key in held for key in keys) else ended.get(status, "open")
    return RetriedJob(spec=spec, stood=stood, recorded=not any(key in missing for key in keys))


def queued_specs(log: Log, rows: Sequence[JobRow]) -> list[JobQueued]:
    """Return what these jobs were queued as, in the order of the log, by one pass over it."""
    wanted = {row.queued_seq for row in rows}
    specs: list[JobQueued] = []
    with closing(log.replay(from_seq=min(wanted))) as frames:
        for frame in frames:
            for record in frame.records:
                if record.seq in wanted:
                    assert isinstance(record.data, JobQueued), record
                    specs.append(record.data)
            if len(specs) == len(wanted):
                break
    return specs
