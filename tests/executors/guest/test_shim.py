"""What a parser may give, and in which forms: each is the same rows to the host, and anything else a named failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from executors.guest import shim
from executors.guest.frames import GuestFailure, decode_batch
from executors.guest.parents import GuestParents
from tests.executors.guest import test_host
from tests.executors.guest.test_host import Seen, orders, read, start_guest

HEAD = """
from collections import namedtuple
import pyarrow as pa
Output = namedtuple("Output", "name data")
def batch(*texts):
    return pa.record_batch([list(range(len(texts))), list(texts)], names=["n", "text"])
class Named:
    def __init__(self, name, data):
        self.name, self.data, self.table = name, data, None
"""


@pytest.fixture(autouse=True)
def parents(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    warm = GuestParents()
    monkeypatch.setattr(test_host, "WARM", warm)
    yield
    warm.close()


def give(folder: Path, body: str, *, head: str = HEAD) -> Seen:
    """Run a parser whose `parse` has this body."""
    parser = folder / "given.py"
    parser.write_text(f"{head}\ndef parse(path, settings):\n    {body}\n")
    return read(start_guest(msgspec.structs.replace(orders(folder, ""), parser_file=str(parser))))


@pytest.mark.parametrize(
    "body",
    [
        'yield "lines", batch("a", "b")',
        'yield Output("lines", batch("a", "b"))',
        'yield Named("lines", batch("a", "b"))',
        'yield [("lines", batch("a", "b"))]',
        'yield [Output("lines", batch("a")), Named("lines", batch("b"))]',
        'return [("lines", batch("a", "b"))]',
        'return [Named("lines", batch("a", "b"))]',
        'return "lines", batch("a", "b")',
        'return Output("lines", batch("a", "b"))',
        'return Named("lines", pa.Table.from_batches([batch("a", "b")]))',
        'return iter([("lines", batch("a")), ("lines", batch("b"))])',
    ],
)
def test_each_form_of_giving_rows_gives_the_same_rows(tmp_path: Path, body: str) -> None:
    assert give(tmp_path, body).texts == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pass", "`parse` returned NoneType, not rows"),
        ("return 7", "`parse` returned int, not rows"),
        ("yield 7", "yielded (int)"),
        ("yield None", "yielded (NoneType)"),
        ("yield 'lines'", "yielded (str)"),
        ("yield batch('a')", "yielded (RecordBatch)"),
        ("yield 'lines', {'text': ['a']}", "yielded (str, dict)"),
        ("yield 1, batch('a')", "yielded (int, RecordBatch)"),
        ("yield [[('lines', batch('a'))]]", "yielded (list)"),
        ("yield Named('lines', [1])", "yielded (Named)"),
        ("return {'unit': 'lines'}", "yielded (str)"),
    ],
)
def test_anything_else_is_a_failure_that_says_what_was_given(tmp_path: Path, body: str, words: str) -> None:
    failure = give(tmp_path, body).failure
    assert (failure.failure, failure.kind) == ("permanent", "bad_output")
    assert words in failure.reason
    assert "yield" in failure.hint


def test_a_parser_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'beside'")
    assert give(tmp_path, "yield 'lines', batch(beside.WORD)", head=HEAD + "import beside").texts == ["beside"]
    assert not (tmp_path / "__pycache__").exists()


def test_a_file_beside_the_parser_takes_no_place_of_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the real one')")
    head = HEAD + "import json"
    assert give(tmp_path, "yield 'lines', batch(json.dumps([1]))", head=head).texts == ["[1]"]


def test_the_host_is_not_there_to_import_from_beside_either(tmp_path: Path) -> None:
    failure = give(tmp_path, "yield 'lines', batch('a')", head=HEAD + "import eventlog").frames[-1]
    assert isinstance(failure, GuestFailure)
    assert "it belongs to the host" in failure.reason


def test_a_dictionary_is_sent_as_the_values_that_it_stands_for() -> None:
    coded: Any = pa.array(["x", None, "x"]).dictionary_encode()
    (payload,) = shim.payloads(pa.record_batch({"coded": coded, "plain": pa.array([1, 2, 3])}))
    batch = decode_batch(payload.to_pybytes())
    assert batch.to_pydict() == {"coded": ["x", None, "x"], "plain": [1, 2, 3]}
