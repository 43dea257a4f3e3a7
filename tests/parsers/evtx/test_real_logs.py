"""The EVTX parser against public logs, where they are at hand.

Counts, times and (channel, provider, event id) of the public logs were established with other readers: Rust `evtx`,
dissect.eventlog, python-evtx and a plain walk of the bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from cli.demo.evtx_writer import (
    CHUNK_BYTES,
)
from tests.parsers.evtx.reading import (
    REAL_DATA,
    Read,
    assert_adds_up,
)


def real_truth() -> list[dict[str, Any]]:
    path = REAL_DATA / "evtx.truth.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


REAL: Final = real_truth()


needs_real_data = pytest.mark.skipif(
    not REAL, reason=f"the public logs are not at {REAL_DATA}; set CASPARIAN_REAL_DATA to their folder"
)


@needs_real_data
def test_the_public_logs_are_all_there() -> None:
    assert len(REAL) == 40


@needs_real_data
@pytest.mark.parametrize("entry", REAL, ids=lambda entry: str(entry["file"]))
def test_public_log_gives_the_records_that_other_readers_found(entry: dict[str, Any]) -> None:
    """Other readers stop at the first damaged record of a chunk, and so does this one without recovery."""
    truth = entry["truth"]
    result = Read(REAL_DATA / entry["file"])
    rows = result.rows()
    least, most = truth["accept_records"]
    assert least <= len(rows) <= most
    assert result.statement["unreadable"] == truth["unparsable_records"]
    assert len([each for each in result.ranges if each[1] == CHUNK_BYTES]) == truth["unreadable_chunks"]
    assert_adds_up(result)
    found = Counter((row["channel"], row["provider_name"], row["event_id"]) for row in rows)
    assert found == {(e["channel"], e["provider"], e["event_id"]): e["count"] for e in truth["events"]}
    assert span([row["timestamp"] for row in rows]) == told(truth, "time_created")
    assert span([row["header_time"] for row in rows]) == told(truth, "record_time")
    ids = [row["header_record_id"] for row in rows]
    assert len(set(ids)) == truth["header_ids"]["distinct_record_ids"]
    assert id_span(ids) == (truth["header_ids"]["min_record_id"], truth["header_ids"]["max_record_id"])
    least_id, most_id = truth["min_record_id"], truth["max_record_id"]
    assert id_span([row["event_record_id"] for row in rows]) == (least_id, most_id)


BEHIND_DAMAGE: Final = {"sample-with-zero-data-size-event.evtx": 114, "sample_with_a_bad_chunk_magic.evtx": 31}


@needs_real_data
@pytest.mark.parametrize("entry", REAL, ids=lambda entry: str(entry["file"]))
def test_recovery_adds_only_whole_records_behind_damage(entry: dict[str, Any]) -> None:
    stopping, whole = (Read(REAL_DATA / entry["file"], recover=word) for word in ("false", "true"))
    known = {row["record_offset"] for row in stopping.rows()}
    rows = whole.rows()
    assert known <= {row["record_offset"] for row in rows}
    assert [row for row in rows if row["record_offset"] in known] == stopping.rows()
    added = [row for row in rows if row["record_offset"] not in known]
    assert len(added) == BEHIND_DAMAGE.get(Path(entry["file"]).name, 0)
    stops = [(offset, offset + length) for offset, length, _ in stopping.ranges]
    assert all(any(start < row["record_offset"] < end for start, end in stops) for row in added)
    assert_adds_up(whole)


def id_span(ids: list[int]) -> tuple[int | None, int | None]:
    return (min(ids), max(ids)) if ids else (None, None)


def span(moments: list[datetime]) -> tuple[str, str] | None:
    return (micros(min(moments)), micros(max(moments))) if moments else None


def micros(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00")


def told(truth: dict[str, Any], what: str) -> tuple[str, str] | None:
    """Return the truth's first and last time to the microsecond; None for a log without records."""
    first, last = truth[f"min_{what}"], truth[f"max_{what}"]
    return (first[:26], last[:26]) if first else None
