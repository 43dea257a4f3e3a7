"""Values by key, and their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.evtx_writer import (
    UserData,
)
from parsers.evtx import parser
from parsers.evtx.values import _flat, _of_classic, read_event_data
from tests.parsers.evtx.reading import (
    NOON,
    a_logon,
    read,
    written,
)
from tests.parsers.evtx.records import SYSTEM, Loose, record_of, table_of


def values_of(event_data: Any, folder: Path) -> list[tuple[Any, ...]]:
    """Return key, type, text and the typed value of each row, in order."""
    table = table_of(record_of(SYSTEM), Raw(event_data), record_of(SYSTEM))
    gathered = read_event_data(table.events, table.notes, [0, 100, 200], {})
    places = table.batch.select(["event_record_id", "file_ref", "chunk_index", "record_offset", "header_record_id"])
    batch = gathered.batch(places, table.notes, parser.TABLES.values)
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


NAMES = st.sampled_from(["#text", "#attributes", "Data"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5), st.just('":'))
PARTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=6,
)


@given(data=PARTS | st.builds(lambda texts: {"Data": {"#text": texts}}, PARTS))
def test_a_classic_event_gives_what_reading_it_pair_by_pair_does(data: Any) -> None:
    raw = msgspec.Raw(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode())
    quick = _of_classic(msgspec.json.decode(raw), raw)
    assert quick in ([], _flat(raw, 0, "EventData", []))


def test_a_classic_event_is_not_read_pair_by_pair() -> None:
    raw = msgspec.Raw(b'{"Data":{"#text":["a",null,3]}}')
    assert _of_classic(msgspec.json.decode(raw), raw) == [("Data", "a"), ("Data", None), ("Data", 3)]
    twice = msgspec.Raw(b'{"Data":{"#text":"a"},"Data":{"#text":"b"}}')
    assert _of_classic(msgspec.json.decode(twice), twice) == []
