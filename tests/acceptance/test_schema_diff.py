"""The verbs `schema show` and `schema diff`: a declaration, and in what files or the record differ from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.terminal import Done, Terminal

pytestmark = pytest.mark.acceptance

GOOD = [f"{n}|{n}.50|2024-01-02 09:30:{n:02}.5Z|ann" for n in range(1, 20)]
OWN = """
import pyarrow as pa

name = "pairs"
version = "{version}"
outputs = {{"pairs": {{"columns": [{columns}]}}}}

def parse(path, settings):
    with open(path) as source:
        rows = [line.split() for line in source.read().splitlines()]
    left = pa.array([row[0] for row in rows], pa.string())
    right = pa.array([row[1] if row[1] != "-" else None for row in rows], pa.string())
    yield "pairs", pa.record_batch({{"left": left, "{right}": right}})
    return {{"unit": "pairs", "output": "pairs", "found": len(rows)}}
"""
LEFT = '{"name": "left", "type": "string", "nullable": False}'


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal whose command knows the parsers of these tests too."""
    made = Terminal(tmp_path)
    made.command = (sys.executable, "-P", "-m", "tests.acceptance.driver")
    return made


def write(terminal: Terminal, name: str, lines: list[str]) -> Path:
    path = terminal.folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def write_parser(
    terminal: Terminal, *, right: str, declared: str, given: str | None = None, version: str = "1"
) -> None:
    column = f'{{"name": "{right}", {declared}}}'
    text = OWN.format(version=version, columns=f"{LEFT}, {column}", right=given or right)
    (terminal.folder / "pairs.py").write_text(text)


def diff(terminal: Terminal, parser: str, *words: str | Path) -> Done:
    return terminal.casparian("schema", "diff", parser, *words, "--json")


def told(done: Done) -> list[tuple[str, str, str]]:
    found: list[dict[str, Any]] = done.json["differences"]
    return [(each["output"], each["column"], each["kind"]) for each in found]


def run(terminal: Terminal, *words: str | Path) -> Done:
    return terminal.casparian("run", *words, "--sink", f"parquet://{terminal.out}", "--json")


def test_a_declaration_is_shown_with_its_types_in_words_and_in_duckdb(terminal: Terminal) -> None:
    shown = terminal.casparian("schema", "show", "typed", "--json")
    assert shown.code == 0
    trades = shown.json["outputs"][0]
    assert [(each["name"], each["type"], each["nullable"], each["duckdb_type"]) for each in trades["columns"]] == [
        ("number", "int64", False, "BIGINT"),
        ("price", "decimal(10,2)", True, "DECIMAL(10,2)"),
        ("at", "timestamp_utc", True, "TIMESTAMPTZ"),
        ("buyer", "string", False, "VARCHAR"),
    ]
    human = terminal.casparian("schema", "show", "typed").out
    assert "%Y-%m-%d %H:%M:%S.%f%z" in human
    assert terminal.casparian("schema", "show", "nonsense", "--json").json["error"]["code"] == "unknown_parser"
    assert not terminal.home.exists()


def test_files_that_are_as_declared_differ_in_nothing(terminal: Terminal) -> None:
    done = diff(terminal, "typed", write(terminal, "good.trades", GOOD))
    assert (done.code, done.json["differences"], done.json["files"]) == (0, [], 1)
    assert not terminal.home.exists()


def test_each_difference_names_its_column_and_its_file(terminal: Terminal) -> None:
    bad = write(terminal, "bad.trades", [*GOOD, "x|1.00|2024-01-02 09:30:00Z|"])
    other = write(terminal, "other.trades", ["#columns seller", *GOOD])
    done = diff(terminal, "typed", bad, other)
    assert done.code == 3
    assert told(done) == [
        ("trades", "number", "values"),
        ("trades", "buyer", "nullability"),
        ("trades", "seller", "extra"),
    ]
    assert [each["where"] for each in done.json["differences"]] == [str(bad), str(bad), str(other)]


