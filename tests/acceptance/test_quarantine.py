"""Rows that break the rules of their output: kept, told, decided by policy, looked at, exported and deleted."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eventlog.schema import QUARANTINE_COLUMNS
from tests.acceptance.terminal import Done, Terminal

pytestmark = pytest.mark.acceptance

GOOD = [f"{n}|{n}.50|2024-01-02 09:30:{n:02}.5Z|ann" for n in range(1, 20)]
BAD = "x20|1O.25|2024-02-31 10:00:00Z|"  # no number, a letter in the price, no such day, no buyer


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal whose command knows the parser of these tests too."""
    made = Terminal(tmp_path)
    made.command = (sys.executable, "-P", "-m", "tests.acceptance.driver")
    return made


@pytest.fixture
def trades(terminal: Terminal) -> Path:
    return write(terminal, "day.trades", [*GOOD[:4], "# a comment", *GOOD[4:], BAD])


def write(terminal: Terminal, name: str, lines: list[str]) -> Path:
    path = terminal.folder / "trades" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def run(terminal: Terminal, *inputs: Path, options: tuple[str, ...] = (), json: bool = True) -> Done:
    shape = ("--json",) if json else ()
    return terminal.casparian("run", "typed", *inputs, "--sink", f"parquet://{terminal.out}", *options, *shape)


def kept_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in report["quarantine"]:
        rows += pq.read_table(each["path"]).to_pylist()
    return rows


def test_an_output_with_a_rejected_row_is_not_published_and_the_row_is_kept(terminal: Terminal, trades: Path) -> None:
    done = run(terminal, trades)
    assert done.code == 4, done.err
    (file,) = done.json["files"]
    assert (file["action"], file["status"]) == ("failed", "policy")
    assert "1 of 20 rows of trades broke a rule and none may" in file["reason"]
    (kept,) = done.json["quarantine"]
    assert (kept["output"], kept["rows"], kept["accepted"], kept["rejected"]) == ("trades", 1, 19, True)
    assert [(rule["column"], rule["code"], rule["rows"]) for rule in kept["rules"]] == [
        ("number", "format_invalid", 1),
        ("price", "format_invalid", 1),
        ("at", "format_invalid", 1),
        ("buyer", "null_not_allowed", 1),
    ]
    (row,) = kept_rows(done.json)
    assert {name: row[name] for name in ("number", "price", "at", "buyer")} == {
        "number": "x20", "price": "1O.25", "at": "2024-02-31 10:00:00Z", "buyer": None,
    }  # fmt: skip
    assert list(row)[-len(QUARANTINE_COLUMNS) :] == [column.name for column in QUARANTINE_COLUMNS]
    assert row["_error_msg"].count("; ") == 3
    assert (row["_rule_id"], row["_violation_type"]) == ("number.format_invalid", "schema")
    assert (row["_source_row"], row["_output_row_index"]) == (21, None)
    assert (row["_cf_job_id"], row["_cf_source_hash"], row["_cf_parser_version"]) == (
        str(file["job"]), file["source_hash"], "1.0.0",
    )  # fmt: skip
    assert sorted(path.name for path in terminal.out.iterdir() if path.suffix == ".parquet") == [
        Path(kept["path"]).name
    ]
    assert Path(kept["path"]).name.startswith("trades_quarantine_")
    assert [path.name for path in terminal.out.iterdir() if path.name.endswith(".stage")] == []
    assert terminal.sql("select count(*) from trades_quarantine") == [[1]]
    assert terminal.sql("select count(*) from trades") == [[0]]
    assert terminal.casparian("log", "verify").code == 0
    assert terminal.casparian("replay", "--check").code == 0


@pytest.mark.slow
def test_with_leave_the_other_rows_are_published_beside_it(terminal: Terminal, trades: Path) -> None:
    done = run(terminal, trades, options=("--allow-quarantine",))
    assert done.code == 3, done.err
    (file,) = done.json["files"]
    assert (file["status"], file["found"], file["written"], file["quarantined"]) == ("partial_success", 20, 19, 1)
    assert done.json["quarantine"][0]["pct"] == 5.0
    assert terminal.sql("select count(*), sum(price)::varchar from trades") == [[19, "199.50"]]
    assert terminal.sql('select typeof(price), typeof("at"), typeof(number) from trades limit 1') == [
        ["DECIMAL(10,2)", "TIMESTAMP WITH TIME ZONE", "BIGINT"]
    ]
    assert terminal.sql("select _source_row, price from trades_quarantine") == [[21, "1O.25"]]
    again = run(terminal, trades, options=("--allow-quarantine",))
    assert (again.code, again.json["reused"]) == (3, 1)
    balance = terminal.casparian("balance", "--json")
    assert balance.code == 3
    assert [(each["unit"], each["found"], each["written"], each["quarantined"]) for each in balance.json["totals"]] == [
        ("trades", 20, 19, 1),
        ("lines", 21, 20, 0),
    ]


