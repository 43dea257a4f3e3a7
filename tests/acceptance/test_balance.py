"""The balance of a case: every record found is accounted for, and the places that could not be read are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import Case, write_log
from tests.acceptance.crashes import FixtureTerminal, write_source
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


def test_the_case_balances_per_file_and_in_all(terminal: Terminal, case: Case) -> None:
    run = terminal.run_evtx(case.folder).json
    done = terminal.casparian("balance", "--json")
    assert done.code == 3  # one log of the case is cut
    files = {file["path"]: file for file in done.json["files"]}
    assert set(files) == {file["path"] for file in run["files"]}
    for file in files.values():
        assert file["accounting"] == "balanced"
        assert file["found"] == file["written"] + file["quarantined"] + file["skipped"] + file["unreadable"]
    (total,) = done.json["totals"]
    assert total["unit"] == "records"
    assert terminal.sql("select count(*) from evtx_events") == [[total["written"]]]  # a copy is counted once
    assert sum(not file["counted"] for file in files.values()) == 1


def test_damaged_places_are_named_by_offset_and_length(terminal: Terminal, case: Case) -> None:
    run = terminal.run_evtx(case.folder).json
    (damaged,) = [file for file in run["files"] if file["ranges"]]
    done = terminal.casparian("balance", "--file", damaged["path"], "--json")
    assert done.code == 3
    (file,) = done.json["files"]
    assert file["places"] == damaged["ranges"]
    shown = terminal.casparian("balance", "--file", damaged["path"])
    assert f"at byte {damaged['ranges'][0]['offset']:,}" in shown.out
    by_job = terminal.casparian("balance", "--job", str(damaged["job"]), "--json")
    assert by_job.json["files"] == [file]


def test_what_needs_a_look_comes_first(terminal: Terminal, case: Case) -> None:
    run = terminal.run_evtx(case.folder).json
    (damaged,) = [file["path"] for file in run["files"] if file["ranges"]]
    shown = terminal.casparian("balance", "--limit", "1")
    assert damaged in shown.out
    assert "only 1 of" in shown.err


def test_a_file_that_failed_is_not_balanced(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "good.evtx", records=2)
    (tmp_path / "logs" / "bad.evtx").write_text("not an event log")
    terminal.run_evtx(tmp_path / "logs")
    done = terminal.casparian("balance", "--json")
    assert done.code == 1
    kinds = {Path(file["path"]).name: file["accounting"] for file in done.json["files"]}
    assert kinds == {"good.evtx": "balanced", "bad.evtx": "failed"}
    (total,) = done.json["totals"]
    assert (total["found"], total["written"]) == (2, 2)


def test_what_no_sum_counts_is_said_beside_the_sums(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "good.evtx", records=1)
    (tmp_path / "logs" / "bad.evtx").write_bytes(b"no log")
    terminal.run_evtx(tmp_path / "logs")
    done = terminal.casparian("balance", "--json")
    assert (done.json["not_in_totals"], done.json["totals"][0]["found"]) == (1, 1)
    shown = terminal.casparian("balance").out
    assert shown.startswith("1 record found = 1 written")
    assert "not in these sums: 1 file, for the reasons below" in shown
    assert "1 file failed: their records are in no table" in shown


def test_a_file_that_was_never_read_says_so(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "good.evtx", records=2)
    terminal.run_evtx(tmp_path / "logs")
    done = terminal.casparian("balance", "--file", tmp_path / "other.evtx", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "not_found"
    assert done.json["error"]["next_step"] == "casparian files"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("balance", "--file"), "casparian balance --file"),
        (("explain", "file"), "casparian explain file"),
        (("explain", "decision"), "casparian explain decision"),
    ],
)
def test_a_name_as_the_summary_shows_it_is_answered_with_the_path_that_was_read(
    terminal: Terminal, words: tuple[str, ...], command: str, tmp_path: Path
) -> None:
    """The summary names files relative to the folder of the run; that folder is seldom the one a person is in."""
    path = write_log(tmp_path / "logs" / "host one" / "good.evtx", records=2)
    write_log(tmp_path / "logs" / "host two" / "longgood.evtx", records=3)
    terminal.run_evtx(tmp_path / "logs")
    for name in ("good.evtx", "host one/good.evtx", "./host one//good.evtx"):
        done = terminal.casparian(*words, name, "--json")
        assert done.json["error"]["next_step"] == f"{command} '{path}'"
        assert "other" not in done.json["error"]["message"].partition(" ends in ")[2]
    other = terminal.casparian(*words, "host three/good.evtx", "--json")
    assert (other.code, other.json["error"]["next_step"]) == (1, "casparian files")


def test_a_parser_that_drops_one_record_of_a_hundred_fails_and_the_difference_is_named(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    done = terminal.finish(write_source(tmp_path / "case" / "a.txt", "drops_one", lines=100))
    assert done.code == 5
    (file,) = done.json["files"]
    assert (file["action"], file["outputs"]) == ("failed", [])
    assert "found 100 lines but accounted for 99" in file["reason"]
    balance = terminal.casparian("balance", "--json")
    assert balance.code == 5
    assert [each["accounting"] for each in balance.json["files"]] == ["unbalanced"]
    assert balance.json["totals"] == []


@pytest.mark.slow
def test_a_parser_that_states_no_units_is_unaccounted_on_every_summary(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    source = write_source(tmp_path / "case" / "a.txt", "no_statement", lines=3)
    for action in ("run", "reused"):
        (file,) = terminal.finish(source).json["files"]
        assert (file["action"], file["accounting"], file["found"]) == (action, "unaccounted", None)
    shown = terminal.casparian("run", "fixture", str(source), "--sink", f"parquet://{terminal.out}")
    assert "1 file unaccounted: fixture states no units" in shown.out
    balance = terminal.casparian("balance")
    assert balance.code == 5
    assert "1 file unaccounted" in balance.out


@pytest.mark.slow
def test_units_may_be_bytes_that_are_no_rows(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    source = write_source(tmp_path / "case" / "a.txt", "bytes_statement", lines=3)
    (file,) = terminal.finish(source).json["files"]
    size = source.stat().st_size
    assert (file["accounting"], file["found"], file["written"], file["skipped"]) == ("balanced", size, size - 1, 1)
    assert file["skips"] == [{"count": 1, "reason": "the first byte is a mark"}]
    assert "1 skipped: the first byte is a mark" in terminal.casparian("balance").out
    assert "1 skipped: the first byte is a mark" in terminal.casparian("job", "show", "1").out
    (total,) = terminal.casparian("balance", "--json").json["totals"]
    assert (total["unit"], total["found"]) == ("bytes", size)


def test_what_is_skipped_without_a_reason_is_no_balance(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    done = terminal.finish(write_source(tmp_path / "case" / "a.txt", "silent_skip", lines=3))
    assert done.code == 5
    (file,) = done.json["files"]
    assert (file["status"], file["outputs"]) == ("accounting", [])
    assert file["reason"] == "the parser skipped 1 lines and gave reasons (skips) for 0 of them"


def test_units_that_were_accepted_without_one_row_are_no_balance(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    done = terminal.finish(write_source(tmp_path / "case" / "a.txt", "accepts_nothing", lines=3))
    assert done.code == 5
    assert "gave not one row" in done.json["files"][0]["reason"]


@pytest.mark.slow
def test_a_staged_output_that_its_guest_has_changed_is_not_published(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path / "t")
    source = write_source(tmp_path / "case" / "a.txt", f"overwrites_stage folder={terminal.out}", lines=3)
    done = terminal.finish(source)
    assert done.code == 1
    (file,) = done.json["files"]
    assert (file["status"], file["outputs"]) == ("promotion", [])
    assert "digest" in file["reason"]
    assert terminal.listed() == []
    assert terminal.casparian("log", "verify").code == 0


def test_a_file_that_has_left_its_folder_since_it_was_read_is_told(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    for records, name in enumerate(("one.evtx", "two\\.evtx", "deep/three.evtx"), 1):
        write_log(folder / name, records=records)
    assert terminal.run_evtx(folder).json["gone_total"] == 0
    (folder / "two\\.evtx").unlink()
    again = terminal.run_evtx(folder).json
    assert (again["gone_total"], again["gone"]) == (1, [str(folder / "two\\.evtx").replace("\\", "\\\\")])
    (folder / "deep/three.evtx").unlink()
    said = terminal.casparian("run", "evtx", folder, "--sink", f"parquet://{terminal.out}").out
    assert (
        f"2 files that earlier runs have read here are not there any more: {folder}/deep/three.evtx and 1 other" in said
    )
    (folder / "deep/three.evtx").mkdir()  # no file, whatever it is named
    assert terminal.run_evtx(folder).json["gone_total"] == 2
    (folder / "one.evtx").rename(folder / "a new name.evtx")
    moved = terminal.run_evtx(folder).json
    assert (moved["gone_total"], moved["gone_elsewhere"]) == (3, 1)
    assert moved["gone"][-1] == str(folder / "one.evtx")
    said = terminal.casparian("run", "evtx", folder, "--sink", f"parquet://{terminal.out}").out
    assert "1 of them renamed, or a copy is here" in said
    (folder / "a new name.evtx").rename(folder / "one.evtx")
    (tmp_path / "logs.of.another").mkdir()
    assert terminal.run_evtx(folder / "one.evtx", tmp_path / "logs.of.another").json["gone_total"] == 0
    (folder / "lines.jsonl").write_text('{"a": 1}\n')
    parsed = terminal.casparian("run", "jsonl", folder, "--sink", f"parquet://{terminal.out}", "--json")
    assert parsed.json["gone_total"] == 3  # of the two names that one.evtx had, the one is there and the other not


@pytest.mark.slow
def test_what_a_run_passes_over_is_counted_and_can_be_listed(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    write_log(folder / "one.evtx", records=1)
    for name in ("notes.txt", "deep/more.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not a log")
    assert terminal.run_evtx(folder).json["passed_over"] == 2
    said = terminal.casparian("run", "evtx", folder, "--sink", f"parquet://{terminal.out}").out
    assert "2 others not named *.evtx (casparian files --passed-over evtx FOLDER" in said
    listed = terminal.casparian("files", folder, "--passed-over", "evtx", "--json")
    assert (listed.code, listed.json["total"]) == (0, 2)
    assert listed.json["passed_over"] == [str(folder / "deep/more.csv"), str(folder / "notes.txt")]
    first = terminal.casparian("files", folder, "--passed-over", "evtx", "--limit", "1")
    assert (first.out, "only 1 of 2 names" in first.err) == (f"{folder / 'deep/more.csv'}\n", True)
    assert "none: every file" in terminal.casparian("files", folder / "one.evtx", "--passed-over", "evtx").out
    absent = terminal.casparian("files", folder, folder / "absent", "--passed-over", "evtx", "--json")
    assert (absent.code, absent.json["error"]["code"]) == (2, "no_such_input"), "a wrong name is no all-clear"
    for words in ((str(folder),), ("--passed-over", "evtx")):
        assert terminal.casparian("files", *words, "--json").code == 2
