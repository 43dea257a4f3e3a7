"""Knows how the jobs of a run go on: when that is worth saying, how long it may take, whether nothing moves. Pure.

The time is given: seconds of a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cli.render import count
from eventlog.ids import JobId
from reducers.fold import State

PUBLISH_SECONDS: Final = 1.0  # between two words about the same run
STALL_SECONDS: Final = 30.0  # without any sign of progress
STALLED_SHOWN_MAX: Final = 3  # jobs, in a note


class Pace:
    """The pace of one run over `total` jobs. What has ended before it began counts for nothing."""

    def __init__(self, total: int, *, now: float) -> None:
        self._total = total
        self._began = now
        self._published = now - PUBLISH_SECONDS
        self._done_first: int | None = None
        self._is_told_all = False
        self._moved: tuple[int, ...] = ()
        self._moved_at = now
        self._is_told_stall = False

    def is_due(self, done: int, now: float) -> bool:
        """Say whether to publish: at most once in PUBLISH_SECONDS, but the end of it in any case, once."""
        is_all = done >= self._total
        if (is_all and not self._is_told_all) or now - self._published >= PUBLISH_SECONDS:
            self._published, self._is_told_all = now, is_all
            return True
        return False

    def seconds_left(self, done: int, now: float) -> int | None:
        """Return how long what is left takes, if it goes on as it went; None where nothing has been done here yet."""
        if self._done_first is None:
            self._done_first = done
        here = done - self._done_first
        if here <= 0 or done >= self._total:
            return None
        return round((now - self._began) / here * (self._total - done))

    def has_stalled(self, signs: tuple[int, ...], now: float) -> bool:
        """Say once, when none of the signs has moved for STALL_SECONDS; again only after one has."""
        if signs != self._moved:
            self._moved, self._moved_at, self._is_told_stall = signs, now, False
        if self._is_told_stall or now - self._moved_at < STALL_SECONDS:
            return False
        self._is_told_stall = True
        return True


def say_stall(state: State, jobs: Collection[JobId]) -> str:
    """Return what does not move: the jobs at work and their files, or that none is."""
    held = [job for job_id, job in state.jobs.leased.items() if job_id in jobs]
    stalled = f"no progress for {STALL_SECONDS:g} s"
    if not held:
        return f"{stalled}: {count(len(jobs), 'job')} open, none of them at work; casparian status"
    named = [
        f"job {job.spec.job} on {job.spec.path} ({job.spec.parser} {job.spec.parser_version}, attempt {job.attempts})"
        for job in held[:STALLED_SHOWN_MAX]
    ]
    more = f" and {len(held) - len(named)} more" if len(held) > len(named) else ""
    return f"{stalled}: {', '.join(named)}{more}; casparian job logs {held[0].spec.job}"
