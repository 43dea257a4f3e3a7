"""A look at files without declared columns: real guests, rows as text, headers that have to be equal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from executors import infer
from executors.look import Inference, infer_columns, json_value
from executors.parser_catalog import builtin_parsers

PACKAGES = {str(name): package for name, package in builtin_parsers().items()}


def look_at(paths: Sequence[Path], **settings: str) -> Inference:
    parser = PACKAGES["jsonl" if paths[0].suffix == ".jsonl" else "csv"]
    return infer_columns(parser, [os.fsencode(path) for path in paths], settings)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def types(found: Inference) -> dict[str, object]:
    return {each.name: each.type for each in found.findings}


def test_files_with_one_header_are_looked_at_together(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv", "n,m\n1,x\n")
    two = write(tmp_path / "b.csv", "n,m\n2.5,y\n")
    found = look_at([one, two])
    assert (found.rows, found.whole, len(found.groups)) == (2, True, 1)
    number, text = found.findings
    assert [(each.candidate, each.line, each.value) for each in number.eliminated if each.candidate == "integer"] == [
        ("integer", 2, "2.5")
    ]
    assert text.type == "string"


def test_files_with_other_headers_are_groups_and_nothing_is_inferred(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}.csv", f"a,b{number % 2}\n1,2\n") for number in range(3)]
    found = look_at(paths)
    assert [(group.columns, len(group.paths)) for group in found.groups] == [(("a", "b0"), 2), (("a", "b1"), 1)]
    assert found.findings == ()


def test_a_header_without_rows_has_columns(tmp_path: Path) -> None:
    assert types(look_at([write(tmp_path / "a.csv", "a,b\n")])) == {"a": "string", "b": "string"}


def test_an_empty_file_belongs_to_no_group(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.csv", ""), write(tmp_path / "b.csv", "a\n1\n")]
    assert types(look_at(paths)) == {"a": "int64"}
    assert look_at(paths[:1]).findings == ()


def test_rows_that_the_parser_calls_wrong_speak_for_no_type(tmp_path: Path) -> None:
    found = look_at([write(tmp_path / "a.csv", "a,b\n1,2\nx\n3,4\n")])
    assert (found.rows, found.wrong) == (2, 1)
    assert types(found) == {"a": "int64", "b": "int64"}


def test_keys_of_objects_are_gathered_and_json_says_their_kind(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"n":1,"s":"1"}\n{"n":null,"d":"2024-01-31"}\n')
    found = look_at([path])
    assert types(found) == {"n": "int64", "s": "string", "d": "date"}
    assert found.findings[2].nulls == {"(absent)": 1}


def test_a_file_that_cannot_be_looked_at_is_named_and_the_others_are_looked_at(tmp_path: Path) -> None:
    bad = write(tmp_path / "a.csv", "a,b;c\n1,2;3\n")
    good = write(tmp_path / "b.csv", "a\n1\n")
    found = look_at([bad, good])
    assert types(found) == {"a": "int64"}
    (left_out,) = found.left_out
    assert "comma and semicolon" in left_out.reason
    assert not found.whole


def test_settings_of_the_parser_are_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b;c\n1,2;3\n")
    assert list(types(look_at([path], delimiter="semicolon"))) == ["a,b", "c"]


def test_no_more_rows_are_taken_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer.TableInference.__init__, "__kwdefaults__", {"rows_max": 3})
    found = look_at([write(tmp_path / "a.csv", "a\n" + "1\n" * 10), write(tmp_path / "b.csv", "b\n1\n")])
    assert (found.rows, found.whole) == (3, False)
    assert len(found.groups) == 2  # a header is looked at also where no more rows are wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a\\n"', ("a\n", "string")),
        ("1.50", ("1.50", "number")),
        ("true", ("true", "boolean")),
        ("null", ("null", "null")),
        ('{"a":1}', ('{"a":1}', "nested")),
        ("[]", ("[]", "nested")),
    ],
)
def test_the_json_text_of_a_value_tells_its_kind(text: str, value: tuple[str, str]) -> None:
    assert json_value(text) == value
