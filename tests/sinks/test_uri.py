"""What a sink's URI means, and which are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.errors import SinkUriError
from sinks.parquet_file import ParquetSink
from sinks.uri import SinkTarget, open_sink, parse_sink_uri, target_folder

BASE = Path("/cases/2024-001")


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("parquet:///abs", "/abs"),
        ("parquet:///abs/", "/abs"),
        ("parquet:////abs//deep/./er", "/abs/deep/er"),
        ("parquet://./out", "/cases/2024-001/out"),
        ("parquet://out", "/cases/2024-001/out"),
        ("parquet://./output/", "/cases/2024-001/output"),
        ("parquet://.", "/cases/2024-001"),
        ("parquet://../other/out", "/cases/other/out"),
        ("parquet://./../../out", "/out"),
        ("PARQUET://out", "/cases/2024-001/out"),
        ("parquet://case.2024", "/cases/2024-001/case.2024"),
        ("parquet:///a b/#1/100%25", "/a b/#1/100%25"),
        (r"parquet:///back\\slash", r"/back\slash"),
        (r"parquet:///what\x3f", "/what?"),
        (r"parquet:///caf\xc3\xa9", "/café"),
        ("parquet://parquet://out", "/cases/2024-001/parquet:/out"),
    ],
)
def test_folder_is_read_from_the_uri(text: str, folder: str) -> None:
    target = parse_sink_uri(text, base=BASE)
    assert (target.scheme, target.path) == ("parquet", Path(folder))
    assert target_folder(target.uri) == Path(folder)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin with a known scheme"),
        ("/abs/out", "does not begin with a known scheme"),
        ("parquet:/abs", "does not begin with a known scheme"),
        ("csv://out", "does not begin with a known scheme"),
        ("duckdb://out.duckdb?table=x", "does not begin with a known scheme"),
        (" parquet://out", "does not begin with a known scheme"),
        ("parquet://", "names no folder"),
        ("parquet:///", "names the root folder"),
        ("parquet:///.", "names the root folder"),
        ("parquet://..", "climbs without naming a folder"),
        ("parquet://./../..", "climbs without naming a folder"),
        ("parquet:///..", "in front of a relative folder"),
        ("parquet:///a/../b", "in front of a relative folder"),
        ("parquet://out/..", "in front of a relative folder"),
        ("parquet://../a/../b", "in front of a relative folder"),
        ("parquet://../../../../out", "climbs above the root folder"),
        ("parquet://out.parquet", "names a file"),
        ("parquet:///abs/OUT.PARQUET/", "names a file"),
        ("parquet:///abs/out.csv", "names a file"),
        ("parquet://out?mode=append", "options after `?` are unknown"),
        ("parquet://what?", "options after `?` are unknown"),
        ("parquet://back\\slash", "a backslash"),
        ("parquet://short\\x4", "a backslash"),
        ("parquet://sign\\x+f", "a backslash"),
        ("parquet://nul\\x00", "NUL"),
        ("parquet://nul\0", "NUL"),
        ("parquet://half\ud83d", "half a character"),
    ],
)
def test_refusal_is_a_sentence_with_known_schemes_and_an_example(text: str, why: str) -> None:
    with pytest.raises(SinkUriError) as raised:
        parse_sink_uri(text, base=BASE)
    sentence = str(raised.value)
    assert why in sentence
    assert "known schemes: parquet://" in sentence
    assert "for example parquet://./output" in sentence
    assert "\n" not in sentence


def test_example_of_the_refusals_is_accepted() -> None:
    assert parse_sink_uri("parquet://./output", base=BASE).path == BASE / "output"


@pytest.mark.parametrize("base", ["relative", "/a/../b"])
def test_relative_folder_needs_an_absolute_base(base: str) -> None:
    with pytest.raises(SinkUriError, match="not an absolute folder"):
        parse_sink_uri("parquet://out", base=Path(base))
    assert parse_sink_uri("parquet:///abs", base=Path(base)).path == Path("/abs")


def test_bytes_of_the_command_line_that_are_not_utf8_are_kept() -> None:
    target = parse_sink_uri("parquet://" + os.fsdecode(b"caf\xe9"), base=BASE)
    assert os.fsencode(target.path) == b"/cases/2024-001/caf\xe9"
    assert target.uri == r"parquet:///cases/2024-001/caf\xe9"


@pytest.mark.parametrize("uri", ["parquet://out", "parquet:///abs/", "parquet:////abs", "PARQUET:///abs", "csv:///abs"])
def test_only_a_canonical_uri_names_a_folder_or_opens_a_sink(uri: str) -> None:
    for use in (target_folder, open_sink):
        with pytest.raises(SinkUriError):
            use(uri)


def test_open_sink_returns_the_sink_of_the_uri() -> None:
    sink = open_sink("parquet:///abs/out")
    assert isinstance(sink, ParquetSink)
    assert sink.uri == "parquet:///abs/out"
    assert sink.locate("events_0123456789abcdef.parquet") == "/abs/out/events_0123456789abcdef.parquet"


steps = st.binary(min_size=1, max_size=8).filter(lambda step: not {0, 0x2F} & set(step) and step not in (b".", b".."))
folders = st.lists(steps, min_size=1, max_size=4).map(lambda found: b"/" + b"/".join(found))


def canonical(folder: bytes) -> SinkTarget:
    """Reach any folder through `base`, which needs no escapes."""
    return parse_sink_uri("parquet://./sink", base=Path(os.fsdecode(folder)))


@given(folders)
def test_canonical_uri_is_reversible_for_any_bytes(folder: bytes) -> None:
    target = canonical(folder)
    assert os.fsencode(target.path) == folder + b"/sink"
    assert target_folder(target.uri) == target.path
    target.uri.encode()  # no surrogates: it can stand in the log


@given(folders, folders)
def test_two_folders_have_two_uris(one: bytes, other: bytes) -> None:
    assert (canonical(one).uri == canonical(other).uri) == (one == other)


@given(folders, folders)
def test_canonical_uri_is_a_fixed_point_whatever_the_base(folder: bytes, base: bytes) -> None:
    target = canonical(folder)
    assert parse_sink_uri(target.uri, base=Path(os.fsdecode(base))) == target


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        target = parse_sink_uri("parquet://" + text, base=BASE)
    except SinkUriError:
        return
    assert target.path.is_absolute()
    assert target_folder(target.uri) == target.path
