"""Owns the faults that are put into the control plane on purpose: a simulation that misses one proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

from cli.promoter import Promoter
from commands import attempt, commit, promotion
from commands import executor as executors
from commands import job as jobs
from commands.handle import Handler
from commands.inbox import Request, settle
from commands.outcome import Decision, Refused
from eventlog.events import AbandonJob, Event, ExecutorDraining, ExecutorLost, JobDispatched, OutputsCommitted
from eventlog.frames import FrameDraft, Stamp
from eventlog.ids import Instant, JobId, LeaseId
from reducers import executor as fleet
from reducers.fold import State
from reducers.job import Aborting, Dispatched, Promoting, Running
from reducers.receipts import Receipt, Receipts
from reducers.shares import Bundle
from reducers.waiting import WaitingJobs
from sinks.sink import Promoted, PromoteResult

Mutant = Callable[[], AbstractContextManager[Any]]

_holder, _commit, _dispatch, _enqueue, _lost_lease = (
    attempt.holder, commit.decide_commit, jobs._dispatch, jobs._enqueue, attempt.lost_lease,
)  # fmt: skip


def _any_holder(state: State, job: JobId, lease: LeaseId) -> Dispatched | Running | Aborting | Promoting | Refused:
    """Take any lease for the one that holds the job."""
    match state.jobs.get(job):
        case Dispatched() | Running() | Aborting() | Promoting() as held:
            return held
        case _:
            return _holder(state, job, lease)


def _commit_anyway(command: commit.CommitJob, state: State) -> Decision:
    job = state.jobs.get(command.job)
    if isinstance(job, Aborting) and job.lease == command.lease:
        running = Running(
            spec=job.spec, attempts=job.attempts, charged=job.charged, executor=job.executor, lease=job.lease,
            dispatched_at=job.dispatched_at,
        )  # fmt: skip
        return [commit._committed(command, running)]
    return _commit(command, state)


def _forget_cancel(job: Dispatched | Running | Aborting, reason: str, charged: bool, now: Instant) -> Event:
    if isinstance(job, Aborting):
        return attempt._requeued(job, reason, charged=False, wait_seconds=0, now=now)
    return _lost_lease(job, reason, charged, now)


def _lose_only_the_executor(command: executors.LoseExecutor, state: State) -> Decision:
    if command.executor not in state.executors:
        return []
    return [ExecutorLost(executor=command.executor, reason=command.reason, lost_at=command.now)]


def _enqueue_twice(command: jobs.EnqueueJobs, state: State) -> Decision:
    with patch.object(state.jobs, "by_key", {}):
        return _enqueue(command, state)


def _abandon_unanswered(command: AbandonJob, state: State) -> Decision:
    job = state.jobs.get(command.job)
    if not isinstance(job, Promoting):
        return attempt.not_open(command.job, state)
    return promotion._abandoned(job, f"abandoned by {command.by}: {command.reason}", command.now, state)


def _in_turn_at_any_time(
    self: WaitingJobs, now: Instant, *, paused: Collection[Any] = ()
) -> AbstractContextManager[Iterator[JobId]]:
    return _in_turn(self, Instant("2999" + now[4:]), paused=paused)


_in_turn = WaitingJobs.in_turn


def _dispatch_at_any_time(command: jobs.DispatchJob, state: State) -> Decision:
    decision = _dispatch(command, state)
    if isinstance(decision, Refused) and decision.code == "job_not_due":
        job = state.jobs.queued[command.job]
        return [
            JobDispatched(
                job=command.job, attempt=job.attempts + 1, executor=command.executor, lease=command.lease,
                dispatched_at=command.now,
            )
        ]  # fmt: skip
    return decision


def _still_here(executor: fleet.Executor | None, event: fleet.HandledEvent) -> fleet.Executor | None:
    return executor if isinstance(event, ExecutorDraining) else _evolve(executor, event)


_evolve = fleet.evolve


def _promoted_already(self: Promoter, committed: OutputsCommitted) -> PromoteResult:
    return Promoted()


def _same_attempt(command: jobs.DispatchJob, state: State) -> Decision:
    decision = _dispatch(command, state)
    if isinstance(decision, Refused):
        return decision
    return [JobDispatched(**{**_fields(each), "attempt": 1}) for each in decision]


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def _observe_early(self: Handler, pending: list[Request]) -> None:
    """Answer, and then commit."""
    drafts: list[FrameDraft] = []
    answers = self._speculate_all(pending, drafts)
    wanted = [Request(command, self._actor, 0, Future()) for command in self._manager(self._state)]
    answers += self._speculate_all(wanted, drafts)
    settle((request, self._recall(each) if isinstance(each, Receipt) else each) for request, each in answers)
    if drafts:
        frames = self._log.commit(drafts)
        for subscriber in self._subscribers:
            subscriber(frames)


def _nothing(*_: object, **__: object) -> None:
    """Do nothing where something must be done."""


def _always(*_: object, **__: object) -> bool:
    return True


def _no_stages(_state: State) -> set[str]:
    return set()


def _outputs_only(state: State) -> set[str]:
    return {output.staged for job in state.jobs.promoting.values() for output in job.committed.outputs}


def _find_none(self: Receipts, stamp: Stamp) -> None:
    return None


def _record_first(bundle: Bundle) -> promotion.RecordPromotion:
    first = bundle[0]
    return promotion.RecordPromotion(job=first.job, commit_key=first.commit_key, now=first.committed_at)


def _fault(*faults: tuple[str, object]) -> Mutant:
    @contextmanager
    def put_in() -> Iterator[None]:
        with ExitStack() as stack:
            for target, replacement in faults:
                stack.enter_context(patch(target, replacement))
            yield

    return put_in


MUTANTS: Final[dict[str, Mutant]] = {
    "commit for a lease that is dead": _fault(("commands.commit.holder", _any_holder)),
    "commit a job that is aborting": _fault(("commands.job.decide_commit", _commit_anyway)),
    "hand out what was revoked": _fault(("commands.dispatch.may_run", _always), ("commands.job.may_run", _always)),
    "commit what was revoked": _fault(("commands.commit.may_run", _always)),
    "forget a cancel when the lease is lost": _fault(("commands.executor.lost_lease", _forget_cancel)),
    "keep the leases of an executor that is lost": _fault(
        ("commands.decide.executor.decide_lose", _lose_only_the_executor),
        ("commands.epoch.decide_lose", _lose_only_the_executor),
    ),
    "give up nobody who is silent": _fault(("cli.dispatching.LEASE_SECONDS", 1e9)),
    "queue a key that is claimed": _fault(("commands.job._enqueue", _enqueue_twice)),
    "hand out before it is due": _fault(
        ("reducers.waiting.WaitingJobs.in_turn", _in_turn_at_any_time),
        ("commands.job._dispatch", _dispatch_at_any_time),
    ),
    "hand out to one who is draining": _fault(
        ("reducers.executor.evolve", _still_here), ("cli.dispatching.Dispatcher._drain", _nothing)
    ),
    "number every attempt alike": _fault(("commands.job._dispatch", _same_attempt)),
    "record what was not published": _fault(("cli.promoter.Promoter._attempt", _promoted_already)),
    "never look whether a target is back": _fault(("cli.promoter.Promoter.look_again", _nothing)),
    "publish an artifact without one of its jobs": _fault(("commands.lease._passes", _always)),
    "record one of those that share": _fault(("cli.promoter._record", _record_first)),
    "abandon what a target may still hold": _fault(("commands.job.decide_abandon_by_person", _abandon_unanswered)),
    "sweep what a commit waits for": _fault(("cli.resuming.committed_stages", _no_stages)),
    "sweep the rejected rows of a commit": _fault(("cli.resuming.committed_stages", _outputs_only)),
    "never sweep": _fault(("tests.cli.simulation.house.sweep", _nothing)),
    "leave what was committed to nobody": _fault(("tests.cli.simulation.house.publish_committed", _nothing)),
    "have every report discarded": _fault(("cli.dispatching.is_refused", _always)),
    "answer before it is durable": _fault(("commands.handle.Handler._decide", _observe_early)),
    "carry out a request again": _fault(("reducers.receipts.Receipts.find", _find_none)),
    "drop the questions of who is gone": _fault(("cli.dispatching._turn_away", _nothing)),
}
