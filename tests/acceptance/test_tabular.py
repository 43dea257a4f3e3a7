"""Delimited text and JSON lines as an examiner meets them: declared or inferred, with rows that break the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.terminal import Done, Terminal

pytestmark = pytest.mark.acceptance

TRADES = '''trade_id,account,price,traded_on,note
1,007123,1.50,05/06/2024,
2,000001,122.5,25/07/2024,"x, ""y"""
3,000002,NA,01/02/2024,"two
lines"
'''
COLUMNS: list[dict[str, Any]] = [
    {"name": "trade_id", "type": "int64", "nullable": False},
    {"name": "account", "type": "string"},
    {"name": "price", "type": {"kind": "decimal", "precision": 12, "scale": 4}, "null_values": ["NA"]},
    {"name": "traded_on", "type": "date", "format": "%d/%m/%Y"},
    {"name": "note", "type": "string"},
]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def declared(folder: Path, *columns: dict[str, Any], **rest: Any) -> Path:
    return write(folder / "declared.json", json.dumps({**rest, "columns": columns or COLUMNS}))


def run(terminal: Terminal, parser: str, *words: str | Path) -> Done:
    return terminal.casparian("run", parser, *words, "--sink", f"parquet://{terminal.out}", "--json")


def test_text_becomes_the_declared_types_and_nothing_is_rounded(terminal: Terminal, tmp_path: Path) -> None:
    trades = write(tmp_path / "trades.csv", TRADES)
    assert run(terminal, "csv", trades, "--schema", declared(tmp_path, output="trades")).code == 0
    assert terminal.sql(
        "select trade_id, account, price::varchar, traded_on::varchar, note from trades order by 1"
    ) == [
        [1, "007123", "1.5000", "2024-06-05", ""],
        [2, "000001", "122.5000", "2024-07-25", 'x, "y"'],
        [3, "000002", None, "2024-02-01", "two\nlines"],
    ]
    kinds = {name: kind for name, kind, *_ in terminal.sql("describe trades")}
    assert (kinds["trade_id"], kinds["price"], kinds["traded_on"]) == ("BIGINT", "DECIMAL(12,4)", "DATE")


def test_rows_that_break_the_rules_are_kept_with_their_text_their_line_and_the_reason(
    terminal: Terminal, tmp_path: Path
) -> None:
    bad = "4,000003,1.23456,05/06/2024,\n5,000004,1\n6,000005,2,2024-06-05,\n,000006,3,05/06/2024,\n"
    trades = write(tmp_path / "trades.csv", TRADES + bad)
    done = run(
        terminal, "csv", trades, "--schema", declared(tmp_path), "--allow-quarantine", "--quarantine-threshold", "90"
    )
    assert done.code == 3
    (file,) = done.json["files"]
    assert (file["found"], file["written"], file["quarantined"], file["unreadable"]) == (7, 3, 4, 0)
    assert terminal.sql("select count(*) from csv_rows") == [[3]]
    rows = terminal.sql("select _source_row, price, traded_on from csv_rows_quarantine order by _source_row")
    assert rows == [
        [6, "1.23456", "05/06/2024"],
        [7, "1", None],
        [8, "2", "2024-06-05"],
        [9, "3", "05/06/2024"],
    ]


def test_without_a_schema_the_columns_are_inferred_said_and_reused(terminal: Terminal, tmp_path: Path) -> None:
    trades = write(tmp_path / "trades.csv", TRADES)
    first = run(terminal, "csv", trades)
    assert first.code == 0
    assert "trade_id int64, account string, price decimal(5,2), traded_on date, note string" in first.err
    assert terminal.sql("select price::varchar, traded_on::varchar from csv_rows order by trade_id") == [
        ["1.50", "2024-06-05"],
        ["122.50", "2024-07-25"],
        [None, "2024-02-01"],
    ]
    again = run(terminal, "csv", trades)
    assert [file["action"] for file in again.json["files"]] == ["reused"]


def test_another_schema_is_another_reading_and_both_stand_in_the_case(terminal: Terminal, tmp_path: Path) -> None:
    trades = write(tmp_path / "trades.csv", TRADES)
    as_text = [{"name": column["name"], "type": "string"} for column in COLUMNS]
    assert run(terminal, "csv", trades).code == 0
    assert run(terminal, "csv", trades, "--schema", declared(tmp_path, *as_text)).code == 0
    assert terminal.sql("select count(distinct _cf_job_id) from csv_rows_all") == [[2]]
    shown = terminal.sql("select typeof(price), price from csv_rows order by trade_id limit 1")
    assert shown == [["VARCHAR", "1.50"]]


@pytest.mark.parametrize(
    ("mode", "text", "code"),
    [
        ("strict", "b,a\n1,2\n", 1),
        ("strict", "a,b,c\n1,2,3\n", 1),
        ("allow_extra", "a,b,c\n1,2,3\n", 0),
        ("allow_missing_optional", "a\n1\n", 0),
        ("allow_missing_optional", "b\n1\n", 1),
    ],
)
def test_the_mode_says_what_a_header_may_differ_in(
    terminal: Terminal, tmp_path: Path, mode: str, text: str, code: int
) -> None:
    columns = ({"name": "a", "type": "int64", "nullable": False}, {"name": "b", "type": "int64"})
    file = write(tmp_path / "a.csv", text)
    assert run(terminal, "csv", file, "--schema", declared(tmp_path, *columns, mode=mode)).code == code
    if code == 0:
        (row,) = terminal.sql("select a, b from csv_rows")
        assert row == [1, None if "b" not in text else 2]


def test_json_lines_keep_the_digits_of_numbers_and_the_places_of_what_is_no_object(
    terminal: Terminal, tmp_path: Path
) -> None:
    text = '{"id":1,"price":1.10}\nno object\n{"id":2,"price":12345678901234567890.123456}\n'
    lines = write(tmp_path / "trades.jsonl", text)
    done = run(terminal, "jsonl", lines)
    assert done.code == 3
    assert terminal.sql("select id, price::varchar from jsonl_rows order by id") == [
        [1, "1.100000"],
        [2, "12345678901234567890.123456"],
    ]
    assert terminal.sql("select byte_offset, byte_length from cf_job_ranges") == [[22, 10]]


@pytest.mark.slow
def test_a_row_of_a_declared_table_is_made_again(terminal: Terminal, tmp_path: Path) -> None:
    trades = write(tmp_path / "trades.csv", TRADES)
    assert run(terminal, "csv", trades, "--schema", declared(tmp_path, output="trades")).code == 0
    again = terminal.casparian("record", "trades", "1:1", "--json")
    assert (again.code, again.json["differences"]) == (0, [])
    assert again.json["columns"]["price"] == "122.5000"


def test_a_wrong_header_fails_its_file_alone(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    write(folder / "good.csv", TRADES)
    write(folder / "other.csv", "x,y\n1,2\n")
    done = run(terminal, "csv", folder, "--schema", declared(tmp_path))
    assert done.code == 1
    assert {Path(file["path"]).name: file["action"] for file in done.json["files"]} == {
        "good.csv": "run",
        "other.csv": "failed",
    }
