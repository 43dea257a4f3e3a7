"""Jobs that are made again, and priorities, told as given / when / then."""

from __future__ import annotations

from msgspec import structs

from commands.job import PRIORITY_MAX
from eventlog.events import JobPrioritySet, JobQueued
from eventlog.ids import JobId
from reducers.job import Queued
from tests.support import (
    J1,
    L2,
    LATER,
    R1,
    cancel,
    code,
    commit,
    decide,
    deploy,
    deploy_own,
    dispatch,
    enqueue,
    fail,
    finish,
    given,
    prioritise,
    promoted,
    release,
    retried,
    retry,
    revoke,
    running_job,
    take,
    trust,
    types,
)

FAILED = [*running_job(), fail()]


def test_a_failed_job_is_made_again_under_a_new_number() -> None:
    (again,) = decide(retry(), given(*FAILED))  # type: ignore[misc]
    assert isinstance(again, JobQueued)
    assert (again.job, again.retry_of, again.path, again.queued_at) == (2, J1, "/case/1.evtx", LATER)
    assert again.keys == retried().spec.keys


def test_an_aborted_job_is_made_again_too() -> None:
    state = given(*running_job(), cancel(), release())
    assert types(decide(retry(retried(stood="aborted")), state)) == ["JobQueued"]


def test_a_job_whose_outputs_exist_is_not_made_again() -> None:
    assert code(decide(retry(retried(stood="completed")), given(*FAILED))) == "already_completed"
    assert code(decide(retry(retried(recorded=True)), given(*FAILED))) == "already_completed"


def test_an_open_job_answers_how_it_stands() -> None:
    wish = retry(retried(stood="open"))
    assert code(decide(wish, given(*running_job()))) == "already_queued"
    assert code(decide(wish, given(*running_job(), commit()))) == "already_committing"
    assert code(decide(wish, given(*running_job(), cancel()))) == "job_aborting"


def test_a_job_whose_keys_another_has_claimed_is_not_made_twice() -> None:
    assert code(decide(retry(next_job=3), given(*FAILED, retry()))) == "already_queued"
    assert code(decide(retry(next_job=3), given(*FAILED, enqueue(1)))) == "already_queued"


def test_two_jobs_of_one_key_are_made_again_once() -> None:
    state = given(*FAILED, retry(), dispatch(2, L2, now=LATER), fail(2, L2))
    assert types(decide(retry(retried(1), retried(2), next_job=3), state)) == ["JobQueued"]


def test_what_was_looked_up_before_another_job_was_queued_is_refused() -> None:
    state = given(*FAILED, enqueue(2), dispatch(2), commit(2), promoted(2))
    assert code(decide(retry(next_job=2), state)) == "stale_plan"
    assert types(decide(retry(next_job=3), state)) == ["JobQueued"]


def test_what_was_looked_up_while_another_job_was_making_it_is_refused() -> None:
    making = [*FAILED, retry(), dispatch(2, L2, now=LATER), commit(2, L2)]
    looked_up = given(*making).seq
    state = given(*making, promoted(2))
    assert code(decide(retry(next_job=3, at_seq=looked_up), state)) == "stale_plan"
    known = retry(retried(recorded=True), next_job=3, at_seq=state.seq)
    assert code(decide(known, state)) == "already_completed"


def test_a_job_that_ended_since_it_was_looked_up_is_looked_up_again() -> None:
    assert code(decide(retry(retried(stood="open")), given(*FAILED))) == "stale_plan"


def test_a_job_of_another_artifact_than_the_one_that_is_here_is_refused() -> None:
    assert code(decide(retry(), given(*FAILED, deploy("b" * 64)))) == "parser_changed"


def test_nothing_is_made_again_by_a_parser_that_nobody_trusts_any_more() -> None:
    own = retried().spec
    spec = structs.replace(own, parser=deploy_own().parser, artifact_hash=deploy_own().artifact_hash)
    wish = retry(structs.replace(retried(), spec=spec))
    assert types(decide(wish, given(*FAILED, trust(), deploy_own()))) == ["JobQueued"]
    assert code(decide(wish, given(*FAILED, trust(), deploy_own(), revoke()))) == "untrusted_parser"


def test_a_job_that_is_made_again_holds_up_no_run() -> None:
    state = given(*FAILED, retry())
    assert state.runs[R1].open_jobs == 0
    assert types(decide(finish(failed=1), state)) == ["RunFinished"]
    take(state, decide(dispatch(2, now=LATER), state))  # type: ignore[arg-type]
    take(state, decide(fail(2), state))  # type: ignore[arg-type]
    assert (state.runs[R1].open_jobs, state.runs[R1].retries) == (0, ())


def test_a_priority_stays_with_the_job_when_it_is_put_back() -> None:
    state = given(*running_job(), prioritise(), release())
    job = state.jobs.get(J1)
    assert isinstance(job, Queued)
    assert job.spec.priority == 7
    assert decide(prioritise(), state) == []
    (event,) = decide(prioritise(priority=-7), state)  # type: ignore[misc]
    assert isinstance(event, JobPrioritySet)


def test_what_is_no_priority_or_has_none_is_refused() -> None:
    assert code(decide(prioritise(priority=PRIORITY_MAX + 1), given(*running_job()))) == "bad_priority"
    assert code(decide(prioritise(), given(*running_job(), commit()))) == "already_committing"
    assert code(decide(prioritise(), given(*FAILED))) == "already_completed"
    assert code(decide(prioritise(9), given(*FAILED))) == "not_found"
    assert code(decide(prioritise(), given(*running_job(), cancel()))) == "job_aborting"


def test_a_retry_keeps_the_order_of_what_was_asked() -> None:
    state = given(*running_job(), fail(), enqueue(2), dispatch(2, L2), fail(2, L2))
    again = decide(retry(retried(2, number=2), retried(1), next_job=3), state)
    assert [(event.job, event.retry_of) for event in again] == [(JobId(3), 2), (JobId(4), 1)]  # type: ignore[union-attr]
