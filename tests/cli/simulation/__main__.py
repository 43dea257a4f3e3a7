"""Runs histories from the command line: `python -m tests.cli.simulation --seed N`, or many with `--seeds N`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time

from tests.cli.simulation import ViolationError, simulate
from tests.cli.simulation.mutants import MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cli.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with this fault put in on purpose")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what the product says of troubles that are of our making
    began = time.process_time()
    with MUTANTS[asked.mutant]() if asked.mutant else contextlib.nullcontext():
        for seed in range(asked.seed, asked.seed + asked.seeds):
            try:
                world = simulate(seed)
            except ViolationError as violation:
                print(violation)
                return 1
            if asked.seeds == 1:
                print("\n".join([*world.story, f"{world.steps} steps, {world.digest()}"]))
    print(f"{asked.seeds} histories without a violation")
    print(f"in {time.process_time() - began:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