@pytest.mark.slow
def test_the_evidence_of_a_rejection_gives_way_to_a_later_reading(terminal: Terminal, trades: Path) -> None:
    assert run(terminal, trades).code == 4
    assert run(terminal, trades, options=("--allow-quarantine",)).code == 3
    assert terminal.sql("select _cf_job_id from trades_quarantine") == [["2"]]
    assert terminal.sql("select count(*) from trades_quarantine_all") == [[2]]
    assert "1 of 20 rows broke a rule" in terminal.casparian("quarantine", "show").out
    assert "2 of 40 rows broke a rule" in terminal.casparian("quarantine", "show", "--all").out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--allow-quarantine", "--quarantine-threshold", "5"), 3),
        (("--allow-quarantine", "--quarantine-threshold", "4.9"), 4),
        (("--allow-quarantine", "--quarantine-count", "1"), 3),
        (("--allow-quarantine", "--quarantine-count", "0"), 4),
        (("--quarantine-threshold", "50"), 4),
    ],
)
def test_the_limits_decide(terminal: Terminal, trades: Path, options: tuple[str, ...], code: int) -> None:
    assert run(terminal, trades, options=options).code == code


@pytest.mark.slow
def test_the_command_line_has_the_last_word_over_the_configuration(terminal: Terminal, trades: Path) -> None:
    terminal.home.mkdir(parents=True)
    (terminal.home / "config.toml").write_text("[quarantine]\nallow = true\npct_max = 5.0\n")
    assert run(terminal, trades, options=("--no-quarantine",)).code == 4
    assert run(terminal, trades).code == 3
    (terminal.home / "config.toml").write_text("[quarantine]\nallows = true\n")
    refused = run(terminal, trades)
    assert (refused.code, refused.json["error"]["code"]) == (2, "bad_config")


@pytest.mark.slow
def test_a_parser_may_say_how_much_it_expects_and_the_command_line_says_it_over(
    terminal: Terminal, trades: Path
) -> None:
    typed = (Path(__file__).with_name("typed") / "parser.py").read_text()
    own = terminal.folder / "own.py"
    own.write_text(f'{typed}\nname = "own"\nversion = "1"\nquarantine = {{"allow": True, "pct_max": 5.0}}\n')
    assert terminal.casparian("parser", "trust", own, "--reason", "a test").code == 0
    done = terminal.casparian("run", own, trades, "--json")
    assert done.code == 3, done.err
    forbidden = terminal.casparian(
        "run", own, trades, "--sink", f"parquet://{terminal.out}", "--no-quarantine", "--json"
    )
    assert forbidden.code == 4
    said = terminal.sql("select quarantine from cf_runs order by run_id")
    assert said == [['{"allow":true,"ppm_max":50000}'], ['{"ppm_max":50000}']]


def test_one_screen_says_which_rule_where_and_what_can_follow(terminal: Terminal, trades: Path) -> None:
    done = run(terminal, trades, options=("--allow-quarantine",), json=False)
    assert done.code == 3
    for said in (
        "trades: 1 of 20 rows broke a rule (5.00%)",
        "price.format_invalid: 1 row",
        "day.trades:21 'x20'",
        "casparian quarantine show",
        "trades_quarantine",
    ):
        assert said in done.out, said


def test_what_the_parser_itself_calls_wrong_is_rejected_too(terminal: Terminal) -> None:
    path = write(terminal, "own.trades", [*GOOD, "!30|1.00|2024-01-02 09:30:00Z|bob"])
    done = run(terminal, path, options=("--allow-quarantine",))
    assert [(rule["column"], rule["code"]) for rule in done.json["quarantine"][0]["rules"]] == [("", "parser")]
    (row,) = kept_rows(done.json)
    assert (row["_rule_id"], row["_violation_type"]) == ("parser", "parser")


