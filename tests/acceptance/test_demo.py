"""The demo: a made-up case of any size agrees with the truth that was written beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.demo.evtx_corpus import FileTruth
from cli.demo.verb import _difference
from eventlog.ids import JobId, ParserName, PathText
from projections.queries import BalanceRow
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


def test_a_made_up_case_agrees_with_its_truth(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.casparian("demo", tmp_path / "demo", "--size", "3MB", "--seed", "5", "--json")
    run, comparison = map(json.loads, done.out.splitlines())
    truth = [json.loads(line) for line in (tmp_path / "demo" / "truth.ndjson").read_text().splitlines()]
    assert comparison["files"] == len(truth) == run["found"]
    assert comparison["records"] == sum(file["found"] for file in truth) > 1000
    assert comparison["differences"] == []
    damaged = any(file["lost"] or file["unreadable"] or not file["readable"] for file in truth)
    assert done.code == comparison["exit"] == (3 if damaged else 0), done.err


@pytest.mark.slow
def test_a_made_up_fix_day_agrees_with_its_truth(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.casparian("demo", tmp_path / "demo", "--kind", "fix", "--size", "1MB", "--seed", "5", "--json")
    run, comparison = map(json.loads, done.out.splitlines())
    truth = [json.loads(line) for line in (tmp_path / "demo" / "truth.ndjson").read_text().splitlines()]
    assert comparison["files"] == len(truth) == run["found"]
    assert comparison["records"] == sum(sum(file["made"]["messages"].values()) for file in truth) > 4000
    assert comparison["differences"] == []
    assert sum(sum(file["quarantined"]["messages"].values()) for file in truth) > 0
    assert done.code == comparison["exit"] == 3, done.err


def test_a_truth_that_the_tables_do_not_hold_is_told() -> None:
    row = BalanceRow(
        path=PathText("/case/a.evtx"), source_hash=None, parser=ParserName("evtx"), job_id=JobId(1), status="completed",
        completion_status="success", error_class=None, reason=None, unit="records", found=10, written=9, quarantined=0,
        skipped=0, unreadable=1, ranges_total=1, skips=None, further=None, first_of_job=True,
    )  # fmt: skip
    rows = {"/case/a.evtx": row}
    made = FileTruth(path="a.evtx", bytes=69632, found=10, unreadable=1)
    assert _difference(made, Path("/case"), rows) == ""
    assert "10 records found, 11 were made" in _difference(replace(made, found=11), Path("/case"), rows)
    assert "9 records written, 10 of those" in _difference(replace(made, unreadable=0), Path("/case"), rows)
    assert "was taken for one" in _difference(replace(made, readable=False), Path("/case"), rows)
    assert _difference(replace(made, path="b.evtx"), Path("/case"), rows) == "it was not read"


def test_a_folder_with_something_in_it_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "demo" / "case").mkdir(parents=True)
    (tmp_path / "demo" / "case" / "kept.txt").write_text("kept")
    done = terminal.casparian("demo", tmp_path / "demo", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "bad_demo"
    assert (tmp_path / "demo" / "case" / "kept.txt").read_text() == "kept"
