"""Puts each deliberate fault into a copy of the tree and runs the test that must fail: `make mutants`.

A mutant that survives is a promise that nothing holds. Exit code 0: all are killed; 1: one survives, or its text is no
longer in the code. `python -m tests.mutants NAME...` runs some of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.mutants.faults import MUTANTS, Mutant

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "eventlog", "reducers", "commands", "sinks", "executors", "projections", "cli", "parsers", "fixtures", "tests",
    "benchmarks", "docs",
)  # fmt: skip
PARTS: Final = (*PACKAGES, "casparian.py", "pyproject.toml")
SECONDS_MAX: Final = 300  # of one mutant's test: a fault may make it wait for ever, which is a kill too
AT_ONCE_MAX: Final = 2


class Fate(Struct, frozen=True):
    """What became of a mutant."""

    name: str
    killed: bool
    words: str


def main(names: list[str]) -> int:
    """Run the mutants with these names, all if there are none; return the exit code."""
    unknown = set(names) - {each.name for each in MUTANTS}
    if unknown:
        print(f"no mutant is named {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in MUTANTS)}")
        return 1
    chosen = [each for each in MUTANTS if not names or each.name in names]
    with ThreadPoolExecutor(AT_ONCE_MAX) as pool:
        fates = list(pool.map(_told, chosen))
    survivors = [fate.name for fate in fates if not fate.killed]
    print(
        f"{len(fates) - len(survivors)} of {len(fates)} mutants killed" + "".join(f"\nsurvives: {s}" for s in survivors)
    )
    return 1 if survivors else 0


def _told(mutant: Mutant) -> Fate:
    fate = run(mutant)
    print(
        f"{'killed  ' if fate.killed else 'SURVIVES'}  {mutant.name}: {mutant.fault}\n          {fate.words}",
        flush=True,
    )
    return fate


def run(mutant: Mutant) -> Fate:
    """Return whether the mutant's test fails on a copy of the tree with the fault in it."""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    if source.count(mutant.text) != 1:
        return Fate(
            mutant.name, killed=False, words=f"its text stands {source.count(mutant.text)} times in {mutant.file}"
        )
    with tempfile.TemporaryDirectory(prefix="casparian-mutant-") as folder:
        tree = Path(folder) / "tree"
        _copy(tree)
        (tree / mutant.file).write_text(source.replace(mutant.text, mutant.instead), encoding="utf-8")
        return _judge(mutant, tree)


def _copy(tree: Path) -> None:
    tree.mkdir()
    (tree.parent / "shared").symlink_to(ROOT.parent / "shared")  # real data, for the tests that use some
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / part)


def _judge(mutant: Mutant, tree: Path) -> Fate:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--no-header",
        *mutant.killer.split(),
    ]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return Fate(mutant.name, killed=True, words=f"{mutant.killer}: not done after {SECONDS_MAX} s")
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]]
    failed = next((line for line in lines if line.startswith("FAILED")), "")
    # A test that failed is a kill. Nothing collected, a fixture or an import that fails, say nothing about the fault.
    killed = done.returncode == 1 and bool(failed)
    return Fate(mutant.name, killed=killed, words=f"{mutant.killer}: {(failed or lines[-1])[:200]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
