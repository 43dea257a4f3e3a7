"""Owns what is known of the executors that are alive. Who holds which lease is the job's to say."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from eventlog.events import (
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    Record,
)


class Executor(Struct, frozen=True, kw_only=True):
    """An executor that has joined and has not been lost. `draining`: it gets nothing more."""

    joined: ExecutorJoined
    draining: bool = False


HandledEvent = ExecutorJoined | ExecutorDraining | ExecutorLost
HANDLES: frozenset[type[Record]] = frozenset({ExecutorJoined, ExecutorDraining, ExecutorLost})


def evolve(executor: Executor | None, event: HandledEvent) -> Executor | None:
    """Return the executor after the event, or None when it is gone."""
    match event:
        case ExecutorJoined():
            return Executor(joined=event)
        case ExecutorDraining():
            return None if executor is None else Executor(joined=executor.joined, draining=True)
        case ExecutorLost():
            return None
        case _:
            assert_never(event)
