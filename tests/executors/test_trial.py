"""A parser tried out in a real guest: judged, bounded, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.guest.parents import FOLDER_PREFIX
from executors.parser_catalog import load_parser
from executors.shape import ReservedColumn, ShapeMismatch
from executors.trial import EXAMPLES_PER_RULE, Trial, try_parser

PARSER = """
import pyarrow as pa

name = "tried"
version = "1"
outputs = {"numbers": {"columns": [{"name": "n", "type": "int64", "nullable": False, "format": "text"}]}}

def parse(path, settings):
    with open(path) as source:
        word, _, rest = source.read().partition(" ")
    if word == "endless":
        while True:
            yield "numbers", pa.record_batch({"n": pa.array(["1"] * 1000)})
    if word == "twice":
        yield "numbers", pa.record_batch({"n": pa.array(["1"])})
        return {"unit": "numbers"}
    names = {"reserved": "_cf_job_id", "other": "m"}
    rows = rest.split()
    yield "numbers", pa.record_batch({names.get(word, "n"): pa.array(rows, pa.string())})
    return {"unit": "numbers", "output": "numbers", "found": len(rows)}
"""


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where guests get their folders."""
    folder = tmp_path / "guests"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def tried(tmp_path: Path, said: str, *, rows_shown: int = 5, rows_max: int = 10_000) -> Trial:
    parser, source = tmp_path / "tried.py", tmp_path / "source.txt"
    parser.write_text(PARSER)
    source.write_text(said)
    return try_parser(load_parser(parser), bytes(source), {}, rows_shown=rows_shown, rows_max=rows_max)


def test_a_whole_file_is_judged_and_accounted_for(tmp_path: Path) -> None:
    trial = tried(tmp_path, "rows 1 x 2 y z w 3", rows_shown=2)
    (output,) = trial.outputs
    assert (trial.whole, trial.failure, output.accepted, output.rejected) == (True, None, 3, 4)
    assert output.first_rows == (("1",), ("2",))
    (broken,) = output.rules
    assert (broken.rule.rule_id, broken.rows) == ("n.format_invalid", 4)
    assert [(each.row, each.line, each.value) for each in broken.examples] == [
        (1, None, "x"), (3, None, "y"), (4, None, "z"),
    ]  # fmt: skip
    assert len(broken.examples) == EXAMPLES_PER_RULE
    (sheet,) = trial.sheets
    assert (sheet.found, sheet.written, sheet.quarantined) == (7, 3, 4)


def test_a_parser_that_never_ends_is_stopped(tmp_path: Path) -> None:
    trial = tried(tmp_path, "endless", rows_max=2500)
    assert (trial.whole, trial.failure, trial.sheets) == (False, None, ())
    assert trial.outputs[0].accepted == 3000  # to the end of the batch in which the bound lay


@pytest.mark.parametrize(("word", "fault"), [("other", ShapeMismatch), ("reserved", ReservedColumn)])
def test_other_columns_end_the_trial_and_are_observed(tmp_path: Path, word: str, fault: type[object]) -> None:
    trial = tried(tmp_path, f"{word} 1 2")
    assert isinstance(trial.fault, fault)
    assert trial.failure is not None
    assert trial.sheets == ()
    assert {each.kind for each in trial.outputs[0].differences} == {"missing", "extra"}


def test_a_statement_that_cannot_be_used_is_a_failure(tmp_path: Path) -> None:
    trial = tried(tmp_path, "twice")
    assert trial.failure is not None
    assert trial.failure.kind == "bad_statement"


def test_nothing_is_left_behind(tmp_path: Path, private_folders: Path) -> None:
    tried(tmp_path, "rows 1 2")
    tried(tmp_path, "endless")
    assert [path.name for path in private_folders.glob(f"{FOLDER_PREFIX}*")] == []
