"""The generated pages say what the code says now, whatever the terminal, the locale and the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from docs.generate import COMMAND, FOLDER, PAGES
from eventlog import events
from projections.rows import TABLES
from reducers.job import MOVES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_code_says(name: str) -> None:
    checked_in = (FOLDER / name).read_text(encoding="utf-8")
    assert checked_in == PAGES[name](), f"docs/{name} is not what the code says now: run `{COMMAND}`, look at the diff"


def test_the_pages_do_not_depend_on_terminal_locale_or_time_zone() -> None:
    script = "import docs.generate as g, sys; sys.stdout.buffer.write(''.join(p() for p in g.PAGES.values()).encode())"
    narrow = {"PATH": os.environ["PATH"], "COLUMNS": "40", "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=FOLDER.parent, env=narrow, capture_output=True, check=True
    )
    assert done.stdout.decode() == "".join(page() for page in PAGES.values())


def test_every_record_every_table_and_every_move_is_described() -> None:
    told = PAGES["EVENTS.md"]()
    for shape in (*typing.get_args(events.Event), *typing.get_args(events.LoggedCommand)):
        assert f"\n### {shape.__name__}\n" in told
    for table in TABLES:
        assert f"\n### {table.name}\n" in PAGES["TABLES.md"]()
    diagram, _, _ = PAGES["JOBS.md"]().partition("## States")
    for state, row in MOVES.items():
        for event in row:
            begins = f"    {state.__name__ if state else '[*]'} --> "
            assert any(line.startswith(begins) and event.__name__ in line for line in diagram.split("\n"))


def test_a_comment_beside_a_field_and_one_above_it_are_its_meaning() -> None:
    told = PAGES["EVENTS.md"]()
    assert '| `file_uid` | `Hashed[str]` | "unix:<dev>:<ino>" |' in told
    assert "| `_cf_row_seq` | BIGINT |  | The row's place in this output of the job, from 0. |" in PAGES["TABLES.md"]()


def test_links_inside_the_pages_lead_somewhere() -> None:
    for path in FOLDER.glob("*.md"):
        for target in _targets(path.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            assert (path.parent / name).exists(), f"{path.name} links to {target}"
            if anchor:
                page = path.parent / name if name else path
                assert anchor in _anchors(page), f"{path.name} links to {target}"


def _targets(text: str) -> list[str]:
    ends = [piece.split(")", 1)[0] for piece in text.split("](")[1:]]
    return [target for target in ends if not target.startswith("http")]


def _anchors(page: Path) -> set[str]:
    heads = [line.lstrip("#").strip().lower() for line in page.read_text().split("\n") if line.startswith("#")]
    return {"".join(c for c in head if c.isalnum() or c in " _-").replace(" ", "-") for head in heads}
