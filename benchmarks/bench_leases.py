"""Many small files: leases of many against one job a lease, from the command that enqueues them to JobCompleted.

Both sides are the real log, decider, promoter, read model, fleet over nng and two executors, warm, interleaved round by
round. One job a lease costs a fork, two round trips, four syncs of files and folders for each output, and three frames.
A lease pays these once; what is left for each file is its parser, two looks at the source, and about six events.

CASPARIAN_BENCH_LEASE_JOBS says how many tiny jobs are a round (2000), CASPARIAN_BENCH_LEASE_FILES how many files (400).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench_job import ALONE, PARSER_OF_LINES, WORKERS, Jobs, scratch, seen, warm, written
from benchmarks.pairs import Ratio, speed_ratio
from cli.demo.evtx_corpus import BYTES_MIN, generate
from cli.inferring import canonical, infer
from cli.lease_terms import JobLimits
from eventlog.events import SeenFile
from eventlog.ids import ParserName
from executors.parser_catalog import builtin_parsers

ROUNDS = 3
TINY = int(os.environ.get("CASPARIAN_BENCH_LEASE_JOBS", "2000"))
FILES = int(os.environ.get("CASPARIAN_BENCH_LEASE_FILES", "400"))
TINY_BAR = 4.0
FILES_BAR = 8.0
CSV_ROWS = 20
CASE_BYTES = 20 * 1024 * 1024
MANY = JobLimits()


def run() -> Iterator[Ratio]:
    """Measure tiny jobs, small CSV files and small event logs."""
    with scratch() as folder:
        tiny = [written(folder / f"{number}.txt", f"{number}\n") for number in range(TINY)]
        yield _measured(f"{TINY:,} tiny jobs", folder, "lines", tiny, source=PARSER_OF_LINES, bar=TINY_BAR)
    with scratch() as folder:
        files = [written(folder / f"{number}.csv", _csv(number)) for number in range(FILES)]
        found = infer(builtin_parsers()[ParserName("csv")], (os.fsencode(folder / "0.csv"),), {})
        settings = {**builtin_parsers()[ParserName("csv")].settings, "schema": canonical(found)}
        yield _measured(f"{FILES:,} small CSV files", folder, "csv", files, settings=settings, bar=FILES_BAR)
    with scratch() as folder:
        logs = _event_logs(folder)
        settings = builtin_parsers()[ParserName("evtx")].settings
        yield _measured(f"{len(logs):,} small event logs", folder, "evtx", logs, settings=settings, bar=FILES_BAR)


def _measured(
    name: str,
    folder: Path,
    parser: str,
    files: Sequence[SeenFile],
    *,
    source: str = "",
    settings: dict[str, str] | None = None,
    bar: float,
) -> Ratio:
    def side(stack: ExitStack, place: str, limits: JobLimits) -> Jobs:
        (folder / place / "out").mkdir(parents=True)
        return stack.enter_context(
            warm(folder / place, parser, files, source=source, settings=settings, workers=WORKERS, limits=limits)
        )

    with ExitStack() as stack:
        many, alone = side(stack, "many", MANY), side(stack, "alone", ALONE)
        many.work()  # both have their guest parents then
        alone.work()
        return speed_ratio(
            f"{name}, leases of many over one each", ours=many.work, theirs=alone.work, rounds=ROUNDS, bar=bar
        )


def _csv(number: int) -> str:
    lines = (f"{number * CSV_ROWS + row},name {row},{row}.25" for row in range(CSV_ROWS))
    return "\n".join(["id,name,amount", *lines, ""])


def _event_logs(folder: Path) -> list[SeenFile]:
    """Return FILES logs of one chunk: those of a made-up case, as often as it takes."""
    generate(folder / "case", seed=1, bytes_total=CASE_BYTES, damage_shares={})
    made = [path for path in sorted((folder / "case").rglob("*.evtx")) if path.stat().st_size == BYTES_MIN]
    return [seen(made[number % len(made)]) for number in range(FILES)]
