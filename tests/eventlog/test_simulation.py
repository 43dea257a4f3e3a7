"""Runs the simulation: a thousand histories without a violation, and each fault that is put in on purpose found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.eventlog.simulation import ViolationError, simulate
from tests.eventlog.simulation.mutants import MUTANTS
from tests.eventlog.support import ROOT

SEEDS = 1000
SEEDS_OF_A_TEST = 250
SEEDS_LONG = 20_000
SEEDS_OF_A_LONG_TEST = 2_500


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_no_history_breaks_the_promise(first: int) -> None:
    for seed in range(first, first + SEEDS_OF_A_TEST):
        simulate(seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SEEDS_LONG, SEEDS_OF_A_LONG_TEST))
def test_no_history_of_many_breaks_the_promise(first: int) -> None:
    for seed in range(first, first + SEEDS_OF_A_LONG_TEST):
        simulate(seed)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_that_is_put_in_on_purpose_is_found(name: str) -> None:
    again = r"python -m tests\.eventlog\.simulation --seed \d+"
    with MUTANTS[name](), pytest.raises(ViolationError, match=again) as found:
        for seed in range(SEEDS):
            simulate(seed)
    assert not isinstance(found.value.__cause__, TypeError), "the fault no longer fits what it stands in for"


@pytest.mark.slow
def test_the_histories_hold_what_they_are_for() -> None:
    told: Counter[str] = Counter()
    segments = 0
    for seed in range(240):
        world = simulate(seed)
        told.update(line.split(" at call")[0].split(":")[0] for line in world.story)
        segments += (
            len({name for call in world.disk.calls for name in call.split()[1:] if name.endswith(".ndjson")}) > 3
        )
    assert told["power cut"] > 50
    assert told["open, verified as TORN"] > 10
    assert told["exit 70"] > 10
    assert told["opening ended"] > 20
    assert told["end of the process"] > 50
    assert told["close"] > 20
    assert told["the disk was full"] > 10
    assert told["zeros stand behind the end"] > 50
    assert segments > 30


def test_a_seed_tells_the_same_history_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.eventlog.simulation", "--seed", "5"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone},
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed, zone in (("0", "UTC"), ("1", "Asia/Tokyo"))
    }
    assert len(told) == 1
