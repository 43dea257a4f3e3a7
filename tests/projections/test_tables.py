"""Tests that every event becomes the rows it should, without a database."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings

from eventlog.events import Event, LoggedCommand, Record
from eventlog.ids import ExecutorId, JobId, OutputName, PathText, RunId, Seq
from eventlog.schema import OutputSchema
from projections.errors import UnhandledEventError, UnknownSubjectError
from projections.rows import JobRow
from projections.tables import HANDLED, IGNORED, Work, fold, recorded_rows, touched
from reducers.fold import State, apply
from reducers.job import Job
from tests.projections import histories as h


def folded(*events: Event) -> Work:
    return fold(Work(), [(Seq(number), event) for number, event in enumerate(events, start=1)])


def job_row(*events: Event) -> JobRow:
    return folded(*events).jobs[JobId(1)]


def test_every_event_type_is_handled_or_ignored_by_name() -> None:
    known = set(get_args(Event)) | set(get_args(LoggedCommand))
    assert set(HANDLED) | IGNORED == known


def test_no_event_type_is_both_handled_and_ignored() -> None:
    assert not set(HANDLED) & IGNORED


def test_a_type_that_is_neither_handled_nor_ignored_is_named() -> None:
    class Unheard(Record, frozen=True, kw_only=True):
        pass

    with pytest.raises(UnhandledEventError, match="Unheard"):
        fold(Work(), [(Seq(1), Unheard())])  # type: ignore[list-item]  # that it is not an Event is the point


def test_commands_change_no_row() -> None:
    assert fold(Work(), [(Seq(1), h.cancel_command())]) == Work()


@given(h.event_lists())
@settings(max_examples=60, deadline=None)
def test_the_health_of_each_parser_is_what_decisions_see(events: list[Event]) -> None:
    work = folded(*events)
    state = State()
    for number, event in enumerate(events, start=1):
        apply(state, Seq(number), event)
    shown = {name: (row.artifact_hash, row.failures, row.state) for name, row in work.health.items()}
    assert shown == {
        name: (known.deployed.artifact_hash, known.failures, "paused" if known.paused is not None else "active")
        for name, known in state.parsers.items()
    }


@given(h.event_lists())
@settings(max_examples=60, deadline=None)
def test_a_job_s_place_in_the_queue_is_what_decisions_see(events: list[Event]) -> None:
    work, state = folded(*events), State()
    for number, event in enumerate(events, start=1):
        apply(state, Seq(number), event)
    for job_id, waiting in state.jobs.queued.items():
        row = work.jobs[job_id]
        assert (row.priority, row.scheduled_at) == (waiting.spec.priority, waiting.not_before)
        assert (row.attempt, row.retries) == (waiting.attempts, waiting.charged)


@given(h.event_lists())
@settings(max_examples=60, deadline=None)
def test_open_jobs_show_the_state_that_decisions_see(events: list[Event]) -> None:
    state, work = State(), Work()
    for number, event in enumerate(events, start=1):
        apply(state, Seq(number), event)
        fold(work, [(Seq(number), event)])
    for job_id, row in work.jobs.items():
        open_job: Job | None = state.jobs.get(job_id)
        if open_job is None:
            assert row.status in {"completed", "failed", "aborted"}
        else:
            assert row.status == type(open_job).__name__.lower()


@given(h.event_lists())
@settings(max_examples=30, deadline=None)
def test_touched_names_every_row_that_existed_and_changes(events: list[Event]) -> None:
    work = Work()
    for number, event in enumerate(events, start=1):
        before = identified(work)
        needed = touched([(Seq(number), event)])
        fold(work, [(Seq(number), event)])
        after = identified(work)
        changed = {key for key in before if before[key] != after[key]}
        numbered = {("job", job) for job in needed.jobs} | {("run", run) for run in needed.runs}
        assert changed <= needed.paths | needed.executors | needed.parsers | numbered


def identified(work: Work) -> dict[object, object]:
    """Return all rows by identity; jobs and runs are both numbers and are told apart by a word."""
    rows: dict[object, object] = {("job", job): row for job, row in work.jobs.items()}
    rows |= {("run", run): row for run, row in work.runs.items()}
    rows |= {row.path: row for row in work.files.values()}
    rows |= {row.executor: row for row in work.executors.values()}
    for deployment in work.parsers.values():
        rows[deployment.parser] = [each for each in work.parsers.values() if each.parser == deployment.parser]
    return rows


def test_a_file_seen_again_keeps_the_seq_at_which_it_was_first_seen() -> None:
    work = folded(h.files_seen(h.seen("/a", content="a")), h.files_seen(h.seen("/a", content="b"), run=2))
    row = work.files[PathText("/a")]
    assert (row.first_seen_seq, row.last_seen_seq, row.last_run, row.source_hash) == (1, 2, 2, "b" * 64)


def test_a_refused_file_keeps_what_was_known_of_its_content() -> None:
    row = folded(h.files_seen(h.seen("/a")), h.files_refused("/a")).files[PathText("/a")]
    assert (row.source_hash, row.refused_reason) == ("a" * 64, "permission denied")


def test_a_file_that_was_only_refused_has_no_hashes() -> None:
    row = folded(h.files_refused("/a")).files[PathText("/a")]
    assert (row.size, row.source_hash, row.sha256, row.refused_reason) == (None, None, None, "permission denied")


def test_a_file_read_after_a_refusal_is_no_longer_refused() -> None:
    assert folded(h.files_refused("/a"), h.files_seen(h.seen("/a"))).files[PathText("/a")].refused_reason is None


def test_a_completed_job_shows_its_balance_sheet_and_its_rows() -> None:
    row = job_row(*h.whole_job(1))
    assert (row.status, row.completion_status, row.rows_total, row.found, row.written) == (
        "completed", "success", 3, 3, 3,
    )  # fmt: skip


def test_job_events_are_numbered_without_gaps_across_batches() -> None:
    events = h.whole_job(1)
    first = fold(Work(), list(enumerate_from(events[:3], 1)))
    second = fold(Work(jobs=dict(first.jobs)), list(enumerate_from(events[3:], 4)))
    assert [job_seq for _job, job_seq, *_ in first.events + second.events] == [1, 2, 3, 4, 5, 6]


def enumerate_from(events: list[Event], first: int) -> list[tuple[Seq, Event]]:
    return [(Seq(first + index), event) for index, event in enumerate(events)]


def test_a_requeued_job_waits_without_executor_and_says_why() -> None:
    row = job_row(h.queued(1), h.dispatched(1), h.started(1), h.requeued(1))
    assert (row.status, row.executor, row.started_at, row.error_reason) == ("queued", None, None, "the guest died")


def test_a_job_that_completes_after_a_requeue_shows_no_error() -> None:
    row = job_row(h.queued(1), h.dispatched(1), h.requeued(1), *h.whole_job(1)[1:])
    assert (row.status, row.error_reason) == ("completed", None)


def test_a_failed_job_says_why_and_what_to_do() -> None:
    row = job_row(h.queued(1), h.dispatched(1), h.failed(1))
    assert (row.status, row.error_class, row.error_kind, row.error_reason, row.error_hint) == (
        "failed", "permanent", "not_evtx", "the file is empty", "look at it",
    )  # fmt: skip


def test_a_failure_without_a_balance_sheet_leaves_no_old_one() -> None:
    work = folded(h.queued(1), h.dispatched(1), h.committed(1, unreadable=2), h.abandoned(1), h.failed(1))
    assert (work.jobs[JobId(1)].found, work.ranges[JobId(1)]) == (None, ())


def test_cancelling_a_running_job_shows_it_aborting() -> None:
    assert job_row(h.queued(1), h.dispatched(1), h.started(1), h.cancel_accepted(1)).status == "aborting"


def test_cancelling_a_waiting_job_leaves_it_queued_until_it_is_aborted() -> None:
    assert job_row(h.queued(1), h.cancel_accepted(1)).status == "queued"
    assert job_row(h.queued(1), h.cancel_accepted(1), h.aborted(1)).status == "aborted"


def test_a_materialization_takes_its_artifact_from_the_job() -> None:
    assert folded(*h.whole_job(1, version="2")).materializations[0].artifact_hash == "artifact-evtx-2"


def test_only_the_newest_deployment_of_a_parser_is_current() -> None:
    work = folded(h.deployed(version="1"), h.deployed(version="2"), h.deployed("fix"), h.deployed(version="1"))
    assert sorted((row.parser, row.version) for row in work.parsers.values() if row.current) == [
        ("evtx", "1"), ("fix", "1"),
    ]  # fmt: skip


def test_trust_that_is_ended_says_by_whom_and_given_again_it_holds() -> None:
    key = h.trusted().artifact_hash
    held, ended = folded(h.trusted()).trust[key], folded(h.trusted(), h.revoked()).trust[key]
    assert (held.how, held.trusted_by, held.revoked_at) == ("asked", "cli:ada", None)
    assert (ended.trusted_seq, ended.revoked_by, ended.revoked_reason) == (1, "cli:ada", "loses the last line")
    assert folded(h.trusted(), h.revoked(), h.trusted()).trust[key].revoked_at is None
    with pytest.raises(UnknownSubjectError):
        folded(h.revoked())


def test_an_output_whose_columns_a_run_declares_is_expected_by_no_deployment() -> None:
    left_to_runs = OutputSchema(output=OutputName("csv_rows"), columns=())
    work = folded(h.deployed("csv", outputs=(left_to_runs, h.output("notes"))))
    assert [row.output_name for row in work.expected.values()] == ["notes"]


def test_a_finished_run_shows_plan_and_outcome() -> None:
    row = folded(h.run_started(), h.run_planned(at_seq=7), h.run_finished()).runs[RunId(1)]
    assert (row.status, row.exit, row.found, row.at_seq, row.processed, row.superseded) == ("finished", 0, 3, 7, 3, 1)


def test_an_interrupted_run_says_why() -> None:
    row = folded(h.run_started(), h.run_interrupted()).runs[RunId(1)]
    assert (row.status, row.reason) == ("interrupted", "Ctrl-C")


def test_an_executor_that_comes_back_is_alive_again() -> None:
    row = folded(h.joined(), h.lost(), h.joined()).executors[ExecutorId("exec-1")]
    assert (row.status, row.lost_at) == ("alive", None)


@pytest.mark.parametrize(
    ("event", "name"),
    [(h.completed(9), "job 9"), (h.run_finished(8), "run 8"), (h.lost("exec-7"), "executor exec-7")],
)
def test_an_event_of_something_unknown_names_it(event: Event, name: str) -> None:
    with pytest.raises(UnknownSubjectError, match=name):
        folded(event)


def test_whoever_records_an_output_has_asked_for_it() -> None:
    (row,) = recorded_rows(folded(*h.whole_job(1)))
    assert (row.asked_seq, row.lost_seq) == (row.recorded_seq, None)


def test_what_is_said_of_a_job_later_is_said_of_its_outputs() -> None:
    first, second = h.whole_job(1), h.whole_job(2, version="2")
    rows = recorded_rows(folded(*first, *second, h.reused(1), h.outputs_lost(2)))
    assert [(row.asked_seq, row.lost_seq) for row in rows] == [(13, None), (rows[1].recorded_seq, 14)]


def test_what_was_said_of_a_job_before_is_not_said_of_its_output() -> None:
    (row,) = recorded_rows(folded(h.reused(1), h.outputs_lost(1), *h.whole_job(1)))
    assert (row.asked_seq, row.lost_seq) == (row.recorded_seq, None)
