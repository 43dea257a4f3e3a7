"""Validation: each rule finds its fault where it is, goes on after it, and is silent about what is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from eventlog.events import Event
from eventlog.frames import Frame
from fixtures.tapes.make import sealed, tape_of
from fixtures.tapes.scenarios import frames_of
from reducers.tape_rules import FINDINGS_MAX, Validation, validate
from tests.projections import histories as h
from tests.projections.histories import event_lists
from tests.reducers.test_tape import read

Line = dict[str, Any]


def lines(name: str = "success") -> list[Line]:
    return [json.loads(line) for line in tape_of(frames_of(name)).splitlines()]


def found(changed: list[Line]) -> list[tuple[int, str]]:
    data = b"".join(json.dumps(line).encode() + b"\n" for line in changed)
    return [(each.line, each.message) for each in validate(read(data)).findings if each.check != "seal"]


def at(number: int, key: str, value: object) -> Callable[[list[Line]], None]:
    def change(changed: list[Line]) -> None:
        changed[number - 1][key] = value

    return change


def without(key: str) -> Callable[[list[Line]], None]:
    def change(changed: list[Line]) -> None:
        del changed[3][key]

    return change


def append(changed: list[Line]) -> None:
    changed.append({**changed[3], "seq": 18})


def cut(changed: list[Line]) -> None:
    changed.pop()


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (at(4, "schema_version", 7), 4, "its schema_version is 7, this version reads 1"),
        (at(4, "event_id", "evt-1"), 4, "its event_id is not a UUID of version 4"),
        (at(4, "seq", 2), 4, "its seq is 2 where 3 is due"),
        (at(4, "timestamp", "yesterday"), 4, "its timestamp is not an instant such as 2026-01-22T10:11:12.123456Z"),
        (at(4, "payload", 3), 4, "it is not an envelope: Expected `object`, got `int` - at `$.payload`"),
        (at(5, "payload", {}), 5, "it shows no record of the log: log_seq is missing"),
        (at(5, "correlation_id", "x"), 5, "its correlation_id is the event_id of no earlier line"),
        (without("event_id"), 4, "it is not an envelope: Object missing required field `event_id`"),
        (append, 19, "it follows tape_stopped, after which nothing may come"),
        (cut, 17, "the tape has no tape_stopped: it was cut here, or its writer ended"),
    ],
)
def test_a_fault_of_an_envelope_is_found_in_its_line(
    change: Callable[[list[Line]], None], line: int, message: str
) -> None:
    changed = lines()
    assert len(changed) == 18
    change(changed)
    assert (line, message) in found(changed)


def test_one_fault_is_one_finding_where_what_follows_is_right() -> None:
    for number, key, value in [(4, "seq", 9_000), (6, "timestamp", ""), (7, "schema_version", 2)]:
        changed = lines()
        changed[number - 1][key] = value
        assert {line for line, _message in found(changed)} <= {number, number + 1}


def test_findings_are_bounded_and_all_are_counted() -> None:
    validation = validate(read(b"no json\n" * 250))
    assert (len(validation.findings), validation.findings_total) == (FINDINGS_MAX, 251)


def test_two_faults_are_both_found() -> None:
    changed = lines()
    changed[3]["schema_version"] = 2
    changed[9]["event_id"] = "x"
    assert [line for line, _message in found(changed)][:2] == [4, 10]


@pytest.mark.parametrize("dropped", range(1, 17))
def test_any_record_that_is_left_out_is_missed(dropped: int) -> None:
    changed = lines()
    del changed[dropped]
    assert not validate(read(sealed(changed))).valid


@pytest.mark.parametrize("number", range(18))
def test_any_changed_byte_of_a_tape_is_noticed(number: int) -> None:
    pieces = tape_of(frames_of("success")).splitlines(keepends=True)
    pieces[number] = pieces[number].replace(b'"payload":{', b'"payload": {')
    assert not validate(read(b"".join(pieces))).valid or number == 17


@settings(max_examples=30)
@given(event_lists())
def test_what_the_state_machine_allows_validates(events: list[Event]) -> None:
    """Random walks over MOVES: they make up sheets, and let a job go on whose cancel was accepted while it waited."""
    frames: list[Frame] = h.frames_of([[event] for event in events])
    validation = validate(read(tape_of(frames)))
    said = [each.message for each in validation.findings if each.check != "sheets"]
    assert [message for message in said if "OutputsCommitted after its cancel" not in message] == []


def jobs(*events: Event) -> list[str]:
    validation: Validation = validate(read(tape_of(h.frames_of([[event] for event in events]))))
    return [each.message for each in validation.findings if each.check == "jobs"]


def test_an_event_of_a_job_that_was_never_queued_is_no_move() -> None:
    assert jobs(h.started(1)) == ["job 1: JobStarted is no move from not yet queued"]


def test_an_ended_job_stays_ended() -> None:
    assert jobs(h.queued(1), h.dispatched(1), h.failed(1), h.dispatched(1, attempt=2)) == [
        "job 1: JobDispatched after JobFailed at log position 3 had ended it"
    ]
    assert jobs(*h.whole_job(1), h.queued(1)) == ["job 1: JobQueued after JobCompleted at log position 6 had ended it"]


def test_a_commit_after_an_accepted_cancel_is_found_whatever_stands_between() -> None:
    said = jobs(h.queued(1), h.dispatched(1), h.started(1), h.cancel_accepted(1), h.commit_refused(1), h.committed(1))
    assert said == ["job 1: OutputsCommitted after its cancel was accepted at log position 4"]


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ({"row_first": 3}, "are not its rows: one begins at 3 where 4 is due"),
        ({"rows": 5}, "have 9 rows in all, not as many as it has"),
        ({"row_first": 5}, "are not its rows: one begins at 5 where 4 is due"),
    ],
)
def test_jobs_that_share_an_artifact_have_its_rows_once(share: dict[str, int], said: str) -> None:
    changed = lines("lease_of_four")
    assert found(changed) == []
    second = [line for line in changed if line["event_name"].get("name") == "OutputsCommitted"][1]
    second["payload"]["data"]["outputs"][0]["jobs"][0] |= share
    assert any(message.endswith(said) for _line, message in found(changed))
