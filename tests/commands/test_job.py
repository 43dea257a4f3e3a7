"""What a job may do, told as given / when / then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as given_
from hypothesis import strategies as st
from msgspec import structs

from commands.decide import Command
from commands.executor import LoseExecutor
from commands.job import RETRIES_MAX, WithdrawJob
from commands.outcome import Decision, Refused
from eventlog.events import (
    BalanceSheet,
    CancelAccepted,
    Event,
    JobAborted,
    JobCompleted,
    JobFailed,
    JobRequeued,
    MaterializationRecorded,
    OutputsCommitted,
    QuarantinePolicy,
    QuarantineRecorded,
    StartRun,
)
from eventlog.ids import Instant, JobId, LeaseId
from reducers.job import Aborting, Promoting, Queued, Running
from tests.projections.histories import mismatch_found
from tests.support import (
    E1,
    FILES,
    J1,
    L1,
    L2,
    LATER,
    NOW,
    abandon,
    abandon_wish,
    cancel,
    code,
    commit,
    decide,
    deploy,
    dispatch,
    enqueue,
    evidence,
    fail,
    given,
    join,
    plan,
    planned_run,
    promoted,
    record,
    release,
    running_job,
    sheet,
    start,
    started,
    take,
    types,
)


def test_enqueue_gives_out_job_ids_in_log_order() -> None:
    state = given(*planned_run(1, 2, 3))
    assert list(state.jobs) == [1, 2, 3]


def test_a_file_whose_keys_are_claimed_is_not_queued_twice() -> None:
    state = given(*planned_run(1))
    assert decide(enqueue(1), state) == []


def test_a_file_that_was_recorded_since_the_plan_is_not_queued() -> None:
    """Two runs plan the same file; one makes and records it before the other has queued all of its jobs."""
    both: list[Command] = [deploy(), start(), record(1, 2), plan(2, 2, at_seq=1), start(), record(1, 2, run=2)]
    made: list[Command] = [enqueue(1), join(), dispatch(), started(), commit(), promoted()]
    late = given(*both, plan(2, 2, run=2, at_seq=1), *made)
    assert [event.path for event in decide(enqueue(1, 2, run=2), late)] == ["/case/2.evtx"]  # type: ignore[union-attr]  # all are JobQueued
    anew = given(*both, *made, plan(2, 2, run=2, at_seq=10_000))
    assert types(decide(enqueue(1, 2, run=2), anew)) == ["JobQueued", "JobQueued"]  # its plan knew, and wants it anew


def test_the_same_file_twice_in_one_batch_is_queued_once() -> None:
    state = given(deploy(), start(), record(1), plan(1, 1))
    assert types(decide(enqueue(1, 1), state)) == ["JobQueued"]


def test_enqueue_before_the_plan_is_refused() -> None:
    assert code(decide(enqueue(1), given(deploy(), start()))) == "run_not_planned"


def test_a_key_is_free_again_when_its_job_has_ended() -> None:
    state = given(*running_job(), fail())
    assert types(decide(enqueue(1), state)) == ["JobQueued"]
    assert given(*running_job(), fail(), enqueue(1)).jobs.next_id == 3


def test_a_commit_that_skips_without_a_reason_is_refused_and_says_how_many() -> None:
    silent = structs.replace(sheet(found=12, written=10, skipped=2), skips=())
    refused, failed = decide(commit(balance=silent), given(*running_job()))  # type: ignore[misc]
    assert refused.code == "skips_without_reason"  # type: ignore[union-attr]
    assert failed.failure == "accounting"  # type: ignore[union-attr]
    assert "skipped 2 records and gave reasons (skips) for 0" in failed.reason  # type: ignore[union-attr]
    assert types(decide(commit(balance=sheet(found=12, written=10, skipped=2)), given(*running_job()))) == [
        "OutputsCommitted"
    ]


def test_dispatch_counts_attempts_from_one() -> None:
    state = given(*planned_run(1), join(), dispatch(), release(), dispatch(lease=L2))
    job = state.jobs.get(J1)
    assert job is not None
    assert job.attempts == 2


def test_dispatch_to_an_unknown_executor_is_refused() -> None:
    assert code(decide(dispatch(), given(*planned_run(1)))) == "unknown_executor"


def test_dispatch_of_a_running_job_is_refused() -> None:
    assert code(decide(dispatch(lease=L2), given(*running_job()))) == "job_not_queued"


def test_dispatch_before_the_job_is_due_is_refused() -> None:
    state = given(*running_job(), fail(failure="transient"))
    assert code(decide(dispatch(lease=L2, now=NOW), state)) == "job_not_due"
    assert types(decide(dispatch(lease=L2, now=LATER), state)) == ["JobDispatched"]


def test_a_commit_passes_the_commit_point_once() -> None:
    state = given(*running_job())
    (event,) = decide(commit(), state)  # type: ignore[misc]  # a refusal would fail the unpacking
    assert isinstance(event, OutputsCommitted)
    take(state, [event])
    assert isinstance(state.jobs.get(J1), Promoting)
    assert decide(commit(), state) == []


def test_a_commit_by_a_dead_lease_is_refused() -> None:
    state = given(*running_job(), release(), dispatch(lease=L2))
    assert code(decide(commit(lease=L1), state)) == "stale_lease"


def test_a_commit_of_a_finished_job_is_refused() -> None:
    state = given(*running_job(), fail())
    assert code(decide(commit(), state)) == "stale_lease"


@pytest.mark.parametrize(
    ("balance", "word"),
    [
        (sheet(found=11, written=10), "1 missing"),
        (sheet(found=9, written=10), "1 too many"),
        (sheet(found=100, written=10, skipped=2, unreadable=3), "85 missing"),
    ],
)
def test_a_sheet_that_does_not_add_up_fails_the_job_and_names_the_difference(balance: object, word: str) -> None:
    state = given(*running_job())
    decision = decide(commit(balance=balance), state)  # type: ignore[arg-type]  # parametrize erases the type
    assert types(decision) == ["CommitRefused", "JobFailed"]
    failed = decision[-1]  # type: ignore[index]
    assert isinstance(failed, JobFailed)
    assert failed.failure == "accounting"
    assert word in failed.reason


def test_a_parser_that_says_nothing_of_a_file_fails_it_and_one_that_counts_nothing_does_not() -> None:
    silent = BalanceSheet(unit="", output="", found=0, written=0, quarantined=0, skipped=0, unreadable=0)
    refused, failed = decide(commit(outputs=0, balance=silent), given(*running_job()))  # type: ignore[misc]
    assert (refused.code, failed.failure) == ("nothing_said", "accounting")  # type: ignore[union-attr]
    counted = sheet(found=0, written=0)
    assert types(decide(commit(outputs=0, balance=counted), given(*running_job()))) == ["OutputsCommitted"]


def test_rows_staged_that_the_sheet_does_not_count_fail_the_job() -> None:
    state = given(*running_job())
    decision = decide(commit(rows=9, balance=sheet(found=10, written=10)), state)
    assert types(decision) == ["CommitRefused", "JobFailed"]


def test_a_commit_without_a_declared_output_fails_the_job() -> None:
    state = given(*running_job())
    assert types(decide(commit(outputs=2), state)) == ["CommitRefused", "JobFailed"]


def test_unreadable_records_make_a_partial_success() -> None:
    state = given(*running_job())
    (event,) = decide(commit(balance=sheet(found=12, written=10, unreadable=2)), state)  # type: ignore[misc]
    assert isinstance(event, OutputsCommitted)
    assert event.status == "partial_success"


def allowed_job(policy: QuarantinePolicy) -> list[Command]:
    """Return the commands that bring job 1 of a run with this policy to Running."""
    return [start(quarantine=policy) if isinstance(each, StartRun) else each for each in running_job()]


def test_rejected_rows_forbid_the_outputs_unless_the_run_allows_them() -> None:
    state = given(*running_job())
    (event,) = decide(commit(rejected=1), state)  # type: ignore[misc]
    assert isinstance(event, OutputsCommitted)
    assert (event.status, event.outputs, event.empty) == ("rejected", (), ())
    assert event.discarded == (".stage-1",)
    assert [each.rows for each in event.evidence] == [1]
    assert "1 of 11 rows" in event.why


def test_what_is_forbidden_leaves_the_evidence_and_a_failed_job_and_frees_the_key() -> None:
    state = given(*running_job(), commit(rejected=1))
    decision = decide(promoted(), state)
    assert types(decision) == ["QuarantineRecorded", "JobFailed"]
    kept, failed = decision  # type: ignore[misc]
    assert isinstance(kept, QuarantineRecorded)
    assert isinstance(failed, JobFailed)
    assert (kept.rows, kept.accepted, kept.rejected) == (1, 10, True)
    assert (failed.failure, failed.kind) == ("policy", "quarantine_limit")
    assert "--allow-quarantine" in failed.hint
    assert types(decide(enqueue(1), given(*running_job(), commit(rejected=1), promoted()))) == ["JobQueued"]


def test_rejected_rows_that_are_allowed_make_a_partial_success_beside_the_outputs() -> None:
    allowed = allowed_job(QuarantinePolicy(allow=True))
    (event,) = decide(commit(rejected=1), given(*allowed))  # type: ignore[misc]
    assert isinstance(event, OutputsCommitted)
    assert (event.status, event.why, event.discarded) == ("partial_success", "", ())
    assert types(decide(promoted(), given(*allowed, commit(rejected=1)))) == [
        "MaterializationRecorded", "MaterializationRecorded", "QuarantineRecorded", "JobCompleted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sheet": sheet(found=11, written=10, quarantined=2)}, "2 rows quarantined, 1 are staged"),
        ({"sheet": sheet(found=11, written=10, unreadable=1)}, "0 rows quarantined, 1 are staged"),
        ({"further": (sheet(found=3, written=10),)}, "the sheet says 0 rows quarantined"),
        ({"evidence": (evidence(1), evidence(1))}, "rejected rows of"),
        ({"evidence": (evidence(1, accepted=10**9),)}, "other numbers are staged"),
    ],
)
def test_a_report_of_rejected_rows_that_does_not_agree_fails_the_job(change: dict[str, Any], word: str) -> None:
    state = given(*allowed_job(QuarantinePolicy(allow=True)))
    decision = decide(structs.replace(commit(rejected=1), **change), state)
    assert types(decision) == ["CommitRefused", "JobFailed"]
    assert word in decision[-1].reason  # type: ignore[index, union-attr]  # its type is the line above


def test_units_may_be_the_rows_of_several_outputs_and_be_counted_twice() -> None:
    lines = BalanceSheet(unit="lines", output="", found=12, written=11, quarantined=0, skipped=0, unreadable=1)
    both = structs.replace(sheet(), also=(FILES,))
    (event,) = decide(structs.replace(commit(balance=both), further=(lines,)), given(*running_job()))  # type: ignore[misc]
    assert isinstance(event, OutputsCommitted)
    assert event.status == "partial_success"  # of the lines, one could not be read
    assert event.further == (lines,)


def test_other_columns_are_told_whole_before_the_failure() -> None:
    mismatch = mismatch_found(1).mismatch
    decision = decide(structs.replace(fail(), mismatch=mismatch), given(*running_job()))
    assert types(decision) == ["SchemaMismatchFound", "JobFailed"]
    again = decide(structs.replace(fail(failure="transient"), mismatch=mismatch), given(*running_job()))
    assert types(again) == ["JobRequeued"]


def test_promotion_records_every_output_and_completes_in_one_frame() -> None:
    state = given(*running_job(), commit())
    decision = decide(promoted(), state)
    assert types(decision) == ["MaterializationRecorded", "MaterializationRecorded", "JobCompleted"]
    rows, files, completed = decision  # type: ignore[misc]
    assert isinstance(rows, MaterializationRecorded)
    assert isinstance(files, MaterializationRecorded)
    assert isinstance(completed, JobCompleted)
    assert (rows.rows, rows.status) == (10, "success")
    assert (files.rows, files.file, files.status) == (0, "", "no_data")


def test_a_job_whose_outputs_are_all_empty_is_recorded_too() -> None:
    state = given(*running_job(), commit(outputs=0))
    assert types(decide(promoted(), state))[-1] == "JobCompleted"


def test_promotion_told_twice_records_once() -> None:
    state = given(*running_job(), commit(), promoted())
    assert decide(promoted(), state) == []


def test_promotion_of_another_commit_is_refused() -> None:
    state = given(*running_job(), commit())
    assert code(decide(promoted(attempt=2), state)) == "other_commit"


def test_an_abandoned_promotion_fails_the_job_and_frees_its_key() -> None:
    state = given(*running_job(), commit())
    assert types(decide(abandon(), state)) == ["PromotionAbandoned", "JobFailed"]
    assert types(decide(enqueue(1), given(*running_job(), commit(), abandon()))) == ["JobQueued"]


def test_a_permanent_failure_is_final_at_once() -> None:
    assert types(decide(fail(), given(*running_job()))) == ["JobFailed"]


def test_transient_failures_wait_longer_each_time_and_end_with_the_budget() -> None:
    state = given(*running_job())
    waits: list[str] = []
    for attempt in range(1, RETRIES_MAX + 2):
        (event,) = decide(fail(lease=LeaseId(f"lease-{attempt}"), failure="transient"), state)  # type: ignore[misc]
        take(state, [event])
        if isinstance(event, JobFailed):
            break
        assert isinstance(event, JobRequeued)
        waits.append(event.not_before)
        take(state, decide(dispatch(lease=LeaseId(f"lease-{attempt + 1}"), now=LATER), state))  # type: ignore[arg-type]
    assert waits == [
        "2026-01-22T10:11:16.123456Z",
        "2026-01-22T10:11:28.123456Z",
        "2026-01-22T10:12:16.123456Z",
    ]
    assert state.jobs.get(J1) is None


def test_a_failure_of_unknown_cause_is_tried_once_more_at_once_and_then_final() -> None:
    state = given(*running_job())
    (again,) = decide(fail(failure="unknown"), state)  # type: ignore[misc]
    assert isinstance(again, JobRequeued)
    assert (again.charged, again.failure, again.kind, again.not_before) == (True, "unknown", "parser_error", NOW)
    take(state, [again])
    take(state, decide(dispatch(lease=L2), state))  # type: ignore[arg-type]
    (failed,) = decide(fail(lease=L2, failure="unknown"), state)  # type: ignore[misc]
    assert isinstance(failed, JobFailed)
    assert (failed.failure, failed.attempt) == ("unknown", 2)


@given_(st.lists(st.sampled_from(["transient", "unknown", "lost", "declined", "released"]), max_size=12))
def test_a_job_is_charged_for_failures_alone_and_never_beyond_its_budget(ends: list[str]) -> None:
    state = given(*running_job())
    charged = unknown = 0
    for number, end in enumerate(ends, 2):
        lease = state.jobs.leased[J1].lease
        events = decide(_ending(end, lease), state)
        assert not isinstance(events, Refused)
        take(state, events)
        charged += end in ("transient", "unknown", "lost")
        unknown += end == "unknown"
        final = charged > RETRIES_MAX or unknown > 1
        assert (state.jobs.get(J1) is None) == final
        if final:
            return
        waiting = state.jobs.queued[J1]
        assert (waiting.charged, waiting.attempts) == (charged, number - 1)
        if end == "lost":
            take(state, decide(join(), state))  # type: ignore[arg-type]
        take(state, decide(dispatch(lease=LeaseId(f"lease-{number}"), now=LATER), state))  # type: ignore[arg-type]


def _ending(end: str, lease: LeaseId) -> Command:
    match end:
        case "lost":
            return LoseExecutor(executor=E1, reason="killed by signal 9", charged=True, now=NOW)
        case "declined" | "released":
            return release(lease=lease, declined=end == "declined")
        case _:
            return fail(lease=lease, failure=end)


def test_a_declined_job_waits_again_without_cost() -> None:
    state = given(*running_job(), release(declined=True))
    job = state.jobs.get(J1)
    assert isinstance(job, Queued)
    assert job.charged == 0


def test_a_cancel_of_a_waiting_job_ends_it() -> None:
    assert types(decide(cancel(), given(*planned_run(1)))) == ["CancelAccepted", "JobAborted"]


def test_a_cancel_of_a_running_job_is_accepted_and_then_confirmed() -> None:
    state = given(*running_job(), cancel())
    assert isinstance(state.jobs.get(J1), Aborting)
    assert types(decide(release(), state)) == ["JobAborted"]


@pytest.mark.parametrize("report", [commit(), fail(), fail(failure="transient"), release()])
def test_nothing_of_a_cancelled_job_is_published(report: Command) -> None:
    state = given(*running_job(), cancel())
    assert types(decide(report, state))[-1] == "JobAborted"
    assert "OutputsCommitted" not in types(decide(report, state))


def test_a_second_cancel_changes_nothing() -> None:
    assert decide(cancel(), given(*running_job(), cancel())) == []


def test_a_cancel_after_the_commit_point_is_refused() -> None:
    assert code(decide(cancel(), given(*running_job(), commit()))) == "already_committing"


def test_a_cancel_of_a_finished_job_says_so() -> None:
    assert code(decide(cancel(), given(*running_job(), commit(), promoted()))) == "already_completed"


def test_a_cancel_of_a_job_that_never_was_says_so() -> None:
    assert code(decide(cancel(99), given(*running_job()))) == "not_found"


def test_a_start_told_twice_is_one_start() -> None:
    assert decide(started(), given(*running_job())) == []


def test_a_start_by_a_dead_lease_is_refused() -> None:
    assert code(decide(started(lease=L2), given(*running_job()))) == "stale_lease"


def test_a_lost_executor_gives_its_jobs_back_and_each_pays_an_attempt() -> None:
    lose = LoseExecutor(executor=E1, reason="killed by signal 9", charged=True, now=NOW)
    state = given(*running_job(), lose)
    job = state.jobs.get(J1)
    assert isinstance(job, Queued)
    assert (job.charged, job.not_before) == (1, Instant("2026-01-22T10:11:16.123456Z"))


def test_a_file_that_brings_down_every_executor_is_given_up() -> None:
    state = given(*running_job())
    for attempt in range(2, RETRIES_MAX + 3):
        lost = decide(LoseExecutor(executor=E1, reason="killed", charged=True, now=NOW), state)
        assert not isinstance(lost, Refused)
        take(state, lost)
        if state.jobs.get(J1) is None:
            assert isinstance(lost[-1], JobFailed)
            break
        take(state, decide(join(), state))  # type: ignore[arg-type]
        take(state, decide(dispatch(lease=LeaseId(f"lease-{attempt}"), now=LATER), state))  # type: ignore[arg-type]
    assert state.jobs.get(J1) is None


def test_losing_an_executor_changes_nothing_for_a_promoting_job() -> None:
    lose = LoseExecutor(executor=E1, reason="killed", charged=True, now=NOW)
    assert isinstance(given(*running_job(), commit(), lose).jobs.get(J1), Promoting)


def test_only_a_waiting_job_can_be_withdrawn() -> None:
    withdraw = WithdrawJob(job=JobId(1), reason="its parser changed", now=NOW)
    assert types(decide(withdraw, given(*planned_run(1)))) == ["JobAborted"]
    assert code(decide(withdraw, given(*running_job()))) == "job_not_queued"


def test_a_running_job_is_running() -> None:
    assert isinstance(given(*running_job()).jobs.get(J1), Running)


# --- abandon, on a person's word --------------------------------------------------------------------------------------


def test_a_promotion_that_the_sink_has_undone_may_be_abandoned() -> None:
    state = given(*running_job(), commit())
    events = events_of(decide(abandon_wish(), state))
    assert types(events) == ["PromotionAbandoned", "JobFailed"]
    failed = events[1]
    assert isinstance(failed, JobFailed)
    assert (failed.failure, failed.reason) == ("promotion", "abandoned by cli:ada: not this case")
    assert given(*running_job(), commit(), abandon_wish(), enqueue(1)).jobs.next_id == 3  # the key is free


@pytest.mark.parametrize("answer", ["unreachable", "not_asked"])
def test_a_sink_that_does_not_answer_keeps_its_promotion(answer: str) -> None:
    refused = decide(abandon_wish(answer=answer), given(*running_job(), commit()))
    assert code(refused) == "sink_unavailable"
    assert isinstance(refused, Refused)
    assert "the disk is away" in refused.why


def test_abandoning_is_refused_in_order_of_precedence() -> None:
    assert code(decide(abandon_wish(9), given(*running_job(), commit()))) == "not_found"
    assert code(decide(abandon_wish(), given(*running_job(), commit(), promoted()))) == "already_completed"
    assert code(decide(abandon_wish(), given(*running_job()))) == "not_promoting"
    assert code(decide(abandon_wish(attempt=2), given(*running_job(), commit()))) == "other_commit"


@pytest.mark.parametrize(
    ("by", "why", "said"),
    [
        ("cli:ada", "wrong folder", "cancelled by cli:ada: wrong folder"),
        ("cli:ada", "", "cancelled by cli:ada"),
        ("", "the run was interrupted", "the run was interrupted"),
    ],
)
def test_a_cancel_says_who_asked_wherever_its_reason_is_shown(by: str, why: str, said: str) -> None:
    wish = structs.replace(cancel(), by=by, reason=why)
    accepted, aborted = events_of(decide(wish, given(*planned_run(1))))
    assert isinstance(accepted, CancelAccepted)
    assert isinstance(aborted, JobAborted)
    assert accepted.reason == aborted.reason == said


def test_a_failed_attempt_says_its_kind_when_it_is_put_back() -> None:
    (requeued,) = events_of(decide(fail(failure="transient"), given(*running_job())))
    assert isinstance(requeued, JobRequeued)
    assert requeued.kind == "parser_error"


def events_of(decision: Decision) -> list[Event]:
    assert not isinstance(decision, Refused), decision
    return list(decision)
