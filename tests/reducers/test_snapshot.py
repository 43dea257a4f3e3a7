"""A state that was frozen and thawed is the state that the whole fold gives, now and after whatever comes next."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from commands.decide import Command
from commands.outcome import Refused
from eventlog.events import Event
from eventlog.frames import Stamp
from eventlog.ids import Seq
from eventlog.records import LogRecord
from reducers.fold import State, fold
from reducers.job import JobTable
from reducers.snapshot import _Frozen, _Jobs, freeze, thaw
from tests.support import any_command, decide, picture, take

HISTORY = st.lists(any_command(), max_size=60)


def log_of(history: list[Command]) -> list[LogRecord]:
    """Return what the deciders make of a history."""
    state, events = State(), list[Event]()
    for command in history:
        decision = decide(command, state)
        if not isinstance(decision, Refused):
            take(state, decision)
            events.extend(decision)
    return [LogRecord(Seq(seq), event) for seq, event in enumerate(events, 1)]


def orders(state: State) -> list[Any]:
    """Return the order of every table, by which decisions go and which a comparison of dictionaries does not see."""
    jobs = state.jobs
    by_noun = [
        list(state.parsers),
        list(state.trust),
        list(state.runs),
        list(state.files),
        list(state.executors),
        list(state.outputs),
    ]
    return [*by_noun, list(jobs), list(jobs.queued), list(jobs.leased), list(jobs.promoting), list(jobs.by_key)]


@forall(HISTORY, st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_a_snapshot_and_the_rest_of_the_log_give_the_state_of_the_whole_fold(history: list[Command], cut: int) -> None:
    log = log_of(history)
    whole = fold(State(), log)
    resumed = fold(thaw(freeze(fold(State(), log[:cut]))), log[cut:])
    assert picture(resumed) == picture(whole)
    assert orders(resumed) == orders(whole)
    assert freeze(resumed) == freeze(whole)


@forall(HISTORY)
@settings(max_examples=100, deadline=None)
def test_a_state_that_was_lived_and_one_that_was_read_are_frozen_alike(history: list[Command]) -> None:
    lived = State()
    for command in history:
        decision = decide(command, lived)
        take(lived, [] if isinstance(decision, Refused) else decision)
    read = [msgspec.json.decode(msgspec.json.encode(each.data), type=type(each.data)) for each in log_of(history)]
    assert freeze(lived) == freeze(fold(State(), [LogRecord(Seq(n), event) for n, event in enumerate(read, 1)]))


def test_a_new_field_of_the_state_cannot_be_forgotten() -> None:
    assert set(_Frozen.__struct_fields__) == set(vars(State()))
    derived = {
        "_jobs",
        "queued",
        "leased",
        "promoting",
        "rowless",
        "waiting",
        "_index",
    }  # what `jobs` and `indexed` say
    assert set(_Jobs.__struct_fields__) - {"jobs", "indexed"} == set(vars(JobTable())) - derived


def test_bytes_of_another_shape_are_no_state() -> None:
    with pytest.raises(msgspec.DecodeError):
        thaw(msgspec.msgpack.encode({"seq": "one"}))


def test_the_receipts_come_back_in_their_order() -> None:
    state = State()
    for number in (3, 1, 2):
        state.receipts.keep(Stamp("executor-1", 7, number, f"{number:032x}"), last=number)
    thawed = thaw(freeze(state))
    assert [key for key, _ in thawed.receipts.all()] == [("executor-1", 7, number) for number in (3, 1, 2)]
    assert thawed.receipts.all() == state.receipts.all()
    assert thawed.receipts.epoch_of("executor-1") == 7
