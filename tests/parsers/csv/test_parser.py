"""The CSV parser: text comes out as it stands, damage costs its own row, and everything is accounted for."""

from __future__ import annotations

import csv
import io
import json
import os
import string
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.csv import limits, parser
from parsers.csv.errors import PermanentError
from parsers.csv.settings import CODECS, DELIMITERS

FOLDER: Final = Path(__file__).parents[3] / "parsers" / "csv"
REAL_DATA: Final = Path(os.environ.get("CASPARIAN_REAL_DATA", FOLDER.parents[2] / "shared" / "data"))
HELPERS: Final = ["__cf_row_id", "__cf_row_error"]


class Read:
    """All that one parse gave, as Python's values."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.outputs: set[str] = set()
        batches: list[pa.RecordBatch] = []
        running = parser.parse(str(path), settings)
        while True:
            try:
                output, batch = next(running)
            except StopIteration as stop:
                self.statement: dict[str, Any] = stop.value
                break
            batch.validate(full=True)
            self.outputs.add(output)
            batches.append(batch)
        self.names = batches[0].schema.names[2:] if batches else []
        self.rows = [tuple(row.values())[2:] for batch in batches for row in batch.to_pylist()]
        self.lines: list[Any] = [value for batch in batches for value in batch.column(HELPERS[0]).to_pylist()]
        self.errors = [value for batch in batches for value in batch.column(HELPERS[1]).to_pylist()]
        written, stated = len(self.rows), self.statement
        assert stated["found"] == written + stated["skipped"] + stated["unreadable"]
        assert sum(skip["count"] for skip in stated["skips"]) == stated["skipped"]
        assert len(stated["ranges"]) == stated["unreadable"]


def read(folder: Path, content: bytes | str, **settings: str) -> Read:
    file = folder / "table.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return Read(file, **settings)


def schema(*columns: dict[str, Any], **rest: Any) -> str:
    return json.dumps({"columns": columns, **rest})


def column(name: str, **rest: Any) -> dict[str, Any]:
    return {"name": name, "type": "string", **rest}


def refusal(folder: Path, content: bytes | str, **settings: str) -> Any:
    with pytest.raises(PermanentError) as caught:
        read(folder, content, **settings)
    return caught.value


# --- whole files -----------------------------------------------------------------------------------------------------


def test_every_value_is_the_text_that_stands_in_the_file(tmp_path: Path) -> None:
    got = read(tmp_path, 'id,price,note\n007,1.50,"a, b"\n8,,"say ""so"""\n')
    assert got.names == ["id", "price", "note"]
    assert got.rows == [("007", "1.50", "a, b"), ("8", "", 'say "so"')]
    assert got.lines == [2, 3]
    assert got.errors == [None, None]
    assert got.statement["found"] == 2


def test_a_row_is_named_by_the_first_of_its_lines(tmp_path: Path) -> None:
    got = read(tmp_path, 'a,b\r\n1,"two\r\nlines"\r\n3,4')
    assert got.rows == [("1", "two\r\nlines"), ("3", "4")]
    assert got.lines == [2, 4]


@pytest.mark.parametrize(("name", "mark"), [("semicolon", ";"), ("tab", "\t"), ("pipe", "|"), ("comma", ",")])
def test_the_delimiter_is_the_one_that_stands_most_often_in_the_first_line(
    tmp_path: Path, name: str, mark: str
) -> None:
    content = mark.join(["a b", "c", "d"]) + "\n" + mark.join(["1", "2", "3"]) + "\n"
    assert read(tmp_path, content).rows == [("1", "2", "3")]
    assert read(tmp_path, content, delimiter=name).rows == [("1", "2", "3")]


