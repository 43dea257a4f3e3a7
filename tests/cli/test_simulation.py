"""Runs the simulation of a home: a thousand histories without a violation, and each fault put in on purpose found."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.cli.simulation import ViolationError, simulate
from tests.cli.simulation.mutants import MUTANTS
from tests.eventlog.support import ROOT

SEEDS = 1000
SEEDS_OF_A_TEST = 125
SEEDS_LONG = 20_000
SEEDS_OF_A_LONG_TEST = 1_000
SEEDS_OF_A_FAULT = 2_000
FOUND_LATE = frozenset(  # by more seeds than `make test` has the time for
    {
        "publish an artifact without one of its jobs",
        "abandon what a target may still hold",
        "commit what was revoked",
        "sweep the rejected rows of a commit",
        "commit a job that is aborting",
    }
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep what the product logs of targets that are away, and of other troubles of our making, to itself."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_no_history_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + SEEDS_OF_A_TEST):
        simulate(seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SEEDS_LONG, SEEDS_OF_A_LONG_TEST))
def test_no_history_of_many_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + SEEDS_OF_A_LONG_TEST):
        simulate(seed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in FOUND_LATE else name for name in MUTANTS]
)
def test_a_fault_that_is_put_in_on_purpose_is_found(name: str) -> None:
    again = r"python -m tests\.cli\.simulation --seed \d+"
    with MUTANTS[name](), pytest.raises(ViolationError, match=again) as found:
        for seed in range(SEEDS_OF_A_FAULT):
            simulate(seed)
    assert not isinstance(found.value.__cause__, TypeError), "the fault no longer fits what it stands in for"


@pytest.mark.slow
def test_the_histories_hold_what_they_are_for() -> None:
    seen: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in range(160):
        world = simulate(seed)
        seen.update(world.seen)
        ends.update(job.standing for job in world.ledger.jobs.values())
        ends["abandoned"] += world.ledger.given_up["abandoned"]
    happened = ("died:", "power", "exit", "stop", "kill", "freeze", "cut", "silent", "target", "disk", "clock")
    assert {name: seen[name] for name in happened if seen[name] < 5} == {}
    assert {name: ends[name] for name in ("completed", "failed", "aborted", "abandoned") if ends[name] < 3} == {}


def test_a_seed_tells_the_same_history_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.cli.simulation", "--seed", "23"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone},
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed, zone in (("0", "UTC"), ("1", "Asia/Tokyo"))
    }
    assert len(told) == 1
