"""Words are used the same way everywhere: what the glossary says is not said, no document for users says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.console import ROOT

GLOSSARY = ROOT / "docs" / "GLOSSARY.md"
DOCUMENTS = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path != GLOSSARY)]


def rows() -> list[list[str]]:
    """Return word, meaning and the words that are not said."""
    lines = [line for line in GLOSSARY.read_text().split("\n") if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_each_word_stands_once_in_order_and_has_one_sentence() -> None:
    words = [row[0] for row in rows()]
    assert words == sorted(set(words))
    for word, meaning, _ in rows():
        assert re.fullmatch(r"[A-Z][^.]*\.", meaning), f"{word}: one sentence, not {meaning!r}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_does_not_say_what_the_glossary_forbids(document: Path) -> None:
    text = " ".join(document.read_text().lower().split())
    for word, _, others in rows():
        for other in filter(None, others.split(", ")):
            assert not re.search(rf"\b{re.escape(other)}s?\b", text), f"{document.name}: say {word!r}, not {other!r}"


def test_a_forbidden_word_would_be_found() -> None:
    forbidden = {other for row in rows() for other in row[2].split(", ") if other}
    assert {"skipped file", "daemon", "journal"} <= forbidden
