"""Where a message begins and ends, and what separates its fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parsers.fix.reading import SOH, message, order, read, sealed


@pytest.mark.parametrize("delimiter", [SOH, "|", "^A", "#", " ", ";", " | ", "<SOH>", "\\u0001", "\\x01"])
def test_any_delimiter_is_found_from_the_message_itself(tmp_path: Path, delimiter: str) -> None:
    row = read(message(order(), delimiter=delimiter) + b"\n", tmp_path).only
    assert row["delimiter"] == ("SOH" if delimiter == SOH else delimiter)
    assert row["cl_ord_id"] == "C1"
    assert row["price"] == "101.25"
    assert row["body_length_ok"] is row["checksum_ok"] is True
    assert row["notes"] is None


def test_each_message_has_its_own_delimiter(tmp_path: Path) -> None:
    data = message(order(1), delimiter="|") + b" " + message(order(2), delimiter="^A") + b"\n" + message(order(3))
    assert [row["delimiter"] for row in read(data, tmp_path).messages] == ["|", "^A", "SOH"]


def test_a_text_that_quotes_a_message_does_not_split_it(tmp_path: Path) -> None:
    body = order().replace("|", SOH) + SOH + "58=see 8=FIX.4.2|9=5|35=0|10=001|"
    for cut in (False, True):
        whole = sealed(body)[: -7 if cut else None]
        row = read(whole + b"\n", tmp_path).only
        assert row["text"] == "see 8=FIX.4.2|9=5|35=0|10=001|"
        assert row["checksum_ok"] is (None if cut else True)


def test_a_message_that_is_torn_by_another_is_not_the_other(tmp_path: Path) -> None:
    data = message(order(1))[:60] + message(order(2)) + b"\n"
    first, second = read(data, tmp_path).messages
    assert first["notes"] == "checksum_absent; last_delimiter_absent"
    assert second["cl_ord_id"] == "C2"
    assert second["checksum_ok"] is True
