"""Owns the writing of names and values into SQL where DuckDB binds no parameters: views, settings, ATTACH."""

from __future__ import annotations

from collections.abc import Iterable


def text_literal(text: str) -> str:
    """Return a text as an SQL literal: views and settings cannot bind parameters."""
    return "'" + text.replace("'", "''") + "'"


def list_literal(texts: Iterable[str]) -> str:
    """Return texts as an SQL list of literals."""
    return "[" + ", ".join(map(text_literal, texts)) + "]"


def exact_pattern(path: str) -> str:
    """Return the pattern that matches this path and no other: DuckDB takes every name for a pattern."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def identifier(name: str) -> str:
    """Return any name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def is_utf8(text: str) -> bool:
    """Say whether a text can be handed to DuckDB: names of files that are not UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
