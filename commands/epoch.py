"""Decides what a new epoch finds: executors and leases of the old one are dead, its runs were interrupted."""

from __future__ import annotations

from msgspec import Struct

from commands.executor import LoseExecutor, decide_lose
from commands.outcome import Decision, Refused
from eventlog.events import Event, RunInterrupted
from eventlog.ids import Instant
from reducers.fold import State


class BeginEpoch(Struct, frozen=True, kw_only=True):
    """Given once by the sentinel, before it serves anybody. Executors are its children: none outlives it."""

    now: Instant


def decide(command: BeginEpoch, state: State) -> Decision:
    """Lose every executor, put its jobs back uncharged, and close the runs that nobody waits for any more."""
    reason = "the sentinel of the last epoch ended"
    events: list[Event] = []
    for executor in state.executors:
        lost = decide_lose(LoseExecutor(executor=executor, reason=reason, charged=False, now=command.now), state)
        assert not isinstance(lost, Refused)
        events.extend(lost)
    events.extend(RunInterrupted(run=run, reason=reason, interrupted_at=command.now) for run in state.runs)
    return events
