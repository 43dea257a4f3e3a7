"""Tests of reading beside a writer: nothing is shown before the log itself proves that it was durable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventlog.errors import LogCorruptError, LogMissingError, LogRegressedError, UnknownEventError
from eventlog.reader import durable_head, read_frames
from eventlog.verify import verify
from tests.eventlog.support import (
    SEGMENT,
    abandon,
    append,
    crash_image,
    draft,
    event,
    flip_bit,
    open_log,
    small_log,
    stdlib_frame,
)


def shown(folder: Path) -> int:
    """Return how many frames a reader sees."""
    return len(list(read_frames(folder)))


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(LogMissingError):
            read_frames(folder)
        with pytest.raises(LogMissingError):
            durable_head(folder)


def test_the_newest_batch_is_shown_one_batch_or_one_mark_later(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    assert shown(tmp_path / "log") == 0
    assert durable_head(tmp_path / "log") is None
    log.commit([draft(event(1)), draft(event(2))])
    assert shown(tmp_path / "log") == 1
    log.mark()
    assert shown(tmp_path / "log") == 3
    log.commit([draft(event(3))])
    assert shown(tmp_path / "log") == 4, "the mark itself, and no more"
    log.close()
    assert list(read_frames(tmp_path / "log")) == list(read_frames(tmp_path / "log", from_seq=1))
    assert shown(tmp_path / "log") == 6


def test_frames_are_those_that_the_writer_returned(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    frames = log.commit([draft(event(1)), draft(event(2), event(3))])
    log.mark()
    assert list(read_frames(tmp_path / "log"))[1:] == frames
    assert list(read_frames(tmp_path / "log", from_seq=3)) == frames[1:]
    assert list(read_frames(tmp_path / "log", from_seq=4)) == frames[1:]
    assert list(read_frames(tmp_path / "log", from_seq=5)) == []
    log.close()


def test_durable_head_is_the_last_frame_that_is_shown(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    expected = log.head
    log.commit([draft(event(2))])
    assert durable_head(tmp_path / "log") == expected
    log.close()
    assert durable_head(tmp_path / "log") == log.head


def test_a_crashed_log_is_not_shown_beyond_its_durable_mark(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log", frames=3)
    assert shown(tmp_path / "log") == len(ends) - 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(st.just(0), st.integers(1, 4)), max_size=8))
def test_a_reader_never_sees_more_than_the_writer_had_synced_before_its_last_write(
    quick: Path, steps: list[int]
) -> None:
    log = open_log(quick / f"log-{len(list(quick.iterdir()))}")
    synced = 0
    for step in steps:
        before = log.head
        if step == 0:
            log.mark()
        else:
            log.commit([draft(event(number)) for number in range(step)])
        synced = before.commit if log.head != before else synced
        assert shown(log.folder) == synced
    log.close()


def test_a_write_under_way_is_not_reported_at_any_length(quick: Path) -> None:
    ends = small_log(quick / "log", frames=3)
    data = (quick / "log" / SEGMENT).read_bytes()
    for length in range(len(data), 0, -1):
        os.truncate(quick / "log" / SEGMENT, length)
        whole = sum(end <= length for end in ends)
        assert shown(quick / "log") == max(0, whole - 1)


def test_durable_damage_is_reported_after_what_can_be_proven(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log", frames=4)
    flip_bit(tmp_path / "log" / SEGMENT, byte=ends[1] + 10, bit=0)
    frames = read_frames(tmp_path / "log")
    assert next(frames).commit == 1
    with pytest.raises(LogCorruptError) as error:
        list(frames)
    assert "log verify" in error.value.next_step
    with pytest.raises(LogCorruptError):
        durable_head(tmp_path / "log")


@pytest.mark.parametrize("tag", ["WriterOpened", "WriterOpened.2"])
def test_39_whoever_meets_an_unknown_record_names_the_version_that_wrote_it(tmp_path: Path, tag: str) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    log.commit([draft(event(1))])
    head = log.head
    abandon(log)
    opened = json.loads((folder / SEGMENT).read_bytes().split(b"\n")[0])["data"]
    opened |= {"version": "9.8.7", "epoch": 2, "machine": "a field of that version"} if "." in tag else {
        "version": "9.8.7", "epoch": 2
    }  # fmt: skip
    records: list[tuple[str, dict[str, Any]]] = [(tag, opened), ("JobTeleported", {"job": 1})]
    first, digest = stdlib_frame(prev=head.hash, commit=3, first=3, records=records, epoch=2, durable=2)
    second, _ = stdlib_frame(prev=digest, commit=4, first=5, records=[], epoch=2, durable=4)
    append(folder / SEGMENT, first + second)
    words = "open the log with Casparian 9.8.7, which wrote it, or newer"
    with pytest.raises(UnknownEventError, match=words):
        list(read_frames(folder))
    with pytest.raises(UnknownEventError, match=words):
        open_log(folder)
    (finding,) = verify(folder).findings
    assert words in finding.what_to_do


def test_a_shortened_closed_log_is_reported(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log", clean=True)
    os.truncate(tmp_path / "log" / SEGMENT, ends[1])
    with pytest.raises(LogRegressedError):
        list(read_frames(tmp_path / "log"))
    os.truncate(tmp_path / "log" / SEGMENT, ends[1] - 1)
    with pytest.raises(LogCorruptError):
        list(read_frames(tmp_path / "log"))


def test_a_writer_that_comes_while_a_closed_log_is_read_is_no_damage(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    closed = (tmp_path / "log" / "CLOSED").read_bytes()
    before = list(read_frames(tmp_path / "log"))
    log = open_log(tmp_path / "log")
    log.commit([draft(event(9))])
    folder = crash_image(tmp_path / "log", tmp_path / "image")
    log.close()
    (folder / "CLOSED").write_bytes(closed)  # as read before the writer removed it
    append(folder / SEGMENT, b'{"seq":')
    assert list(read_frames(folder))[: len(before)] == before
