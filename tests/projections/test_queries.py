"""Tests that the questions of front ends are answered in the promised order, and keys by sets."""

from __future__ import annotations

import time

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.events import Event
from eventlog.frames import Frame
from eventlog.ids import JobId, LogId, MaterializationKey, ParserName, RunId
from projections import queries
from projections.projector import Projector, create_tables
from projections.rows import JobRow
from tests.projections import histories as h


@pytest.fixture
def told(projector: Projector) -> queries.Connection:
    """Return a read model of two runs: one job done and superseded, one failed, one queued, one that supersedes."""
    projector.apply(h.frames_of(told_groups()))
    return projector.connection


def told_groups() -> list[list[Event]]:
    return [
        [h.opened(), h.deployed(), h.joined(), h.joined("exec-0")],
        [h.run_started(1), h.files_seen(h.seen("/case/b"), h.seen("/case/a")), h.files_refused("/case/c")],
        [*h.whole_job(1), h.queued(2, content="b"), h.dispatched(2), h.failed(2), h.queued(3, content="c")],
        [h.run_finished(1), h.run_started(2), h.files_seen(h.seen("/case/a"), run=2), h.lost("exec-0")],
        [*h.whole_job(4, run=2, version="2")],
    ]


def key(content: str, version: str = "1") -> MaterializationKey:
    return MaterializationKey(f"key-evtx-{version}-{content}-evtx_events")


def test_jobs_come_newest_first(told: queries.Connection) -> None:
    assert [row.job_id for row in queries.jobs(told)] == [4, 3, 2, 1]
    assert [row.job_id for row in queries.jobs(told, limit=2)] == [4, 3]


def test_jobs_can_be_asked_for_by_status(told: queries.Connection) -> None:
    assert [row.job_id for row in queries.jobs(told, status="completed")] == [4, 1]
    assert queries.jobs(told, status="running") == []
    ways = [queries.jobs(told, status=way) for way in ("success", "partial_success")]
    assert sorted(row.job_id for rows in ways for row in rows) == [1, 4]


def test_jobs_of_a_run_come_oldest_first(told: queries.Connection) -> None:
    assert [row.job_id for row in queries.jobs_of_run(told, RunId(1))] == [1, 2, 3]


def test_a_job_comes_with_its_outputs_and_its_events(told: queries.Connection) -> None:
    detail = queries.job(told, JobId(1))
    assert detail is not None
    assert (detail.job.status, [row.output_name for row in detail.outputs]) == ("completed", ["evtx_events"])
    assert [(event.job_seq, event.type) for event in detail.events] == [
        (1, "JobQueued"),
        (2, "JobDispatched"),
        (3, "JobStarted"),
        (4, "OutputsCommitted"),
        (5, "MaterializationRecorded"),
        (6, "JobCompleted"),
    ]


def test_events_of_a_job_can_be_followed(told: queries.Connection) -> None:
    assert [event.job_seq for event in queries.job_events(told, JobId(1), after=4)] == [5, 6]


def test_a_job_that_does_not_exist_is_none(told: queries.Connection) -> None:
    assert queries.job(told, JobId(99)) is None


def test_jobs_are_counted_by_status(told: queries.Connection) -> None:
    assert queries.job_counts(told) == {"completed": 2, "failed": 1, "queued": 1}


def test_files_seen_last_come_first(told: queries.Connection) -> None:
    assert [(row.path, row.refused_reason) for row in queries.files(told)] == [
        ("/case/a", None),
        ("/case/c", "permission denied"),
        ("/case/b", None),
    ]


def test_a_file_is_shown_with_how_its_newest_job_stands(projector: Projector) -> None:
    seen = [h.files_seen(h.seen("/case/a"), h.seen("/case/b", content="b"), h.seen("/case/c", content="c"))]
    jobs = [*h.whole_job(1), h.queued(2, content="b"), h.dispatched(2), h.failed(2)]
    projector.apply(h.frames_of([[h.opened(), h.run_started(1), *seen, *jobs]]))
    rows = {row.path: row for row in queries.files(projector.connection)}
    assert {path: row.state for path, row in rows.items()} == {
        "/case/a": "success",
        "/case/b": "failed",
        "/case/c": "read",
    }
    assert [row.reason is None for _, row in sorted(rows.items())] == [True, False, True]


def test_files_of_a_run_come_by_path(told: queries.Connection) -> None:
    assert [row.path for row in queries.files_of_run(told, RunId(1))] == ["/case/b", "/case/c"]


def test_a_path_is_found_by_its_end_in_whole_names_only(told: queries.Connection) -> None:
    assert queries.paths_ending(told, "case/b", limit=9) == ["/case/b"]
    assert queries.paths_ending(told, "ase/b", limit=9) == []
    assert queries.paths_ending(told, "%", limit=9) == []


