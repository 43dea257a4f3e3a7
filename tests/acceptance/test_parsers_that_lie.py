"""Parsers that lie or misbehave: each ends in a failure with a name and a reason; the good file beside it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance

# What a parser does with a file is what the file is called. One run meets them all.
PARSER = """
import os
import sys
from pathlib import Path

import pyarrow as pa

name = "liar"
version = "0.1"
outputs = {
    "rows": {"columns": [{"name": "n", "type": "int64"}, {"name": "text", "type": "string"}]},
    "notes": {"columns": [{"name": "note", "type": "string"}]},
}


class PermanentError(Exception):
    kind = "not_mine"
    hint = "give it to another parser"


class TransientError(Exception):
    pass


def batch(count=2, **more):
    columns = {"n": pa.array(range(count), pa.int64()), "text": pa.array(["x"] * count, pa.string()), **more}
    return pa.record_batch(list(columns.values()), names=list(columns))


def said(found):
    return {"unit": "rows", "output": "rows", "found": found}


def parse(path, settings):
    return globals()[Path(path).stem](Path(path))


def good(path):
    yield "rows", batch()
    return said(2)


fine = good


def returns_none(path):
    return None


def says_nothing(path):
    yield from ()


def unknown_output(path):
    yield "rows", batch()
    yield "surprise", batch()


def no_pair(path):
    yield batch()


def permanent(path):
    yield "rows", batch()
    raise PermanentError("this is no file of mine")


def transient(path):
    yield "rows", batch()
    if not (marker := path.with_name("tried.once")).exists():
        marker.touch()
        raise TransientError("the helper was busy")
    return said(2)


def raises(path):
    yield "rows", batch()
    raise KeyError("no such field")


def exits(path):
    yield "rows", batch()
    sys.exit("I give up")


def leaves(path):
    yield "rows", batch()
    os._exit(0)


def garbage(path):
    os.write(1, bytes(range(256)) * 4096)
    print("\\x1b[2J" * 1000, file=sys.stderr)
    yield "rows", batch()
    return said(2)


def many_columns(path):
    yield "rows", batch(**{f"c{number}": pa.nulls(2) for number in range(10_000)})


def ten_million(path):
    count = 10_000_000
    yield "rows", pa.record_batch([pa.nulls(count, pa.int64()), pa.nulls(count, pa.string())], names=["n", "text"])
    return said(count)


def forged_job(path):
    yield "rows", batch(_cf_job_id=pa.array(["7", "7"]))


def forged_helper(path):
    yield "rows", batch(__cf_forged=pa.array(["7", "7"]))


def wrong_order(path):
    yield "rows", batch().select(["text", "n"])


def twice(path):
    yield "rows", pa.record_batch([pa.nulls(1, pa.int64()), pa.nulls(1, pa.int64())], names=["n", "n"])


def other_case(path):
    yield "rows", batch().rename_columns(["N", "text"])


def wrong_type(path):
    yield "rows", pa.record_batch([pa.array([1.5]), pa.array(["x"])], names=["n", "text"])


def missing(path):
    yield "rows", batch().select(["n"])


def interleaved(path):
    for _ in range(3):
        yield "rows", batch()
        yield "notes", pa.record_batch([pa.array(["seen"])], names=["note"])
    return said(6)


def counts_wrong(path):
    yield "rows", batch()
    return said(3)


def states_nonsense(path):
    yield "rows", batch()
    return {"unit": "rows", "output": "rows", "found": "many"}


def states_another(path):
    yield "rows", batch()
    return {"unit": "rows", "output": "surprise", "found": 2}
