"""Nothing to do: the second run over 2,000 files, contents hashed again, beyond `casparian --version`; and `--help`.

Sketch: 2,000 files of 66 kB hashed twice at 1.1 GB/s are 0.12 s; importing duckdb and pyarrow 0.1 s; reading a log of
14,000 records twice 0.2 s; the read model and the reports 0.1 s. No executor is started. The first run is not measured
and takes minutes: CASPARIAN_BENCH_CASE names a folder in which case and home are kept from one measurement to the next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench_evtx import COMMAND
from benchmarks.pairs import Difference, Ratio, cost_difference, cost_ratio
from cli.demo.evtx_writer import Event, write_evtx

ROUNDS = 7
FILES = 2000
RECORDS = 3  # of each file
# As installed: byte code is written once and found again, whatever the shell that measures says of it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run() -> Iterator[Ratio | Difference]:
    """Measure the no-op rerun against `--version`, and `--help` against importing typer."""
    kept = os.environ.get("CASPARIAN_BENCH_CASE")
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as scratch:
        folder = Path(kept) if kept else Path(scratch)
        if not (folder / "case").is_dir():
            write_case(folder / "case")
        again: list[str | Path] = [COMMAND, "run", "evtx", folder / "case", "--home", folder / "home"]
        _run(again)  # the first time this does the work, later none
        yield cost_difference(
            f"nothing to do, {FILES:,} files, over --version",
            ours=lambda: _run(again),
            theirs=lambda: _run([COMMAND, "--version"]),
            rounds=ROUNDS,
            bar=0.5,
        )
        yield cost_ratio(
            "--help over `import typer`",
            ours=lambda: _run([COMMAND, "--help"]),
            theirs=lambda: _run([sys.executable, "-c", "import typer"]),
            rounds=ROUNDS,
            bar=2.5,
        )


def write_case(folder: Path, *, files: int = FILES) -> None:
    """Write so many small event logs of their own content, forty hosts' worth."""
    for number in range(files):
        path = folder / f"host{number % 40:02}" / f"log{number:04}.evtx"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            write_evtx(stream, [_event(number, record) for record in range(1, RECORDS + 1)])


def _event(number: int, record: int) -> Event:
    return Event(
        record_id=10 * number + record,
        time=datetime(2026, 1, 20, 8, 0, record, tzinfo=UTC),
        provider="Microsoft-Windows-Security-Auditing",
        event_id=4624,
        channel="Security",
        computer=f"HOST{number}",
        data={"TargetUserName": f"user{record}"},
    )


def _run(words: list[str | Path]) -> None:
    subprocess.run(words, capture_output=True, check=True, env=ENVIRONMENT)
