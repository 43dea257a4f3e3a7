from __future__ import annotations

from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.arrays import Array, Mask, Reading, blanked, faults_of, matches, refused
from executors.suspects import late_days, odd_characters, odd_lengths, odd_points, read_in_two

WORDS = st.lists(st.none() | st.sampled_from(["1", "22", "x", "", "1.5", "-3"]), max_size=12)


def quick(text: Array) -> Array | None:
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def strict(text: Array) -> Reading:
    fits = matches(text, "-?[0-9]+")
    return Reading(blanked(text, fits).cast(pa.int64()), faults_of(("format_invalid", refused(text, fits))))


@given(words=WORDS, odd=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), max_size=3))
def test_what_is_taken_for_odd_changes_nothing_but_the_cost(words: list[str | None], odd: list[list[bool]]) -> None:
    text = pa.array(words, pa.string())
    looks = [partial(lambda mask, _: mask, pa.array(each[: len(words)], pa.bool_())) for each in odd]
    found = read_in_two(text, looks, quick, strict)
    wanted = strict(text)
    assert found.values.equals(wanted.values)
    assert [(fault.code, fault.rows.to_pylist()) for fault in found.faults] == [
        (fault.code, fault.rows.to_pylist()) for fault in wanted.faults
    ]


def test_a_second_look_is_taken_only_where_the_first_was_not_enough() -> None:
    seen: list[str] = []

    def foreign(text: Array) -> Mask:
        seen.append("characters")
        return odd_characters(text, "0123456789")

    def long(text: Array) -> Mask:
        seen.append("lengths")
        return odd_lengths(text, 1, 18)

    for words, looks in ((["1", "2", "x"], ["characters"]), (["1", "", "2"], ["characters", "lengths"])):
        seen.clear()
        found = read_in_two(pa.array(words), (foreign, long), quick, strict)
        assert seen == looks
        assert found.values.is_null().to_pylist() == [word in {"x", ""} for word in words]


def test_a_text_with_a_foreign_character_is_odd() -> None:
    text = pa.array(["12", "1.5", "N/A", "1x", "", None, "1..5"])
    assert odd_characters(text, "0123456789").to_pylist() == [False, False, True, True, False, False, True]


def test_a_text_of_another_length_is_odd() -> None:
    assert odd_lengths(pa.array(["", "a", "ab", "abc", None]), 1, 2).to_pylist() == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("word", "is_odd"), [("123", False), ("1234", True), ("1.23", False), ("1.234", True), (".5", True), ("5.", True)]
)
def test_a_point_with_too_much_or_nothing_beside_it_is_odd(word: str, is_odd: bool) -> None:
    assert odd_points(pa.array([word, None]), whole_max=3, fraction_max=2).to_pylist() == [is_odd, False]


def test_days_that_not_every_month_has_are_late() -> None:
    days = pa.array(["2026-02-28", "2026-02-29", "2026-01-31", "2026", None])
    assert late_days(days, 8).to_pylist() == [False, True, True, False, False]
