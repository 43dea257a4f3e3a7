"""Tests that SQL files are read by name and that every block says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from projections import sql_blocks as module
from projections.sql_blocks import sql_blocks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return tmp_path


def test_a_block_keeps_its_comment_and_its_statement(folder: Path) -> None:
    (folder / "kept.sql").write_text(
        "-- A file.\n\n-- name: one\n-- The number one.\nSELECT 1\n\n-- name: two\n-- 2.\nSELECT 2\n"
    )
    assert sql_blocks("kept.sql") == {"one": "-- The number one.\nSELECT 1", "two": "-- 2.\nSELECT 2"}


def test_a_block_without_a_purpose_is_refused(folder: Path) -> None:
    (folder / "bare.sql").write_text("-- name: one\nSELECT 1\n")
    with pytest.raises(ValueError, match="'one' has no line of purpose"):
        sql_blocks("bare.sql")


def test_a_name_used_twice_is_refused(folder: Path) -> None:
    (folder / "twice.sql").write_text("-- name: one\n-- 1.\nSELECT 1\n-- name: one\n-- 1.\nSELECT 1\n")
    with pytest.raises(ValueError, match="'one' is used twice"):
        sql_blocks("twice.sql")


@pytest.mark.parametrize("name", ["queries.sql", "projector.sql"])
def test_our_own_files_are_well_formed(name: str) -> None:
    assert len(sql_blocks(name)) > 5
