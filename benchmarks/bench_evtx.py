"""The whole way of a case, from the command to committed Parquet, against the bare decoder reading the same files.

Sketch: the bare `evtx` package turns about 0.45 M records/s into JSON text on one thread. Our side hashes each file
twice, starts a guest per job, decodes, makes typed columns, validates, adds lineage, writes zstd Parquet, syncs, links
and logs; two workers. Needs real logs (CASPARIAN_REAL_DATA or ../shared/data); says so and measures the demo case else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pairs import Ratio, speed_ratio
from fixtures.evtx_case import build_case

ROUNDS = 3
COMMAND = Path(sys.executable).with_name("casparian")
BARE = """
import sys, evtx
for path in sys.argv[1:]:
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
    """Measure evtx_events and evtx_files with two workers."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        case = _case(Path(folder))
        files = sorted(str(path) for path in case.rglob("*.evtx"))
        number = iter(range(1_000_000))

        def ours() -> None:
            fresh = Path(folder) / f"round{next(number)}"
            words = [str(COMMAND), "run", "evtx", str(case), "--workers", "2", "--home", f"{fresh}/home"]
            done = subprocess.run(
                [*words, "--sink", f"parquet://{fresh.absolute()}/out"], capture_output=True, check=False
            )
            assert done.returncode in (0, 3), done.stderr.decode()

        def bare() -> None:
            subprocess.run([sys.executable, "-c", BARE, *files], check=True)

        yield speed_ratio("evtx to committed Parquet, 2 workers, cold", ours=ours, theirs=bare, rounds=ROUNDS, bar=0.5)


def _case(folder: Path) -> Path:
    data = Path(os.environ.get("CASPARIAN_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")) / "evtx"
    if data.is_dir():
        return data
    sys.stderr.write(f"no real logs at {data}: measuring a generated case\n")
    build_case(folder / "case", hosts=20)
    return folder / "case"
