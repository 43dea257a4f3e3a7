"""Properties of all decisions together, over random histories."""

from __future__ import annotations

from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from commands.decide import Command
from commands.epoch import BeginEpoch
from commands.outcome import Refused
from eventlog.events import (
    CancelAccepted,
    Event,
    JobEvent,
    JobQueued,
    MaterializationRecorded,
    OutputsCommitted,
    StartRun,
)
from eventlog.ids import Seq
from eventlog.records import LogRecord
from reducers.fold import State, apply, fold
from reducers.job import MOVES
from tests.support import LATER, any_command, decide, picture, take

HISTORY = st.lists(any_command(), max_size=60)


def live(history: list[Command]) -> tuple[State, list[Event]]:
    """Return the state of a life lived through the deciders, and its log."""
    state = State()
    log: list[Event] = []
    for command in history:
        decision = decide(command, state)
        if not isinstance(decision, Refused):
            take(state, decision)
            log.extend(decision)
    return state, log


@forall(HISTORY, any_command())
@settings(max_examples=300, deadline=None)
def test_deciding_twice_decides_nothing(history: list[Command], command: Command) -> None:
    state, _ = live(history)
    first = decide(command, state)
    if isinstance(first, Refused) or isinstance(command, StartRun):
        return
    if type(command).__name__ == "RecordFiles":  # a batch of files is told once, by the scanner that made it
        return
    take(state, first)
    second = decide(command, state)
    assert isinstance(second, Refused) or list(second) == []


@forall(HISTORY)
@settings(max_examples=300, deadline=None)
def test_replay_equals_live(history: list[Command]) -> None:
    state, log = live(history)
    assert picture(fold(State(), (LogRecord(Seq(n), event) for n, event in enumerate(log, 1)))) == picture(state)


@forall(HISTORY)
@settings(max_examples=300, deadline=None)
def test_every_event_is_a_legal_move_of_its_job(history: list[Command]) -> None:
    _, log = live(history)
    state = State()
    for seq, event in enumerate(log, 1):
        before = state.jobs.get(event.job) if isinstance(event, JobEvent) else None
        apply(state, Seq(seq), event)
        if isinstance(event, JobEvent):
            after = state.jobs.get(event.job)
            moves = MOVES[type(before) if before is not None else None]
            assert type(event) in moves, f"{type(event).__name__} in {type(before).__name__}"
            expected = moves[type(event)]
            assert (type(after) if after is not None else None) is expected


@forall(HISTORY)
@settings(max_examples=300, deadline=None)
def test_no_commit_follows_an_accepted_cancel_and_no_output_comes_without_a_commit(history: list[Command]) -> None:
    _, log = live(history)
    cancelled: set[int] = set()
    committed: set[int] = set()
    for event in log:
        match event:
            case CancelAccepted(job=job):
                cancelled.add(job)
            case OutputsCommitted(job=job):
                assert job not in cancelled
                committed.add(job)
            case MaterializationRecorded(job=job):
                assert job in committed
            case JobQueued(job=job):
                assert job not in committed
            case _:
                pass


@forall(HISTORY)
@settings(max_examples=200, deadline=None)
def test_a_key_is_made_by_one_open_job_at_a_time(history: list[Command]) -> None:
    state, _ = live(history)
    claims = [key.materialization_key for job in state.jobs for key in state.jobs.get(job).spec.keys]  # type: ignore[union-attr]
    assert len(claims) == len(set(claims))
    assert set(claims) == set(state.jobs.by_key)


@forall(HISTORY)
@settings(max_examples=200, deadline=None)
def test_a_new_epoch_leaves_no_lease_and_no_open_run(history: list[Command]) -> None:
    state, _ = live(history)
    decision = decide(BeginEpoch(now=LATER), state)
    assert not isinstance(decision, Refused)
    take(state, decision)
    assert not state.jobs.leased
    assert not state.runs
    assert not state.executors
