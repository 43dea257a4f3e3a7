"""The EVTX parser against logs of our own, whose truth is known, and against public logs where they are at hand.

Counts, times and (channel, provider, event id) of the public logs were established with other readers: Rust `evtx`,
dissect.eventlog, python-evtx and a plain walk of the bytes.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import json
import os
import struct
import sys
import tomllib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cli.demo.evtx_writer import (
    CHUNK_BYTES,
    FILE_HEADER_BYTES,
    Damaged,
    Event,
    Layout,
    UserData,
    cut,
    empty_file,
    fill_slack,
    make_chunk_count_stale,
    overwrite_chunk_from_middle,
    set_dirty_flag,
    text_file,
    write_evtx,
    zero_chunk_magic,
    zero_record_size,
)
from fixtures.evtx_case import build_case

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "parsers" / "evtx"
REAL_DATA: Final = Path(os.environ.get("CASPARIAN_REAL_DATA", ROOT.parent / "shared" / "data"))
NOON: Final = datetime(2026, 1, 20, 12, 0, 0, 123456, tzinfo=UTC)


def load_parser() -> Any:
    spec = importlib.util.spec_from_file_location("evtx_parser_under_test", FOLDER / "parser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # not registered in sys.modules: a guest need not be
    return module


parser: Any = load_parser()


class Read:
    """All that one parse gave."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.batches: list[tuple[str, pa.RecordBatch]] = []
        running = parser.parse(str(path), settings)
        while True:
            try:
                self.batches.append(next(running))
            except StopIteration as stop:
                self.statement: dict[str, Any] = stop.value
                break
        for _, batch in self.batches:
            batch.validate(full=True)

    def rows(self, output: str = "evtx_events") -> list[dict[str, Any]]:
        return [row for name, batch in self.batches if name == output for row in batch.to_pylist()]

    def count(self, output: str = "evtx_events") -> int:
        return sum(batch.num_rows for name, batch in self.batches if name == output)

    @property
    def ids(self) -> set[int]:
        events = [batch for name, batch in self.batches if name == "evtx_events"]
        columns: list[Any] = [batch.column("header_record_id") for batch in events]
        return {each for column in columns for each in column.to_pylist()}

    def content(self, output: str = "evtx_events") -> list[dict[str, Any]]:
        """Return the rows without the reference to the file, which differs with every byte of it."""
        return [{name: value for name, value in row.items() if name != "file_ref"} for row in self.rows(output)]

    def notes(self) -> Counter[tuple[str, str]]:
        return Counter((row["note_type"], row["note_key"]) for row in self.rows("evtx_record_annotations"))

    @property
    def ranges(self) -> list[tuple[int, int, str]]:
        return [(each["offset"], each["length"], each["reason"]) for each in self.statement["ranges"]]


def read(data: bytes, folder: Path, **settings: str) -> Read:
    path = folder / "log.evtx"
    path.write_bytes(data)
    return Read(path, **settings)


def a_logon(record_id: int, **changes: Any) -> Event:
    event = Event(
        record_id=record_id,
        time=NOON + timedelta(seconds=record_id),
        provider="Microsoft-Windows-Security-Auditing",
        provider_guid="54849625-5478-4994-a5ba-3e3b0328c30d",
        event_id=4624,
        channel="Security",
        computer="HOST1",
        data={"TargetUserName": f"user{record_id}", "LogonType": "3"},
    )
    return replace(event, **changes)


def written(made: list[Event], **options: Any) -> tuple[bytes, Layout]:
    stream = io.BytesIO()
    layout = write_evtx(stream, made, **options)
    return stream.getvalue(), layout


@functools.cache
def whole_log() -> tuple[bytes, Layout]:
    return written([a_logon(number) for number in range(1, 901)])


# --- what the host reads before it runs anything ------------------------------------------------------------------


