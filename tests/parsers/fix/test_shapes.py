"""What messages with the same tags share, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsers.fix import limits
from tests.parsers.fix.reading import order, read, sent


def test_the_same_tags_with_other_counts_and_types_are_not_mistaken(tmp_path: Path) -> None:
    more = "|453=2|448=A|452=1|448=B|452=3"
    bodies = [order(1, more), order(2, more.replace("453=2", "453=1")), order(3, more).replace("35=D", "35=0")]
    rows = read(sent(*bodies), tmp_path).messages
    assert [row["notes"] for row in rows] == [None, "group_count:453=1,found=2", None]
    assert [row["msg_type"] for row in rows] == ["D", "D", "0"]


def test_more_shapes_than_are_remembered_are_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SHAPES_MAX", 3)
    monkeypatch.setattr(limits, "SHAPE_LAYOUTS_MAX", 2)
    bodies = [order(number, f"|{5000 + number % 7}=x|453={number % 5}|448=A|452=1") for number in range(100)]
    done = read(sent(*bodies), tmp_path)
    assert [row["msg_seq_num"] for row in done.messages] == [str(number) for number in range(100)]
    assert len(done.rows("fix_groups")) == 200
