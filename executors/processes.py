"""What the kernel knows of processes: who descends from whom, who is stopped; and that one may die with its parent."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, even while this process is stopped.

    A parent that has ended before this call is not noticed by it.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def is_stopped(pid: int) -> bool:
    """Say whether a signal has stopped a process: it answers nothing until somebody continues it."""
    return _facts(pid)[:1] == ["T"]


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
    facts = _facts(pid)
    return int(facts[1]) if len(facts) > 1 else 0


def _facts(pid: int) -> list[str]:
    """Return what follows the name in /proc/PID/stat: state, parent, ...; nothing if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rsplit(")", 1)[-1].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Say whether a process runs: one that has ended and was not reaped yet does not."""
    return _facts(pid)[:1] not in ([], ["Z"], ["X"])
