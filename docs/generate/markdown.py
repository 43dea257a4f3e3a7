"""Owns the shape of a generated page: Markdown of one style, the same bytes whatever the terminal or the locale."""

from __future__ import annotations

import re
from collections.abc import Sequence

NOTICE = "<!-- Generated from the code by `make docs`. Change the code, not this page. -->"


def page(title: str, *parts: str) -> str:
    """Join a page: title, notice, parts, one empty line between them."""
    return "\n\n".join([f"# {title}", NOTICE, *(part.strip("\n") for part in parts if part)]) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without padding: a longer word in one row must not change the lines of all others.

    A column that has nothing in any row is left out.
    """
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    head, rows = [head[place] for place in kept], [[row[place] for place in kept] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return text as code; "" stays empty."""
    return f"`{text}`" if text else ""


def link(text: str, heading: str = "") -> str:
    """Return a link to a heading of the same page, by default the one of this name, as GitHub spells its anchors."""
    anchor = re.sub(r"[^a-z0-9 _-]", "", (heading or text).lower()).replace(" ", "-")
    return f"[{text}](#{anchor})"


def prose(docstring: str | None) -> str:
    """Return a docstring as paragraphs of Markdown: words in flow, indented blocks as they stand."""
    lines = (docstring or "").strip("\n").split("\n")
    margin = min((_indent(line) for line in lines[1:] if line.strip()), default=0)
    unindented = [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])]
    return "\n\n".join(_paragraph(part) for part in re.split(r"\n{2,}", "\n".join(unindented).strip("\n")))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _paragraph(text: str) -> str:
    if text.startswith("    "):
        return "```\n" + "\n".join(line[4:] for line in text.split("\n")) + "\n```"
    return " ".join(text.split())
