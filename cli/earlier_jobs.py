"""Owns what a run says of the jobs of earlier runs that it takes up: which it makes, which not, and how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from cli.render import count

ENDINGS = {
    "completed": "completed",
    "failed": "failed",
    "aborted": "cancelled",
    "promoting": "not published, because their folder cannot be reached",
}


def taken_up(jobs: Collection[int]) -> str:
    """Say that the run makes these as well; "" for none."""
    if not jobs:
        return ""
    return f"{count(len(jobs), 'job')} of earlier runs waited: this run makes {_them(jobs)} as well"


def held_up(jobs: Collection[int], why: str) -> str:
    """Say that these go on waiting, and why; "" for none."""
    if not jobs:
        return ""
    return f"{count(len(jobs), 'job')} of earlier runs not made: {why}; casparian parser health"


def ended(statuses: Collection[str]) -> str:
    """Say how the jobs that were taken up stand at the end, where not all of them are completed; else ""."""
    told = Counter(ENDINGS.get(status, "still open") for status in statuses)
    if told.keys() <= {"completed"}:
        return ""
    parts = ", ".join(f"{number:,} {word}" for word, number in sorted(told.items()))
    return f"of {count(len(statuses), 'job')} of earlier runs: {parts}; casparian jobs"


def _them(jobs: Collection[int]) -> str:
    return "it" if len(jobs) == 1 else "them"
