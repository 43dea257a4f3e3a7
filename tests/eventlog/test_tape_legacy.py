"""Tapes of earlier implementations: what they say is told in our words, what they do not say stays unknown."""

from __future__ import annotations

from eventlog.events import JobCompleted, JobDispatched, JobFailed, JobQueued, MaterializationRecorded
from eventlog.ids import Instant
from eventlog.tape import Envelope, EventName
from eventlog.tape_legacy import UNKNOWN, LegacyTape, is_legacy, modern


def envelope(kind: str, name: str = "", *, at: str = "2026-01-22T10:00:00Z", **payload: object) -> Envelope:
    return Envelope(
        schema_version=1,
        event_id="e",
        seq=0,
        timestamp=at,
        event_name=EventName(type=kind, name=name),
        payload=dict(payload),
    )


def test_their_spelling_of_types_becomes_ours() -> None:
    spelled = ["TapeStarted", "UICommand", "DomainEvent", "SystemResponse", "ErrorEvent", "tape_stopped"]
    types = [modern(envelope(kind)).event_name.type for kind in spelled]
    assert types == ["tape_started", "ui_command", "domain_event", "system_response", "error_event", "tape_stopped"]


def test_a_tape_is_theirs_if_it_names_no_format() -> None:
    assert is_legacy(envelope("TapeStarted", version="0.1.0"))
    assert not is_legacy(envelope("tape_started", format="casparian.tape.v1"))
    assert not is_legacy(envelope("UICommand", "Scan"))


def test_a_dispatch_is_a_queued_and_a_dispatched_job_and_the_next_one_only_an_attempt() -> None:
    tape = LegacyTape()
    first = tape.records(envelope("domain_event", "JobDispatched", job_id="j", plugin_name="p", file_path="h"))
    (seq, queued), (next_seq, handed) = first
    assert (seq, next_seq) == (1, 2)
    assert isinstance(queued, JobQueued)
    assert isinstance(handed, JobDispatched)
    assert (queued.parser, queued.path, queued.source_hash, queued.size) == ("p", "h", UNKNOWN, -1)
    assert queued.queued_at == Instant("2026-01-22T10:00:00.000000Z")
    ((_seq, again),) = tape.records(envelope("domain_event", "JobDispatched", job_id="j", plugin_name="p"))
    assert isinstance(again, JobDispatched)
    assert again.attempt == 2


def test_text_ids_get_numbers_and_numbers_stay() -> None:
    tape = LegacyTape()
    names = ["17", "job-b", "job-c", "17"]
    events = [tape.records(envelope("domain_event", "JobCompleted", job_id=name))[0][1] for name in names]
    assert [event.job for event in events if isinstance(event, JobCompleted)] == [17, 18, 19, 17]


def test_ends_and_outputs_say_what_they_said() -> None:
    tape = LegacyTape()
    ((_s, done),) = tape.records(envelope("domain_event", "JobCompleted", job_id="1", status="PartialSuccess"))
    ((_s, failed),) = tape.records(envelope("domain_event", "JobFailed", job_id="2", status="Failed", error="x"))
    made = tape.records(envelope("domain_event", "MaterializationRecorded", job_id="1", output="o", sink="s", rows=3))
    assert isinstance(done, JobCompleted) and done.status == "partial_success"
    assert isinstance(failed, JobFailed) and (failed.kind, failed.reason) == ("Failed", "x")
    ((_s, output),) = made
    assert isinstance(output, MaterializationRecorded)
    assert (output.output, output.sink_uri, output.rows, output.bytes) == ("o", "s", 3, -1)


def test_an_event_that_nobody_knows_shows_nothing() -> None:
    assert LegacyTape().records(envelope("domain_event", "SessionAdvanced", session_id="s")) == []
    assert LegacyTape().records(envelope("ui_command", "JobCompleted", job_id="1")) == []


def test_a_timestamp_that_is_none_is_the_epoch() -> None:
    ((_s, event),) = LegacyTape().records(envelope("domain_event", "JobCompleted", job_id="1", at="yesterday"))
    assert isinstance(event, JobCompleted)
    assert event.finished_at == "1970-01-01T00:00:00.000000Z"
