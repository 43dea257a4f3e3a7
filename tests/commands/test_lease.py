"""What the jobs of one lease may do together, told as given / when / then."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from commands.attempt import FailJob
from commands.decide import Command
from commands.lease import JOBS_MAX, RecordLease
from commands.outcome import Refused
from commands.parser import PAUSE_FAILURES, is_paused
from eventlog.events import (
    ArtifactShare,
    CommitRefused,
    JobAborted,
    JobFailed,
    JobRequeued,
    MaterializationRecorded,
    OutputsCommitted,
    ParserPaused,
)
from eventlog.ids import Digest, JobId, LeaseId
from reducers.job import Promoting, Queued, Running
from tests.support import (
    EVTX,
    FILES,
    L1,
    L2,
    ROWS,
    abandon,
    abandon_wish,
    cancel,
    code,
    commit,
    conclude,
    decide,
    dispatch,
    evidence,
    fail,
    given,
    join,
    leased,
    part,
    planned_run,
    promoted,
    release,
    shared,
    sheet,
    started,
    take,
    types,
)


def three() -> list[Command]:
    """Return the commands after which three jobs are out under one lease."""
    return [*planned_run(1, 2, 3), join(), leased(1, 2, 3)]


def test_all_jobs_of_a_lease_are_handed_out_in_one_frame() -> None:
    state = given(*planned_run(1, 2, 3), join())
    assert types(decide(leased(1, 2, 3), state)) == ["JobDispatched"] * 3


def test_a_lease_with_a_job_that_does_not_wait_is_not_handed_out() -> None:
    state = given(*planned_run(1, 2, 3), join(), dispatch(2, L2))
    assert code(decide(leased(1, 2, 3), state)) == "job_not_queued"


def test_a_lease_has_a_bound() -> None:
    assert code(decide(leased(*range(1, JOBS_MAX + 2)), given(*planned_run(1), join()))) == "lease_too_large"


def test_jobs_that_share_an_artifact_pass_their_commit_points_together_each_with_its_share() -> None:
    decision = decide(conclude(*shared(2, 3, 5)), given(*three()))
    assert types(decision) == ["JobStarted"] * 3 + ["OutputsCommitted"] * 3
    commits = [event for event in decision if isinstance(event, OutputsCommitted)]  # type: ignore[union-attr]
    assert [each.outputs[0].jobs for each in commits] == [
        (ArtifactShare(job=JobId(1), row_first=0, rows=2),),
        (ArtifactShare(job=JobId(2), row_first=2, rows=3),),
        (ArtifactShare(job=JobId(3), row_first=5, rows=5),),
    ]
    assert {each.outputs[0].rows for each in commits} == {10}
    assert {each.commit_key for each in commits} == {promoted(job).commit_key for job in (1, 2, 3)}


def test_what_is_recorded_of_a_shared_artifact_are_the_rows_of_the_job() -> None:
    state = given(*three(), conclude(*shared(2, 3, 5)))
    decision = decide(RecordLease(records=(promoted(1), promoted(2), promoted(3))), state)
    made = [event for event in decision if isinstance(event, MaterializationRecorded) and event.output == ROWS]  # type: ignore[union-attr]
    assert [(each.job, each.row_first, each.rows, each.file) for each in made] == [
        (1, 0, 2, "evtx_events_1.parquet"),
        (2, 2, 3, "evtx_events_1.parquet"),
        (3, 5, 5, "evtx_events_1.parquet"),
    ]
    take(state, decision)  # type: ignore[arg-type]
    assert len(state.jobs) == 0


def test_a_job_that_fails_costs_only_itself() -> None:
    state = given(*three())
    decision = decide(conclude(*shared(4), failures=(fail(2), fail(3, failure="transient"))), state)
    assert types(decision) == ["JobStarted"] * 3 + ["JobFailed", "JobRequeued", "OutputsCommitted"]
    take(state, decision)  # type: ignore[arg-type]
    assert isinstance(state.jobs.get(JobId(1)), Promoting)
    assert state.jobs.get(JobId(2)) is None


def test_a_job_that_is_given_back_waits_again_uncharged() -> None:
    state = given(*three(), conclude(*shared(4), releases=(release(2, declined=True), release(3))))
    waiting = [state.jobs.get(JobId(job)) for job in (2, 3)]
    assert [(each.attempts, each.charged) for each in waiting if isinstance(each, Queued)] == [(1, 0), (1, 0)]


def test_a_cancel_keeps_the_whole_artifact_from_being_published() -> None:
    state = given(*three(), cancel(2))
    decision = decide(conclude(*shared(2, 3, 5)), state)
    assert types(decision) == [
        *["JobStarted"] * 2,
        *["CommitRefused", "JobRequeued", "CommitRefused", "JobAborted", "CommitRefused", "JobRequeued"],
    ]
    codes = [event.code for event in decision if isinstance(event, CommitRefused)]  # type: ignore[union-attr]
    assert codes == ["shared_artifact", "cancelled", "shared_artifact"]
    requeued = [event for event in decision if isinstance(event, JobRequeued)]  # type: ignore[union-attr]
    assert all(not event.charged and "job 2" in event.reason for event in requeued)
    take(state, decision)  # type: ignore[arg-type]
    assert list(state.jobs.queued) == [1, 3]
    assert not state.jobs.promoting


def test_a_cancelled_job_that_the_executor_left_out_ends_and_the_others_pass() -> None:
    decision = decide(conclude(*shared(2, 3), releases=(release(3),)), given(*three(), cancel(3)))
    assert types(decision) == ["JobStarted"] * 2 + ["JobAborted"] + ["OutputsCommitted"] * 2
    assert isinstance(decision[2], JobAborted)  # type: ignore[index]


def test_a_sheet_that_does_not_add_up_keeps_the_artifact_from_being_published() -> None:
    good, bad = shared(2, 3)
    lying = msgspec.structs.replace(bad, sheet=sheet(found=7, written=3))
    decision = decide(conclude(good, lying, releases=(release(3),)), given(*three()))
    failed = [event for event in decision if isinstance(event, JobFailed)]  # type: ignore[union-attr]
    assert [(event.job, event.failure, event.kind) for event in failed] == [(2, "accounting", "unbalanced")]
    assert "OutputsCommitted" not in types(decision)


@pytest.mark.parametrize(
    ("firsts", "rows", "total"),
    [((0, 3), (2, 3), 5), ((0, 1), (2, 3), 5), ((0, 2), (2, 3), 6), ((0, 2), (2, 3), 4), ((1, 3), (2, 3), 5)],
)
def test_shares_that_are_not_all_rows_of_the_artifact_once_are_refused(
    firsts: tuple[int, int], rows: tuple[int, int], total: int
) -> None:
    commits = [
        msgspec.structs.replace(one, outputs=(part(first, count, of=total),))
        for one, first, count in zip(shared(*rows), firsts, rows, strict=True)
    ]
    decision = decide(conclude(*commits), given(*three()))
    assert "OutputsCommitted" not in types(decision)
    refused = [event for event in decision if isinstance(event, CommitRefused)]  # type: ignore[union-attr]
    assert len(refused) == 2
    assert all("shares of .stage-1" in event.why for event in refused)


def test_two_descriptions_of_one_artifact_are_refused() -> None:
    one, two = shared(2, 3)
    other = msgspec.structs.replace(two.outputs[0], digest=Digest("7" * 64))
    decision = decide(conclude(one, msgspec.structs.replace(two, outputs=(other,))), given(*three()))
    assert "OutputsCommitted" not in types(decision)


def test_a_job_with_rejected_rows_has_artifacts_of_its_own_and_policy_decides_as_ever() -> None:
    rejected = commit(2, rejected=1)
    state = given(*three())
    decision = decide(conclude(*shared(4), rejected, releases=(release(3),)), state)
    commits = [event for event in decision if isinstance(event, OutputsCommitted)]  # type: ignore[union-attr]
    assert [(each.job, each.status) for each in commits] == [(1, "success"), (2, "rejected")]
    assert commits[1].discarded == (".stage-2",)


def test_rows_that_may_not_be_published_do_not_lie_among_those_of_others() -> None:
    """The artifact would be removed with them, or published with them."""
    one, two, three_ = shared(2, 3, 5)
    bad = msgspec.structs.replace(
        two, evidence=(evidence(1, accepted=3, job=2),), sheet=sheet(found=4, written=3, quarantined=1)
    )
    decision = decide(conclude(one, bad, three_), given(*three()))
    assert not isinstance(decision, Refused)
    assert not [event for event in decision if isinstance(event, OutputsCommitted)]
    assert sorted(event.job for event in decision if isinstance(event, JobRequeued)) == [1, 2, 3]


def test_a_dead_lease_commits_nothing() -> None:
    state = given(*three(), *[release(job) for job in (1, 2, 3)], leased(1, 2, 3, lease=L2))
    assert code(decide(conclude(*shared(2, 3, 5)), state)) == "stale_lease"
    assert all(isinstance(state.jobs.get(JobId(job)), object) for job in (1, 2, 3))


def test_a_lease_that_was_concluded_is_not_concluded_again() -> None:
    state = given(*three(), conclude(*shared(2, 3, 5)))
    assert decide(conclude(*shared(2, 3, 5)), state) == []


def test_a_start_that_was_told_before_is_not_told_again() -> None:
    decision = decide(conclude(*shared(2, 3, 5)), given(*three(), started(1)))
    assert types(decision).count("JobStarted") == 2


def test_abandoning_one_job_abandons_all_that_share_its_artifact() -> None:
    state = given(*three(), conclude(*shared(2, 3), commit(3)))
    for wish in (abandon(2), abandon_wish(2)):
        decision = decide(wish, state)
        assert types(decision) == ["PromotionAbandoned", "JobFailed"] * 2
        assert {event.job for event in decision} == {1, 2}  # type: ignore[union-attr]


def test_a_running_job_of_the_lease_can_be_cancelled_alone() -> None:
    state = given(*three(), started(1), cancel(2))
    assert isinstance(state.jobs.get(JobId(1)), Running)
    assert type(state.jobs.get(JobId(2))).__name__ == "Aborting"


def test_outputs_without_rows_need_no_share() -> None:
    one, two = shared(2, 0)
    bare = msgspec.structs.replace(two, outputs=(), empty=(ROWS, FILES), sheet=sheet(found=0, written=0))
    decision = decide(conclude(msgspec.structs.replace(one), bare, releases=(release(3),)), given(*three()))
    assert types(decision).count("OutputsCommitted") == 2


@for_all(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.sets(st.integers(1, 3)))
def test_no_commit_of_a_lease_follows_an_accepted_cancel(rows: list[int], cancelled: set[int]) -> None:
    state = given(*three(), *map(cancel, sorted(cancelled)))
    rest = tuple(release(job) for job in range(len(rows) + 1, 4))
    decision = decide(conclude(*shared(*rows), releases=rest), state)
    assert not isinstance(decision, Refused)
    committed = {event.job for event in decision if isinstance(event, OutputsCommitted)}
    assert not committed & cancelled
    assert committed in (set(), set(range(1, len(rows) + 1)))
    take(state, decision)
    assert not state.jobs.leased


# --- what failures say of the parser ----------------------------------------------------------------------------------


def many(count: int) -> list[Command]:
    return [*planned_run(*range(1, count + 1)), join(), leased(*range(1, count + 1))]


def broken(*jobs: int, lease: LeaseId = L1) -> tuple[FailJob, ...]:
    """Return failures that speak against the parser, whatever the files are like."""
    return tuple(msgspec.structs.replace(fail(job, lease), kind="schema_mismatch") for job in jobs)


def test_a_lease_of_failures_that_speak_against_the_parser_pauses_it_once() -> None:
    state = given(*many(8))
    decision = decide(conclude(failures=broken(*range(1, 9))), state)
    assert types(decision).count("ParserPaused") == 1
    (paused,) = [event for event in decision if isinstance(event, ParserPaused)]  # type: ignore[union-attr]
    assert (paused.job, paused.failures) == (PAUSE_FAILURES, PAUSE_FAILURES)
    take(state, decision)  # type: ignore[arg-type]
    assert is_paused(EVTX, state)


def test_failures_of_an_earlier_lease_are_counted_with_those_of_this_one() -> None:
    state = given(*planned_run(*range(1, 7)), join(), leased(1, 2, 3), conclude(failures=broken(1, 2, 3)))
    take(state, decide(leased(4, 5, 6, lease=L2), state))  # type: ignore[arg-type]
    decision = decide(conclude(failures=broken(4, 5, 6, lease=L2), lease=L2), state)
    assert types(decision).count("ParserPaused") == 1


def test_a_parser_that_works_on_other_files_of_the_lease_is_not_paused() -> None:
    state = given(*many(8))
    decision = decide(conclude(*shared(2, 3), failures=broken(*range(3, 9))), state)
    assert "ParserPaused" not in types(decision)
    take(state, decision)  # type: ignore[arg-type]
    assert state.parsers[EVTX].failures == 0  # what follows is counted anew
