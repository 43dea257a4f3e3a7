"""What the EVTX parser declares, and what it is made of."""

from __future__ import annotations

import ast
import sys
import tomllib

from parsers.evtx import parser
from parsers.evtx.account import OUTPUT_VERSION
from tests.parsers.evtx.reading import (
    FOLDER,
)


def test_outputs_are_a_literal_with_the_types_that_the_host_knows() -> None:
    tree = ast.parse((FOLDER / "parser.py").read_text())
    (assigned,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "outputs"
    ]
    literal = ast.literal_eval(assigned)
    assert literal == parser.outputs
    types = {column["type"] for output in literal.values() for column in output["columns"]}
    assert types <= {"boolean", "int64", "float64", "string", "binary", "timestamp_utc"}


def test_manifest_names_what_is_there() -> None:
    manifest = tomllib.loads((FOLDER / "casparian.toml").read_text())
    assert manifest["name"] == "evtx"
    assert (FOLDER / manifest["entrypoint"]).is_file()
    assert manifest["version"] == OUTPUT_VERSION


def test_guest_code_imports_nothing_of_ours() -> None:
    names: set[str] = set()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"pyarrow", "msgspec", "evtx", "blake3"}
