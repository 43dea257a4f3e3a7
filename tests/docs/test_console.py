"""Blocks of documents: how they are read and run, and how little two outputs may differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.console import SHOWN_FOLDER, Step, files, run, same, steps
from docs.rerun import rewritten

HASH = "0123456789abcdef" * 4
OTHER = "f" * 64


def test_a_block_is_commands_with_their_outputs() -> None:
    text = "words\n```console\n$ one\nout\n\nout\n$ two \\\n>   more\n```\n"
    text += "```sh\n$ not this\n```\n```console\n$ three\n```\n"
    assert steps(text) == [
        Step(command="one", line=3, shown=("out", "", "out")),
        Step(command="two \\\n  more", line=8, shown=()),
        Step(command="three", line=14, shown=()),
    ]


def test_a_file_that_is_shown_lies_in_the_folder() -> None:
    text = "words\n```python\nno = 1\n```\n```python one.py\nprint('one')\n```\n```toml two.toml\nx = 2\n```\n"
    assert files(text) == {"one.py": "print('one')\n", "two.toml": "x = 2\n"}
    assert run(["python one.py", "cat two.toml"], present=files(text)) == [["one"], ["x = 2"]]


def test_a_session_keeps_variables_exit_codes_and_the_order_of_both_streams() -> None:
    assert run(["word=hello", "echo $word; echo talk >&2; echo data", "(exit 3)", "echo $?", "pwd"]) == [
        [],
        ["hello", "talk", "data"],
        [],
        ["3"],
        [SHOWN_FOLDER],
    ]


def test_a_session_that_ends_early_is_told_with_its_command() -> None:
    with pytest.raises(ValueError, match="run 'exit 1'"):
        run(["echo fine", "exit 1", "echo never"])


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("run 1: evtx 0.1.0, 1.2 s", "run 1: evtx 0.1.0, 13.9 s"),
        ("evtx_events   972  155.8 kB          8", "evtx_events   972  155.6 kB          8"),
        ("  [ 3] 2026-01-22T10:11:12Z  job 3 completed", "  [41] 2027-02-02T01:01:01Z  job 3 completed"),
        (f"  key {HASH}, decided on [5]", f"  key {OTHER}, decided on [7]"),
        (f"head: seq 73, sha256 {HASH}", f"head: seq 99, sha256 {OTHER}"),
        ("log " + HASH[:32] + ": 71 records in 50 commits", "log " + OTHER[:32] + ": 73 records in 51 commits"),
    ],
)  # fmt: skip
def test_what_differs_between_two_honest_runs_is_the_same(shown: str, real: str) -> None:
    assert same([shown], [real])


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("evtx_events   972  155.8 kB          8", "evtx_events   971  155.8 kB          8"),
        ("evtx_events   972  155.8 kB          8", "evtx_events   972  155.8 kB          7"),
        (f"blake3 {HASH}, sha256 {HASH}, of the same bytes", f"blake3 {HASH}, sha256 {OTHER}, of the same bytes"),
        (f"  = source_hash   {HASH} [1]", f"  = source_hash   {OTHER} [1]"),
        ("  = sink_mode     append [1]", "  ≠ sink_mode     append [1]"),
        ("2026-01-20T23:31:05.000000Z  HOST2", "2026-01-20T23:31:06.000000Z  HOST2"),
        ("  [ 3] 2026-01-22T10:11:12Z  job 3 completed", "  [ 3] 2026-01-22T10:11:12Z  job 4 completed"),
        ("verdict: OK", "verdict: TORN"),
        ("  at byte 69,632, 32,052 bytes: file ends", "  at byte 69,632, 32,051 bytes: file ends"),
        ("1 file could not be read", "2 files could not be read"),
    ],
)
def test_what_is_evidence_has_to_be_equal_to_the_letter(shown: str, real: str) -> None:
    assert not same([shown], [real])


def test_omitted_lines_stand_for_any_but_what_is_shown_must_be_there_in_order() -> None:
    real = ["a", "b", "c", "d", "e"]
    assert same(["a", "...", "c", "...", "e"], real)
    assert same(["...", "b", "c", "..."], real)
    assert same(["a", "b", "...", "c", "d", "e"], real)
    assert not same(["a", "...", "d", "...", "c", "...", "e"], real)
    assert not same(["a", "...", "x", "...", "e"], real)
    assert not same(["a", "b", "c", "...", "c", "d", "e"], real)
    assert not same(["a", "b", "c"], real)


def test_a_rewritten_document_shows_what_came() -> None:
    text = "```console\n$ one\nold\nold\n$ two\nold\n```\nwords"
    one, two = steps(text)
    new = rewritten(text, [(one, ["new"]), (two, ["a", "b"])])
    assert new == "```console\n$ one\nnew\n$ two\na\nb\n```\nwords"


def test_the_folder_of_a_session_is_removed() -> None:
    ((backwards,),) = run(["pwd | rev"])  # forwards, its name is replaced by the one that documents show
    folder = Path(backwards[::-1])
    assert len(str(folder)) == len(SHOWN_FOLDER)
    assert not folder.exists()
