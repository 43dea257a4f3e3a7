"""docs/RECOVERY.md and docs/LOG.md name the test behind each claim; a name that leads nowhere holds nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_MAX = 180  # a page that nobody reads holds nothing
PAGES = ("RECOVERY.md", "LOG.md")


@pytest.mark.parametrize("page", PAGES)
def test_each_test_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"`(?:[\w/]+\.py::)?(test_\w+)`", (ROOT / "docs" / page).read_text()))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 30
    assert named - defined == set()


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_stay_short(page: str) -> None:
    lines = (ROOT / "docs" / page).read_text().partition("## The adversarial tests")[0].splitlines()
    assert len(lines) <= LINES_MAX


def test_every_sentence_of_the_promise_has_its_test() -> None:
    promise = (ROOT / "docs" / "LOG.md").read_text().partition("## The promise")[2].partition("\n\nNot promised")[0]
    rows = [row for row in promise.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 8
    assert all("`test_" in row.rpartition(" | ")[2] for row in rows)


ADVERSARIAL = {
    *range(1, 9), *range(10, 17), *range(18, 22), *range(23, 26), 27, 28, *range(30, 37), *range(38, 43), 46, 47,
}  # fmt: skip


def adversarial_rows() -> dict[int, list[tuple[str, str]]]:
    """Return (file, test) of each number in the table of LOG.md."""
    table = (ROOT / "docs" / "LOG.md").read_text().partition("## The adversarial tests")[2]
    rows = [row.split(" | ") for row in table.splitlines() if re.match(r"\| [0-9]", row)]
    return {int(row[0].strip("| ")): re.findall(r"`([\w/]+\.py)::(test_\w+)`", row[2]) for row in rows}


def test_every_number_of_the_adversarial_tests_is_in_the_table() -> None:
    assert set(adversarial_rows()) >= ADVERSARIAL


@pytest.mark.parametrize(("number", "held_by"), adversarial_rows().items(), ids=str)
def test_an_adversarial_test_is_where_the_table_says_and_one_has_its_number(
    number: int, held_by: list[tuple[str, str]]
) -> None:
    assert any(f"_{number:02d}" in re.match(r"test(_[0-9]+[a-z]?)*", name)[0] for _, name in held_by)  # type: ignore[index]  # it matches any name
    for file, name in held_by:
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), f"{file}::{name}"
