"""Nothing to do: the second run over a case, contents hashed again, beyond what starting the command costs.

Sketch: reading 34 MB twice-hashed at 1 GB/s is 0.03 s; importing duckdb and pyarrow 0.4 s; opening log and read model
0.1 s. No executor is started.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench_evtx import COMMAND, _case
from benchmarks.pairs import Ratio, cost_ratio

ROUNDS = 5


def run() -> Iterator[Ratio]:
    """Measure the no-op rerun against importing what it needs, and `--help` against importing typer."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        case = _case(Path(folder))
        words = [str(COMMAND), "run", "evtx", str(case), "--home", f"{folder}/home"]
        words += ["--sink", f"parquet://{Path(folder).absolute()}/out"]
        subprocess.run(words, capture_output=True, check=False)

        def again() -> None:
            subprocess.run(words, capture_output=True, check=False)

        def imports() -> None:
            subprocess.run([sys.executable, "-c", "import duckdb, pyarrow, pynng, typer"], check=True)

        def help_text() -> None:
            subprocess.run([COMMAND, "--help"], capture_output=True, check=True)

        def typer() -> None:
            subprocess.run([sys.executable, "-c", "import typer"], check=True)

        yield cost_ratio("no-op rerun over importing its libraries", ours=again, theirs=imports, rounds=ROUNDS, bar=2.5)
        yield cost_ratio("--help over `import typer`", ours=help_text, theirs=typer, rounds=ROUNDS, bar=2.5)
