"""Reads from /proc which processes descend from which: what has to be killed with them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def descendants(roots: Collection[int]) -> list[int]:
    """Return every living process below these, nearest first; a snapshot, so whoever forks meanwhile may be missing."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := parent_of(int(entry.name))):
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    level = list(roots)
    while level:  # ends: each process is below one parent
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found


def parent_of(pid: int) -> int:
    """Return a process's parent, 0 if it is gone or a zombie's number went to somebody else."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