def test_paths_that_a_run_has_not_met_are_those_below_its_folders_that_were_read_before(
    told: queries.Connection,
) -> None:
    """Run 2 has met /case/a alone; /case/c was never read."""
    for folders, missed in ((["/case"], ["/case/b"]), (["/"], ["/case/b"]), (["/cas", "/case/b"], []), ([], [])):
        assert [row.path for row in queries.paths_not_met(told, folders, RunId(2), limit=9)] == missed
    assert queries.paths_not_met(told, ["/case"], RunId(1), limit=9) == []


def test_runs_come_newest_first(told: queries.Connection) -> None:
    assert [(row.run_id, row.status) for row in queries.runs(told)] == [(2, "running"), (1, "finished")]


def test_a_run_is_found_by_its_number(told: queries.Connection) -> None:
    found = queries.run(told, RunId(1))
    assert found is not None
    assert (found.inputs, found.exit) == ('["/case"]', 0)
    assert queries.run(told, RunId(9)) is None


def test_parsers_and_executors_are_listed(told: queries.Connection) -> None:
    assert [(row.parser, row.version) for row in queries.parsers(told)] == [("evtx", "1")]
    assert [(row.executor, row.status) for row in queries.executors(told)] == [("exec-1", "alive"), ("exec-0", "lost")]


def test_superseded_outputs_are_counted_by_the_run_that_did_it(told: queries.Connection) -> None:
    assert (queries.superseded_by_run(told, RunId(1)), queries.superseded_by_run(told, RunId(2))) == (0, 1)


def test_materializations_are_found_by_job_and_by_key(told: queries.Connection) -> None:
    (by_job,) = queries.materializations_of_jobs(told, [JobId(1), JobId(2)])
    assert queries.materializations_of(told, [key("a"), key("zzz")]) == [by_job]


def test_a_superseded_output_is_not_missing(told: queries.Connection) -> None:
    assert queries.missing_keys(told, [key("a"), key("a", "2"), key("b"), key("b")]) == {key("b")}


def test_what_is_lost_is_missing_and_is_not_found_by_its_key(projector: Projector) -> None:
    projector.apply(h.frames_of([[h.opened(), *h.whole_job(1), h.outputs_lost(1)]]))
    assert queries.missing_keys(projector.connection, [key("a")]) == {key("a")}
    assert queries.materializations_of(projector.connection, [key("a")]) == []


def test_a_reading_that_the_tables_do_not_show_is_hidden_until_it_is_asked_for(told: queries.Connection) -> None:
    assert queries.hidden_jobs(told, [key("a"), key("a", "2"), key("zzz")]) == [JobId(1)]
    assert queries.hidden_jobs(told, []) == []


@pytest.mark.parametrize(
    ("said", "hidden", "superseded"),
    [(h.reused(1), [4], 1), (h.outputs_lost(4), [], 1), (h.outputs_lost(1), [], 0)],
    ids=["asked again", "newer one lost", "older one lost"],
)
def test_what_is_said_of_readings_decides_which_one_is_hidden(
    projector: Projector, said: Event, hidden: list[int], superseded: int
) -> None:
    jobs = [*h.whole_job(1), *h.whole_job(4, run=2, version="2")]
    projector.apply(h.frames_of([[h.opened(), h.run_started(1), h.run_started(2)], [*jobs, said]]))
    assert queries.hidden_jobs(projector.connection, [key("a"), key("a", "2")]) == hidden
    assert queries.superseded_by_run(projector.connection, RunId(2)) == superseded


def test_the_balance_is_that_of_the_reading_that_the_tables_show(projector: Projector) -> None:
    seen: list[Event] = [h.opened(), h.run_started(1), h.files_seen(h.seen("/case/a.evtx"))]
    frames = h.frames_of([seen + h.whole_job(1) + h.whole_job(2, version="2"), [h.reused(1)]])
    projector.apply(frames[:1])
    assert [row.job_id for row in queries.balance(projector.connection)] == [2]
    projector.apply(frames[1:])
    assert [row.job_id for row in queries.balance(projector.connection)] == [1]


def test_readings_are_told_of_where_there_are_several(told: queries.Connection) -> None:
    readings = queries.readings(told)
    assert [(each.parser_version, each.contents, each.shown) for each in readings] == [("2", 1, 1), ("1", 1, 0)]


def test_no_keys_asks_nothing(told: queries.Connection) -> None:
    assert (queries.missing_keys(told, []), queries.materializations_of(told, [])) == (set(), [])


