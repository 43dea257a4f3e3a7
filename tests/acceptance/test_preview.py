"""The verb `preview`: a file judged as in a run, without a home and without a byte written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Done, Terminal, eventually, interrupt

pytestmark = pytest.mark.acceptance

GOOD = [f"{n}|{n}.50|2024-01-02 09:30:{n:02}.5Z|ann" for n in range(1, 20)]
BAD = "x20|1O.25|2024-02-31 10:00:00Z|"  # no number, a letter in the price, no such day, no buyer
OWN = """
import pyarrow as pa

name = "lines"
version = "0.1"
outputs = {"lines": {"columns": [{"name": "text", "type": "string"}]}}

def parse(path, settings):
    with open(path) as source:
        texts = source.read().splitlines()
    print("the file has", len(texts), "lines")
    if "stop" in texts:
        raise ValueError("this line says stop")
    yield "lines", pa.record_batch([pa.array(texts, pa.string())], names=["text"])
    return {"unit": "lines", "output": "lines", "found": len(texts) + texts.count("one too few")}
"""


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


@pytest.fixture
def trades(terminal: Terminal) -> Path:
    return write(terminal, "day.trades", [*GOOD[:4], "# a comment", *GOOD[4:], BAD])


def preview(terminal: Terminal, path: Path | str, *options: str, parser: str = "typed", json: bool = True) -> Done:
    return terminal.casparian("preview", path, "--parser", parser, *options, *(("--json",) if json else ()))


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return all that is below a folder, with what would tell of a change."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def output_of(done: Done, name: str) -> dict[str, Any]:
    (output,) = [each for each in done.json["outputs"] if each["output"] == name]
    found: dict[str, Any] = output
    return found


def test_nothing_is_written_and_no_home_is_made(terminal: Terminal, trades: Path) -> None:
    before = tree(terminal.folder)
    assert preview(terminal, trades).code == 3
    assert preview(terminal, terminal.folder / "none.trades").code == 1
    assert preview(terminal, trades, json=False).code == 3
    assert tree(terminal.folder) == before
    assert not terminal.home.exists()


def test_a_home_and_its_log_stay_as_they_are(terminal: Terminal, trades: Path) -> None:
    good = write(terminal, "good.trades", GOOD)
    assert terminal.casparian("run", "typed", good, "--sink", f"parquet://{terminal.out}").code == 0
    before = tree(terminal.folder)
    assert preview(terminal, trades).code == 3
    assert preview(terminal, good).code == 0
    assert tree(terminal.folder) == before


def test_rows_are_judged_as_a_run_judges_them(terminal: Terminal, trades: Path) -> None:
    seen = preview(terminal, trades)
    ran = terminal.casparian("run", "typed", trades, "--sink", f"parquet://{terminal.out}", "--json")
    assert (seen.code, ran.code) == (3, 4)
    (kept,) = ran.json["quarantine"]
    trades_seen = output_of(seen, "trades")
    assert (trades_seen["accepted"], trades_seen["rejected"]) == (kept["accepted"], kept["rows"])
    assert [each["rule"] for each in trades_seen["rules"]] == kept["rules"]
    (failed,) = ran.json["files"]
    assert seen.json["policy"]["forbidden"] in failed["reason"]
    assert "1 of 20 rows of trades broke a rule and none may" in seen.json["policy"]["forbidden"]


def test_each_broken_rule_has_examples_with_line_and_value(terminal: Terminal) -> None:
    path = write(terminal, "more.trades", [*GOOD, *[f"{n}|1.234|2024-01-02 09:30:00Z|bob" for n in range(5)], BAD])
    rules = output_of(preview(terminal, path), "trades")["rules"]
    found = {f"{each['rule']['column']}.{each['rule']['code']}": each for each in rules}
    precise = found["price.precision_exceeded"]
    assert precise["rule"]["rows"] == 5
    assert [(each["line"], each["value"]) for each in precise["examples"]] == [
        (20, "1.234"),
        (21, "1.234"),
        (22, "1.234"),
    ]
    assert [(each["line"], each["value"]) for each in found["price.format_invalid"]["examples"]] == [(25, "1O.25")]
    assert [(each["line"], each["value"]) for each in found["buyer.null_not_allowed"]["examples"]] == [(25, None)]


def test_declared_and_given_columns_stand_side_by_side(terminal: Terminal, trades: Path) -> None:
    columns = {each["name"]: each for each in output_of(preview(terminal, trades), "trades")["columns"]}
    assert columns["buyer"]["nulls"] == 1
    assert [each["kind"] for each in columns["buyer"]["differences"]] == ["nullability"]
    assert (columns["number"]["declared"], columns["number"]["given"]) == ("int64, never null", ["string"])
    shown = preview(terminal, trades, "--output", "trades", json=False).out
    marks = {line.split()[1]: line.split()[0] for line in shown.splitlines() if line[2:3] in ("=", "≠")}
    assert marks["buyer"] == "≠"
    clean = preview(terminal, write(terminal, "good.trades", GOOD), json=False)
    assert (clean.code, "≠" in clean.out) == (0, False)


def test_the_first_rows_are_shown_whole_and_no_more_than_wanted(terminal: Terminal, trades: Path) -> None:
    seen = output_of(preview(terminal, trades, "--rows", "2", "--output", "trades"), "trades")["preview"]
    assert seen["columns"] == ["number", "price", "at", "buyer"]
    assert seen["rows"] == [
        ["1", "1.50", "2024-01-02 09:30:01.500000Z", "ann"],
        ["2", "2.50", "2024-01-02 09:30:02.500000Z", "ann"],
    ]
    only = preview(terminal, trades, "--rows", "0", "--output", "buyers")
    assert [each["output"] for each in only.json["outputs"]] == ["buyers"]
    assert only.json["rejected"] == 1  # of the output that is not shown: the exit code speaks of the whole file


def test_the_balance_sheets_are_those_of_the_parser(terminal: Terminal, trades: Path) -> None:
    sheets = preview(terminal, trades).json["sheets"]
    assert [(each["unit"], each["found"], each["written"], each["quarantined"]) for each in sheets] == [
        ("trades", 20, 19, 1),
        ("lines", 21, 20, 0),
    ]


def test_unreadable_records_are_exit_code_3_with_their_places(terminal: Terminal) -> None:
    log = terminal.folder / "one.evtx"
    write_log(log, records=3)
    assert preview(terminal, log, parser="evtx").code == 0
    data = bytearray(log.read_bytes())
    place = data.index(b"\x2a\x2a\x00\x00")
    data[place + 4 : place + 8] = b"\xff\xff\xff\x7f"
    log.write_bytes(data)
    damaged = preview(terminal, log, parser="evtx", json=False)
    assert damaged.code == 3, damaged.out
    assert "unreadable at byte" in damaged.out


def test_other_columns_are_told_as_a_difference(terminal: Terminal) -> None:
    path = write(terminal, "other.trades", ["#columns seller", *GOOD])
    done = preview(terminal, path)
    assert (done.code, done.json["ending"]) == (1, "failed")
    assert done.json["failure"]["kind"] == "schema_mismatch"
    assert done.json["failure"]["schema"] == {
        "output": "trades", "missing": [], "extra": ["seller"], "misplaced": [], "types": [],
    }  # fmt: skip
    shown = preview(terminal, path, json=False)
    assert "not declared: seller" in shown.out
    assert shown.err == ""


@pytest.mark.slow
def test_a_parser_of_ones_own_is_refused_until_it_is_trusted_or_tried_out(terminal: Terminal) -> None:
    parser = terminal.folder / "lines.py"
    parser.write_text(OWN)
    path = write(terminal, "a.txt", ["one", "two"])
    before = tree(terminal.folder)
    refused = preview(terminal, path, parser="./lines.py")
    assert (refused.code, refused.json["error"]["code"]) == (4, "untrusted_parser")
    tried = preview(terminal, path, "--dev", parser="./lines.py")
    assert (tried.code, tried.json["accepted"]) == (0, 2)
    assert tree(terminal.folder) == before
    assert terminal.casparian("parser", "trust", "./lines.py", "--reason", "read it").code == 0
    assert preview(terminal, path, parser="./lines.py").code == 0
    parser.write_text(OWN + "\n# one byte more\n")
    assert preview(terminal, path, parser="./lines.py").code == 4


@pytest.mark.slow
def test_a_parser_that_a_run_has_kept_is_found_by_its_name(terminal: Terminal) -> None:
    (terminal.folder / "lines.py").write_text(OWN)
    path = write(terminal, "a.txt", ["one", "two"])
    assert terminal.casparian("parser", "trust", "./lines.py", "--reason", "read it").code == 0
    assert terminal.casparian("run", "./lines.py", path).code == 0
    assert preview(terminal, path, parser="lines").code == 0
    assert terminal.casparian("parser", "revoke", "lines", "--reason", "it lies").code == 0
    assert preview(terminal, path, parser="lines").code in (1, 4)


def test_a_parser_that_fails_is_quoted_with_the_end_of_its_log(terminal: Terminal) -> None:
    (terminal.folder / "lines.py").write_text(OWN)
    path = write(terminal, "a.txt", ["one", "stop"])
    done = preview(terminal, path, "--dev", parser="./lines.py")
    assert (done.code, done.json["failure"]["kind"]) == (1, "parser_error")
    assert "this line says stop" in done.json["failure"]["reason"]
    assert "the file has 2 lines" in done.json["log_tail"]
    shown = preview(terminal, path, "--dev", parser="./lines.py", json=False)
    assert "the parser fails here: ValueError: this line says stop" in shown.out
    assert "the file has 2 lines" in shown.out


def test_an_account_that_does_not_add_up_is_told(terminal: Terminal) -> None:
    (terminal.folder / "lines.py").write_text(OWN)
    path = write(terminal, "a.txt", ["one", "one too few"])
    done = preview(terminal, path, "--dev", parser="./lines.py")
    assert done.code == 1
    assert "found 3 lines" in done.json["accounting"]
    ran = terminal.casparian("run", "--dev", "./lines.py", path, "--json")
    assert (ran.code, ran.json["files"][0]["reason"]) == (5, done.json["accounting"])


def test_the_policy_of_the_home_is_asked(terminal: Terminal, trades: Path) -> None:
    terminal.home.mkdir()
    (terminal.home / "config.toml").write_text("[quarantine]\nallow = true\n")
    done = preview(terminal, trades)
    assert (done.code, done.json["policy"]["forbidden"]) == (3, "")
    assert "a run would publish the accepted rows" in preview(terminal, trades, json=False).out
    assert [path.name for path in terminal.home.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--output", "sellers"), "usage"),
        (("--set", "speed=fast"), "unknown_setting"),
        (("--set", "speed"), "usage"),
        (("--dev",), "usage"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(
    terminal: Terminal, trades: Path, options: tuple[str, ...], code: str
) -> None:
    done = preview(terminal, trades, *options)
    assert (done.code, done.json["error"]["code"]) == (2, code)


def test_a_folder_and_a_parser_that_are_not_there_are_told(terminal: Terminal, trades: Path) -> None:
    folder = preview(terminal, trades.parent)
    assert (folder.code, folder.json["error"]["code"]) == (1, "no_such_input")
    unknown = preview(terminal, trades, parser="nonsense")
    assert (unknown.code, unknown.json["error"]["code"]) == (1, "unknown_parser")


def test_columns_that_nobody_declared_are_inferred_as_a_run_does(terminal: Terminal) -> None:
    path = write(terminal, "a.csv", ["id,price,day", "1,1.50,2024-01-02", "2,2.25,2024-01-03"])
    before = tree(terminal.folder)
    done = preview(terminal, path, parser="csv")
    assert done.code == 0, done.err
    columns = done.json["outputs"][0]["columns"]
    assert [(each["name"], each["declared"], each["given"], each["reads_as"]) for each in columns] == [
        ("id", "int64", ["string"], "int64"),
        ("price", "decimal(3,2)", ["string"], "decimal(3,2)"),
        ("day", "date %Y-%m-%d", ["string"], "date %Y-%m-%d"),
    ]
    assert tree(terminal.folder) == before
    schema = terminal.folder / "a.schema.json"
    schema.write_text('{"columns": [{"name": "id", "type": "int64"}, {"name": "price", "type": "int64"}, '
                      '{"name": "day", "type": "date", "format": "%Y-%m-%d"}]}')  # fmt: skip
    declared = preview(terminal, path, "--schema", str(schema), parser="csv")
    assert (declared.code, declared.json["rejected"]) == (3, 2)
    compared = terminal.casparian("schema", "diff", "csv", path, "--schema", str(schema), "--json")
    assert [(each["column"], each["kind"]) for each in compared.json["differences"]] == [("price", "values")]
    recorded = terminal.casparian("schema", "diff", "csv", "--json")
    assert recorded.json["error"]["code"] == "columns_declared"


def test_the_parser_itself_has_a_word_in_the_policy(terminal: Terminal, trades: Path) -> None:
    parser = terminal.folder / "own" / "parser.py"
    parser.parent.mkdir()
    typed = Path(__file__).with_name("typed")
    parser.write_text((typed / "parser.py").read_text())
    manifest = (typed / "casparian.toml").read_text().replace('"typed"', '"tolerant"')
    (parser.parent / "casparian.toml").write_text(f"{manifest}\n[quarantine]\nallow = true\npct_max = 4.5\n")
    trust = terminal.casparian("parser", "trust", "./own/", "--reason", "read it")
    assert trust.code == 0, trust.err
    done = preview(terminal, trades, parser="./own/")
    assert done.json["policy"] == {
        "allow": True, "pct_max": 4.5, "count_max": None,
        "forbidden": "1 of 20 rows of trades broke a rule (5 percent) and at most 4.5 percent may",
        "options": "--quarantine-threshold 5",
    }  # fmt: skip


def test_an_interrupted_preview_leaves_no_process_and_no_folder(terminal: Terminal) -> None:
    parser = terminal.folder / "lines.py"
    parser.write_text(OWN.replace('    if "stop"', '    import time\n    time.sleep(60)\n    if "stop"'))
    path = write(terminal, "a.txt", ["one"])
    before = tree(terminal.folder)
    started = terminal.start("preview", path, "--parser", "./lines.py", "--dev")
    eventually(lambda: any("forker" in " ".join(words) for _pid, words in terminal.processes()), what="the guest")
    interrupt(started)
    assert started.wait(30) == 130
    eventually(lambda: terminal.processes() == [], what="the end of the guest")
    started.communicate()
    assert tree(terminal.folder) == before