def test_two_delimiters_that_stand_equally_often_are_a_question_to_the_person(tmp_path: Path) -> None:
    refused = refusal(tmp_path, "a,b;c\n1,2;3\n")
    assert "comma and semicolon" in str(refused)
    assert refused.hint == "say which it is: --set delimiter=comma"
    assert read(tmp_path, "a,b;c\n1,2;3\n", delimiter="semicolon").names == ["a,b", "c"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-8-sig" else "\ufeff"
    got = read(tmp_path, (mark + 'näme,b\n"ü\n€",😀\n').encode(encoding))
    assert (got.names, got.rows) == (["näme", "b"], [("ü\n€", "😀")])


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\n€,ü\n".encode("cp1252"), encoding="windows-1252").rows == [("€", "ü")]
    assert read(tmp_path, "a,b\n1,ü\n".encode("utf-16-le"), encoding="utf-16-le").rows == [("1", "ü")]


def test_utf16_without_a_mark_is_refused_with_the_setting_that_reads_it(tmp_path: Path) -> None:
    assert "utf-16-le" in refusal(tmp_path, "a,b\n1,2\n".encode("utf-16-le")).hint


@pytest.mark.parametrize("content", ["", "a,b", "a,b\n", "a,b\r\n"])
def test_a_file_without_rows_gives_none(tmp_path: Path, content: str) -> None:
    got = read(tmp_path, content)
    assert (got.rows, got.statement["found"]) == ([], 0)
    assert got.names == (["a", "b"] if content else [])  # a look sees the header


def test_without_a_header_columns_go_by_their_place(tmp_path: Path) -> None:
    got = read(tmp_path, '"1,5",2\n3,4\n', header="false")
    assert (got.names, got.rows, got.lines) == (["column_1", "column_2"], [("1,5", "2"), ("3", "4")], [1, 2])
    declared = read(tmp_path, "1,2\n", header="false", schema=schema(column("x"), column("y")))
    assert (declared.names, declared.rows) == (["x", "y"], [("1", "2")])


def test_without_quotes_each_line_is_a_row(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b\n"1,2\n3,"\n', quotes="false").rows == [('"1', "2"), ("3", '"')]


# --- damage ----------------------------------------------------------------------------------------------------------


def test_rows_with_too_few_or_too_many_fields_are_wrong_and_whole(tmp_path: Path) -> None:
    got = read(tmp_path, "a,b,c\n1,2\n1,2,3,4,5\n1,2,3\n")
    assert got.rows == [("1", "2", None), ("1", "2", "3,4,5"), ("1", "2", "3")]
    assert got.errors == [
        "2 fields where 3 belong",
        "5 fields where 3 belong; the last column has all from number 3 on",
        None,
    ]


def test_blank_lines_are_skipped_with_their_reason_except_in_a_single_column(tmp_path: Path) -> None:
    got = read(tmp_path, "a,b\n\n1,2\n\n")
    assert got.rows == [("1", "2")]
    assert got.statement["skips"] == [{"count": 2, "reason": "blank line"}]
    assert read(tmp_path, "a\n\n1\n").rows == [("",), ("1",)]


def test_bytes_that_are_no_text_make_their_row_wrong_and_stay_visible(tmp_path: Path) -> None:
    got = read(tmp_path, b"a,b\n1,2\nx\xffy,\xc3\xa9\n")
    assert got.rows == [("1", "2"), ("x\\xffy", "é")]
    assert got.errors == [None, "bytes that are not text in this encoding, shown with backslashes"]


def test_text_behind_a_closing_quote_keeps_the_whole_record_in_the_first_column(tmp_path: Path) -> None:
    got = read(tmp_path, 'a,b\n1,2\n"x"y,5\n3,4\n')
    assert got.rows == [("1", "2"), ('"x"y,5', None), ("3", "4")]
    assert "text between a closing quote" in str(got.errors[1])


def test_a_quote_that_is_never_closed_keeps_the_rest_of_the_file_as_one_wrong_row(tmp_path: Path) -> None:
    got = read(tmp_path, 'a,b\n1,2\n"x,5\n3,4\n')
    assert got.rows == [("1", "2"), ('"x,5\n3,4', None)]
    assert got.lines == [2, 3]
    assert "opened and not closed" in str(got.errors[1])


def test_nul_and_unusual_line_characters_are_text(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b\nx\0,"y\0"\nu\u2028v\x0b,\x85\n').rows == [("x\0", "y\0"), ("u\u2028v\x0b", "\x85")]


def test_a_line_of_a_hundred_megabytes_is_a_named_place_and_the_rest_is_read(tmp_path: Path) -> None:
    length = 100_000_000
    got = read(tmp_path, b"a,b\n1,2\n" + b"x" * length + b"\n3,4\n")
    assert got.rows == [("1", "2"), ("3", "4")]
    assert got.lines == [2, 4]
    (place,) = got.statement["ranges"]
    assert (place["offset"], place["length"]) == (8, length + 1)


def test_a_quoted_field_without_end_is_given_up_after_its_bound(tmp_path: Path) -> None:
    line = "y" * 99 + "\n"
    lines = limits.RECORD_CHARS_MAX // 100 + 2
    head = 'ä,b\n1,2\n"'
    got = read(tmp_path, head + line * lines + "3,4\n", encoding="utf-8")
    (place,) = got.statement["ranges"]
    assert place["offset"] == len(head.encode()) - 1
    assert "--set quotes=false" in place["reason"]
    kept = (place["length"] - 1) // 100
    assert place["length"] == 1 + kept * 100
    assert len(got.rows) == 1 + (lines - kept) + 1
    assert got.lines[1:] == list(range(3 + kept, 3 + kept + len(got.rows) - 1))
    assert got.rows[-1] == ("3", "4")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b,a\n1,2,3\n", "more than once in the header: 'a'"),
        ("\n1,2\n", "it is a blank line"),
        ('"a"b,c\n', "text between a closing quote"),
        (b"\xff\xfe\xff,b\n", "not text"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | str, said: str) -> None:
    settings = {"encoding": "utf-8"} if isinstance(content, bytes) else {}
    assert said in str(refusal(tmp_path, content, **settings))


def test_a_setting_that_is_none_of_the_parsers_is_refused_with_those_that_are(tmp_path: Path) -> None:
    assert "comma, semicolon" in refusal(tmp_path, "a\n", delimiter="x").hint


# --- declared columns ------------------------------------------------------------------------------------------------


def test_declared_columns_go_to_the_declared_output_with_their_nulls(tmp_path: Path) -> None:
    declared = schema(column("a", null_values=["", "NA"]), column("b c", read_from=" b c"), output="trades")
    got = read(tmp_path, "a, b c\n,\nNA,NA\n", schema=declared)
    assert got.outputs == {"trades"}
    assert got.statement["output"] == "trades"
    assert got.names == ["a", "b c"]
    assert got.rows == [(None, ""), (None, "NA")]


@pytest.mark.parametrize(
    ("header", "said"), [("a", "missing: 'b'"), ("a,b,c", "not declared: 'c'"), ("b,a", "in another order")]
)
def test_a_strict_schema_refuses_another_header(tmp_path: Path, header: str, said: str) -> None:
    refused = refusal(tmp_path, f"{header}\n", schema=schema(column("a"), column("b")))
    assert said in str(refused)
    assert refused.kind == "header_differs"


def test_the_modes_hand_over_what_the_host_judges(tmp_path: Path) -> None:
    columns = (column("a"), column("b"))
    extra = read(tmp_path, "c,b,a,_cf_x\n3,2,1,0\n", schema=schema(*columns, mode="allow_extra"))
    assert (extra.names, extra.rows) == (["a", "b", "c"], [("1", "2", "3")])
    left_out = read(tmp_path, "b\n2\n", schema=schema(*columns, mode="allow_missing_optional"))
    assert (left_out.names, left_out.rows) == (["b"], [("2",)])
    needed = schema(column("a", nullable=False), column("b"), mode="allow_missing_optional")
    assert "missing" in str(refusal(tmp_path, "b\n2\n", schema=needed))


def test_nested_types_are_refused(tmp_path: Path) -> None:
    nested = schema({"name": "a", "type": {"kind": "list", "item": "string"}})
    assert "'a'" in str(refusal(tmp_path, "a\n", schema=nested))


def test_every_line_of_public_files_is_a_row_where_quotes_are_characters() -> None:
    truth = REAL_DATA / "text.truth.ndjson"
    if not truth.is_file():
        pytest.skip(f"no real data at {REAL_DATA}: set CASPARIAN_REAL_DATA to the folder that holds text/")
    seen = 0
    for known in map(json.loads, truth.read_text().splitlines()):
        if known["bare_cr"] == 0 and known["bytes"] < 3_000_000:
            encoding = known["encoding"].replace("ascii", "utf-8")
            settings = {"header": "false", "quotes": "false", "schema": TWO, "delimiter": "pipe", "encoding": encoding}
            assert Read(REAL_DATA / known["file"], **settings).statement["found"] == known["lines"], known["file"]
            seen += 1
    assert seen > 50


TWO: Final = schema(column("a"), column("b"))

# --- properties ------------------------------------------------------------------------------------------------------

CELLS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",;\n\r "\0'), max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(2, 4))
    return draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=12))


@given(
    table=tables(),
    delimiter=st.sampled_from([*DELIMITERS]),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be"]),
    block_bytes=st.sampled_from([2, 7, 64, 1024 * 1024]),
)
def test_any_table_that_python_writes_is_read_with_the_same_text(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[list[str]],
    delimiter: str,
    ending: str,
    quoting: Any,
    encoding: str,
    block_bytes: int,
) -> None:
    written = io.StringIO()
    header = [f"c{number}" for number in range(len(table[0]))]
    if ending == "\n" and any("\r" in cell for row in table for cell in row):
        quoting = csv.QUOTE_ALL  # Python's writer leaves a carriage return bare that its reader takes for a line's end
    csv.writer(written, delimiter=DELIMITERS[delimiter], lineterminator=ending, quoting=quoting).writerows(
        [header, *table]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BLOCK_BYTES", block_bytes)
        content = written.getvalue().encode(encoding)
        got = read(tmp_path_factory.mktemp("t"), content, delimiter=delimiter, encoding=encoding)
    assert got.rows == [tuple(row) for row in table]
    assert set(got.errors) == {None}


@given(
    content=st.binary(max_size=200) | st.text('a1,;"\n\r\0é', max_size=60).map(str.encode),
    encoding=st.sampled_from([*CODECS]),
    block_bytes=st.integers(1, 20),
    chars_max=st.sampled_from([20, 25, 4 * 1024 * 1024]),
)
def test_any_bytes_balance_and_never_do_more_than_refuse(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, encoding: str, block_bytes: int, chars_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BLOCK_BYTES", block_bytes)
        patch.setattr(limits, "RECORD_CHARS_MAX", chars_max)
        folder = tmp_path_factory.mktemp("any")
        try:
            got = read(folder, content, encoding=encoding, header="false", delimiter="comma", schema=TWO)
        except PermanentError as refused:
            assert refused.kind == "bad_header"
            return
    for place in got.statement["ranges"]:
        assert 0 <= place["offset"] < place["offset"] + place["length"] <= len(content)
    assert all(before < after for before, after in pairwise(got.lines))


@given(
    lines=st.lists(st.text(string.ascii_letters + ',;\té"\\ ', max_size=12), max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_splitting_a_block_is_the_same_as_reading_it_record_by_record(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], ending: str
) -> None:
    content = ending.join(["a,b", *lines])
    folder = tmp_path_factory.mktemp("same")
    split = read(folder, content, quotes="false")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser._Reading, "_is_plain", lambda *_: False)
        by_record = read(folder, content, quotes="false")
    assert (split.rows, split.lines, split.errors) == (by_record.rows, by_record.lines, by_record.errors)
    assert split.statement == by_record.statement
