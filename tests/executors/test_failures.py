from __future__ import annotations

import ast
from pathlib import Path

import executors
from executors.failures import TRANSIENT_KINDS, UNKNOWN_KINDS, TransientKind, failure_class

FOLDER = Path(executors.__file__).parent


def test_only_the_listed_kinds_are_transient() -> None:
    assert {kind: failure_class(kind) for kind in TRANSIENT_KINDS} == dict.fromkeys(TRANSIENT_KINDS, "transient")
    for kind in ("parser_error", "guest_silent", "time_limit", "schema_mismatch", "bad_sink", ""):
        assert failure_class(kind) == "permanent"


def test_a_process_that_just_died_tells_nothing_of_its_cause() -> None:
    assert {failure_class(kind) for kind in UNKNOWN_KINDS} == {"unknown"}
    assert not UNKNOWN_KINDS & TRANSIENT_KINDS


def test_no_other_place_of_the_host_says_transient_but_the_decoder_of_a_parser_s_own_word() -> None:
    saying = {
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == "transient"
    }
    assert saying == {"failures.py", "guest/frames.py"}


def test_every_kind_says_why_it_may_go_better() -> None:
    source = (FOLDER / "failures.py").read_text()
    for kind in TransientKind:
        assert f'{kind.name} = "{kind.value}"  # ' in source
