"""The verb `metrics`: counters and gauges of a home as Prometheus reads them, with and without a sentinel."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, reading
from cli.render import out, out_json

if TYPE_CHECKING:
    from projections.metrics import Readings

logger = logging.getLogger("casparian.metrics")  # heard with -v


def metrics(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print what was counted since the log began and how the queue stands, in the text format of Prometheus.

    Example: `casparian metrics`

    The numbers are folded from the log, so they are the same with and without a running sentinel; only a running one
    has counts of its messages. docs/METRICS.md says what each of them means.

    Exit codes: 0 they were told, 1 nothing was run there yet.
    """
    from projections.metrics import metrics as metrics_of
    from projections.metrics import prometheus_text

    place = find_home(home)
    readings = _asked(place) or _read(place)
    if as_json:
        out_json({"at": readings.at, "seq": readings.meters.seq, "metrics": metrics_of(readings)})
    else:
        out(prometheus_text(readings).rstrip("\n"))


def _asked(place: Home) -> Readings | None:
    """Return what the sentinel that runs says; None where none does, or it knows no such question."""
    from cli.asking import ask_running
    from cli.messages import GetMetrics, MetricsSeen, ask
    from executors.errors import TransportError

    try:
        reply = ask_running(place, ask(GetMetrics()))
    except TransportError as error:  # it left meanwhile, or is busy: the log has all but what it counts of itself
        logger.info("the sentinel did not answer (%s): the home is read by this process", error)
        return None
    if isinstance(reply, MetricsSeen):
        logger.info("a sentinel is running: it has answered")
        return reply.readings
    logger.info("no sentinel that knows of metrics is running (%s): the home is read by this process", reply)
    return None


def _read(place: Home) -> Readings:
    """Return what the home says. Raises CliError without a log."""
    from cli import clock
    from projections import queries
    from projections.metrics import Readings
    from projections.witness import peek_checkpoint

    if not (place.log / "GENESIS.json").exists():
        raise nothing_here(place)
    with reading(place) as reader:
        meters = queries.meters(reader.connection)
        lag = 0
        if reader.source == "private fold":
            kept = peek_checkpoint(place.root)
            lag = max(0, reader.seq - (kept.seq if kept is not None else 0))
    return Readings(meters=meters, at=clock.now(), lag_events=lag, log_bytes=log_bytes(place.log))


def log_bytes(folder: Path) -> int:
    """Return what the files of a log take, segments and their seals; one that is moved meanwhile counts nothing.

    BALLAST is no part of it: it holds room on the disk, and no word.
    """
    from eventlog.reserve import BALLAST_NAME

    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == BALLAST_NAME:
                continue
            try:
                total += entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
            except FileNotFoundError:
                continue  # a segment was sealed since the folder was read: its sealed form is counted, or the next time
    return total
