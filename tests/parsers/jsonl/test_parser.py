"""The JSON lines parser: numbers in their own digits, wrong lines in their place, everything accounted for."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.jsonl import limits, objects, parser
from parsers.jsonl.errors import PermanentError

FOLDER: Final = Path(__file__).parents[3] / "parsers" / "jsonl"
REAL_DATA: Final = Path(os.environ.get("CASPARIAN_REAL_DATA", FOLDER.parents[2] / "shared" / "data"))
HELPERS: Final = ["__cf_row_id", "__cf_row_error"]


class Read:
    """All that one parse gave, as Python's values."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.outputs: set[str] = set()
        self.batches: list[pa.RecordBatch] = []
        running = parser.parse(str(path), settings)
        while True:
            try:
                output, batch = next(running)
            except StopIteration as stop:
                self.statement: dict[str, Any] = stop.value
                break
            batch.validate(full=True)
            self.outputs.add(output)
            self.batches.append(batch)
        self.rows = [{k: v for k, v in row.items() if k not in HELPERS} for b in self.batches for row in b.to_pylist()]
        self.lines: list[Any] = [value for batch in self.batches for value in batch.column(HELPERS[0]).to_pylist()]
        self.errors = [value for batch in self.batches for value in batch.column(HELPERS[1]).to_pylist()]
        stated = self.statement
        assert stated["found"] == len(self.rows) + stated["skipped"] + stated["unreadable"]
        assert sum(skip["count"] for skip in stated["skips"]) == stated["skipped"]
        assert len(stated["ranges"]) == stated["unreadable"]


def read(folder: Path, content: bytes | str, **settings: str) -> Read:
    file = folder / "lines.jsonl"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return Read(file, **settings)


def schema(*columns: dict[str, Any], **rest: Any) -> str:
    return json.dumps({"columns": columns, **rest})


def column(name: str, type_: Any = "string", **rest: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **rest}


AB: Final = schema(column("a"), column("b"))


def test_values_are_the_text_of_the_file_and_numbers_keep_their_digits(tmp_path: Path) -> None:
    content = '{"a": 1.10, "b": "x\\u00e9"}\r\n{"b": {"k": [1, 2.50]}, "a": -0.0e5}\n'
    content += '{"a": null}\n{"a": true, "b": 12345678901234567890}'
    got = read(tmp_path, content, schema=AB)
    assert got.rows == [
        {"a": "1.10", "b": "xé"},
        {"a": "-0.0e5", "b": '{"k": [1, 2.50]}'},
        {"a": None, "b": None},
        {"a": "true", "b": "12345678901234567890"},
    ]
    assert got.lines == [1, 2, 3, 4]
    assert set(got.errors) == {None}


def test_the_declared_output_names_and_nulls_are_used(tmp_path: Path) -> None:
    declared = schema(column("x", read_from="a b", null_values=["", "NA"]), output="events")
    got = read(tmp_path, '{"a b": "NA"}\n{"a b": ""}\n{"a b": "v"}\n', schema=declared)
    assert got.outputs == {got.statement["output"]} == {"events"}
    assert got.rows == [{"x": None}, {"x": None}, {"x": "v"}]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1]", "is JSON, but no object"),
        ("12", "is JSON, but no object"),
        ("nonsense", "is no JSON"),
        ('{"a": 1', "a comma is expected"),
        ('{"a": 01}', "a comma is expected"),
        ('{"a" 1}', "a colon is expected"),
        ('{"a": 1,}', "a key is expected"),
        ("{a: 1}", "a key is expected"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": 1} x', "something follows the object"),
        ('{"a": "\t"}', "Invalid control character"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        (b'{"a": "\xff"}', "is not UTF-8 from byte 7 on"),
        ("\0\0", "is no JSON"),
    ],
)
def test_a_line_that_is_no_object_is_unreadable_in_its_place(tmp_path: Path, line: str | bytes, why: str) -> None:
    bad = line.encode() if isinstance(line, str) else line
    got = read(tmp_path, b'{"a":1}\n' + bad + b'\n{"a":2}\n', schema=AB)
    assert [row["a"] for row in got.rows] == ["1", "2"]
    assert got.lines == [1, 3]
    (place,) = got.statement["ranges"]
    assert (place["offset"], place["length"]) == (8, len(bad) + 1)
    assert place["reason"].startswith("line 2 ")
    assert why in place["reason"]


