"""Names, hashes and instants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.ids import (
    Instant,
    JobId,
    LogId,
    PathText,
    canonical_hash,
    commit_key,
    config_hash,
    instant,
    instant_datetime,
    instant_plus,
    path_bytes,
    path_text,
)


@given(st.binary(max_size=60))
def test_any_file_name_survives_its_text_form(name: bytes) -> None:
    text = path_text(name)
    text.encode("utf-8")  # no lone surrogates: any JSON can carry it
    assert path_bytes(text) == name


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_two_names_never_share_a_text_form(one: bytes, other: bytes) -> None:
    assert (path_text(one) == path_text(other)) == (one == other)


def test_percent_signs_and_newlines_are_left_alone() -> None:
    assert path_text(b"Microsoft-Windows-A%4Operational.evtx") == "Microsoft-Windows-A%4Operational.evtx"
    assert path_text(b"a\nb") == "a\nb"
    assert path_text(b"a\\b\xff") == "a\\\\b\\xff"


@pytest.mark.parametrize("text", ["\\", "\\x4", "\\xFF", "\\x+f", "\\x f", "a\\qb"])
def test_text_that_no_name_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the text form"):
        path_bytes(PathText(text))


def test_a_value_cannot_forge_a_separator() -> None:
    assert canonical_hash("a", "b") != canonical_hash("a\x1fb")
    assert canonical_hash("a,b") != canonical_hash("a", "b")


def test_the_order_of_settings_does_not_matter() -> None:
    assert config_hash({"a": "1", "b": "2"}) == config_hash({"b": "2", "a": "1"})


def test_each_attempt_has_its_own_commit_key() -> None:
    log_id = LogId("0" * 32)
    assert commit_key(log_id, JobId(1), 1) != commit_key(log_id, JobId(1), 2)
    assert commit_key(log_id, JobId(11), 1) != commit_key(log_id, JobId(1), 11)


@given(st.datetimes(), st.integers(0, 10**6))
def test_instants_are_fixed_width_and_order_like_time(moment: object, seconds: int) -> None:
    first = Instant("2026-01-22T10:11:12.123456Z")
    later = instant_plus(first, seconds=seconds)
    assert len(later) == len(first)
    assert (later > first) == (seconds > 0)
    assert instant(instant_datetime(later)) == later
