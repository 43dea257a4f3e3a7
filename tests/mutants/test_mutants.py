"""Every deliberate fault is in the code as it is now, and is found by its test."""

from __future__ import annotations

import re

import pytest

from tests.mutants.__main__ import ROOT, run
from tests.mutants.faults import MUTANTS, Mutant


def test_names_are_unique() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_can_be_put_into_the_code_and_its_test_exists(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.text) == 1
    for place in mutant.killer.split():
        file, _, test = place.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not test or re.search(rf"^def {re.escape(test)}\(", source, re.MULTILINE), place


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_is_found(mutant: Mutant) -> None:
    fate = run(mutant)
    assert fate.killed, fate.words