def test_missing_columns_and_other_types_are_told(terminal: Terminal) -> None:
    rows = write(terminal, "rows.txt", ["a 1", "b 2"])
    write_parser(terminal, right="right", declared='"type": "int64"')
    assert told(diff(terminal, "./pairs.py", rows, "--dev")) == [("pairs", "right", "type")]
    write_parser(terminal, right="right", declared='"type": "string"', given="rite")
    assert told(diff(terminal, "./pairs.py", rows, "--dev")) == [
        ("pairs", "right", "missing"),
        ("pairs", "rite", "extra"),
    ]


def test_a_parser_that_fails_cannot_be_compared(terminal: Terminal) -> None:
    write_parser(terminal, right="right", declared='"type": "string"')
    done = diff(terminal, "./pairs.py", write(terminal, "rows.txt", ["one"]), "--dev")
    assert (done.code, done.json["error"]["code"]) == (1, "parser_failed")


def test_tables_are_held_against_the_declaration_of_now(terminal: Terminal) -> None:
    rows = write(terminal, "rows.txt", ["a 1", "b -"])
    write_parser(terminal, right="right", declared='"type": "string"')
    assert run(terminal, "--dev", "./pairs.py", rows).code == 0
    assert diff(terminal, "./pairs.py").code == 0
    write_parser(terminal, right="right", declared='"type": "int64", "nullable": False, "format": "text"', version="2")
    done = diff(terminal, "./pairs.py")
    assert (done.code, done.json["tables"]) == (3, 1)
    assert told(done) == [("pairs", "right", "type"), ("pairs", "right", "nullability")]
    assert done.json["differences"][1]["observed"] == "may be null, and 1 are"
    write_parser(terminal, right="other", declared='"type": "string"', version="3")
    assert told(diff(terminal, "./pairs.py")) == [("pairs", "other", "missing"), ("pairs", "right", "extra")]


@pytest.mark.slow
def test_refused_columns_are_told_until_a_later_job_goes_well(terminal: Terminal) -> None:
    rows = write(terminal, "rows.txt", ["a 1"])
    write_parser(terminal, right="right", declared='"type": "string"', given="rite")
    assert run(terminal, "--dev", "./pairs.py", rows).code == 1
    done = diff(terminal, "./pairs.py")
    assert (done.code, done.json["jobs"]) == (3, 1)
    assert told(done) == [("pairs", "right", "missing"), ("pairs", "rite", "extra")]
    assert done.json["differences"][0]["where"] == f"{rows} (job 1)"
    write_parser(terminal, right="right", declared='"type": "string"', version="2")
    assert run(terminal, "--dev", "./pairs.py", rows).code == 0
    assert diff(terminal, "./pairs.py").json["differences"] == []


def test_a_table_that_is_gone_is_told(terminal: Terminal) -> None:
    rows = write(terminal, "rows.txt", ["a 1"])
    write_parser(terminal, right="right", declared='"type": "string"')
    assert run(terminal, "--dev", "./pairs.py", rows).code == 0
    (lost,) = terminal.out.glob("*.parquet")
    lost.unlink()
    write_parser(terminal, right="right", declared='"type": "int64"', version="2")
    done = diff(terminal, "./pairs.py")
    assert (done.code, done.json["error"]["code"]) == (1, "output_lost")


@pytest.mark.slow
def test_nothing_recorded_cannot_be_compared(terminal: Terminal) -> None:
    unrun = diff(terminal, "typed").json["error"]
    assert (unrun["code"], unrun["next_step"]) == ("not_found", "name a file: casparian schema diff typed FILE")
    assert run(terminal, "typed", write(terminal, "good.trades", GOOD)).code == 0
    assert diff(terminal, "typed").code == 0
    nothing = diff(terminal, "evtx")
    assert (nothing.code, nothing.json["error"]["code"]) == (1, "not_found")
    unused = diff(terminal, "typed", "--set", "a=b")
    assert (unused.code, unused.json["error"]["code"]) == (2, "usage")
