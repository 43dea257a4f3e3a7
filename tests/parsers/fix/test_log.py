"""One FIX log being read: where rows come from, what is no message, and what bounds them."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from parsers.fix import limits
from tests.parsers.fix.reading import message, order, read, sent


def test_a_row_says_which_bytes_it_was_made_of(tmp_path: Path) -> None:
    data = b"junk\n" + b"in : " + message(order(1)) + message(order(2)) + b"\r\n" + message(order(3))
    done = read(data, tmp_path)
    assert [row["line_number"] for row in done.messages] == [2, 2, 3]
    assert [row["message_index"] for row in done.messages] == [0, 1, 0]
    for row in done.messages:
        raw = row["raw_message"].encode()
        assert data[row["byte_offset"] :].startswith(raw)
        line = data.split(b"\n")[row["line_number"] - 1].removesuffix(b"\r")
        assert row["raw_line_hash"] == hashlib.sha256(line).hexdigest()
        assert row["__cf_row_id"] == row["line_number"]


def test_each_message_is_one_row_of_one_table(tmp_path: Path) -> None:
    types = ["D", "8", "F", "G", "9", "H", "A", "0", "1", "2", "3", "4", "5", "j", "W", "AE", "n", "U1"]
    done = read(sent(*(order().replace("35=D", f"35={kind}") for kind in types)), tmp_path)
    assert [row["msg_type"] for row in done.rows("fix_order_lifecycle")] == types[:6]
    assert [row["msg_type"] for row in done.rows("fix_session_events")] == types[6:14]
    assert [row["msg_type"] for row in done.rows("fix_other_messages")] == types[14:]


@pytest.mark.parametrize("around", [("", ""), ("2026-01-20 in: ", ""), ('{"msg":"', '"}'), ("I", " tail")])
def test_text_around_a_message_is_kept(tmp_path: Path, around: tuple[str, str]) -> None:
    line = around[0].encode() + message(order(), delimiter="|") + around[1].encode()
    row = read(line + b"\n", tmp_path).only
    assert (row["prefix"] or "", row["suffix"] or "") == around
    assert row["checksum_ok"] is row["body_length_ok"] is True


def test_lines_that_hold_no_message_are_skipped_with_a_reason_and_kept(tmp_path: Path) -> None:
    done = read(b"# 8=FIX starts a message\n\n  \r\n" + sent(order()) + b"=" * 600, tmp_path)
    assert done.errors == ["no_message", "no_message"]
    assert done.statements[1]["skips"] == [
        {"count": 2, "reason": "blank line"},
        {"count": 2, "reason": "no message in the line"},
    ]
    assert (done.statements[1]["found"], done.statements[1]["accepted"]) == (5, 1)
    previews = [row["raw_line_preview"] for row in done.rows("fix_parse_errors")]
    assert previews == ["# 8=FIX starts a message", "=" * 500]


@pytest.mark.parametrize(
    ("garbled", "reason"),
    [
        (b"8=FIX.4.49=12035=D49=A", "no_delimiter"),
        (b"8=FIX.4.4\x019=12\x0149=A\x01", "no_msg_type"),
        (b"8=FIX.4.4|9=1", "no_msg_type"),
        (b"8=FIX.4.4\x0135=\x0149=A\x0110=000\x01", "no_msg_type"),
        (b"8=FIX.4.4", "no_delimiter"),
    ],
)
def test_what_begins_like_a_message_and_is_none_is_unreadable_in_its_place(
    tmp_path: Path, garbled: bytes, reason: str
) -> None:
    done = read(b"junk: " + garbled + b"\n" + sent(order()), tmp_path)
    assert done.errors == [reason]
    (row,) = done.rows("fix_parse_errors")
    assert (row["byte_offset"], row["length"], row["line_number"]) == (6, len(garbled), 1)
    messages, lines = done.statements
    assert (messages["found"], messages["unreadable"]) == (2, 1)
    assert [(each["offset"], each["length"]) for each in messages["ranges"]] == [(6, len(garbled))]
    assert (lines["accepted"], lines["unreadable"]) == (1, 1)


def test_a_garbled_message_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    done = read(b"8=FIX.4.49=1 " + message(order()) + b"\n", tmp_path)
    assert done.only["cl_ord_id"] == "C1"
    assert done.errors == ["no_delimiter"]
    assert done.statements[1]["accepted"] == 1


def test_a_log_without_bytes_holds_nothing(tmp_path: Path) -> None:
    done = read(b"", tmp_path)
    assert (done.batches, done.statements[0]["found"], done.statements[1]["found"]) == ([], 0, 0)


def test_a_message_that_is_too_long_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MESSAGE_BYTES_MAX", 1000)
    done = read(sent(order(1, "|58=" + "x" * 1000), order(2), order(3, "|58=" + "y" * 500 + "|453=0")), tmp_path)
    assert [row["msg_seq_num"] for row in done.messages] == ["2", "3"]
    assert done.errors == ["message_too_long"]


def test_a_long_text_around_a_message_is_cut_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_AROUND_BYTES_MAX", 10)
    done = read(b"0123456789abc " + message(order()) + b"0123456789abc", tmp_path)
    row = done.only
    assert (row["prefix"], row["suffix"]) == ("456789abc ", "0123456789")
    assert row["notes"] == "prefix_cut:4; suffix_cut:3"
    assert done.errors == ["prefix_cut", "suffix_cut"]
    assert [each["raw_line_preview"] for each in done.rows("fix_parse_errors")] == ["0123", "abc"]


def test_a_log_of_garbled_messages_is_counted_in_full_and_named_in_part(tmp_path: Path) -> None:
    done = read(b"8=FIX.4.4 " * 3_000, tmp_path)
    messages, lines = done.statements
    assert messages["unreadable"] == messages["ranges_total"] == lines["ranges_total"] == 3_000
    assert len(messages["ranges"]) == limits.RANGES_MAX
    assert len(done.errors) == 3_000


def test_a_message_with_more_to_say_than_fits_says_how_much_more(tmp_path: Path) -> None:
    row = read(sent(order(1, "".join(f"|{tag}=x|{tag}=y" for tag in range(7000, 7060)))), tmp_path).only
    assert row["notes"].count("repeated_tag") == limits.NOTES_MAX
    assert row["notes"].endswith("; more_notes:10")


@pytest.mark.parametrize(
    ("piece", "count"),
    [
        ("58=a|b|b|b|", 60_000),
        ("453=2|448=A|", 50_000),
        ("95=9|96=a|", 60_000),
        ("9001=x|", 80_000),
        ("|", 500_000),
        ("=", 500_000),
    ],
)
def test_a_message_made_to_take_long_takes_no_longer_than_its_size(tmp_path: Path, piece: str, count: int) -> None:
    begin = time.process_time()
    done = read(b"8=FIX.4.4|9=5|35=D|" + piece.encode() * count + b"\n" + sent(order()), tmp_path)
    assert len(done.messages) == 2
    assert time.process_time() - begin < 20  # one second where nothing else runs; squares of these take minutes


@pytest.mark.slow
def test_lines_that_announce_more_than_they_hold_are_read_in_time(tmp_path: Path) -> None:
    line = b"8=FIX.4.4\x019=900000\x0135=0\x01\n"
    begin = time.process_time()
    done = read(line * 5_000, tmp_path)
    assert len(done.messages) == 5_000
    assert time.process_time() - begin < 30


def test_batches_of_messages_read_one_by_one_are_bounded(tmp_path: Path) -> None:
    done = read(sent(*(order(number) for number in range(5_000)), delimiter="^A"), tmp_path)
    assert len(done.messages) == 5_000
    assert max(batch.num_rows for _, batch in done.batches) <= limits.BATCH_ROWS