def test_a_line_that_is_too_long_is_unreadable_and_the_rest_is_read(tmp_path: Path) -> None:
    long = b'{"a":"' + b"x" * 100_000_000 + b'"}'
    got = read(tmp_path, b'{"a":1}\n' + long + b'\n{"a":2}', schema=AB)
    assert [row["a"] for row in got.rows] == ["1", "2"]
    (place,) = got.statement["ranges"]
    assert (place["offset"], place["length"]) == (8, len(long) + 1)


def test_blank_lines_are_skipped_with_their_reason_and_a_mark_is_no_text(tmp_path: Path) -> None:
    got = read(tmp_path, b'\xef\xbb\xbf\n{"a":1}\n  \n', schema=AB)
    assert [row["a"] for row in got.rows] == ["1"]
    assert got.statement["skips"] == [{"count": 2, "reason": "blank line"}]
    assert read(tmp_path, b"", schema=AB).statement["found"] == 0


def test_a_key_that_stands_twice_makes_the_row_wrong_and_keeps_both_values(tmp_path: Path) -> None:
    got = read(tmp_path, '{"a":1,"b":2,"a":"x"}\n{"a":{"k":1,"k":2},"b":3}\n', schema=AB)
    assert got.rows == [{"a": '1\n"x"', "b": "2"}, {"a": '{"k":1,"k":2}', "b": "3"}]
    assert got.errors == [
        'the key a stands more than once in an object: 1, "x"',
        "the key k stands more than once in an object",
    ]


def test_a_key_that_is_not_declared_makes_the_row_wrong_unless_more_are_allowed(tmp_path: Path) -> None:
    content = '{"a":1,"c":[7]}\n{"a":2}\n'
    assert read(tmp_path, content, schema=AB).errors == ["the key c is not declared, its value is [7]", None]
    allowed = read(tmp_path, content, schema=schema(column("a"), mode="allow_extra"))
    assert allowed.rows == [{"a": "1"}, {"a": "2"}]
    assert allowed.errors == [None, None]


def test_half_a_surrogate_pair_makes_the_row_wrong_and_stays_visible(tmp_path: Path) -> None:
    got = read(tmp_path, '{"a":"x\\ud800"}\n', schema=AB)
    assert got.rows == [{"a": "x\\ud800", "b": None}]
    assert "half a surrogate pair" in str(got.errors[0])


TAGS: Final = {"kind": "list", "item": "string"}
POINT: Final = {
    "kind": "struct",
    "fields": [
        {"name": "x", "type": {"kind": "decimal", "precision": 5, "scale": 2}, "nullable": False},
        {"name": "n", "type": "int64"},
    ],
}


def test_lists_and_structs_are_made_as_they_are_declared(tmp_path: Path) -> None:
    content = '{"t":["a",null],"p":{"x":1.50,"n":null}}\n{"t":null}\n'
    got = read(tmp_path, content, schema=schema(column("t", TAGS), column("p", POINT)))
    assert got.rows == [{"t": ["a", None], "p": {"x": Decimal("1.50"), "n": None}}, {"t": None, "p": None}]
    assert got.errors == [None, None]


@pytest.mark.parametrize(
    "value", ['{"x":1.505}', '{"x":1234.5}', '{"x":1,"n":1.5}', '{"x":1,"y":2}', '{"n":1}', '"x"', '{"x":"1"}']
)
def test_a_nested_value_that_is_not_what_is_declared_makes_the_row_wrong(tmp_path: Path, value: str) -> None:
    got = read(tmp_path, f'{{"p":{value}}}\n', schema=schema(column("p", POINT)))
    assert got.rows == [{"p": None}]
    assert value in str(got.errors[0])


def test_a_nested_type_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        read(tmp_path, "", schema=schema(column("t", {"kind": "list", "item": "date"})))
    assert "is a string there" in caught.value.hint


def test_a_look_without_a_schema_shows_each_key_as_json_text(tmp_path: Path) -> None:
    got = read(tmp_path, '{"a":"1"}\n{"b":2,"a":null}\n')
    assert got.rows == [{"a": '"1"', "b": None}, {"a": "null", "b": "2"}]
    assert got.batches[0].schema.metadata == {b"values": b"json"}


