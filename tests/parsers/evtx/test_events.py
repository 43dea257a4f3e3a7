"""Records of other shapes than most have."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from evtx import PyEvtxParser

from parsers.evtx import decoding
from tests.parsers.evtx.reading import (
    NOON,
    a_logon,
    read,
    written,
)
from tests.parsers.evtx.records import SYSTEM, Loose, one, record_of, table_of

BEYOND_9999: Final = 2**63


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
    real: Any = PyEvtxParser

    class WithoutThirdId:
        def __init__(self, *arguments: Any) -> None:
            self.inner = real(*arguments)

        def records_json(self) -> Any:
            for record in self.inner.records_json():
                if record["event_record_id"] == 3:
                    record["data"] = record["data"].replace('"EventID":4624', '"EventID":null')
                yield record

    monkeypatch.setattr(decoding, "PyEvtxParser", WithoutThirdId)
    data, layout = written([a_logon(number) for number in range(1, 6)])
    result = read(data, tmp_path)
    third = layout.chunks[0].records[2]
    assert result.ids == {1, 2, 4, 5}
    assert result.ranges == [(third.offset, third.length, "record 3 has no EventID")]
    assert (result.statement["found"], result.statement["unreadable"]) == (5, 1)
    (note,) = result.rows("evtx_record_annotations")
    assert (note["note_type"], note["header_record_id"], note["length"]) == ("record_undecodable", 3, third.length)
    assert 3 not in {row["header_record_id"] for row in result.rows("evtx_eventdata_kv")}
