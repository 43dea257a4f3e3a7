"""BodyLength and CheckSum against the bytes of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parsers.fix.reading import message, order, read


@pytest.mark.parametrize("extra", [1, 300, 5000])
def test_body_length_and_checksum_are_tried(tmp_path: Path, extra: int) -> None:
    right = message(order(1, "|58=" + "x" * extra))
    assert read(right, tmp_path).only["notes"] is None
    changed = right.replace(b"44=101.25", b"44=101.26")
    row = read(changed, tmp_path).only
    assert (row["checksum_ok"], row["body_length_ok"]) == (False, True)
    assert row["notes"] == f"checksum_mismatch:computed={(int(right[-4:-1]) + 1) % 256:03}"
    longer = right.replace(b"44=101.25", b"44=1001.25")
    row = read(longer, tmp_path).only
    assert (row["checksum_ok"], row["body_length_ok"]) == (False, False)
    assert f"body_length_mismatch:counted={int(row['body_length']) + 1}" in row["notes"]


def test_a_checksum_over_the_printed_delimiter_is_named(tmp_path: Path) -> None:
    printed = message(order(), delimiter="|")
    printed = printed[:-4] + b"%03d|" % (sum(printed[:-7]) & 0xFF)
    row = read(printed, tmp_path).only
    assert row["checksum_ok"] is False
    assert row["notes"] == "checksum_ok_over_printed_delimiter"


def test_what_cannot_be_checked_is_null(tmp_path: Path) -> None:
    whole = message(order())
    cut = read(whole[:-7], tmp_path).only
    assert (cut["checksum_ok"], cut["body_length_ok"], cut["notes"]) == (None, None, "checksum_absent")
    bare = read(b"8=FIX.4.2\x0135=0\x0134=1\x0149=A\x0156=B\x0152=20260120-14:30:00\x0110=7\x01", tmp_path).only
    assert bare["body_length_ok"] is None
    assert "body_length_absent" in bare["notes"]
    assert "checksum_not_3_digits" in bare["notes"]


def test_a_message_without_its_last_delimiter_is_whole(tmp_path: Path) -> None:
    row = read(message(order())[:-1], tmp_path).only
    assert (row["checksum_ok"], row["body_length_ok"], row["notes"]) == (True, True, "last_delimiter_absent")
