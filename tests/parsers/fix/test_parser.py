"""What the FIX parser declares, and what it is made of."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any, Final

from executors.parser_catalog import load_parser
from parsers.fix import parser
from parsers.fix.settings import DEFAULTS
from tests.parsers.fix.reading import FOLDER, MESSAGES, ROOT

SOURCES: Final = sorted(FOLDER.glob("*.py"))


def test_the_host_can_read_what_the_parser_declares() -> None:
    package = load_parser(FOLDER)
    assert package.settings == DEFAULTS
    assert [schema.output for schema in package.outputs] == list(parser.outputs)


def test_the_parser_needs_only_the_standard_library_and_pyarrow() -> None:
    nodes = [node for file in SOURCES for node in ast.walk(ast.parse(file.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    own = {"array", "bisect", "gzip", "hashlib", "re", "zlib", "collections", "datetime", "functools", "itertools"}
    own |= {"operator", "pathlib", "typing"}
    assert {name.split(".")[0] for name in names} == own | {"zoneinfo", "pyarrow"}
    assert tomllib.loads((FOLDER / "casparian.toml").read_text())["packages"] == ["tzdata"]


def test_each_required_column_is_declared_so() -> None:
    for output in MESSAGES:
        columns: Any = parser.outputs[output]["columns"]
        required = {column["name"] for column in columns if not column["nullable"]}
        assert {"msg_type", "sender_comp_id", "target_comp_id", "msg_seq_num", "sending_time"} <= required


def test_the_page_names_every_note_and_every_reason() -> None:
    source = "\n".join(file.read_text() for file in SOURCES)
    words = set(re.findall(r'notes\.(?:append|extend)\(f?"([a-z_0-9]+)', source))
    words |= set(re.findall(r'self\._(?:lost|error)\([^"\n]*"([a-z_]+)"', source)) | {"gzip_damaged"}
    assert {"checksum_mismatch", "no_msg_type", "prefix_cut", "repeated_tag"} <= words
    page = (ROOT / "docs" / "FIX.md").read_text()
    assert {word for word in words if f"`{word}" not in page} == set()