"""

FAILS = {
    "returns_none": ("bad_output", "`parse` returned NoneType, not rows"),
    "says_nothing": ("nothing_said", "neither rows nor a statement of units"),
    "unknown_output": ("unknown_output", "'surprise'"),
    "no_pair": ("bad_output", "yielded (RecordBatch)"),
    "permanent": ("not_mine", "this is no file of mine"),
    "raises": ("parser_error", "KeyError: 'no such field'"),
    "exits": ("parser_error", "SystemExit: I give up"),
    "leaves": ("guest_died", "left with code 0 before the end of its stream"),
    "many_columns": ("schema_mismatch", "c9"),
    "forged_job": ("reserved_column", "_cf_job_id"),
    "forged_helper": ("reserved_column", "__cf_forged"),
    "wrong_order": ("schema_mismatch", "text"),
    "twice": ("schema_mismatch", "n"),
    "other_case": ("schema_mismatch", "N"),
    "wrong_type": ("schema_mismatch", "n"),
    "missing": ("schema_mismatch", "text"),
    "counts_wrong": ("unbalanced", "found 3 rows but accounted for 2"),
    "states_nonsense": ("bad_statement", "found"),
    "states_another": ("bad_statement", "surprise"),
}
HOLDS = {"good": 2, "transient": 2, "garbage": 2, "ten_million": 10_000_000, "interleaved": 6}


class Seen(Struct, frozen=True):
    """How the one run went: its exit code, the report by file, the kind of each job's failure by file.

    `fine` are the contents of the files that stand between the lies, lest they pause the parser.
    """

    code: int
    files: dict[str, Any]
    kinds: dict[str, str]
    fine: list[str]
    terminal: Terminal


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    terminal = Terminal(tmp_path_factory.mktemp("liar"))
    (terminal.folder / "liar.py").write_text(PARSER)
    for number, stem in enumerate((*FAILS, *HOLDS)):
        folder = terminal.folder / "case" / f"{number:02}"
        folder.mkdir(parents=True)
        (folder / f"{stem}.txt").write_text(stem)
        (folder / "fine.txt").write_text(f"fine {number}")
    done = terminal.casparian("run", "--dev", "./liar.py", "case", "--sink", f"parquet://{terminal.out}", "--json")
    files = {Path(file["path"]).stem: file for file in done.json["files"]}
    rows = terminal.sql("select path, error_kind from cf_jobs where error_kind is not null")
    fine = [file["source_hash"] for file in done.json["files"] if file["path"].endswith("fine.txt")]
    yield Seen(done.code, files, {Path(path).stem: kind for path, kind in rows}, fine, terminal)
    assert terminal.staged() == []
    assert [pid for pid, _words in terminal.processes()] == []


@pytest.mark.parametrize(("stem", "expected"), FAILS.items(), ids=FAILS)
def test_a_lie_ends_in_a_failure_with_a_name_and_a_reason(seen: Seen, stem: str, expected: tuple[str, str]) -> None:
    kind, words = expected
    file = seen.files[stem]
    assert (file["action"], seen.kinds[stem]) == ("failed", kind)
    assert words in file["reason"]
    assert "\n" not in file["reason"]
    assert len(file["reason"]) < 5_000
    assert file["next_step"]
    assert file["outputs"] == []


@pytest.mark.parametrize(("stem", "rows"), HOLDS.items(), ids=HOLDS)
def test_what_is_odd_and_no_lie_is_read_whole(seen: Seen, stem: str, rows: int) -> None:
    file = seen.files[stem]
    assert (file["action"], file["written"], file["accounting"]) == ("run", rows, "balanced")
    published = seen.terminal.sql(f"select count(*) from rows where _cf_source_hash = '{file['source_hash']}'")
    assert published == [[rows]]


def test_the_exit_code_is_of_the_worst_and_the_log_is_whole(seen: Seen) -> None:
    assert seen.code == 5  # sheets that do not add up
    assert seen.terminal.casparian("log", "verify").code == 0
    assert seen.terminal.casparian("replay", "--check").code == 0


def test_nothing_of_a_failed_file_is_in_the_tables(seen: Seen) -> None:
    good = [*seen.fine, *(seen.files[stem]["source_hash"] for stem in HOLDS)]
    listed = ", ".join(f"'{hash_}'" for hash_ in good)
    assert seen.terminal.sql(f"select count(*) from rows where _cf_source_hash not in ({listed})") == [[0]]


def test_an_output_that_comes_in_turns_is_whole_in_each(seen: Seen) -> None:
    source = seen.files["interleaved"]["source_hash"]
    assert seen.terminal.sql(f"select count(*) from notes where _cf_source_hash = '{source}'") == [[3]]