def test_other_columns_fail_the_job_and_the_difference_is_kept(terminal: Terminal) -> None:
    good, other = write(terminal, "good.trades", GOOD), write(terminal, "other.trades", ["#columns seller", *GOOD])
    done = run(terminal, good.parent)
    assert done.code == 1
    assert {Path(file["path"]).name: file["action"] for file in done.json["files"]} == {
        good.name: "run",
        other.name: "failed",
    }
    found = terminal.sql("select output_name, extra, missing, expected from cf_job_schema_mismatch")
    assert found == [["trades", '["seller"]', "[]", '["number","price","at","buyer"]']]


def test_rejected_rows_are_listed_shown_sampled_and_exported(terminal: Terminal, trades: Path) -> None:
    terminal.out = terminal.folder / "host=A"
    write(terminal, "more.trades", [*GOOD, "a|1.234|2024-01-02 09:30:00|bob", "b|1.2|2024-01-02 09:30:00Z|bob"])
    assert run(terminal, trades.parent, options=("--allow-quarantine",)).code == 3
    listed = terminal.casparian("quarantine", "ls", "--json").json["quarantine"]
    # Which of two executors ends first is chance.
    assert sorted((each["output"], each["rows"], each["state"]) for each in listed) == [
        ("trades", 1, "kept"),
        ("trades", 2, "kept"),
    ]
    shown = terminal.casparian("quarantine", "show")
    assert "trades: 3 of 41 rows broke a rule" in shown.out
    assert "number.format_invalid: 3 rows" in shown.out
    assert "more.trades:20 'a'" in shown.out
    sampled = terminal.casparian("quarantine", "sample", "--rule", "number.format_invalid", "--limit", "2", "--json")
    assert len(sampled.json["rows"]) == 2
    assert "precision_exceeded" not in sampled.out
    file = terminal.folder / "rejected.csv"
    beside = terminal.folder / ".rejected.csv.part"
    beside.write_text("somebody's")
    assert terminal.casparian("quarantine", "export", file, "--output", "trades").code == 0
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    assert sorted(row["number"] for row in rows) == ["a", "b", "x20"]
    assert "host" not in rows[0]  # no column comes of the name of a folder
    assert beside.read_text() == "somebody's"
    again = terminal.casparian("quarantine", "export", file, "--output", "trades", "--json")
    assert (again.code, again.json["error"]["code"]) == (2, "exists")
    nowhere = terminal.folder / "nowhere" / "rejected.csv"
    lost = terminal.casparian("quarantine", "export", nowhere, "--output", "trades", "--json")
    assert (lost.code, lost.json["error"]["code"]) == (1, "export_failed")
    assert lost.json["error"]["message"].endswith(f"{nowhere.parent}: no such file or directory")
    assert "folder" in lost.json["error"]["next_step"]
    nothing = terminal.casparian("quarantine", "show", "--output", "buyers", "--json")
    assert (nothing.code, nothing.json["error"]["code"]) == (1, "not_found")


@pytest.mark.slow
def test_a_rejected_row_leads_to_its_file_its_bytes_and_the_rules_that_it_broke(
    terminal: Terminal, trades: Path
) -> None:
    run(terminal, trades)
    ((job, place),) = terminal.sql("select _cf_job_id, _source_row from trades_quarantine_all")
    name = f"{job}:{place}"
    explained = terminal.casparian("explain", "row", "trades_quarantine", name, "--json")
    assert explained.code == 0, explained.err
    answer = explained.json["answer"]
    assert f"line {place} of {trades}" in answer
    assert "broke number.format_invalid" in answer
    assert any("rejected" in line["said"] for line in explained.json["lines"])
    done = terminal.casparian("record", "trades_quarantine", name, "--json")
    assert (done.code, done.json["same_again"], done.json["source_unchanged"]) == (0, True, True)
    data = trades.read_bytes()
    offset = data.index(BAD.encode())
    assert (done.json["offset"], done.json["length"]) == (offset, len(BAD) + 1)
    assert bytes.fromhex(done.json["bytes_hex"]) == BAD.encode() + b"\n"
    (row,) = done.json["rows"]
    assert (row["number"], row["price"], row["buyer"]) == ("x20", "1O.25", None)
    assert row["_error_msg"].count(";") == 3, "all four rules that it broke"
    shown = terminal.casparian("record", "trades_quarantine", name).out
    assert "rejected for the same reasons" in shown
    assert f"at byte {offset:,}, {len(BAD) + 1} bytes" in shown
    trades.write_bytes(data.replace(b"x20", b"y20"))
    changed = terminal.casparian("record", "trades_quarantine", name)
    assert (changed.code, "HAS OTHER BYTES NOW" in changed.out) == (5, True)


