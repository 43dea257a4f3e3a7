"""Every column of every table."""

from __future__ import annotations

import json
import struct
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from blake3 import blake3
from msgspec.structs import replace

from cli.demo.evtx_writer import (
    FILE_HEADER_BYTES,
    Event,
    UserData,
)
from parsers.evtx import parser
from parsers.evtx.account import OUTPUT_VERSION
from tests.parsers.evtx.reading import (
    NOON,
    a_logon,
    read,
    whole_log,
    written,
)

FULL: Final = Event(
    record_id=7,
    event_record_id=227_693,
    time=NOON,
    header_time=NOON + timedelta(seconds=6),
    provider="Service Control Manager",
    provider_guid="555908d1-a6d7-4695-8e1e-26931d2012f4",
    event_source_name="SCM",
    event_id=7045,
    qualifiers=16384,
    version=2,
    level=4,
    task=12544,
    opcode=1,
    keywords=0x8080000000000000,
    process_id=820,
    thread_id=608,
    channel="System",
    computer="HOST1.corp.example",
    user_sid="S-1-5-21-1-2-3-1108",
    activity_id="ad38ff07-bc05-4620-a79a-51e18f454768",
    related_activity_id="ad38ff07-bc05-4620-a79a-51e18f454769",
    data={"ServiceName": "überall"},
)

FULL_ROW: Final = {
    "event_record_id": 227_693,
    "timestamp": NOON,
    "provider_name": "Service Control Manager",
    "provider_event_source_name": "SCM",
    "channel": "System",
    "computer": "HOST1.corp.example",
    "event_id": 7045,
    "event_qualifiers": 16384,
    "version": 2,
    "level": 4,
    "task": 12544,
    "opcode": 1,
    "keywords_hex": "0x8080000000000000",
    "execution_process_id": 820,
    "execution_thread_id": 608,
    "security_user_id": "S-1-5-21-1-2-3-1108",
    "raw_event_xml": None,
    "header_record_id": 7,
    "header_time": NOON + timedelta(seconds=6),
    "chunk_index": 0,
    "record_offset": FILE_HEADER_BYTES + 512,
}

GUIDS: Final = {
    "provider_guid": "555908d1-a6d7-4695-8e1e-26931d2012f4",
    "correlation_activity_id": "ad38ff07-bc05-4620-a79a-51e18f454768",
    "correlation_related_activity_id": "ad38ff07-bc05-4620-a79a-51e18f454769",
}


@pytest.mark.parametrize("forwarded", [False, True])
def test_every_column_of_a_full_event_is_filled(tmp_path: Path, forwarded: bool) -> None:
    (row,) = read(written([replace(FULL, forwarded=forwarded)])[0], tmp_path).rows()
    assert json.loads(row.pop("raw_event_json"))["Event"]["EventData"] == {"ServiceName": "überall"}
    assert {name: row.pop(name).strip("{}").lower() for name in GUIDS} == GUIDS
    data = (tmp_path / "log.evtx").read_bytes()
    assert row.pop("file_ref") == blake3(data).hexdigest()[:16]
    length = row.pop("record_length")
    assert data[FILE_HEADER_BYTES + 512 :][length - 4 : length] == length.to_bytes(4, "little")  # at both of its ends
    assert row == FULL_ROW


@pytest.mark.parametrize("forwarded", [False, True])
def test_absent_parts_are_null_and_never_empty_text(tmp_path: Path, forwarded: bool) -> None:
    bare = Event(
        record_id=1, time=NOON, provider="P", event_id=1, channel=None, computer="H", forwarded=forwarded, data={}
    )
    (row,) = read(written([bare])[0], tmp_path).rows()
    absent = {"channel", "provider_guid", "event_qualifiers", "security_user_id", "correlation_activity_id"}
    assert {name: row[name] for name in absent} == dict.fromkeys(absent)
    assert row["event_record_id"] == 1


@pytest.mark.parametrize("spelling", ["{54849625-5478-4994-A5BA-3E3B0328C30D}", "54849625-5478-4994-a5ba-3e3b0328c30d"])
def test_guids_have_one_spelling_however_the_record_spells_them(tmp_path: Path, spelling: str) -> None:
    data, _ = written([a_logon(1, provider_guid=spelling, forwarded=True)])
    (row,) = read(data, tmp_path).rows()
    assert row["provider_guid"] == "54849625-5478-4994-a5ba-3e3b0328c30d"


def test_columns_stand_in_the_declared_order_with_the_declared_nulls(tmp_path: Path) -> None:
    everything = [a_logon(1), a_logon(2, user_data=UserData(name="Cleared", fields={"Who": "x"})), a_logon(4)]
    result = read(written(everything)[0], tmp_path)
    arrow = {
        "int64": pa.int64(),
        "string": pa.string(),
        "boolean": pa.bool_(),
        "binary": pa.binary(),
        "timestamp_utc": pa.timestamp("us", "UTC"),
    }
    for output, batch in result.batches:
        declared: Any = parser.outputs[output]["columns"]
        fields = [pa.field(each["name"], arrow[each["type"]], nullable=each["nullable"]) for each in declared]
        assert batch.schema == pa.schema(fields)
    assert {name for name, _ in result.batches} == set(parser.outputs)


def test_rows_come_in_file_order_over_all_chunks(tmp_path: Path) -> None:
    result = read(whole_log()[0], tmp_path)
    assert [row["header_record_id"] for row in result.rows()] == list(range(1, 901))
    assert result.statement == {
        "unit": "records",
        "output": "evtx_events",
        "found": 900,
        "skipped": 0,
        "unreadable": 0,
        "ranges": [],
    }


def test_user_data_is_kept_in_the_json(tmp_path: Path) -> None:
    event = a_logon(1, user_data=UserData(name="LogFileCleared", fields={"SubjectUserName": "x"}))
    (row,) = read(written([event])[0], tmp_path).rows()
    assert json.loads(row["raw_event_json"])["Event"]["UserData"]["LogFileCleared"] == {"SubjectUserName": "x"}


def test_file_row_counts_what_the_walk_saw(tmp_path: Path) -> None:
    data, layout = written([a_logon(number) for number in range(1, 901)], dirty=True, stale_chunk_count=True)
    (row,) = read(data, tmp_path).rows("evtx_files")
    assert row == {
        "file_size": len(data),
        "record_count": 900,
        "chunk_count": 5,
        "dirty": True,
        "header_next_record_id": layout.chunks[0].records[-1].record_id + 1,
        "unreadable": 0,
        "parser_output_version": OUTPUT_VERSION,
        "file_ref": blake3(data).hexdigest()[:16],
        "file_hash": blake3(data).hexdigest(),
        "records_found": 900,
        "unreadable_ranges": 0,
        "unreadable_chunks": 0,
        "slack_records": 0,
        "header_chunk_count": 1,
    }


def test_log_without_records_has_a_file_row_and_no_events(tmp_path: Path) -> None:
    result = read(written([])[0], tmp_path)
    assert result.rows() == []
    assert result.rows("evtx_files")[0]["record_count"] == 0
    assert (result.statement["found"], result.ranges) == (0, [])


def test_header_value_that_no_column_holds_is_null_with_a_range(tmp_path: Path) -> None:
    data = bytearray(whole_log()[0])
    struct.pack_into("<Q", data, 24, 2**63)
    result = read(bytes(data), tmp_path)
    assert result.rows("evtx_files")[0]["header_next_record_id"] is None
    assert result.ranges == [(24, 8, "the header's next record id 9223372036854775808 does not fit into int64")]
