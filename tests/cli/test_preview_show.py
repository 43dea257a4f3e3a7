"""The table of first rows fits a terminal, whatever stands in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cli.preview_report import PreviewRows
from cli.preview_show import CELL_CHARACTERS_MAX, row_lines

names = st.lists(st.text("abcdef", min_size=1, max_size=12), min_size=1, max_size=12, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> PreviewRows:
    columns = tuple(draw(names))
    row = st.tuples(*[st.one_of(st.none(), st.text(max_size=80)) for _column in columns])
    return PreviewRows(columns=columns, rows=tuple(draw(st.lists(row, min_size=1, max_size=4))))


@given(tables(), st.integers(CELL_CHARACTERS_MAX, 200))
def test_no_line_is_wider_than_the_terminal(rows: PreviewRows, characters_max: int) -> None:
    lines = row_lines(rows, characters_max=characters_max)
    assert max(map(len, lines)) <= characters_max
    shown = len(lines[0].split())
    left = len(rows.columns) - shown
    assert (f"{left} column" in lines[-1]) == bool(left)


@given(tables())
def test_a_program_gets_all_of_every_value(rows: PreviewRows) -> None:
    lines = row_lines(rows, characters_max=None)
    assert lines[0].split() == list(rows.columns)
    assert len(lines) == 2 + len(rows.rows)


def test_a_null_is_not_an_empty_text() -> None:
    lines = row_lines(PreviewRows(columns=("a", "b"), rows=((None, ""),)), characters_max=80)
    assert lines[2] == "(null)"
