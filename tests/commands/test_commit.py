"""What may pass the commit point, and what is committed, told as given / when / then."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from commands.decide import Command
from eventlog.events import BalanceSheet, JobFailed, OutputsCommitted, QuarantinePolicy, QuarantineRecorded, StartRun
from reducers.job import Promoting
from tests.support import (
    FILES,
    J1,
    L1,
    L2,
    code,
    commit,
    decide,
    dispatch,
    enqueue,
    evidence,
    fail,
    given,
    promoted,
    release,
    running_job,
    sheet,
    start,
    take,
    types,
)


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


def test_a_commit_that_skips_without_a_reason_is_refused_and_says_how_many() -> None:
    silent = structs.replace(sheet(found=12, written=10, skipped=2), skips=())
    refused, failed = decide(commit(balance=silent), given(*running_job()))  # type: ignore[misc]
    assert refused.code == "skips_without_reason"  # type: ignore[union-attr]
    assert failed.failure == "accounting"  # type: ignore[union-attr]
    assert "skipped 2 records and gave reasons (skips) for 0" in failed.reason  # type: ignore[union-attr]
    assert types(decide(commit(balance=sheet(found=12, written=10, skipped=2)), given(*running_job()))) == [
        "OutputsCommitted"
    ]


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


def allowed_job(policy: QuarantinePolicy) -> list[Command]:
    """Return the commands that bring job 1 of a run with this policy to Running."""
    return [start(quarantine=policy) if isinstance(each, StartRun) else each for each in running_job()]


def test_units_may_be_the_rows_of_several_outputs_and_be_counted_twice() -> None:
    lines = BalanceSheet(unit="lines", output="", found=12, written=11, quarantined=0, skipped=0, unreadable=1)
    both = structs.replace(sheet(), also=(FILES,))
    (event,) = decide(structs.replace(commit(balance=both), further=(lines,)), given(*running_job()))  # type: ignore[misc]
    assert isinstance(event, OutputsCommitted)
    assert event.status == "partial_success"  # of the lines, one could not be read
    assert event.further == (lines,)
