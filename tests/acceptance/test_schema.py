"""Columns that are inferred and declared: real files, the installed command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance

TRADES = '''trade_id,account,price,traded_on,note
1,007123,1.50,05/06/2024,
2,000001,122.5,06/07/2024,"x, ""y"""
3,000002,99.99,01/02/2024,plain
'''


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    path = tmp_path / "trades.csv"
    path.write_text(TRADES)
    return path


def test_infer_shows_types_evidence_and_what_a_person_has_to_answer(terminal: Terminal, trades: Path) -> None:
    shown = terminal.casparian("schema", "infer", trades)
    assert shown.code == 0
    assert "price: decimal(5,2)" in shown.out
    assert "line 2 has '007123': not integer, decimal, float: a leading zero: an identifier" in shown.out
    assert "QUESTION: every value can be read as date %d/%m/%Y or date %m/%d/%Y; which is it?" in shown.out
    assert '{"name":"traded_on","type":"date","nullable":true,"format":"%d/%m/%Y"}' in shown.out
    assert not terminal.home.exists()


def test_infer_writes_a_schema_file_and_never_over_one(terminal: Terminal, trades: Path, tmp_path: Path) -> None:
    file = tmp_path / "trades.schema.json"
    words = ("schema", "infer", trades, "--out", file.name, "--table", "trades", "--json")
    told = terminal.casparian(*words).json
    assert json.loads(file.read_text()) == told["schema"]
    assert told["schema"]["output"] == "trades"
    assert told["written"] == str(file)
    file.write_text("mine")
    again = terminal.casparian(*words)
    assert (again.code, again.json["error"]["code"], file.read_text()) == (2, "exists", "mine")
    assert terminal.casparian(*words, "--force").code == 0
    assert json.loads(file.read_text()) == told["schema"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("schema", "infer", "trades.txt"), "usage"),
        (("schema", "infer", "trades.csv", "--parser", "evtx"), "usage"),
        (("schema", "infer", "nothing.csv"), "no_such_input"),
        (("schema", "infer", "trades.csv", "--table", "Trades!"), "bad_schema"),
        (("schema", "infer", "trades.csv", "--set", "schema=x"), "unknown_setting"),
        (("run", "csv", "trades.csv", "--schema", "nothing.json"), "bad_schema"),
        (("run", "csv", "trades.csv", "--schema", "trades.csv"), "bad_schema"),
        (("run", "csv", "trades.csv", "--schema", "x.json", "--set", "schema="), "usage"),
        (("run", "csv", "trades.csv", "--set", "schema="), "no_columns"),
        (("run", "csv", "trades.csv", "--set", "schema={}"), "no_columns"),
        (("run", "csv", "trades.csv", "trades.txt", "--set", "delimiter=comma"), "different_headers"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_run(
    terminal: Terminal, trades: Path, words: tuple[str, ...], code: str
) -> None:
    trades.with_suffix(".txt").write_text("a;b\n1;2\n")
    refused = terminal.casparian(*words, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, code)
    assert (code != "no_such_input") or "nothing.csv: no such file or folder" in refused.json["error"]["message"]
    if terminal.home.exists():
        assert terminal.sql("select count(*) from cf_runs") == [[0]]


def test_a_name_that_does_not_say_what_it_holds_is_named_with_the_choice(terminal: Terminal, tmp_path: Path) -> None:
    refused = terminal.casparian("schema", "infer", tmp_path / "conn.log", "--json").json["error"]
    assert refused["message"] == (
        f"infer columns of {tmp_path}/conn.log: its name, or that of another, does not say whether csv or jsonl is to "
        "read it"
    )
    assert refused["next_step"] == "--parser csv"


def test_files_with_different_headers_are_refused_with_a_command_for_each_group(
    terminal: Terminal, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, header in (("a", "x,y"), ("b", "x,y"), ("c", "x,z")):
        (folder / f"{name}.csv").write_text(f"{header}\n1,2\n")
    refused = terminal.casparian("run", "csv", folder, "--json")
    error = refused.json["error"]
    assert (refused.code, error["code"]) == (2, "different_headers")
    assert f"2 files such as {folder}/a.csv with x, y" in error["message"]
    assert f"casparian run csv {folder}/a.csv {folder}/b.csv; casparian run csv {folder}/c.csv" in error["next_step"]
