"""Repeating groups and repeated tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parsers.fix.reading import Read, order, read, sent


def cells(done: Read) -> list[tuple[str, str, str]]:
    return [(row["entry_path"], row["tag"], row["value"]) for row in done.rows("fix_groups")]


def test_a_group_has_its_own_table_and_leaves_the_columns_alone(tmp_path: Path) -> None:
    done = read(sent(order(1, "|453=2|448=A|447=D|452=1|448=B|447=D|452=3|58=end")), tmp_path)
    expected = [("453[0]", "448", "A"), ("453[0]", "447", "D"), ("453[0]", "452", "1")]
    expected += [("453[1]", "448", "B"), ("453[1]", "447", "D"), ("453[1]", "452", "3")]
    assert cells(done) == expected
    assert (done.only["text"], done.only["notes"]) == ("end", None)
    first = done.rows("fix_groups")[0]
    assert (first["group_tag"], first["entries_declared"], first["entry_index"]) == ("453", "2", 0)
    assert (first["position"], first["parent_group_tag"]) == (15, None)


def test_a_tag_of_the_message_that_is_also_a_member_is_told_apart(tmp_path: Path) -> None:
    # A trade report has sides: 54 and 37 are members there, 55 belongs to the report.
    body = order(1, "|552=2|54=1|37=O1|54=2|37=O2").replace("35=D", "35=AE").replace("|54=1|38", "|38", 1)
    done = read(sent(body), tmp_path)
    assert done.only["side"] is None
    assert done.only["symbol"] == "MSFT"
    assert cells(done) == [("552[0]", "54", "1"), ("552[0]", "37", "O1"), ("552[1]", "54", "2"), ("552[1]", "37", "O2")]


def test_groups_in_groups_know_their_parents(tmp_path: Path) -> None:
    body = order(1, "|453=2|448=A|452=1|802=2|523=x|803=1|523=y|803=2|448=B|452=3|15=EUR")
    done = read(sent(body), tmp_path)
    inner = [row for row in done.rows("fix_groups") if row["group_tag"] == "802"]
    assert [row["entry_path"] for row in inner] == ["453[0].802[0]"] * 2 + ["453[0].802[1]"] * 2
    assert {(row["parent_group_tag"], row["parent_entry_index"]) for row in inner} == {("453", 0)}
    assert cells(done)[-1] == ("453[1]", "452", "3")
    assert done.only["currency"] == "EUR"


@pytest.mark.parametrize(
    ("told", "note"),
    [("3", "group_count:453=3,found=2"), ("1", "group_count:453=1,found=2"), ("x", "group_count:453=x,found=2")],
)
def test_a_count_that_is_wrong_is_noted_and_every_entry_kept(tmp_path: Path, told: str, note: str) -> None:
    done = read(sent(order(1, f"|453={told}|448=A|452=1|448=B|452=3")), tmp_path)
    assert [path for path, _, _ in cells(done)] == ["453[0]"] * 2 + ["453[1]"] * 2
    assert done.only["notes"] == note


def test_a_group_without_entries_is_noted_unless_none_were_announced(tmp_path: Path) -> None:
    assert read(sent(order(1, "|453=2|58=x")), tmp_path).only["notes"] == "group_count:453=2,found=0"
    assert read(sent(order(1, "|453=0|58=x")), tmp_path).only["notes"] is None


def test_a_tag_that_no_dictionary_knows_stays_in_its_entry(tmp_path: Path) -> None:
    done = read(sent(order(1, "|453=2|448=A|9001=x|452=1|448=B|452=3|9002=y")), tmp_path)
    assert ("453[0]", "9001", "x") in cells(done)
    assert "9002" not in {tag for _, tag, _ in cells(done)}  # behind the last entry nothing says that it is a member
    assert done.only["notes"] is None


def test_a_repeated_tag_loses_no_value(tmp_path: Path) -> None:
    done = read(sent(order(1, "|40=1|40=3")), tmp_path)
    assert done.only["ord_type"] == "2"
    assert done.only["notes"] == "repeated_tag:40"
    rows = done.rows("fix_groups")
    assert [(row["group_tag"], row["entry_index"], row["tag"], row["value"]) for row in rows] == [
        (None, 1, "40", "1"),
        (None, 2, "40", "3"),
    ]