def test_outputs_are_a_literal_with_the_types_that_the_host_knows() -> None:
    tree = ast.parse((FOLDER / "parser.py").read_text())
    (assigned,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "outputs"
    ]
    literal = ast.literal_eval(assigned)
    assert literal == parser.outputs
    types = {column["type"] for output in literal.values() for column in output["columns"]}
    assert types <= {"boolean", "int64", "float64", "string", "binary", "timestamp_utc"}


def test_manifest_names_what_is_there() -> None:
    manifest = tomllib.loads((FOLDER / "casparian.toml").read_text())
    assert manifest["name"] == "evtx"
    assert (FOLDER / manifest["entrypoint"]).is_file()
    assert manifest["version"] == parser.OUTPUT_VERSION


def test_guest_code_imports_nothing_of_ours() -> None:
    tree = ast.parse((FOLDER / "parser.py").read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"pyarrow", "msgspec", "evtx", "blake3"}


# --- every column -------------------------------------------------------------------------------------------------

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
        declared = parser.outputs[output]["columns"]
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
        "parser_output_version": parser.OUTPUT_VERSION,
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


# --- bounds -------------------------------------------------------------------------------------------------------


def test_batches_are_bounded_in_rows_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "BATCH_ROWS", 10)
    monkeypatch.setattr(parser, "BATCH_TEXT_MAX", 20_000)
    result = read(whole_log()[0], tmp_path)
    batches = [batch for name, batch in result.batches if name == "evtx_events"]
    assert len(batches) > 5
    assert sum(batch.num_rows for batch in batches) == 900
    assert max(sum(len(row["raw_event_json"]) for row in batch.to_pylist()) for batch in batches) <= 20_000


def test_a_full_batch_stays_under_ten_thousand_rows() -> None:
    records_in_a_chunk_max = (CHUNK_BYTES - 512) // 28
    assert parser.BATCH_ROWS + records_in_a_chunk_max <= 10_000


@given(st.lists(st.integers(0, 50), max_size=30))
def test_cuts_cover_every_record_once_in_order(lengths: list[int]) -> None:
    texts = ["x" * length for length in lengths]
    before, parser.BATCH_TEXT_MAX = parser.BATCH_TEXT_MAX, 40
    try:
        cuts = list(parser._cuts(texts))
    finally:
        parser.BATCH_TEXT_MAX = before
    assert [position for first, end in cuts for position in range(first, end)] == list(range(len(lengths)))
    assert all(end - first == 1 or sum(lengths[first:end]) <= 40 for first, end in cuts)


@pytest.mark.parametrize("record", [0, 1, 10**9])
def test_decoder_without_progress_is_left_and_every_record_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: int
) -> None:
    class Stuck:
        def __init__(self, *_: object) -> None:
            self.asked = 0

        def records_json(self) -> Stuck:
            return self

        def __iter__(self) -> Stuck:
            return self

        def __next__(self) -> object:
            self.asked += 1
            assert self.asked < 2_000
            raise RuntimeError(f"Failed to parse record number {record}: no")

    monkeypatch.setattr(parser, "PyEvtxParser", Stuck)
    result = read(whole_log()[0], tmp_path)
    assert (result.statement["found"], result.statement["unreadable"], result.rows()) == (900, 900, [])
    assert len(result.ranges) == 900


# --- loose records ------------------------------------------------------------------------------------------------

SYSTEM: Final = {
    "Provider": {"#attributes": {"Name": "P"}},
    "EventID": 1,
    "TimeCreated": {"#attributes": {"SystemTime": "2026-01-20T12:00:00.123456Z"}},
    "EventRecordID": 5,
}


A_SECOND_LATER: Final = (
    (NOON.replace(microsecond=0) + timedelta(seconds=1) - datetime(1601, 1, 1, tzinfo=UTC))
    // (timedelta(microseconds=1))
    * 10
)
BEYOND_9999: Final = 2**63


