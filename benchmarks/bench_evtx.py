"""The whole way of a case, from the command to committed Parquet, against the bare decoder reading the same files.

Sketch: the bare `evtx` package turns about 0.4 M records/s into JSON text on one thread. Our side hashes each file,
starts a guest per job, walks, decodes, makes five tables of typed columns (about nine key-value rows a record),
validates, adds lineage, writes zstd Parquet, syncs, links and logs; two workers. The walk alone is measured against the
parser in one process.

CASPARIAN_BENCH_EVTX_MB says how much (400). Needs real logs (CASPARIAN_REAL_DATA or ../shared/data), which are
multiplied; without them it says so and measures made-up ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pairs import Ratio, cost_ratio, speed_ratio
from benchmarks.real_evtx import multiply, real_data
from cli.demo.evtx_corpus import generate
from parsers.evtx import parser
from parsers.evtx.layout import FILE_HEADER_BYTES, slots
from parsers.evtx.walk import walk_chunk

ROUNDS = 3
MEGABYTES = int(os.environ.get("CASPARIAN_BENCH_EVTX_MB", "400"))
WALK_FILES = 60
COMMAND = Path(sys.executable).with_name("casparian")
BARE = """
import sys, evtx
for path in sys.stdin.read().splitlines():
    records = evtx.PyEvtxParser(path, 1).records_json()
    while True:
        try:
            next(records)
        except StopIteration:
            break
        except RuntimeError:
            pass
"""


def run() -> Iterator[Ratio]:
    """Measure all five tables with two workers, then the parser alone and what the walk costs of it."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        case = _case(Path(folder), megabytes=MEGABYTES)
        files = sorted(str(path) for path in case.rglob("*.evtx"))
        number = iter(range(1_000_000))

        def ours(*settings: str) -> None:
            fresh = Path(folder) / f"round{next(number)}"
            words = [str(COMMAND), "run", "evtx", str(case), "--workers", "2", "--home", f"{fresh}/home", *settings]
            done = subprocess.run(
                [*words, "--sink", f"parquet://{fresh.absolute()}/out"], capture_output=True, check=False
            )
            assert done.returncode in (0, 3), done.stderr.decode()
            subprocess.run(["rm", "-r", str(fresh)], check=True)

        def bare() -> None:
            _bare(files)

        yield speed_ratio(
            "evtx, five tables to Parquet, 2 workers, cold", ours=ours, theirs=bare, rounds=ROUNDS, bar=0.25
        )
        yield speed_ratio(
            "evtx, two tables to Parquet, 2 workers, cold",
            ours=lambda: ours("--set", "tables=evtx_events,evtx_files"),
            theirs=bare,
            rounds=ROUNDS,
            bar=0.5,
        )
        some = files[:WALK_FILES]
        yield speed_ratio(
            "evtx, five tables in memory, 1 process",
            ours=lambda: _parse(some),
            theirs=lambda: _bare(some),
            rounds=ROUNDS,
            bar=0.2,
        )
        yield cost_ratio(
            "evtx, the walk as a part of the parser",
            ours=lambda: _walk(some),
            theirs=lambda: _parse(some),
            rounds=ROUNDS,
            bar=0.05,
        )


def _case(folder: Path, *, megabytes: int = 56) -> Path:
    """Make a case of that size in the folder, of real logs where they are."""
    case = folder / "case"
    if real_data().is_dir():
        multiply(case, bytes_total=megabytes * 1_000_000)
    else:
        sys.stderr.write(f"no real logs at {real_data()}: measuring made-up ones\n")
        generate(case, seed=1, bytes_total=megabytes * 1_000_000)
    return case


def _bare(files: list[str]) -> None:
    subprocess.run([sys.executable, "-c", BARE], input="\n".join(files), text=True, check=True)


def _parse(files: list[str]) -> None:
    for file in files:
        for _ in parser.parse(file, {}):
            pass


def _walk(files: list[str]) -> None:
    for file in files:
        with Path(file).open("rb") as stream:
            stream.seek(FILE_HEADER_BYTES)
            for index, (offset, slot) in enumerate(slots(stream)):
                if slot.startswith(b"ElfChnk\0"):
                    walk_chunk(index, offset, slot)
