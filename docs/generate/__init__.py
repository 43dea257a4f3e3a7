"""The pages that are written from the code itself, so that they cannot say anything else than the code does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.generate import commands, events, jobs, tables

FOLDER = Path(__file__).parent.parent
COMMAND = "make docs"

# A page's file name -> what writes it. What stands in a page is read from the code, so no list of it is kept here.
PAGES: dict[str, Callable[[], str]] = {
    "COMMANDS.md": commands.page,
    "EVENTS.md": events.page,
    "JOBS.md": jobs.page,
    "TABLES.md": tables.page,
}