@given(recorded=st.sets(st.integers(1, 30), max_size=20), asked=st.lists(st.integers(1, 30), max_size=40))
@settings(max_examples=6, deadline=None)
def test_missing_keys_are_those_asked_for_less_those_recorded(recorded: set[int], asked: list[int]) -> None:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, LogId("0" * 32))
        events = [event for job in sorted(recorded) for event in (h.queued(job), h.recorded(job, content=str(job)))]
        Projector(connection).apply(h.frames_of([[h.opened(), *events]]))
        missing = queries.missing_keys(connection, [key(str(job)) for job in asked])
    assert missing == {key(str(job)) for job in set(asked) - recorded}


def test_a_hundred_thousand_keys_are_one_join(told: queries.Connection) -> None:
    keys = [MaterializationKey(f"{number:064x}") for number in range(100_000)]
    begun = time.monotonic()
    assert len(queries.missing_keys(told, keys)) == 100_000
    assert time.monotonic() - begun < 5  # a query a key takes over a minute


def test_a_hostile_value_is_only_a_value(told: queries.Connection) -> None:
    hostile = MaterializationKey("'); DROP TABLE cf_jobs; --")
    assert queries.missing_keys(told, [hostile]) == {hostile}
    assert len(queries.jobs(told)) == 4


def views(connection: queries.Connection, sql: str) -> list[tuple[object, ...]]:
    return connection.sql(sql).fetchall()


def test_the_queue_has_the_jobs_that_have_not_ended(told: queries.Connection, projector: Projector) -> None:
    more: list[Event] = [h.queued(5, content="d"), h.priority_set(5), h.dispatched(5), h.requeued(5)]
    projector.apply(h.frames_of([more], after=told_last()))
    columns = "job_id, status, priority, attempts, retries, lease_owner, error_reason"
    query = f"select {columns} from cf_processing_queue order by priority desc, job_id"
    assert views(told, query) == [
        (5, "queued", 7, 1, 1, None, "the guest died"),
        (3, "queued", 0, 0, 0, None, None),
    ]


def told_last() -> Frame:
    """Return the last frame of `told`."""
    return h.frames_of(told_groups())[-1]


def test_jobs_are_told_in_the_words_of_the_api(told: queries.Connection) -> None:
    assert views(told, "select job_id, status, error_message from cf_api_jobs order by job_id") == [
        (1, "completed", None),
        (2, "failed", "the file is empty"),
        (3, "queued", None),
        (4, "completed", None),
    ]


def test_a_dead_letter_is_a_failed_job_that_nothing_newer_follows(told: queries.Connection) -> None:
    query = "select job_id, attempts, error_message, reason from cf_dead_letters"
    assert views(told, query) == [(2, 1, "the file is empty", "permanent")]
    assert [row.job_id for row in candidates(told)] == [2]
    assert candidates(told, parser=ParserName("fix")) == []
    assert candidates(told, after=2) == []


def candidates(
    connection: queries.Connection, *, parser: ParserName | None = None, dead: bool = True, after: int = 0
) -> list[JobRow]:
    return queries.retry_candidates(connection, parser=parser, dead=dead, after=JobId(after))


def test_what_was_stopped_is_made_again_only_if_it_is_asked_for(projector: Projector) -> None:
    stopped: list[Event] = [h.queued(1), h.cancel_accepted(1), h.aborted(1)]
    again: list[Event] = [h.queued(2, content="b"), h.dispatched(2), h.failed(2)]
    stopped_again: list[Event] = [h.queued(3, content="b"), h.cancel_accepted(3), h.aborted(3)]
    projector.apply(h.frames_of([[h.opened(), h.run_started()], stopped, again, stopped_again]))
    assert [row.job_id for row in candidates(projector.connection)] == [2]
    assert [row.job_id for row in candidates(projector.connection, dead=False)] == [1, 3]


def test_the_health_of_a_parser_names_its_newest_failure(told: queries.Connection) -> None:
    (health,) = queries.parser_health(told)
    assert (health.parser, health.state, health.waiting, health.dead_letters) == ("evtx", "active", 1, 1)
    assert (health.last_failed_job, health.last_failed_class) == (2, "permanent")


@given(h.frame_lists())
@settings(max_examples=25, deadline=None)
def test_events_of_the_api_are_numbered_without_gaps_and_end_once(frames: list[Frame]) -> None:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, LogId("0" * 32))
        Projector(connection).apply_all(frames)
        told = views(connection, "select job_id, event_id, type, payload from cf_api_events order by job_id, event_id")
        ended = views(connection, "select job_id from cf_api_jobs where status in ('completed', 'failed', 'cancelled')")
        numbers: dict[object, list[object]] = {}
        for job, number, _type, payload in told:
            numbers.setdefault(job, []).append(number)
            assert isinstance(msgspec.json.decode(str(payload)), dict)
        assert all(each == list(range(1, len(each) + 1)) for each in numbers.values())
        finished = [job for job, _number, kind, _payload in told if kind == "job_finished"]
        assert sorted(map(str, finished)) == sorted(str(job) for (job,) in ended)
