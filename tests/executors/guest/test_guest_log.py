from __future__ import annotations

import logging

from hypothesis import given
from hypothesis import strategies as st

from executors.guest.guest_log import GuestLog, plain_text
from executors.guest.limits import LOG_JOB_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_TAIL_BYTES_MAX


def test_lines_are_kept_in_order_and_debug_is_not() -> None:
    log = GuestLog()
    assert log.add(logging.DEBUG, "guest ready")
    assert log.add(logging.INFO, "one")
    assert log.add_bytes(b"two\nthr")
    assert not log.add_bytes(b"ee")
    log.flush()
    assert log.tail() == "one\ntwo\nthree"


def test_the_tail_is_bounded_and_ends_with_the_last_line() -> None:
    log = GuestLog()
    for number in range(20_000):
        log.add(logging.INFO, f"line {number}")
    assert len(log.tail().encode()) <= LOG_TAIL_BYTES_MAX
    assert log.tail().endswith("line 19999")
    assert log.dropped == 0


def test_after_the_bound_lines_are_counted_and_are_no_sign_of_life() -> None:
    log = GuestLog()
    line = "x" * (LOG_LINE_BYTES_MAX - 1)
    for _line in range(LOG_JOB_BYTES_MAX // LOG_LINE_BYTES_MAX):
        assert log.add(logging.INFO, line)
    assert not log.add(logging.INFO, "too much")
    assert not log.add_bytes(b"and more\nand more\n")
    assert log.dropped == 3
    assert log.tail().endswith("[3 further lines were dropped: a job may log 10,485,760 bytes]")


def test_an_error_is_kept_after_the_bound_but_is_no_sign_of_life() -> None:
    log = GuestLog()
    while log.add(logging.INFO, "x" * 60_000):
        pass
    assert not log.add(logging.ERROR, "Traceback: the reason")
    assert "Traceback: the reason" in log.tail()


def test_control_characters_do_not_reach_a_terminal() -> None:
    log = GuestLog()
    log.add_bytes("bell \x07 red \x1b[31m tab\t sep \u2028 \r\n".encode() + b"\xff\n")
    assert log.tail() == "bell ? red ?[31m tab\t sep ? ?\n�"


@given(st.lists(st.binary(max_size=50), max_size=20), st.data())
def test_lines_do_not_depend_on_how_the_bytes_arrive(pieces: list[bytes], data: st.DataObject) -> None:
    whole, split = GuestLog(), GuestLog()
    joined = b"".join(pieces)
    whole.add_bytes(joined)
    at = 0
    while at < len(joined):
        size = data.draw(st.integers(1, len(joined) - at))
        split.add_bytes(joined[at : at + size])
        at += size
    whole.flush()
    split.flush()
    assert split.tail() == whole.tail()


def test_a_line_without_end_is_cut_into_pieces() -> None:
    log = GuestLog()
    for _chunk in range(40):
        log.add_bytes(b"y" * 10_000)
    log.flush()
    assert max(map(len, log.tail().split("\n"))) <= LOG_LINE_BYTES_MAX


@given(st.text(), st.integers(1, 50))
def test_plain_text_is_one_bounded_line(text: str, chars_max: int) -> None:
    plain = plain_text(text, chars_max=chars_max)
    assert len(plain) <= chars_max
    assert plain.splitlines() in ([], [plain])
    assert all(ord(character) >= 32 for character in plain)
