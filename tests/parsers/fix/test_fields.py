"""The fields of FIX messages of any form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parsers.fix.reading import SOH, message, order, read, sealed, sent


def test_values_are_kept_as_they_were_sent(tmp_path: Path) -> None:
    row = read(sent(order(7, "|6=-1.50|58=a=b=c|15=")), tmp_path).only
    assert row["msg_seq_num"] == "7"
    assert row["price"] == "101.25"
    assert row["avg_px"] == "-1.50"
    assert row["text"] == "a=b=c"
    assert row["currency"] == ""
    assert row["notes"] == "empty_value:15"


def test_an_empty_number_is_none_and_noted(tmp_path: Path) -> None:
    row = read(sent(order().replace("44=101.25", "44=")), tmp_path).only
    assert row["price"] is None
    assert row["notes"] == "empty_value:44"


def test_a_delimiter_in_a_printed_text_continues_the_text(tmp_path: Path) -> None:
    body = order().replace("|", SOH) + SOH + "58=one|two 8=FIX" + SOH + "15=EUR"
    row = read(sealed(body).replace(b"\x01", b"|") + b"\n", tmp_path).only
    assert row["text"] == "one|two 8=FIX"
    assert row["currency"] == "EUR"
    assert row["notes"] == "continued_value:58"
    assert row["body_length_ok"] is True


@pytest.mark.parametrize(
    "held", ["a\x01b=c", "\x0110=000\x01", "\x018=FIX.4.4\x019=5\x0135=0\x0110=000\x01", "<x>\n</x>\n"]
)
@pytest.mark.parametrize("tags", [(95, 96), (212, 213), (354, 355)])
def test_data_may_hold_anything(tmp_path: Path, held: str, tags: tuple[int, int]) -> None:
    body = order().replace("|", SOH) + f"{SOH}{tags[0]}={len(held)}{SOH}{tags[1]}={held}{SOH}58=behind"
    done = read(sealed(body) + b"\n" + message(order(2)) + b"\n", tmp_path, tags="true")
    first, second = done.messages
    assert first["text"] == "behind"
    assert first["checksum_ok"] is first["body_length_ok"] is True
    assert first["notes"] == ("joined_lines" if "\n" in held else None)
    assert second["line_number"] == 2 + held.count("\n")
    assert [each["value"] for each in done.rows("fix_tags") if each["tag"] == str(tags[1])] == [held]


def test_a_length_of_data_that_is_not_its_own_is_noted_and_not_believed(tmp_path: Path) -> None:
    row = read(sent(order(1, "|95=500|96=abc|58=behind")), tmp_path).only
    assert row["text"] == "behind"
    assert row["notes"] == "data_length_mismatch:95"


def test_a_field_without_a_number_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    row = read(sent(order().replace("49=BUYER", "4garbled9=BUYER")), tmp_path).only
    assert row["sender_comp_id"] is None
    assert row["cl_ord_id"] == "C1"
    assert row["notes"] == "malformed_fields:1"
    assert row["checksum_ok"] is True


def test_two_signs_in_one_field_and_none_in_another_do_not_shift_the_values(tmp_path: Path) -> None:
    row = read(sent(order(1, "|58=1=2|15|48=X")), tmp_path).only
    assert (row["text"], row["currency"], row["security_id"]) == ("1=2", None, "X")
    assert row["notes"] == "malformed_fields:1"


def test_a_long_delimiter_that_is_torn_does_not_shift_the_values(tmp_path: Path) -> None:
    log = sent(order(1, "|58=x"), delimiter="^A").replace(b"^A10=", b"^\x01A10=")
    row = read(log, tmp_path).only
    assert row["text"].startswith("x^\x01A10=")
    assert (row["price"], row["notes"]) == ("101.25", "checksum_absent")


def test_bytes_that_are_not_utf_8_are_kept_as_latin_1(tmp_path: Path) -> None:
    whole = message(order(1, "|58=Zürich")).replace("ü".encode(), b"\xfc\xfd")
    row = read(whole, tmp_path).only
    assert row["text"].encode("latin-1") == b"Z\xfc\xfdrich"
    assert row["raw_message"].encode("latin-1") == whole
    assert "encoding_latin1" in row["notes"]


def test_utf_8_is_text(tmp_path: Path) -> None:
    row = read("Zürich ".encode() + message(order(1, "|58=Zürich")), tmp_path).only
    assert (row["prefix"], row["text"], row["notes"]) == ("Zürich ", "Zürich", None)
    assert row["checksum_ok"] is row["body_length_ok"] is True
