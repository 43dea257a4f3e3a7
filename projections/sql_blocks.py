"""Owns the reading of our .sql files: blocks that start with `-- name:`, then a line of purpose, then one statement."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_MARK = "-- name:"


@cache
def sql_blocks(file_name: str) -> dict[str, str]:
    """Return the statements of a .sql file of this package, by name.

    Raises ValueError for a block without a line of purpose, or a name that is used twice.
    """
    blocks: dict[str, str] = {}
    for chunk in (FOLDER / file_name).read_text(encoding="utf-8").split(_MARK)[1:]:
        name, _, body = chunk.partition("\n")
        name = name.strip()
        if not body.startswith("-- "):
            raise ValueError(f"read {file_name}: block {name!r} has no line of purpose; add one as a comment")
        if name in blocks:
            raise ValueError(f"read {file_name}: the name {name!r} is used twice; rename one")
        blocks[name] = body.strip()
    return blocks
