"""Has the jobs of a run end before their commit point, whoever is at work on them."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from cli import clock
from commands.job import WithdrawJob
from eventlog.events import CancelJob
from eventlog.ids import JobId, RunId
from reducers.run_jobs import stoppable

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

ABORT_TICK_SECONDS: Final = 0.05
ABORT_SECONDS: Final = 10.0  # how long running guests get to be killed and reported after an interrupt


def stop_jobs(sentinel: Sentinel, run: RunId, attached: Collection[JobId], *, reason: str, actor: str) -> int:
    """End what a run wants done, but for what is committed; how many jobs ended.

    What another run waits for as well is left to that one. What waits is withdrawn and what runs is cancelled, until
    neither is left: a job may begin while we look. An executor that does not confirm in ABORT_SECONDS is killed, which
    ends its job too.
    """
    ended: set[JobId] = set()
    cancelled: set[JobId] = set()
    deadline = time.monotonic() + ABORT_SECONDS
    while left := sentinel.handler.inspect(
        lambda state: stoppable(state, run, attached, waited_for=sentinel.watches.waited_for())
    ):
        now = clock.now()
        answers = [
            sentinel.handler.submit(
                WithdrawJob(job=job, reason=reason, now=now)
                if executor is None
                else CancelJob(job=job, reason=reason, by=actor, now=now),
                actor=actor,
            )
            for job, executor in left.items()
            if executor is None or job not in cancelled
        ]
        for answer in answers:
            answer.result()
        ended |= left.keys()
        cancelled |= {job for job, executor in left.items() if executor is not None}
        if time.monotonic() >= deadline:
            for executor in {each for each in left.values() if each is not None}:
                sentinel.dismiss(executor, "it did not confirm that it stopped")
            deadline += ABORT_SECONDS
        time.sleep(ABORT_TICK_SECONDS if any(left.values()) else 0)
    return len(ended)
