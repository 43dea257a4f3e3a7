"""Owns what is measured and how it is told: names, kinds and meanings of the metrics, and the text of Prometheus.

Counters are those of projections/tally.py, gauges are read where they stand; nothing is counted on the side. What a
process counts for itself (its messages) is volatile, starts at nothing with each sentinel, and is told as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from eventlog.ids import Instant
from projections.rows import Counter, MetricRow

MICROSECONDS: Final = 1_000_000


class Meters(Struct, frozen=True, kw_only=True):
    """What the read model knows at one position of the log: every counter, and how the queue stands."""

    seq: int
    counters: tuple[MetricRow, ...]
    queued: int
    running: int
    promoting: int
    oldest_queued_at: Instant | None
    executors: int


class Traffic(Struct, frozen=True, kw_only=True):
    """What one socket of the sentinel that answers has taken in and given out since it opened."""

    socket: Literal["control", "executors"]
    received: int
    sent: int
    errors: int


class Readings(Struct, frozen=True, kw_only=True):
    """Everything that is told at one moment. `traffic` is empty where no sentinel runs."""

    meters: Meters
    at: Instant
    lag_events: int
    log_bytes: int
    traffic: tuple[Traffic, ...] = ()


class Sample(Struct, frozen=True, kw_only=True):
    """One line of the text; `value` is exact decimal text."""

    name: str
    labels: dict[str, str]
    value: str


class Metric(Struct, frozen=True, kw_only=True):
    """A family of samples, as the text heads it."""

    name: str
    kind: Literal["counter", "gauge", "summary"]
    help: str
    samples: tuple[Sample, ...]


COUNTERS: Final[tuple[tuple[Counter, str], ...]] = (
    ("jobs_queued", "Jobs that were queued; each is open or has completed, failed or been aborted."),
    ("jobs_dispatched", "Attempts that were handed to an executor."),
    ("jobs_completed", "Jobs whose outputs are recorded."),
    ("jobs_failed", "Jobs that ended without outputs because something failed."),
    ("jobs_rejected", "Those of the failed jobs whose rows the quarantine policy did not allow."),
    ("jobs_aborted", "Jobs that were cancelled or withdrawn."),
    ("jobs_retried", "Attempts that failed and were put back at the cost of a retry."),
    ("jobs_requeued", "Attempts that were given back without cost, such as those of a sentinel that ended."),
    ("jobs_declined", "Attempts that an executor could not take on; they cost no retry."),
    ("output_rows", "Rows of recorded outputs."),
    ("output_bytes", "Bytes of recorded outputs; a file that several jobs share counts once."),
    ("quarantined_rows", "Rows that were put in quarantine."),
    ("executors_registered", "Executors that joined."),
    ("executors_lost", "Executors that left or were given up."),
)
SUMMARIES: Final[tuple[tuple[str, Counter, Counter, str], ...]] = (
    (
        "dispatch_seconds",
        "dispatch_microseconds",
        "dispatch_count",
        "How long attempts were due before they were handed out.",
    ),
    (
        "conclude_seconds",
        "conclude_microseconds",
        "conclude_count",
        "How long it was from handing a job out to committing its outputs.",
    ),
)
TRAFFIC: Final = (
    ("messages_received", "received", "Messages that came"),
    ("messages_sent", "sent", "Answers that were given"),
    ("protocol_errors", "errors", "Messages that were refused because they were not understood"),
)
VOLATILE: Final = "by socket; counted by the running sentinel since it started, absent without one."


def metrics(readings: Readings) -> tuple[Metric, ...]:
    """Return every metric with its samples, in a fixed order; a family may have none yet."""
    return (*_counters(readings.meters), *_summaries(readings.meters), *_gauges(readings), *_traffic(readings.traffic))


def prometheus_text(readings: Readings) -> str:
    """Return the metrics in the text format of Prometheus, version 0.0.4."""
    lines: list[str] = []
    for metric in metrics(readings):
        lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [_line(sample) for sample in metric.samples]
    return "\n".join(lines) + "\n"


def _counters(meters: Meters) -> Iterator[Metric]:
    for counter, meaning in COUNTERS:
        name = f"casparian_{counter}_total"
        samples = [_of_parser(name, row.parser, str(row.value)) for row in _rows(meters, counter)]
        if counter.startswith("executors") and not samples:
            samples = [_of_parser(name, "", "0")]
        yield Metric(name=name, kind="counter", help=meaning, samples=tuple(samples))


def _summaries(meters: Meters) -> Iterator[Metric]:
    for word, sum_counter, count_counter, meaning in SUMMARIES:
        name = f"casparian_{word}"
        sums = [_of_parser(f"{name}_sum", row.parser, _seconds(row.value)) for row in _rows(meters, sum_counter)]
        counts = [_of_parser(f"{name}_count", row.parser, str(row.value)) for row in _rows(meters, count_counter)]
        yield Metric(name=name, kind="summary", help=meaning, samples=(*sums, *counts))


def _gauges(readings: Readings) -> Iterator[Metric]:
    meters = readings.meters
    told = (
        ("queue_depth", str(meters.queued), "Jobs that wait."),
        ("oldest_queued_age_seconds", _age(meters, readings.at), "Since when the oldest waits; 0 without one."),
        ("jobs_running", str(meters.running), "Jobs that an executor holds."),
        ("jobs_promoting", str(meters.promoting), "Jobs past the commit point whose outputs are being published."),
        ("executors_alive", str(meters.executors), "Executors that are here by the log."),
        ("log_events", str(meters.seq), "Records of the log that these numbers count."),
        ("log_bytes", str(readings.log_bytes), "Bytes of the log's files."),
        ("read_model_lag_events", str(readings.lag_events), "Records that the read model was behind when asked."),
    )
    for word, value, meaning in told:
        name = f"casparian_{word}"
        yield Metric(name=name, kind="gauge", help=meaning, samples=(Sample(name=name, labels={}, value=value),))


def _traffic(traffic: tuple[Traffic, ...]) -> Iterator[Metric]:
    for word, field, meaning in TRAFFIC:
        name = f"casparian_{word}_total"
        samples = tuple(
            Sample(name=name, labels={"socket": each.socket}, value=str(getattr(each, field))) for each in traffic
        )
        yield Metric(name=name, kind="counter", help=f"{meaning}, {VOLATILE}", samples=samples)


def _rows(meters: Meters, counter: Counter) -> list[MetricRow]:
    return [row for row in meters.counters if row.counter == counter]


def _of_parser(name: str, parser: str, value: str) -> Sample:
    return Sample(name=name, labels={"parser": parser} if parser else {}, value=value)


def _seconds(microseconds: int) -> str:
    return f"{microseconds // MICROSECONDS}.{microseconds % MICROSECONDS:06}"


def _age(meters: Meters, at: Instant) -> str:
    if meters.oldest_queued_at is None:
        return "0"
    waited = datetime.fromisoformat(at) - datetime.fromisoformat(meters.oldest_queued_at)
    return f"{max(0.0, waited.total_seconds()):.3f}"


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_label(value)}"' for name, value in sample.labels.items())
    return f"{sample.name}{{{labels}}} {sample.value}" if labels else f"{sample.name} {sample.value}"


def _label(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
