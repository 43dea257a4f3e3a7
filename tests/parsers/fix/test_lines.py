"""The lines of a FIX log, packed or not, whole or in pieces."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from parsers.fix import limits
from tests.parsers.fix.reading import message, order, read, sent


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_ends_of_lines_make_no_difference(tmp_path: Path, end: bytes) -> None:
    rows = read(end.join(message(order(number)) for number in range(1, 50)), tmp_path).messages
    assert [row["msg_seq_num"] for row in rows] == [str(number) for number in range(1, 50)]
    assert {row["notes"] for row in rows} == {None}
    assert {row["message_index"] for row in rows} == (set(range(49)) if end == b"" else {0})


def test_a_packed_log_gives_what_the_log_gives(tmp_path: Path) -> None:
    data = sent(*(order(number) for number in range(1, 200)))
    assert read(gzip.compress(data), tmp_path).messages == read(data, tmp_path).messages


def test_a_packed_log_that_is_cut_gives_its_beginning_and_says_where_it_ends(tmp_path: Path) -> None:
    data = sent(*(order(number) for number in range(1, 5000)))
    packed = gzip.compress(data)
    done = read(packed[: len(packed) // 2], tmp_path)
    assert 100 < len(done.messages) < 4999
    assert "gzip_damaged" in done.errors
    (*_, last) = done.statements[0]["ranges"]
    assert "cannot be read further" in last["reason"]
    assert 0 < last["offset"] < len(data)


def test_a_body_of_many_messages_without_a_newline_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_BYTES", 1000)
    monkeypatch.setattr(limits, "LINE_BYTES_MAX", 5000)
    data = b"".join(message(order(number)) for number in range(1, 200))
    done = read(data + b"\n" + sent(order(200)), tmp_path)
    assert [row["msg_seq_num"] for row in done.messages] == [str(number) for number in range(1, 201)]
    assert [row["message_index"] for row in done.messages] == [*range(199), 0]
    assert [row["line_number"] for row in done.messages] == [1] * 199 + [2]
    assert {row["checksum_ok"] for row in done.messages} == {True}
    assert done.notes() == {"line_piece": 199}
    assert done.statements[1]["found"] == done.statements[1]["accepted"] == 2


def test_a_line_that_is_too_long_is_named_and_what_follows_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_BYTES", 1000)
    monkeypatch.setattr(limits, "LINE_BYTES_MAX", 5000)
    done = read(b"x" * 5500 + b"\n" + sent(order()), tmp_path)
    assert done.only["line_number"] == 2
    assert set(done.errors) == {"line_too_long"}
    assert sum(each["length"] for each in done.statements[0]["ranges"]) == 5500
    assert (done.statements[0]["unreadable"], done.statements[1]["unreadable"]) == (0, 1)
