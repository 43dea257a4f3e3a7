"""What a person declares has one text, which is part of every key, and one shape, which the run's outputs have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eventlog.column_types import DecimalType
from eventlog.schema import Column
from executors.declared_schema import SCHEMA_BYTES_MAX, SchemaTextError, canonical_text, resolve_outputs
from executors.parser_catalog import ParserPackage, builtin_parsers, load_parser
from executors.parser_literals import ParserManifestError

MANIFEST = """
name = "rows"
version = "1.0.0"
protocol_version = "0.1"
runtime_kind = "python_shim"
entrypoint = "parser.py"
patterns = ["*"]

[settings]
schema = ""
"""


def package(folder: Path, *, outputs: dict[str, Any] | None = None, manifest: str = MANIFEST) -> ParserPackage:
    folder.mkdir(exist_ok=True)
    (folder / "casparian.toml").write_text(manifest)
    (folder / "parser.py").write_text(f"outputs = {outputs or {'rows': {'columns_from': 'schema'}}!r}\n")
    return load_parser(folder)


def text(*columns: dict[str, Any], **rest: Any) -> str:
    return json.dumps({**rest, "columns": columns})


def refusal(declared: str) -> str:
    with pytest.raises(SchemaTextError) as caught:
        canonical_text(declared, doing="read it")
    assert str(caught.value).startswith("read it: ") or "read it, " in str(caught.value)
    return str(caught.value)


def test_the_same_declaration_is_the_same_text_however_it_is_written() -> None:
    one = text({"name": "a", "type": "int", "description": "for people"}, {"name": "b", "type": "string"})
    other = json.dumps(
        {
            "columns": [
                {"nullable": True, "type": "int64", "name": "a", "format": "text", "read_from": "a"},
                {"name": "b", "type": "utf8"},
            ],
            "mode": "strict",
        },
        indent=4,
    )
    assert canonical_text(one, doing="x") == canonical_text(other, doing="x")


def test_the_canonical_text_is_its_own_canonical_text() -> None:
    declared = text(
        {"name": "a", "type": {"kind": "decimal", "scale": 2, "precision": 9}, "null_values": ["NA"]},
        {"name": "b", "type": "date", "format": "%d/%m/%Y", "nullable": False, "read_from": ""},
        output="trades",
        mode="allow_extra",
    )
    once = canonical_text(declared, doing="x")
    assert canonical_text(once, doing="x") == once
    assert json.loads(once)["columns"][1]["read_from"] == ""


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ("nonsense", "JSON is malformed"),
        ("{}", "missing required field `columns`"),
        (text(), "no columns"),
        (text({"name": "a", "type": "string", "typ": 1}), "unknown field `typ`"),
        (text({"name": "a", "type": "money"}), "Invalid enum value 'money'"),
        (text({"name": "a", "type": "string"}, {"name": "A", "type": "string"}), "declared twice"),
        (text({"name": "_cf_x", "type": "string"}), "name that is the host's"),
        (text({"name": "a", "type": "string"}, mode="loose"), "mode is 'loose'"),
        (text({"name": "a", "type": "string"}, output="Trades!"), "an output is called 'Trades!'"),
        (text({"name": "a", "type": "date"}), 'date needs a format, such as "format": "%d/%m/%Y"'),
        (text({"name": "a", "type": "timestamp_utc"}), "needs a format"),
        (text({"name": "a", "type": "binary"}), "declare string"),
        (text({"name": "a", "type": "int64", "format": "iso8601"}), 'a format of int64 is "text" or nothing'),
        (text({"name": "a", "type": "string"}, {"name": "b", "type": "string", "read_from": "a"}), "read from 'a'"),
        (text({"name": "a", "type": "string", "null_values": ["x"] * 101}), "more than 100 null_values"),
        (text({"name": "a", "type": "string", "null_values": ["x" * SCHEMA_BYTES_MAX]}), "bytes of columns"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused_with_the_reason(declared: str, why: str) -> None:
    assert why in refusal(declared)


def test_the_outputs_of_a_parser_are_those_that_its_setting_declares(tmp_path: Path) -> None:
    parser = package(tmp_path / "p")
    declared = canonical_text(
        text(
            {"name": "n", "type": "int64"},
            {"name": "m", "type": {"kind": "decimal", "precision": 9, "scale": 2}, "nullable": False},
            output="trades",
        ),
        doing="x",
    )
    (output,) = resolve_outputs(parser, {"schema": declared}).outputs
    assert output.output == "trades"
    assert output.columns == (
        Column(name="n", type="int64", format="text"),
        Column(name="m", type=DecimalType(precision=9, scale=2), nullable=False),
    )
    own_name = resolve_outputs(parser, {"schema": text({"name": "n", "type": "string"})}).outputs[0].output
    assert own_name == "rows"


def test_a_parser_that_declares_its_columns_is_left_as_it_is() -> None:
    evtx = next(each for name, each in builtin_parsers().items() if name == "evtx")
    assert resolve_outputs(evtx, {}) is evtx


def test_a_run_without_columns_is_refused_with_the_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(SchemaTextError, match="casparian schema infer"):
        resolve_outputs(package(tmp_path / "p"), {})


def test_columns_come_from_a_setting_that_the_manifest_declares(tmp_path: Path) -> None:
    with pytest.raises(ParserManifestError, match="declare that setting, columns = "):
        package(tmp_path / "p", outputs={"rows": {"columns_from": "columns"}})
    with pytest.raises(ParserManifestError, match="unknown field `columns`"):
        package(tmp_path / "q", outputs={"rows": {"columns_from": "schema", "columns": []}})


def test_the_tables_of_csv_and_jsonl_are_left_to_their_runs() -> None:
    left = {str(name): each.columns_from for name, each in builtin_parsers().items() if each.columns_from}
    assert left == {"csv": {"csv_rows": "schema"}, "jsonl": {"jsonl_rows": "schema"}}
