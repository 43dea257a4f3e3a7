"""What a parser may give, and in which forms: each is the same rows to the host, and anything else a named failure."""

from __future__ import annotations

import importlib.util
import os
import py_compile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from executors.guest import shim
from executors.guest.errors import ParserChangedError
from executors.guest.frames import GuestFailure, decode_batch
from executors.guest.host import start_guest as start_guest_of
from executors.guest.parents import GuestParents
from tests.executors.guest import test_host
from tests.executors.guest.test_host import Seen, read, start_guest, told_of

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
    return read(start_guest(told_of(folder, parser)))


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


def test_packages_and_folders_beside_it_can_be_imported(tmp_path: Path) -> None:
    for name, content in {
        "kit/__init__.py": "from .words import WORD",
        "kit/words.py": "from plain.deep import more\nWORD = more.WORD",
        "plain/deep/more.py": "import kit\nWORD = kit.__name__ + __name__",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    head = HEAD + "import kit, plain.deep.more as more"
    assert give(tmp_path, "yield 'lines', batch(kit.WORD, more.__file__)", head=head).texts == [
        "kitplain.deep.more",
        str(tmp_path / "plain/deep/more.py"),
    ]


def test_a_relative_import_finds_what_lies_beside_it_whatever_its_name(tmp_path: Path) -> None:
    """Bare names are looked up behind all other modules; relative ones are the folder's own."""
    (tmp_path / "json.py").write_text("from .reducers import WORD\nMINE = __name__ + WORD")
    (tmp_path / "reducers.py").write_text("from .kit.deep import WORD")
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "deep.py").write_text("from .. import words\nWORD = words.WORD")
    (tmp_path / "words.py").write_text("WORD = ' word'")
    head = HEAD + "import json\nfrom . import json as mine\nfrom .json import MINE"
    body = "yield 'lines', batch(MINE, json.dumps('theirs'), mine.__file__)"
    assert give(tmp_path, body, head=head).texts == [
        "guest_parser.json word",
        '"theirs"',
        str(tmp_path / "json.py"),
    ]


def test_a_folder_may_say_something_of_itself_as_a_package(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("from .words import WORD")
    (tmp_path / "words.py").write_text("WORD = __package__")
    head = HEAD + "from . import WORD"
    assert give(tmp_path, "yield 'lines', batch(WORD, __file__)", head=head).texts[0] == "guest_parser"


def test_an_entrypoint_that_is_called_as_a_package_is_runs_once(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("SAID = []")
    parser = tmp_path / "__init__.py"
    body = "\ndef parse(path, settings):\n    yield 'lines', batch(*SAID)\n"
    parser.write_text(f"{HEAD}from .words import SAID\nSAID.append(__name__){body}")
    assert read(start_guest(told_of(tmp_path, parser))).texts == ["guest_parser.__init__"]


def test_what_lies_beside_it_means_the_same_module_as_the_parser_itself(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def word():\n    from .given import WORD\n    return WORD")
    head = HEAD + "import sys\nfrom .beside import word\nWORD = ['once']"
    body = "yield 'lines', batch(str(word() is WORD), str(sys.modules[__name__].parse is parse))"
    assert give(tmp_path, body, head=head).texts == ["True", "True"]


def test_parsers_with_files_of_the_same_names_have_each_their_own(tmp_path: Path) -> None:
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        (tmp_path / word / "words.py").write_text(f"WORD = {word!r}")
    told = [
        give(tmp_path / word, "yield 'lines', batch(WORD)", head=HEAD + "from .words import WORD")
        for word in ("one", "two", "one")
    ]
    assert [each.texts for each in told] == [["one"], ["two"], ["one"]]


def test_bytecode_beside_it_is_not_what_was_trusted_and_never_loaded(tmp_path: Path) -> None:
    beside = tmp_path / "beside.py"
    beside.write_text("WORD = 'forged'")
    py_compile.compile(str(beside))
    py_compile.compile(str(beside), cfile=str(tmp_path / "alone.pyc"))
    seen = beside.stat()
    beside.write_text("WORD = 'honest'")
    os.utime(beside, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert importlib.util.cache_from_source(str(beside)) in map(str, (tmp_path / "__pycache__").iterdir())
    assert give(tmp_path, "yield 'lines', batch(beside.WORD)", head=HEAD + "import beside").texts == ["honest"]
    failure = give(tmp_path, "yield 'lines', batch('a')", head=HEAD + "import alone").failure
    assert "No module named 'alone'" in failure.reason


def test_what_is_put_beside_it_later_cannot_be_imported(tmp_path: Path) -> None:
    parser = tmp_path / "given.py"
    parser.write_text(f"{HEAD}\ndef parse(path, settings):\n    import late\n    yield 'lines', batch(late.WORD)\n")
    told = told_of(tmp_path, parser)
    (tmp_path / "late.py").write_text("WORD = 'late'")
    assert "No module named 'late'" in read(start_guest(told)).failure.reason


def test_a_failure_beside_it_is_told_with_its_own_line_and_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("\n\nraise ValueError('no such table')")
    seen = give(tmp_path, "yield 'lines', batch('a')", head=HEAD + "import beside")
    assert "no such table" in seen.failure.reason
    assert f'File "{tmp_path / "beside.py"}", line 3' in seen.log
    assert "shim.py" not in seen.log and "forker.py" not in seen.log


@pytest.mark.parametrize("before", ["", "KEPT = open('/dev/null')"], ids=["loaded once", "loaded by each guest"])
def test_a_file_that_changes_while_a_run_goes_on_changes_no_guest(tmp_path: Path, before: str) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'trusted'")
    parser = tmp_path / "given.py"
    body = "def parse(path, settings):\n    import beside\n    yield 'lines', batch(beside.WORD, 'trusted')\n"
    parser.write_text(f"{HEAD}\n{before}\n{body}")
    told = told_of(tmp_path, parser)
    assert read(start_guest(told)).texts == ["trusted", "trusted"]
    for file in (parser, tmp_path / "beside.py"):
        file.write_text(file.read_text().replace("trusted", "changed"))
    assert read(start_guest(told)).texts == ["trusted", "trusted"]
    with pytest.raises(ParserChangedError, match="other bytes than what was trusted"):
        start_guest_of(told, parents=GuestParents())


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
    (payload,) = shim.payloads("rows", pa.record_batch({"coded": coded, "plain": pa.array([1, 2, 3])}))
    batch = decode_batch(b"".join(payload))
    assert batch.to_pydict() == {"coded": ["x", None, "x"], "plain": [1, 2, 3]}


def test_streams_of_one_output_are_complete_whatever_its_batches_were_like_before() -> None:
    first = pa.record_batch({"n": [1, 2]}, metadata={"of": "one"})
    other = pa.record_batch({"n": ["x"], "more": [None]})
    for batch in (first, first, other, first.replace_schema_metadata(None), other, first):
        (payload,) = shim.payloads("rows", batch)
        stream = b"".join(payload)
        assert pa.ipc.open_stream(stream).read_all().to_batches() == [batch]
        assert decode_batch(stream).schema.equals(batch.schema, check_metadata=True)


def test_dictionaries_inside_lists_are_refused_with_advice() -> None:
    nested: Any = pa.array([["a", "b"]], pa.list_(pa.dictionary(pa.int8(), pa.string())))
    with pytest.raises(shim.UnusableOutputError, match="a column of 'rows' has dictionaries inside its values"):
        list(shim.payloads("rows", pa.record_batch([nested], names=["coded"])))
