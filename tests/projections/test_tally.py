"""Tests that counters say what a naive count of the same events says."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from eventlog.events import (
    Event,
    ExecutorJoined,
    ExecutorLost,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    MaterializationRecorded,
    OutputsCommitted,
    QuarantineRecorded,
    Record,
)
from eventlog.frames import Frame
from eventlog.ids import Instant, Seq
from projections.projector import Projector, create_tables
from projections.rows import Counter
from projections.tables import Work, fold
from projections.tally import OTHERS, PARSERS_MAX, Tally
from tests.projections import histories as h
from tests.projections.conftest import LOG_ID

COUNTED: dict[Counter, type[Record]] = {
    "jobs_queued": JobQueued,
    "jobs_dispatched": JobDispatched,
    "jobs_completed": JobCompleted,
    "jobs_failed": JobFailed,
    "jobs_aborted": JobAborted,
    "jobs_declined": JobDeclined,
    "executors_registered": ExecutorJoined,
    "executors_lost": ExecutorLost,
    "dispatch_count": JobDispatched,
    "conclude_count": OutputsCommitted,
}


def tally_of(*events: Event) -> Tally:
    return fold(Work(), [(Seq(number), event) for number, event in enumerate(events, start=1)]).tally


def total(tally: Tally, counter: Counter) -> int:
    return sum(value for (name, _parser), value in tally.items() if name == counter)


@given(h.event_lists(steps_max=120))
@settings(max_examples=100, deadline=None)
def test_every_counter_is_the_naive_count_of_its_events(events: list[Event]) -> None:
    tally = tally_of(*events)
    for counter, kind in COUNTED.items():
        assert total(tally, counter) == sum(isinstance(event, kind) for event in events), counter
    recorded = [event for event in events if isinstance(event, MaterializationRecorded)]
    assert total(tally, "output_rows") == sum(event.rows for event in recorded)
    assert total(tally, "output_bytes") == sum(event.bytes for event in recorded if event.row_first == 0)
    rejected = [event.rows for event in events if isinstance(event, QuarantineRecorded)]
    assert total(tally, "quarantined_rows") == sum(rejected)
    requeued = [event.charged for event in events if isinstance(event, JobRequeued)]
    assert (total(tally, "jobs_retried"), total(tally, "jobs_requeued")) == (
        sum(requeued),
        len(requeued) - sum(requeued),
    )
    refused = [event for event in events if isinstance(event, JobFailed) and event.failure == "policy"]
    assert total(tally, "jobs_rejected") == len(refused)


@given(h.event_lists(steps_max=120))
@settings(max_examples=60, deadline=None)
def test_what_was_queued_is_open_or_has_ended(events: list[Event]) -> None:
    work = fold(Work(), [(Seq(number), event) for number, event in enumerate(events, start=1)])
    open_jobs = sum(row.status not in {"completed", "failed", "aborted"} for row in work.jobs.values())
    ended = sum(total(work.tally, counter) for counter in ("jobs_completed", "jobs_failed", "jobs_aborted"))
    assert total(work.tally, "jobs_queued") == open_jobs + ended


@given(h.event_lists(steps_max=120))
@settings(max_examples=60, deadline=None)
def test_dispatch_time_is_from_when_a_job_was_due(events: list[Event]) -> None:
    due: dict[int, Instant] = {}
    expected = 0.0
    for event in events:
        match event:
            case JobQueued(queued_at=at):
                due[event.job] = at
            case JobRequeued(not_before=at):
                due[event.job] = at
            case JobDeclined(declined_at=at):
                due[event.job] = at
            case JobDispatched(dispatched_at=at):
                waited = datetime.fromisoformat(at) - datetime.fromisoformat(due[event.job])
                expected += max(0.0, waited.total_seconds())
            case _:
                continue
    assert total(tally_of(*events), "dispatch_microseconds") == pytest.approx(expected * 1e6)


@given(h.frame_lists())
@settings(max_examples=20, deadline=None)
@pytest.mark.slow
def test_the_table_has_what_the_fold_has(frames: list[Frame]) -> None:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, LOG_ID)
        projector = Projector(connection)
        for frame in frames:
            projector.apply([frame])
        rows = connection.execute("SELECT counter, parser, value FROM cf_metrics").fetchall()
    assert len(rows) == len({(counter, parser) for counter, parser, _ in rows})
    expected = fold(Work(), [(record.seq, record.data) for frame in frames for record in frame.records]).tally
    assert {(counter, parser): value for counter, parser, value in rows} == expected


def test_parsers_past_the_limit_are_counted_together_and_keep_their_place() -> None:
    jobs = [h.queued(number, parser=f"parser{number}") for number in range(1, PARSERS_MAX + 4)]
    late = [h.dispatched(PARSERS_MAX + 1), h.dispatched(1)]
    tally = tally_of(*jobs, *late)
    assert len({parser for counter, parser in tally if counter == "jobs_queued"}) == PARSERS_MAX + 1
    assert tally["jobs_queued", OTHERS] == 3
    assert (tally["jobs_dispatched", OTHERS], tally["jobs_dispatched", "parser1"]) == (1, 1)


def test_a_clock_that_was_put_back_takes_nothing_from_a_sum() -> None:
    late, early = replace(h.queued(1), queued_at=h.now(59)), h.dispatched(1)
    assert early.dispatched_at < late.queued_at
    assert tally_of(late, early)["dispatch_microseconds", "evtx"] == 0


def test_the_bytes_of_a_file_that_jobs_share_count_once() -> None:
    shares = [h.recorded(job, file="shared.parquet", size=100, row_first=3 * place) for place, job in enumerate((1, 2))]
    tally = tally_of(h.opened(), h.run_started(), h.deployed(), h.queued(1), h.queued(2, content="b"), *shares)
    assert (total(tally, "output_bytes"), total(tally, "output_rows")) == (100, 6)
