"""Where a line of a source stands, told as an editor would: from 1, with its end."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import rejected_row
from cli.rejected_row import is_rejected, line_place


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=20))
def test_every_line_is_where_splitting_the_file_finds_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    data = b"#" + b"\n".join(lines) + b"\n"
    path = tmp_path_factory.mktemp("lines") / "source"
    path.write_bytes(data)
    for number, line in enumerate(data[:-1].split(b"\n"), start=1):
        place = line_place(os.fsencode(path), number)
        assert place is not None
        offset, length = place
        assert data[offset : offset + length] == line + b"\n"
    assert line_place(os.fsencode(path), len(lines) + 1) is None


def test_a_long_line_is_cut_and_the_one_behind_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected_row, "LINE_BYTES_MAX", 4)
    path = tmp_path / "source"
    path.write_bytes(b"0123456789\nab\n")
    assert line_place(os.fsencode(path), 1) == (0, 4)
    assert line_place(os.fsencode(path), 2) == (11, 3)
    assert line_place(os.fsencode(path), 3) is None


def test_a_compressed_source_has_its_lines_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "source.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert line_place(os.fsencode(path), 1) is None


def test_a_table_of_rejected_rows_is_known_by_its_name() -> None:
    assert is_rejected("trades_quarantine")
    assert not is_rejected("trades")
