"""Times of the protocol, and those before a message."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.parsers.fix.reading import message, order, read, sent


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("20260120-14:30:00", "20260120-14:30:00Z"),
        ("20260120-14:30:00.123", "20260120-14:30:00.123Z"),
        ("20260120-14:30:00.123456", "20260120-14:30:00.123456Z"),
        ("20260120-14:30:00.123456999", "20260120-14:30:00.123456Z"),
        ("20260120-14:30:00+01:00", "20260120-14:30:00+01:00Z"),  # no time of the protocol: the host refuses it
        ("20260120-14:30:00Z", "20260120-14:30:00Z"),
        ("yesterday", "yesterday"),
    ],
)
def test_times_are_utc_to_the_microsecond_and_stand_beside_what_was_sent(tmp_path: Path, text: str, told: str) -> None:
    row = read(sent(order().replace("20260120-14:30:00.123", text)), tmp_path).only
    assert row["sending_time"] == told
    assert row["sending_time_text"] == text


NOON: Final = datetime(2026, 1, 20, 12, 0, 0, 250000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prefix", "text", "instant"),
    [
        ("2026-01-20 13:00:00,250 INFO ", "2026-01-20 13:00:00,250", NOON),
        ("20260120-13:00:00.250 : ", "20260120-13:00:00.250", NOON),
        ("[2026-01-20T12:00:00.250Z] ", "2026-01-20T12:00:00.250Z", NOON),
        ("2026-01-20T07:00:00.250-05:00 ", "2026-01-20T07:00:00.250-05:00", NOON),
        ("13:00:00 in ", "13:00:00", None),
        ("Jan  2 09:30:00 host: ", "Jan  2 09:30:00", None),
        ("host: ", None, None),
    ],
)
def test_the_time_of_a_prefix_is_an_instant_where_a_zone_is_set(
    tmp_path: Path, prefix: str, text: str | None, instant: datetime | None
) -> None:
    data = prefix.encode() + message(order())
    plain = read(data, tmp_path).only
    assert (plain["prefix_time_text"], plain["prefix_time"]) == (text, None)
    zoned = read(data, tmp_path, log_prefix_tz="Europe/Berlin").only
    assert (zoned["prefix_time_text"], zoned["prefix_time"]) == (text, instant)
    assert zoned["sending_time"] == plain["sending_time"]


@pytest.mark.parametrize(
    ("time", "note"),
    [
        ("2026-10-25 02:30:00", "prefix_time_ambiguous"),
        ("2026-03-29 02:30:00", "prefix_time_impossible"),
        ("2026-13-01 02:30:00", "prefix_time_impossible"),
    ],
)
def test_a_time_that_is_no_instant_is_noted(tmp_path: Path, time: str, note: str) -> None:
    row = read(time.encode() + b" " + message(order()), tmp_path, log_prefix_tz="Europe/Berlin").only
    assert (row["prefix_time_text"], row["prefix_time"], row["notes"]) == (time, None, note)