class Loose:
    """A record as the decoder would give it, with the two values of its header."""

    def __init__(
        self, system: dict[str, Any] | None, *, record_id: int = 9, filetime: int = A_SECOND_LATER, **more: Any
    ) -> None:
        event = {} if system is None else {"System": system}
        self.text = json.dumps({"Event": event | more})
        self.record_id = record_id
        self.filetime = filetime


record_of = Loose


def table_of(*records: Loose) -> Any:
    rows = parser._Rows()
    rows.texts = [record.text for record in records]
    rows.xml = [None] * len(records)
    rows.header_ids = [record.record_id for record in records]
    rows.filetimes = [record.filetime for record in records]
    rows.lengths = [100] * len(records)
    rows.offsets = [100 * position for position in range(len(records))]
    rows.chunks = [0] * len(records)
    return parser.read_events(rows, "0123456789abcdef")


def one(record: Loose) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """Return the row of a record that can be one, and the type, key and value of its notes."""
    table = table_of(record)
    assert table.bad == {}
    (row,) = table.batch.to_pylist()
    return row, [(note.note_type, note.key, note.value) for note in table.notes]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"EventID": "4656"}, {"event_id": 4656, "event_qualifiers": None}),
        (
            {"EventID": {"#text": "1", "#attributes": {"Qualifiers": "16384"}}},
            {"event_id": 1, "event_qualifiers": 16384},
        ),
        ({"EventID": {"#text": 18454, "#attributes": {"Qualifiers": 0}}}, {"event_id": 18454, "event_qualifiers": 0}),
        ({"EventID": 0}, {"event_id": 0}),
        ({"Level": "4", "Task": "0x1F", "Opcode": ""}, {"level": 4, "task": 31, "opcode": None}),
        ({"Keywords": 0x80}, {"keywords_hex": "0x80"}),
        ({"Keywords": "0x8020000000000000"}, {"keywords_hex": "0x8020000000000000"}),
        ({"Channel": None, "Provider": None, "Execution": None}, {"channel": None, "provider_name": None}),
        ({"Execution": {"#attributes": {"ProcessID": "4"}}}, {"execution_process_id": 4, "execution_thread_id": None}),
        ({"EventRecordID": "7068010"}, {"event_record_id": 7068010, "header_record_id": 9}),
        ({"EventRecordID": None}, {"event_record_id": 9, "header_record_id": 9}),
        ({"EventRecordID": ""}, {"event_record_id": 9}),
        ({"TimeCreated": None}, {"timestamp": datetime(2026, 1, 20, 12, 0, 1, tzinfo=UTC)}),
        ({"TimeCreated": {"#attributes": {}}}, {"timestamp": datetime(2026, 1, 20, 12, 0, 1, tzinfo=UTC)}),
        ({"TimeCreated": "2026-01-20T12:00:00Z"}, {"timestamp": datetime(2026, 1, 20, 12, 0, tzinfo=UTC)}),
    ],
)
def test_loose_shapes_are_coerced_without_loss(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    row, notes = one(record_of(SYSTEM | changes))
    assert "conversion_failed" not in [each[0] for each in notes]
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-11-19T16:52:33.833733500Z", datetime(2021, 11, 19, 16, 52, 33, 833733, tzinfo=UTC)),
        ("2022-01-26T09:16:25.3232239Z", datetime(2022, 1, 26, 9, 16, 25, 323223, tzinfo=UTC)),
        ("2022-01-26T09:16:25.3Z", datetime(2022, 1, 26, 9, 16, 25, 300000, tzinfo=UTC)),
        ("2022-01-26 09:16:25", datetime(2022, 1, 26, 9, 16, 25, tzinfo=UTC)),
        ("2022-01-26T09:16:25+01:30", datetime(2022, 1, 26, 7, 46, 25, tzinfo=UTC)),
        ("1601-01-01T00:00:00.000000Z", datetime(1601, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_to_the_microsecond_and_cut_behind_it(text: str, moment: datetime) -> None:
    row, notes = one(record_of(SYSTEM | {"TimeCreated": {"#attributes": {"SystemTime": text}}}))
    assert (row["timestamp"], notes) == (moment, [])


@pytest.mark.parametrize(
    ("filetime", "moment", "notes"),
    [
        (131945545075123404, datetime(2019, 2, 13, 18, 1, 47, 512340, tzinfo=UTC), []),
        (9, datetime(1601, 1, 1, tzinfo=UTC), []),
        (BEYOND_9999, None, [("conversion_failed", "header_time", str(BEYOND_9999))]),
    ],
)
def test_header_time_is_cut_to_microseconds(filetime: int, moment: datetime | None, notes: list[Any]) -> None:
    row, noted = one(record_of(SYSTEM, filetime=filetime))
    assert (row["header_time"], noted) == (moment, notes)


@pytest.mark.parametrize(
    ("changes", "column", "value", "note"),
    [
        ({"Level": "99999999999999999999"}, "level", None, ("Level", "99999999999999999999")),
        ({"EventRecordID": 2**63}, "event_record_id", 9, ("EventRecordID", "9223372036854775808")),
        (
            {"TimeCreated": "yesterday"},
            "timestamp",
            NOON.replace(second=1, microsecond=0),
            ("TimeCreated", "yesterday"),
        ),
        (
            {"TimeCreated": "2026-02-30T00:00:00Z"},
            "timestamp",
            NOON.replace(second=1, microsecond=0),
            ("TimeCreated", "2026-02-30T00:00:00Z"),
        ),
        ({"Computer": ["A", "B"]}, "computer", None, ("System/Computer", '["A", "B"]')),
        ({"Task": {"#text": 4}}, "task", None, ("System/Task", '{"#text": 4}')),
    ],
)
def test_value_that_does_not_fit_becomes_a_note_and_the_record_stays(
    changes: dict[str, Any], column: str, value: object, note: tuple[str, str]
) -> None:
    row, notes = one(record_of(SYSTEM | changes))
    assert row[column] == value
    assert ("conversion_failed", *note) in notes
    assert row["event_id"] == 1


def test_numbers_that_stand_as_text_are_said_once_a_record() -> None:
    _, notes = one(record_of(SYSTEM | {"EventID": "4656", "Level": "0"}))
    assert notes == [("field_shape_variant", "System", "numbers stand as text: EventID, Level")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (record_of({name: SYSTEM[name] for name in SYSTEM if name != "EventID"}), "has no EventID"),
        (record_of(SYSTEM | {"EventID": None}), "has no EventID"),
        (record_of(SYSTEM | {"EventID": "four"}), "has EventID 'four', which its column cannot hold"),
        (record_of(SYSTEM, record_id=2**63), "has header_record_id '9223372036854775808'"),
        (record_of(SYSTEM | {"TimeCreated": None}, filetime=BEYOND_9999), "has no TimeCreated"),
        (record_of(None), "has no System part"),
    ],
)
def test_record_that_cannot_be_a_row_says_why_and_costs_no_other(record: Loose, reason: str) -> None:
    bad = table_of(record_of(SYSTEM), record, record_of(SYSTEM)).bad
    assert list(bad) == [1]
    assert bad[1].startswith(reason)


def test_record_without_event_id_is_unreadable_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parser.PyEvtxParser

    class WithoutThirdId:
        def __init__(self, *arguments: Any) -> None:
            self.inner = real(*arguments)

        def records_json(self) -> Any:
            for record in self.inner.records_json():
                if record["event_record_id"] == 3:
                    record["data"] = record["data"].replace('"EventID":4624', '"EventID":null')
                yield record

    monkeypatch.setattr(parser, "PyEvtxParser", WithoutThirdId)
    data, layout = written([a_logon(number) for number in range(1, 6)])
    result = read(data, tmp_path)
    third = layout.chunks[0].records[2]
    assert result.ids == {1, 2, 4, 5}
    assert result.ranges == [(third.offset, third.length, "record 3 has no EventID")]
    assert (result.statement["found"], result.statement["unreadable"]) == (5, 1)
    (note,) = result.rows("evtx_record_annotations")
    assert (note["note_type"], note["header_record_id"], note["length"]) == ("record_undecodable", 3, third.length)
    assert 3 not in {row["header_record_id"] for row in result.rows("evtx_eventdata_kv")}


# --- damage -------------------------------------------------------------------------------------------------------


def survivors(damaged: Damaged, layout: Layout) -> set[int]:
    """Return the records whose own bytes are whole and whose chunk is one."""
    lost = set(damaged.damage.damaged)
    if damaged.damage.kind == "zero_chunk_magic":
        lost |= set(damaged.damage.stranded)
    return set(layout.record_ids()) - lost


def assert_adds_up(result: Read) -> None:
    statement = result.statement
    assert statement["found"] == result.count() + statement["unreadable"]
    assert statement["unreadable"] <= len(statement["ranges"])
    (row,) = result.rows("evtx_files")
    assert (row["record_count"], row["unreadable"]) == (result.count(), statement["unreadable"])


@pytest.mark.parametrize("kept", [600, 30_000, 65_000])
def test_cut_file_keeps_every_whole_record_and_names_the_cut_one(tmp_path: Path, kept: int) -> None:
    data, layout = whole_log()
    chunk = layout.chunks[2]
    damaged = cut(data, layout, at=chunk.offset + kept)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout)
    torn = next(record for record in chunk.records if record.offset + record.length > chunk.offset + kept)
    reason = f"the file ends inside a record: it has {torn.length} bytes, {len(damaged.data) - torn.offset} are there"
    assert result.ranges == [(torn.offset, len(damaged.data) - torn.offset, reason)]
    assert result.statement["unreadable"] == 1
    assert result.notes()["parse_warning", "cut_chunk"] == 1
    assert_adds_up(result)


def test_file_cut_inside_a_chunk_header_names_that_chunk(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = cut(data, layout, at=layout.chunks[2].offset + 100)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout)
    assert result.ranges == [(layout.chunks[2].offset, 100, "file ends inside a chunk's header")]
    assert_adds_up(result)


def test_zeroed_chunk_magic_costs_that_chunk_even_behind_a_stale_count(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_chunk_magic(make_chunk_count_stale(data, layout).data, layout, chunk=2)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout)
    ((offset, length, reason),) = result.ranges
    assert (offset, length) == (layout.chunks[2].offset, CHUNK_BYTES)
    assert "instead of b'ElfChnk" in reason
    assert_adds_up(result)


def test_with_recovery_a_zeroed_record_size_costs_that_record_and_none_behind_it(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_record_size(data, layout, chunk=1, record=3)
    result = read(damaged.data, tmp_path, recover="true")
    assert result.ids == survivors(damaged, layout)
    victim = layout.chunks[1].records[3]
    reason = "the record's header says 0 bytes, which does not fit its place"
    assert result.ranges == [(victim.offset, victim.length, reason)]
    assert (result.statement["found"], result.statement["unreadable"]) == (900, 1)
    assert result.notes() == {
        ("record_undecodable", "record"): 1,
        ("parse_warning", "chunk_data_checksum"): 1,
        ("gap", "record_ids"): 1,
    }
    assert_adds_up(result)


def test_without_recovery_a_range_goes_to_the_end_of_the_chunk(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_record_size(data, layout, chunk=1, record=3)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout) - set(damaged.damage.stranded)
    chunk = layout.chunks[1]
    ((offset, length, _),) = result.ranges
    assert (offset, length) == (chunk.records[3].offset, chunk.free - chunk.records[3].offset)
    assert result.statement["unreadable"] == 1
    assert_adds_up(result)


@pytest.mark.parametrize("seed", range(8))
def test_overwritten_half_chunk_costs_only_the_records_in_it(tmp_path: Path, seed: int) -> None:
    data, layout = written([a_logon(n, data={f"Field{n}": "x", "Same": "y"}) for n in range(1, 401)])
    damaged = overwrite_chunk_from_middle(data, layout, chunk=1, seed=seed)
    result = read(damaged.data, tmp_path)
    noted = {row["header_record_id"] for row in result.rows("evtx_record_annotations") if row["note_type"] == "torn"}
    assert result.ids - noted == survivors(damaged, layout)
    assert noted <= set(damaged.damage.damaged)
    assert result.ranges
    assert_adds_up(result)


def test_damaged_name_table_costs_nothing(tmp_path: Path) -> None:
    data, layout = whole_log()
    broken = bytearray(data)
    struct.pack_into("<64I", broken, layout.chunks[1].offset + 128, *([0xFFFFFF00] * 64))
    result = read(bytes(broken), tmp_path)
    assert result.content() == read(data, tmp_path).content()
    assert result.ranges == []


def test_damage_that_loses_nothing_changes_no_row(tmp_path: Path) -> None:
    data, layout = whole_log()
    rows = read(data, tmp_path).content()
    for damaged in (
        set_dirty_flag(data),
        make_chunk_count_stale(data, layout),
        fill_slack(data, layout, chunk=len(layout.chunks) - 1),
    ):
        result = read(damaged.data, tmp_path)
        assert result.content() == rows
        assert result.ranges == []


def test_record_that_cannot_be_decoded_is_named_with_its_place(tmp_path: Path) -> None:
    data, layout = whole_log()
    victim = layout.chunks[1].records[4]
    broken = bytearray(data)
    broken[victim.offset + 28] = 0xFF  # the token behind the fragment header
    result = read(bytes(broken), tmp_path)
    assert result.ids == set(layout.record_ids()) - {victim.record_id}
    ((offset, length, reason),) = result.ranges
    assert (offset, length) == (victim.offset, victim.length)
    assert reason.startswith(f"Failed to parse record number {victim.record_id}")
    assert_adds_up(result)


def test_unused_chunks_are_no_damage(tmp_path: Path) -> None:
    result = read(written([a_logon(1)], spare_chunks=3)[0], tmp_path)
    assert (result.statement["found"], result.ranges) == (1, [])
    assert result.rows("evtx_files")[0]["chunk_count"] == 1


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_overwritten_bytes_leave_an_account_that_adds_up(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    data, layout = whole_log()
    at = draw.draw(st.integers(FILE_HEADER_BYTES, len(data) - 1))
    noise = draw.draw(st.binary(min_size=1, max_size=600))
    broken = (data[:at] + noise + data[at + len(noise) :])[: len(data)]
    result = read(broken, tmp_path_factory.mktemp("noise"))
    assert_adds_up(result)
    touched = range(at, at + len(noise))
    untouched = [
        chunk for chunk in layout.chunks if chunk.offset >= touched.stop or chunk.offset + CHUNK_BYTES <= touched.start
    ]
    assert {record.record_id for chunk in untouched for record in chunk.records} <= result.ids


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty (0 bytes); an EVTX file starts with a 4,096-byte header"),
        (b"ElfFile\0", "the file has 8 bytes; an EVTX file starts with a 4,096-byte header"),
        (b"x" * 5000, "the file starts with b'xxxxxxxx'; an EVTX file starts with b'ElfFile\\x00'"),
        (empty_file(whole_log()[1]).data, "the file is empty (0 bytes)"),
        (text_file(whole_log()[1]).data, "the file has 68 bytes"),
    ],
)
def test_what_is_no_event_log_is_refused_with_a_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(parser.PermanentError) as caught:
        read(data, tmp_path)
    assert str(caught.value).startswith(sentence)
    assert caught.value.kind == "not_evtx"
    assert caught.value.hint.endswith(".")


def test_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Read(tmp_path / "missing.evtx")


def test_case_folder_gives_the_expected_records_of_every_log(tmp_path: Path) -> None:
    for file in build_case(tmp_path):
        result = Read(tmp_path / file.path)
        assert len(result.rows()) == file.records_expected
        assert bool(result.ranges) == (file.damage is not None)
        assert_adds_up(result)


# --- public logs --------------------------------------------------------------------------------------------------


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


# --- values by key ------------------------------------------------------------------------------------------------


def values_of(event_data: Any, folder: Path) -> list[tuple[Any, ...]]:
    """Return key, type, text and the typed value of each row, in order."""
    table = table_of(record_of(SYSTEM), Raw(event_data), record_of(SYSTEM))
    gathered = parser.read_event_data(table.events, table.notes, [0, 100, 200], {})
    places = table.batch.select(["event_record_id", "file_ref", "chunk_index", "record_offset", "header_record_id"])
    batch = gathered.batch(places, table.notes)
    batch.validate(full=True)
    rows = batch.to_pylist()
    assert {row["record_offset"] for row in rows} <= {100}
    assert [row["idx"] for row in rows] == list(range(len(rows)))
    typed = ("value_int64", "value_bool", "value_ts", "value_bytes")
    return [
        (row["key"], row["value_type"], row["value_raw"], *[row[name] for name in typed if row[name] is not None])
        for row in rows
    ]


class Raw(Loose):
    """A record whose EventData is given as JSON text, which may hold what a dict cannot."""

    def __init__(self, event_data: str) -> None:
        super().__init__(SYSTEM)
        self.text = self.text[:-2] + f', "EventData":{event_data}}}}}'.replace("\n", "")


@pytest.mark.parametrize(
    ("event_data", "expected"),
    [
        ('{"A":"text","B":""}', [("A", "string", "text"), ("B", "string", "")]),
        ('{"A":3,"B":-1}', [("A", "int64", "3", 3), ("B", "int64", "-1", -1)]),
        ('{"A":"3"}', [("A", "string", "3")]),
        ('{"A":18446744073709551615}', [("A", "uint64", "18446744073709551615")]),
        ('{"A":"0x3e7","B":"0xg"}', [("A", "hex", "0x3e7", 999), ("B", "string", "0xg")]),
        ('{"A":"0xffffffffffffffff"}', [("A", "hex", "0xffffffffffffffff")]),
        (
            '{"A":true,"B":false,"C":null}',
            [("A", "boolean", "true", True), ("B", "boolean", "false", False), ("C", "null", None)],
        ),
        ('{"A":1.5}', [("A", "float", "1.5")]),
        (
            '{"A":"2026-01-20T12:00:00.123456Z","B":"2026-13-20T12:00:00.123456Z"}',
            [("A", "timestamp", "2026-01-20T12:00:00.123456Z", NOON), ("B", "string", "2026-13-20T12:00:00.123456Z")],
        ),
        ('{"Binary":"0AFF","Other":"0AFF"}', [("Binary", "binary", "0AFF", b"\x0a\xff"), ("Other", "string", "0AFF")]),
        ('{"A":"1","A":"2","B":"3"}', [("A", "string", "1"), ("A", "string", "2"), ("B", "string", "3")]),
        ('{"Data":{"#text":["x","y"]}}', [("Data", "string", "x"), ("Data", "string", "y")]),
        ('{"#attributes":{"Name":"N"},"A":"1"}', [("@Name", "string", "N"), ("A", "string", "1")]),
        ('{"A":{"B":{"#attributes":{"x":"1"},"#text":"t"}}}', [("A/B/@x", "string", "1"), ("A/B", "string", "t")]),
        ('{"A":["1","2"]}', [("A", "string", "1"), ("A", "string", "2")]),
        ('{"A":"says \\":\\" itself"}', [("A", "string", 'says ":" itself')]),
        ('"only text"', [("#text", "string", "only text")]),
    ],
)
def test_values_keep_their_order_their_text_and_their_type(
    tmp_path: Path, event_data: str, expected: list[tuple[Any, ...]]
) -> None:
    assert values_of(event_data, tmp_path) == expected


def test_repeated_and_unnamed_values_are_all_there_in_the_order_of_the_record(tmp_path: Path) -> None:
    fields = [("", "1"), ("", "2"), ("B", "x"), ("", "3"), ("B", "y")]
    result = read(written([a_logon(1, data=fields), a_logon(2)])[0], tmp_path)
    rows = [row for row in result.rows("evtx_eventdata_kv") if row["header_record_id"] == 1]
    assert [(row["key"] if row["key"] != "Data" else "", row["value_raw"]) for row in rows] == fields
    assert result.notes() == {("parse_warning", "unnamed_values"): 1}
    assert "1" not in json.loads(result.rows()[0]["raw_event_json"])["Event"]["EventData"]


def test_user_data_is_flattened_with_its_path(tmp_path: Path) -> None:
    user = UserData(name="LogFileCleared", fields={"Who": "x", "Why": ""}, namespace="urn:n")
    (first, *_) = read(written([a_logon(1, user_data=user), a_logon(2)])[0], tmp_path).rows("evtx_userdata_kv")
    result = read(written([a_logon(1, user_data=user), a_logon(2)])[0], tmp_path)
    rows = result.rows("evtx_userdata_kv")
    assert [(row["section"], row["key"], row["value_raw"]) for row in rows] == [
        ("UserData", "LogFileCleared/@xmlns", "urn:n"),
        ("UserData", "LogFileCleared/Who", "x"),
        ("UserData", "LogFileCleared/Why", None),
    ]
    assert {row["header_record_id"] for row in rows} == {first["header_record_id"]} == {1}


# --- settings -----------------------------------------------------------------------------------------------------


def test_the_manifest_declares_the_settings_with_the_defaults_of_the_parser() -> None:
    manifest = tomllib.loads((FOLDER / "casparian.toml").read_text())
    assert manifest["settings"] == parser.DEFAULTS == {"raw_xml": "false", "recover": "false", "tables": "all"}


def test_raw_xml_is_filled_when_asked_for_record_by_record(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_record_size(data, layout, chunk=1, record=3)
    for row in read(damaged.data, tmp_path, raw_xml="true").rows():
        assert f"<EventRecordID>{row['event_record_id']}</EventRecordID>" in row["raw_event_xml"]


@pytest.mark.parametrize(
    "given_settings",
    [
        {"raw_xml": "yes"},
        {"speed": "true"},
        {"tables": ""},
        {"tables": "evtx_files"},
        {"tables": "evtx_events,prefetch_files"},
    ],
)
def test_setting_that_is_not_declared_is_refused(tmp_path: Path, given_settings: dict[str, str]) -> None:
    with pytest.raises(parser.PermanentError, match="is not one of the parser's") as caught:
        read(whole_log()[0], tmp_path, **given_settings)
    assert caught.value.kind == "bad_setting"


@pytest.mark.parametrize(
    "others", [[], ["evtx_files"], ["evtx_eventdata_kv"], ["evtx_userdata_kv", "evtx_record_annotations"]]
)
def test_only_the_tables_asked_for_are_made_and_they_are_the_same(tmp_path: Path, others: list[str]) -> None:
    made = [a_logon(1), a_logon(2, user_data=UserData(name="Cleared", fields={"Who": "x"})), a_logon(4)]
    whole = read(written(made)[0], tmp_path)
    some = read(written(made)[0], tmp_path, tables=",".join(["evtx_events", *others]))
    assert {output for output, _ in some.batches} == {"evtx_events", *others}
    for output in ("evtx_events", *others):
        assert some.rows(output) == whole.rows(output) != []
    assert some.statement == whole.statement


def test_source_hash_of_the_host_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "log.evtx"
    path.write_bytes(whole_log()[0])
    batches = list(parser.parse(str(path), {}, source_hash="ab" * 32))
    assert {value for _, batch in batches for value in batch.column("file_ref").to_pylist()} == {"ab" * 8}
