"""docs/RECOVERY.md and docs/LOG.md name the test behind each claim; a name that leads nowhere holds nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_MAX = 150
PAGES = ("RECOVERY.md", "LOG.md")


@pytest.mark.parametrize("page", PAGES)
def test_each_test_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / page).read_text()))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 30
    assert named - defined == set()


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_stay_short(page: str) -> None:
    assert len((ROOT / "docs" / page).read_text().splitlines()) <= LINES_MAX


def test_every_sentence_of_the_promise_has_its_test() -> None:
    promise = (ROOT / "docs" / "LOG.md").read_text().partition("## The promise")[2].partition("\n\nNot promised")[0]
    rows = [row for row in promise.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 8
    assert all("`test_" in row.rpartition(" | ")[2] for row in rows)
