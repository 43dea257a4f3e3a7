"""Which jobs travel together under one lease."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from cli.limits import JOBS_PER_LEASE_MAX
from commands.decide import Command
from commands.dispatch import (
    LEASE_BYTES_MAX,
    LEASE_RECORD_BYTES_MAX,
    SHARED_BYTES_MAX,
    Offer,
    Sharing,
    plan_dispatch,
)
from commands.executor import LoseExecutor
from commands.job import DispatchJob, WithdrawJob
from commands.lease import JOBS_MAX, DispatchLease
from commands.outcome import Refused
from eventlog.events import JobQueued, QuarantinePolicy
from eventlog.ids import ArtifactHash, ExecutorId, Instant, JobId, LeaseId, OutputName, ParserName, PathText
from reducers.fold import State
from tests.support import E1, EVTX, J1, LATER, NOW, decide, dispatch, fail, given, join, planned_run, release, take

MANY = Sharing()


def offers(count: int) -> list[Offer]:
    return [Offer(executor=ExecutorId(f"e{n}"), lease=LeaseId(f"lease-e{n}")) for n in range(1, count + 1)]


def waiting(*numbers: int) -> State:
    return given(*planned_run(*numbers))


def changed(state: State, job: int, **changes: Any) -> None:
    """Change what a waiting job was queued with; its place in the queue stays."""
    queued = state.jobs.queued[JobId(job)]
    new = msgspec.structs.replace(queued, spec=msgspec.structs.replace(queued.spec, **changes))
    state.jobs.queued[JobId(job)] = state.jobs._jobs[JobId(job)] = new


def planned(state: State, count: int = 1, sharing: Sharing = MANY, now: Instant = NOW) -> list[list[int]]:
    """Return the jobs of each lease that is handed out."""
    commands = plan_dispatch(state, offers(count), now=now, sharing=sharing)
    return [list(jobs_of(each)) for each in commands]


def test_small_jobs_travel_together_in_the_order_of_the_queue() -> None:
    (command,) = plan_dispatch(waiting(1, 2, 3), offers(1), now=NOW, sharing=MANY)
    assert isinstance(command, DispatchLease)
    assert (command.jobs, command.executor, command.lease) == ((1, 2, 3), "e1", "lease-e1")


def test_a_job_that_nothing_is_like_is_handed_out_as_ever() -> None:
    (command,) = plan_dispatch(waiting(1), offers(1), now=NOW, sharing=MANY)
    assert isinstance(command, DispatchJob)


def test_without_sharing_each_offer_gets_one_job() -> None:
    assert planned(waiting(1, 2, 3), 2, Sharing(jobs_max=1)) == [[1], [2]]


def test_no_more_jobs_than_are_wished_for_share_a_lease() -> None:
    assert planned(waiting(*range(1, 8)), 1, Sharing(jobs_max=3)) == [[1, 2, 3]]


def test_jobs_are_divided_among_the_executors_there_are_to_be() -> None:
    assert planned(waiting(*range(1, 8)), 1, Sharing(executors=2)) == [[1, 2, 3, 4]]
    assert planned(waiting(*range(1, 8)), 3, Sharing(executors=3)) == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_large_file_goes_alone_and_small_ones_pass_it() -> None:
    state = waiting(1, 2, 3)
    changed(state, 2, size=SHARED_BYTES_MAX + 1)
    assert planned(state, 3) == [[1, 3], [2]]
    changed(state, 1, size=SHARED_BYTES_MAX + 1)
    assert planned(state, 3) == [[1], [2], [3]]


@pytest.mark.parametrize(
    "changes",
    [
        {"parser": ParserName("other")},
        {"artifact_hash": ArtifactHash("b" * 64)},
        {"settings": {"raw_xml": "true"}},
        {"sink_uri": "parquet:///elsewhere"},
        {"sink_mode": "replace"},
        {"quarantine": QuarantinePolicy(allow=True)},
    ],
)
def test_only_jobs_with_all_but_the_file_in_common_share_a_lease(changes: dict[str, Any]) -> None:
    state = waiting(1, 2, 3)
    changed(state, 2, **changes)
    assert planned(state, 2) == [[1, 3], [2]]


def test_a_job_that_was_given_back_once_goes_alone() -> None:
    retried: list[Command] = [dispatch(2), fail(2, failure="transient")]
    released: list[Command] = [dispatch(2), release(2)]
    lost: list[Command] = [dispatch(2), LoseExecutor(executor=E1, reason="killed", charged=True, now=NOW)]
    for history in (retried, released, lost):
        state = given(*planned_run(1, 2, 3), join(), *history)
        assert planned(state, 2, now=LATER) == [[1, 3], [2]]


def test_a_parser_that_wants_a_fresh_process_shares_no_lease() -> None:
    assert planned(waiting(1, 2), 2, Sharing(alone=frozenset({EVTX}))) == [[1], [2]]


def test_a_job_that_is_not_due_is_left_waiting() -> None:
    state = given(*planned_run(1, 2, 3), join(), dispatch(1), fail(1, failure="transient"))
    assert planned(state, 2, now=NOW) == [[2, 3]]


def test_the_files_of_a_lease_have_a_bound_together() -> None:
    count = LEASE_BYTES_MAX // SHARED_BYTES_MAX + 2
    state = waiting(*range(1, count + 1))
    for job in range(1, count + 1):
        changed(state, job, size=SHARED_BYTES_MAX)
    assert list(map(len, planned(state, 2))) == [count - 2, 2]


def test_what_is_recorded_of_a_lease_has_a_bound_together() -> None:
    state = waiting(*range(1, 21))
    for job in range(1, 21):
        changed(state, job, path=PathText("/" + "x" * (LEASE_RECORD_BYTES_MAX // 20)))
    assert list(map(len, planned(state, 2))) == [9, 9]


def test_many_outputs_make_leases_shorter() -> None:
    state = waiting(*range(1, 101))
    for job in range(1, 101):
        (key, *_others) = state.jobs.queued[JobId(job)].spec.keys
        keys = tuple(msgspec.structs.replace(key, output=OutputName(f"output_{n}")) for n in range(100))
        changed(state, job, keys=keys)
    assert [len(jobs) for jobs in planned(state, 1)] == [14]


def test_the_bound_that_a_person_can_set_is_that_of_a_lease() -> None:
    assert JOBS_PER_LEASE_MAX == JOBS_MAX


@settings(max_examples=60, deadline=None)
@for_all(
    st.lists(st.sampled_from(["small", "large", "other"]), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_every_job_is_handed_out_once_and_every_lease_is_accepted(kinds: list[str], count: int, most: int) -> None:
    numbers = range(1, len(kinds) + 1)
    state = given(*planned_run(*numbers), *[join(offer.executor) for offer in offers(count)])
    for job, kind in zip(numbers, kinds, strict=True):
        changed(state, job, size=SHARED_BYTES_MAX + 1 if kind == "large" else 1)
        if kind == "other":
            changed(state, job, settings={"raw_xml": "true"})
    handed_out: list[JobId] = []
    while state.jobs.queued:
        for command in plan_dispatch(state, offers(count), now=NOW, sharing=Sharing(jobs_max=most)):
            specs = [state.jobs.queued[job].spec for job in jobs_of(command)]
            assert len(specs) <= most
            assert len(specs) == 1 or all(fits(spec, specs[0]) for spec in specs)
            decision = decide(command, state)
            assert not isinstance(decision, Refused), decision
            take(state, decision)
            handed_out += [spec.job for spec in specs]
    assert sorted(handed_out) == list(numbers)
    assert J1 in handed_out


def jobs_of(command: DispatchJob | DispatchLease | WithdrawJob) -> tuple[JobId, ...]:
    assert not isinstance(command, WithdrawJob), "no artifact was said to be missing"
    return command.jobs if isinstance(command, DispatchLease) else (command.job,)


def fits(spec: JobQueued, first: JobQueued) -> bool:
    return spec.size <= SHARED_BYTES_MAX and spec.settings == first.settings
