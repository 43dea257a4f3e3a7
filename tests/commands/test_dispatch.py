"""What is handed out next: by priority, then by number, if it is due and its parser is not paused."""

from __future__ import annotations

from hypothesis import given as given_
from hypothesis import strategies as st

from commands.decide import Command
from commands.dispatch import Offer, plan_dispatch
from commands.job import DispatchJob, WithdrawJob
from eventlog.ids import ArtifactHash, ExecutorId, Instant, JobId, LeaseId, instant_plus
from reducers.fold import State
from reducers.job import Queued
from tests.support import (
    E1,
    EVTX,
    LATER,
    NOW,
    any_command,
    decide,
    deploy_own,
    dispatch,
    enqueue,
    fail,
    given,
    join,
    plan,
    planned_run,
    prioritise,
    record,
    revoke,
    shape_failure,
    start,
    take,
    trust,
    types,
)

BACK = instant_plus(NOW, seconds=-3600)


def offers(count: int = 1) -> list[Offer]:
    return [Offer(executor=E1, lease=LeaseId(f"offered-{n}")) for n in range(count)]


def handed_out(state: State, count: int = 1, now: Instant = NOW) -> list[int]:
    commands = plan_dispatch(state, offers(count), now=now)
    return [command.job for command in commands if isinstance(command, DispatchJob)]


def test_the_higher_priority_goes_first_then_the_lower_number() -> None:
    state = given(*planned_run(1, 2, 3, 4), join(), prioritise(3, 5), prioritise(1, -1))
    assert handed_out(state, 9) == [3, 2, 4, 1]
    assert handed_out(state, 2) == [3, 2]  # to look takes nothing away


def test_a_job_that_waits_for_its_retry_is_passed_over_until_it_is_due() -> None:
    state = given(*planned_run(1, 2), join(), prioritise(1, 5), dispatch(1), fail(1, failure="transient"))
    assert handed_out(state) == [2]
    assert handed_out(state, 2, LATER) == [1, 2]
    assert handed_out(state, 2) == [2]  # the clock was set back


def test_a_clock_that_was_set_back_by_an_hour_does_not_have_the_queue_wait_for_an_hour() -> None:
    state = given(*planned_run(1, 2), join(), dispatch(1), fail(1, failure="transient"))
    assert handed_out(state, 2, NOW) == [2]
    assert handed_out(state, 2, BACK) == [1, 2]
    assert types(decide(dispatch(1, now=BACK), state)) == ["JobDispatched"]
    assert handed_out(state, 2, NOW) == [2]  # and forward again: a retry waits as it was told to


def test_nothing_of_a_paused_parser_is_handed_out() -> None:
    told = [each for job in range(1, 6) for each in (dispatch(job), shape_failure(job))]
    state = given(*planned_run(*range(1, 9)), join(), *told)
    assert handed_out(state, 9) == []
    assert len(state.jobs.waiting) == len(state.jobs.queued) == 3


def test_a_job_of_another_artifact_than_is_here_is_withdrawn_and_not_made_by_that() -> None:
    state = given(*planned_run(1, 2), join(), dispatch(1), fail(1, failure="unknown"))  # is tried again at once
    commands = plan_dispatch(state, offers(2), now=NOW, artifacts={EVTX: ArtifactHash("b" * 64)})
    assert [type(each) for each in commands] == [WithdrawJob, WithdrawJob]
    for command in commands:
        assert types(decide(command, state)) == ["JobAborted"]
    same = plan_dispatch(state, offers(2), now=NOW, artifacts={EVTX: ArtifactHash("a" * 64)})
    assert [type(each) for each in same] == [DispatchJob, DispatchJob]


def test_a_job_whose_parser_is_not_here_yet_waits() -> None:
    state = given(*planned_run(1), join())
    assert plan_dispatch(state, offers(1), now=NOW, artifacts={}) == []


def test_nothing_of_a_revoked_parser_is_handed_out() -> None:
    own: list[Command] = [
        trust(),
        deploy_own(),
        start("lines"),
        record(1),
        plan(1, 1, artifact="1" * 64),
        enqueue(1),
        join(),
    ]
    assert handed_out(given(*own)) == [1]
    assert handed_out(given(*own, revoke())) == []


@given_(st.lists(any_command(), max_size=60), st.integers(0, 6), st.sampled_from([NOW, LATER, BACK]))
def test_what_is_handed_out_is_what_a_look_at_every_job_would_choose(
    commands: list[object], count: int, now: Instant
) -> None:
    state = given(*planned_run(1, 2, 3), join(), join(ExecutorId("executor-2")))
    for command in commands:
        decision = decide(command, state)  # type: ignore[arg-type]  # of any kind
        if isinstance(decision, list | tuple):
            take(state, decision)
        assert handed_out(state, count, now) == _looked_up(state, now)[:count]
        assert len(state.jobs.waiting) == len(state.jobs.queued)


def _looked_up(state: State, now: Instant) -> list[JobId]:
    paused = {name for name, parser in state.parsers.items() if parser.paused is not None}

    def rank(job: Queued) -> tuple[int, int]:
        return -job.spec.priority, job.spec.job

    due = [
        job
        for job in state.jobs.queued.values()
        if (job.not_before <= now or job.not_before > instant_plus(now, seconds=64)) and job.spec.parser not in paused
    ]
    return [job.spec.job for job in sorted(due, key=rank)]