@pytest.mark.parametrize(
    ("name", "code", "error"),
    [("1:1", 1, "not_found"), ("9:21", 1, "not_found"), ("21", 2, "usage"), ("1:-1", 2, "usage")],
)
def test_a_rejected_row_that_is_not_there_is_told(
    terminal: Terminal, trades: Path, name: str, code: int, error: str
) -> None:
    run(terminal, trades)
    for verb in (["record"], ["explain", "row"]):
        done = terminal.casparian(*verb, "trades_quarantine", name, "--json")
        assert (done.code, done.json["error"]["code"]) == (code, error)
    done = terminal.casparian("record", "buyers_quarantine", "1:21", "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "not_found")


@pytest.mark.slow
def test_evidence_that_was_deleted_or_changed_proves_nothing(terminal: Terminal, trades: Path) -> None:
    (kept,) = run(terminal, trades).json["quarantine"]
    whole = Path(kept["path"]).read_bytes()
    Path(kept["path"]).write_bytes(whole[:-1] + b"x")
    done = terminal.casparian("record", "trades_quarantine", "1:21", "--json")
    assert (done.code, done.json["error"]["code"]) == (5, "output_damaged")
    Path(kept["path"]).write_bytes(whole)
    terminal.casparian("quarantine", "purge", "--older-than", "0", "--reason", "the case is closed")
    done = terminal.casparian("explain", "row", "trades_quarantine", "1:21", "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "evidence_deleted")
    assert "the case is closed" in done.json["error"]["message"]


@pytest.mark.slow
def test_a_query_that_fails_names_the_table_that_it_means_else_one_of_this_home(
    terminal: Terminal, trades: Path
) -> None:
    run(terminal, trades, options=("--allow-quarantine",))
    for query, meant in (
        ("select nothing from nowhere", "buyers"),
        ("drop table trades", "trades"),
        ("select nothing from trade join cf_jobs", "trades"),
    ):
        done = terminal.casparian("sql", query, "--json")
        assert (done.code, done.json["error"]["next_step"]) == (2, f'casparian sql "describe {meant}"')
    assert terminal.casparian("sql", "describe buyers").code == 0


def test_a_wrong_setting_is_told_before_anything_is_queued(terminal: Terminal, trades: Path) -> None:
    done = terminal.casparian("run", "csv", trades, "--set", "delimiter=;", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "bad_setting")
    assert "it takes auto, comma, semicolon, tab, pipe" in done.json["error"]["message"]
    assert terminal.sql("select count(*) from cf_jobs") == [[0]]
    query = terminal.casparian("sql", "select nothing", "--json")
    assert query.json["error"]["next_step"] == 'casparian sql "describe cf_jobs"'


@pytest.mark.slow
def test_json_has_three_examples_of_each_rule_with_file_and_line(terminal: Terminal, trades: Path) -> None:
    more = write(terminal, "more.trades", [*GOOD[:2], *[f"{n}|1.5|2024-01-02 09:30:00.1Z|" for n in range(30, 36)]])
    report = run(terminal, trades, more).json
    told = [(each["rule"], Path(each["file"]).name, each["line"], each["value"]) for each in report["examples"]]
    assert told == [
        ("number.format_invalid", "day.trades", 21, "x20"),
        *[("buyer.null_not_allowed", "more.trades", line, None) for line in (3, 4, 5)],
    ]
    assert {each["output"] for each in report["examples"]} == {"trades"}
    assert run(terminal, write(terminal, "good.trades", GOOD)).json["examples"] == []


@pytest.mark.slow
def test_a_copied_home_deletes_nothing_of_the_one_that_it_was_copied_from(terminal: Terminal, trades: Path) -> None:
    (kept,) = run(terminal, trades).json["quarantine"]
    assert "one of the two is a copy" not in run(terminal, trades).err
    copy = terminal.home.with_name("copied-home")
    shutil.copytree(terminal.home, copy)
    words = ("quarantine", "purge", "--older-than", "0", "--reason", "closed", "--json", "--home", str(copy))
    refused = terminal.casparian(*words)
    assert (refused.code, refused.json["error"]["code"]) == (4, "target_of_another_home")
    assert str(terminal.home) in refused.json["error"]["message"]
    assert "--take-over" in refused.json["error"]["next_step"]
    assert Path(kept["path"]).exists()
    told = run(terminal, trades, options=("--home", str(copy)))
    assert "one of the two is a copy" in told.err
    assert len(terminal.casparian(*words, "--take-over").json["deleted"]) >= 1
    assert not Path(kept["path"]).exists()
    ours = terminal.casparian("quarantine", "purge", "--older-than", "0", "--reason", "closed", "--json")
    assert ours.json["error"]["code"] == "target_of_another_home", "it is told who has the folder now"


@pytest.mark.slow
def test_a_file_with_other_bytes_and_a_folder_without_its_mark_are_left(terminal: Terminal, trades: Path) -> None:
    (kept,) = run(terminal, trades).json["quarantine"]
    words = ("quarantine", "purge", "--older-than", "0", "--reason", "closed", "--json")
    (terminal.out / ".casparian").rename(terminal.out / "mark")
    refused = terminal.casparian(*words)
    assert (refused.code, refused.json["error"]["code"]) == (1, "target_without_mark")
    (terminal.out / "mark").rename(terminal.out / ".casparian")
    Path(kept["path"]).write_bytes(b"somebody's")
    done = terminal.casparian(*words)
    assert "it has other bytes than were recorded" in done.err
    assert Path(kept["path"]).read_bytes() == b"somebody's"


@pytest.mark.slow
def test_rejected_rows_are_deleted_on_a_persons_word_only_and_the_log_says_so(terminal: Terminal, trades: Path) -> None:
    (kept,) = run(terminal, trades).json["quarantine"]
    unsaid = terminal.casparian("quarantine", "purge", "--reason", "closed", "--json")
    assert (unsaid.code, unsaid.json["error"]["code"]) == (2, "usage")
    (terminal.home / "config.toml").write_text("[quarantine]\nretention_days = 30\n")
    young = terminal.casparian("quarantine", "purge", "--reason", "closed", "--json")
    assert (young.json["deleted"], Path(kept["path"]).exists()) == ([], True)
    done = terminal.casparian("quarantine", "purge", "--older-than", "0", "--reason", "the case is closed", "--json")
    assert done.code == 0, done.err
    assert [each["job"] for each in done.json["deleted"]] == [kept["job"]]
    assert not Path(kept["path"]).exists()
    (listed,) = terminal.casparian("quarantine", "ls", "--json").json["quarantine"]
    assert (listed["state"], listed["reason"], listed["rows"]) == ("deleted", "the case is closed", 1)
    assert terminal.sql("select count(*) from trades_quarantine") == [[0]]
    assert terminal.casparian("outputs").code == 0
    told = run(terminal, trades, options=("--allow-quarantine",), json=False)
    assert "trades: 1 of 20 rows broke a rule" in told.out
    assert "the case is closed" in terminal.casparian("explain", "job", str(kept["job"])).out
    assert terminal.casparian("replay", "--check").code == 0


def test_a_job_that_waits_with_the_policy_of_an_earlier_run_gives_way(terminal: Terminal, trades: Path) -> None:
    assert run(terminal, trades).code == 4
    assert terminal.casparian("job", "retry", "1").code == 0, "its job has the policy of the run that it was of"
    done = run(terminal, trades, options=("--allow-quarantine",))
    assert (done.code, done.json["processed"]) == (3, 1), done.err
    assert "under another policy" in terminal.casparian("job", "show", "2", "--json").json["job"]["error_reason"]


def test_the_options_that_are_advised_publish_what_is_left(terminal: Terminal) -> None:
    trades = write(terminal, "day.trades", [*GOOD[:2], BAD])
    (file,) = run(terminal, trades).json["files"]
    advised = tuple(file["next_step"].partition("run again with ")[2].split())
    assert advised == ("--allow-quarantine", "--quarantine-threshold", "34")
    assert run(terminal, trades, options=advised).code == 3
    assert "job retry" not in terminal.casparian("job", "show", "1").out


def test_a_limit_without_leave_is_told_to_count_for_nothing(terminal: Terminal, trades: Path) -> None:
    done = run(terminal, trades, options=("--quarantine-threshold", "50"))
    assert done.code == 4
    assert "counts for nothing without --allow-quarantine" in done.err
