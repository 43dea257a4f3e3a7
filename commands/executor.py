"""Decides who is in the fleet, and what becomes of the leases of an executor that is gone."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from commands.attempt import lost_lease
from commands.outcome import Decision, Refused
from eventlog.events import DrainExecutor, Event, ExecutorDraining, ExecutorJoined, ExecutorLost
from eventlog.ids import ExecutorId, Instant
from reducers.fold import State


class JoinExecutor(Struct, frozen=True, kw_only=True):
    executor: ExecutorId
    pid: int
    host: str
    version: str
    capacity: int
    now: Instant


class LoseExecutor(Struct, frozen=True, kw_only=True):
    """The executor left or died. `charged` says whether its jobs pay an attempt: not when the sentinel went first."""

    executor: ExecutorId
    reason: str
    charged: bool
    now: Instant


Command = JoinExecutor | LoseExecutor | DrainExecutor


def decide(command: Command, state: State) -> Decision:
    """Route a command about an executor to its decision."""
    match command:
        case JoinExecutor():
            return decide_join(command, state)
        case LoseExecutor():
            return decide_lose(command, state)
        case DrainExecutor():
            return decide_drain(command, state)
        case _:
            assert_never(command)


def decide_join(command: JoinExecutor, state: State) -> Decision:
    """Take the executor into the fleet; one that is in it already changes nothing."""
    if command.executor in state.executors:
        return []
    return [
        ExecutorJoined(
            executor=command.executor,
            pid=command.pid,
            host=command.host,
            version=command.version,
            capacity=command.capacity,
            joined_at=command.now,
        )
    ]


def decide_drain(command: DrainExecutor, state: State) -> Decision:
    """Give the executor nothing more. Refuses one that is not here; one that is draining already changes nothing."""
    executor = state.executors.get(command.executor)
    if executor is None:
        return Refused("not_found", f"there is no executor {command.executor}", "casparian executors ls")
    if executor.draining:
        return []
    reason = f"drained by {command.by}: {command.reason}" if command.reason else f"drained by {command.by}"
    return [ExecutorDraining(executor=command.executor, reason=reason, draining_at=command.now)]


def decide_lose(command: LoseExecutor, state: State) -> Decision:
    """Let the executor go, and put each of its jobs back into the queue (or to its end, if it was being cancelled)."""
    if command.executor not in state.executors:
        return []
    events: list[Event] = [
        ExecutorLost(executor=command.executor, reason=command.reason, lost_at=command.now),
    ]
    for job in state.jobs.leased.values():
        if job.executor == command.executor:
            events.append(lost_lease(job, f"its executor is gone: {command.reason}", command.charged, command.now))
    return events
