"""Metrics of a home: the same numbers with and without a sentinel, and on a port of this machine."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.crashes import FixtureTerminal, write_source
from tests.acceptance.terminal import Terminal, eventually
from tests.acceptance.test_service import sentinel
from tests.promtext import Samples, read_text

pytestmark = pytest.mark.acceptance

VOLATILE = ("messages_received", "messages_sent", "protocol_errors")
MOVING = ("executors", "oldest_queued_age", "log_bytes", "log_events", "read_model_lag")


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path)


def told(terminal: Terminal) -> Samples:
    done = terminal.casparian("metrics")
    assert done.code == 0, done.err
    return read_text(done.out)


def lasting(samples: Samples) -> Samples:
    """Return what does not depend on whether, or how long, a sentinel runs."""
    return {
        key: value
        for key, value in samples.items()
        if not key[0].removeprefix("casparian_").startswith((*VOLATILE, *MOVING))
    }


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"casparian_{name}", frozenset(labels.items())]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.mark.slow
def test_numbers_are_the_same_with_and_without_a_sentinel(terminal: FixtureTerminal) -> None:
    case = terminal.folder / "case"
    for number in range(3):
        write_source(case / f"{number}.txt", "normal", lines=4 + number)
    write_source(case / "broken.txt", "error", lines=3)
    assert terminal.finish(case).json["failed"] == 1
    without = told(terminal)
    with sentinel(terminal):
        served = told(terminal)
        as_json = terminal.casparian("metrics", "--json").json
    assert lasting(without) == lasting(served) == lasting(told(terminal))
    assert one(without, "jobs_completed_total", parser="fixture") == 3
    assert one(without, "jobs_failed_total", parser="fixture") == 1
    assert one(without, "dispatch_seconds_count", parser="fixture") == one(
        without, "jobs_dispatched_total", parser="fixture"
    )
    assert one(without, "executors_registered_total") == one(without, "executors_lost_total")
    assert one(served, "messages_received_total", socket="control") >= 1
    assert not [name for name, _ in without if "messages" in name]
    names = {metric["name"] for metric in as_json["metrics"]}
    assert {"casparian_jobs_queued_total", "casparian_queue_depth"} <= names


def test_a_port_of_this_machine_tells_them(terminal: FixtureTerminal) -> None:
    port = free_port()
    started = terminal.casparian("start", "--workers", "0", "--metrics-port", str(port))
    assert started.code == 0, started.err
    try:
        url = f"http://127.0.0.1:{port}/metrics"

        def read() -> bytes:
            with urllib.request.urlopen(url, timeout=10) as answer:
                data: bytes = answer.read()
            return data

        eventually(lambda: b"casparian_queue_depth 0" in read(), what="the metrics on the port")
        assert lasting(read_text(read().decode())) == lasting(told(terminal))
        assert terminal.casparian("status", "--json").json["sentinel"]["metrics_url"] == url
        again = terminal.casparian("start", "--metrics-port", str(port))
        assert "--metrics-port is heeded by a start only" in again.err
    finally:
        assert terminal.casparian("stop").code == 0


def test_a_busy_port_is_told_and_no_sentinel_stays(terminal: FixtureTerminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        alone = terminal.casparian("sentinel", "--metrics-port", port)
        started = terminal.casparian("start", "--metrics-port", port, "--json")
    assert alone.code == 1
    assert "serve metrics on 127.0.0.1" in alone.err
    assert started.json["error"]["code"] == "not_started"
    assert "serve metrics on 127.0.0.1" in started.json["error"]["message"]
    assert terminal.casparian("stop").out == "no sentinel is running\n"


def test_a_home_where_nothing_was_run_has_none(tmp_path: Path) -> None:
    done = Terminal(tmp_path).casparian("metrics", "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "no_log")
