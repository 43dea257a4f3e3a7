"""Tests that the text is what Prometheus reads, and says what the readings say."""

from __future__ import annotations

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.events import JobAborted, JobCompleted, JobFailed, JobQueued
from eventlog.frames import Frame
from eventlog.ids import Instant
from projections import queries
from projections.metrics import Meters, Readings, Traffic, metrics, prometheus_text
from projections.projector import Projector, create_tables
from projections.rows import Counter, MetricRow
from tests.projections import histories as h
from tests.projections.conftest import LOG_ID
from tests.promtext import read_text

AT = Instant("2026-01-01T00:01:00.500000Z")


def readings(*counters: MetricRow, oldest: str | None = None, traffic: tuple[Traffic, ...] = ()) -> Readings:
    meters = Meters(
        seq=9,
        counters=counters,
        queued=3,
        running=2,
        promoting=1,
        oldest_queued_at=None if oldest is None else Instant(oldest),
        executors=2,
    )
    return Readings(meters=meters, at=AT, lag_events=4, log_bytes=1234, traffic=traffic)


def row(counter: Counter, parser: str, value: int) -> MetricRow:
    return MetricRow(counter=counter, parser=parser, value=value)


def told(readings: Readings, name: str, **labels: str) -> float:
    return read_text(prometheus_text(readings))[name, frozenset(labels.items())]


def test_gauges_say_how_it_stands() -> None:
    seen = readings(oldest="2026-01-01T00:00:00.000000Z")
    assert told(seen, "casparian_queue_depth") == 3
    assert told(seen, "casparian_jobs_running") == 2
    assert told(seen, "casparian_jobs_promoting") == 1
    assert told(seen, "casparian_executors_alive") == 2
    assert told(seen, "casparian_log_events") == 9
    assert told(seen, "casparian_log_bytes") == 1234
    assert told(seen, "casparian_read_model_lag_events") == 4
    assert told(seen, "casparian_oldest_queued_age_seconds") == 60.5


def test_nothing_that_waits_has_no_age_and_a_clock_put_back_makes_none() -> None:
    assert told(readings(), "casparian_oldest_queued_age_seconds") == 0
    assert told(readings(oldest="2026-01-01T00:02:00.000000Z"), "casparian_oldest_queued_age_seconds") == 0


def test_durations_are_sums_in_seconds_beside_their_counts() -> None:
    seen = readings(row("dispatch_microseconds", "evtx", 1_000_042), row("dispatch_count", "evtx", 3))
    assert told(seen, "casparian_dispatch_seconds_sum", parser="evtx") == 1.000042
    assert told(seen, "casparian_dispatch_seconds_count", parser="evtx") == 3


def test_messages_are_told_by_a_running_sentinel_only() -> None:
    traffic = (Traffic(socket="control", received=5, sent=4, errors=1),)
    assert told(readings(traffic=traffic), "casparian_protocol_errors_total", socket="control") == 1
    assert not [name for name, _ in read_text(prometheus_text(readings())) if "messages" in name or "protocol" in name]


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_any_name_of_a_parser_comes_back_as_it_went_in(name: str) -> None:
    if name:
        assert told(readings(row("jobs_queued", name, 1)), "casparian_jobs_queued_total", parser=name) == 1


@given(h.frame_lists(steps_max=80))
@settings(max_examples=25, deadline=None)
def test_what_is_told_of_a_history_is_what_its_events_say(frames: list[Frame]) -> None:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, LOG_ID)
        Projector(connection).apply_all(frames)
        meters = queries.meters(connection)
    samples = read_text(prometheus_text(Readings(meters=meters, at=AT, lag_events=0, log_bytes=0)))
    events = [record.data for frame in frames for record in frame.records]

    def total(name: str) -> float:
        return sum(value for (each, _labels), value in samples.items() if each == f"casparian_{name}")

    assert total("jobs_queued_total") == sum(isinstance(event, JobQueued) for event in events)
    ended = sum(isinstance(event, JobCompleted | JobFailed | JobAborted) for event in events)
    open_jobs = total("queue_depth") + total("jobs_running") + total("jobs_promoting")
    assert total("jobs_queued_total") == open_jobs + ended
    assert total("log_events") == len(events)


def test_names_follow_the_conventions_and_every_metric_says_what_it_is() -> None:
    for metric in metrics(readings()):
        assert re.fullmatch(r"casparian_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith(".")


@pytest.mark.parametrize(
    "wrong",
    [
        "casparian_x 1\n",
        "# HELP a b\n# TYPE a counter\na_total 1\n",
        "# HELP a_total b\n# TYPE a_total counter\na_total 1\na_total 2\n",
        '# HELP a_total b\n# TYPE a_total counter\na_total{x="\n"} 1\n',
        "# HELP a b\n# TYPE a gauge\na 1",
    ],
)
def test_the_reader_of_these_tests_refuses_what_prometheus_would(wrong: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        read_text(wrong)
