"""Queries beside a sentinel: they say what they say without one, and whatever becomes of them is their own affair."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.crashes import FixtureTerminal, write_source
from tests.acceptance.terminal import eventually
from tests.acceptance.test_service import sentinel, status

pytestmark = pytest.mark.acceptance

VERBS = (
    ("sql", "select job_id, status from cf_jobs order by all"),
    ("sql", "select count(*), min(_cf_job_id) from lines"),
    ("balance",),
    ("outputs",),
    ("explain", "file", "case/0.txt"),
)
ENDLESS = "select count(*) from range(10000000000) a, range(10000000000) b where a.range * b.range = 7"


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    terminal = FixtureTerminal(tmp_path)
    for number in range(2):
        write_source(terminal.folder / "case" / f"{number}.txt", "normal", lines=3 + number)
    return terminal


@pytest.mark.slow
def test_a_query_says_the_same_beside_a_sentinel_and_without_one(terminal: FixtureTerminal) -> None:
    with sentinel(terminal, workers=1):
        assert terminal.finish(terminal.folder / "case").code == 0
        beside = [terminal.casparian("-v", *words, "--json") for words in VERBS]
    without = [terminal.casparian(*words, "--json") for words in VERBS]
    assert [done.out for done in beside] == [done.out for done in without]
    assert {done.code for done in beside} == {0}
    assert all("this process reads a copy of what it knows" in done.err for done in beside[:4])


@pytest.mark.slow
def test_a_query_without_end_holds_nobody_up_and_its_end_by_force_is_its_own(terminal: FixtureTerminal) -> None:
    with sentinel(terminal, workers=1):
        query = terminal.start("-v", "sql", ENDLESS)
        eventually(lambda: any(terminal.home.glob("tmp/lent-*")), what="a copy to be lent")
        assert terminal.finish(terminal.folder / "case").code == 0
        assert terminal.casparian("sql", "select count(*) n from cf_jobs", "--json").json["rows"] == [[2]]
        assert query.poll() is None
        query.kill()
        query.communicate(timeout=10)
        assert status(terminal)["queue"]["completed"] == 2
    assert terminal.casparian("replay", "--check").code == 0