def test_a_look_at_too_many_keys_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_MAX", 3)
    with pytest.raises(PermanentError, match="more than 3 different keys"):
        read(tmp_path, '{"a":1,"b":1}\n{"c":1,"d":1}\n')


@pytest.fixture
def real_texts() -> list[dict[str, Any]]:
    """What is known of public text files: counts that `wc` and a plain reading of the bytes agree on."""
    if not (REAL_DATA / "text.truth.ndjson").is_file():
        pytest.skip(f"no real data at {REAL_DATA}: set CASPARIAN_REAL_DATA to the folder that holds text/")
    return [json.loads(line) for line in (REAL_DATA / "text.truth.ndjson").read_text().splitlines()]


def test_every_line_of_public_files_is_accounted_for(real_texts: list[dict[str, Any]]) -> None:
    seen = 0
    for known in real_texts:
        if known["encoding"] in ("ascii", "utf-8") and known["bytes"] < 3_000_000:
            assert Read(REAL_DATA / known["file"], schema=AB).statement["found"] == known["lines"], known["file"]
            seen += 1
    assert seen > 50


def test_records_of_a_public_cloud_trail_are_rows(real_texts: list[dict[str, Any]]) -> None:
    (known,) = [each for each in real_texts if each["file"].endswith("aws_cloudtrail.jsonl")]
    declared = schema(column("EventName"), column("Resources"), mode="allow_extra")
    got = Read(REAL_DATA / known["file"], schema=declared)
    assert len(got.rows) == known["lines"]
    assert set(got.errors) == {None}
    written = [json.loads(line) for line in (REAL_DATA / known["file"]).read_text().splitlines()]
    assert [row["EventName"] for row in got.rows] == [each["EventName"] for each in written]
    assert [json.loads(row["Resources"]) for row in got.rows] == [each["Resources"] for each in written]


# --- properties ------------------------------------------------------------------------------------------------------

SCALARS: Final = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES: Final = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3)
)


@given(objects=st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), min_size=1, max_size=8))
def test_any_object_that_python_writes_is_read_with_the_same_values(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]]
) -> None:
    content = "\n".join(json.dumps(each, ensure_ascii=True) for each in objects)
    got = read(tmp_path_factory.mktemp("j"), content, schema=AB)
    for row, written in zip(got.rows, objects, strict=True):
        for key, value in written.items():
            if isinstance(value, str):
                assert row[key] == value.encode("utf-8", "backslashreplace").decode()
            else:
                assert (None if row[key] is None else json.loads(row[key])) == value
    assert set(got.errors) == {None}


@given(
    lines=st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3).map(json.dumps)
        | st.sampled_from(['{"a":1,"a":2}', '{"a":"x\\ud800","b":"NA"}', '{"a":1.50,"b":NaN}', '{"a":007}', " { } "])
        | st.text('{}[]:,"ab1', max_size=12),
        max_size=6,
    )
)
def test_a_line_read_in_one_call_is_what_it_is_member_by_member(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    declared = schema(column("a"), column("b", null_values=["NA"]))
    folder, content = tmp_path_factory.mktemp("same"), "\n".join(lines)
    at_once = read(folder, content, schema=declared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects.Decoder, "plain", lambda *_: None)
        by_member = read(folder, content, schema=declared)
    assert (at_once.rows, at_once.lines, at_once.statement) == (by_member.rows, by_member.lines, by_member.statement)
    assert [bool(each) for each in at_once.errors] == [bool(each) for each in by_member.errors]


@given(
    content=st.binary(max_size=120) | st.text('{}[]:,"ab1 .e-\\\n\r', max_size=60).map(str.encode),
    declared=st.sampled_from(["", AB]),
    line_max=st.sampled_from([10, 4 * 1024 * 1024]),
)
def test_any_bytes_balance_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, declared: str, line_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "LINE_BYTES_MAX", line_max)
        patch.setattr(limits, "BLOCK_BYTES", 7)
        got = read(tmp_path_factory.mktemp("any"), content, schema=declared)
    text = content.removeprefix(b"\xef\xbb\xbf")
    assert got.statement["found"] == text.count(b"\n") + (not text.endswith(b"\n") and text != b"")
    assert all(before < after for before, after in pairwise(got.lines))
    for place in got.statement["ranges"]:
        assert 0 <= place["offset"] < place["offset"] + place["length"] <= len(content)
