"""Tapes: what the writer writes reads back, ids are linked, and no canary of a hidden field comes through."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest

from eventlog.events import Event, LoggedCommand
from eventlog.frames import Frame
from eventlog.ids import Instant
from eventlog.records import RECORD_TYPES, decode_records, encode_records
from eventlog.redact import Redactor
from eventlog.tape import NOTHING, TapeSlice, TapeWriter
from eventlog.tape_reader import LINE_BYTES_MAX, Entry, read_entries, read_lines
from reducers.tape import tell
from reducers.tape_rules import validate
from tests.eventlog.canaries import Canary, Planter
from tests.projections.histories import now

SALT = b"s" * 32
HEAD = "f" * 64


def frame(*records: Event | LoggedCommand, first: int = 1, cause: int = 0, actor: str = "cli:root") -> Frame:
    """Return a frame as the log would give it; a command has an id."""
    command = records[0] if isinstance(records[0], LoggedCommand) else None
    events = [record for record in records if not isinstance(record, LoggedCommand)]
    named, _ = decode_records(
        encode_records(events, first=first, command=command, command_id="an id" if command else "")
    )
    return Frame(
        commit=first, first=first, last=first + len(records) - 1, ts=now(first % 60), actor=actor, cause=cause,
        corr=cause, epoch=1, durable=0, prev="", hash=HEAD, records=named,
    )  # fmt: skip


def tape(*frames: Frame, verb: str = "", values: tuple[str, ...] = (), first: int = 1) -> bytes:
    pieces: list[bytes] = []
    writer = TapeWriter(pieces.append, salt=SALT)
    last = frames[-1].last if frames else 0
    part = TapeSlice(first=first, last=last, head=HEAD) if frames else NOTHING
    writer.start(part, versions={"casparian": "t"}, now=now())
    if verb:
        writer.verb(verb, [("--sink", "parquet:///x"), ("--json", None)], values, now())
    for each in frames:
        writer.frame(each, last=last)
    if verb:
        writer.failed(exit_code=5, code="log_corrupt", message="read /case/x", now=now())
    writer.stop(now=now())
    return b"".join(pieces)


def entries(data: bytes) -> list[Entry]:
    return list(read_entries(read_lines(io.BytesIO(data))))


def envelopes(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def every_type(form: str) -> tuple[list[Event | LoggedCommand], list[Canary]]:
    planter = Planter(form)
    return [planter.record(shape) for shape in RECORD_TYPES.values()], planter.canaries


def canary_tape(form: str) -> tuple[bytes, list[Canary]]:
    """One tape of every record type, each field with its canary, the actor too."""
    records, canaries = every_type(form)
    frames = [frame(record, first=seq, actor=form.format("actor-canary")) for seq, record in enumerate(records, 1)]
    return tape(*frames, verb="run", values=(form.format("value-canary"),)), canaries


def test_canaries_of_hidden_fields_are_in_no_byte_of_a_tape_and_those_of_public_ones_are() -> None:
    data, canaries = canary_tape("canary-{}")
    text = data.decode()
    assert len(canaries) > 200
    for canary in canaries:
        assert (canary.text in text) == (canary.rule == "public"), canary
    assert "actor-canary" not in text
    assert "value-canary" not in text
    assert "parquet:///x" not in text
    assert "/case/x" not in text


@pytest.mark.parametrize("form", ["/case/{}/a", "C:\\Users\\{}", "a reason: {}", "Käse-{}", "{}@host"])
def test_no_path_sentence_or_address_comes_through_even_where_a_field_is_public(form: str) -> None:
    data, canaries = canary_tape(form)
    text = data.decode()
    planted = [form.format(canary.text) for canary in canaries] + [form.format("actor-canary")]
    assert not any(json.dumps(each)[1:-1] in text or each in text for each in planted)


def test_what_is_told_of_a_tape_holds_no_canary_that_the_tape_does_not_hold() -> None:
    data, canaries = canary_tape("canary-{}")
    told = msgspec.json.encode([tell(entries(data)), validate(entries(data))]).decode()
    hidden = [canary for canary in canaries if canary.rule != "public"]
    assert not any(canary.text in told for canary in hidden)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inside for place in paths(each, (*at, key)))]


def planted(value: Any, at: tuple[Any, ...], secret: Any) -> Any:
    if not at:
        return secret
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = planted(copy[at[0]], at[1:], secret)
    return copy


def test_no_finding_repeats_a_value_of_the_tape() -> None:
    records, _ = every_type("word{}")
    lines = envelopes(tape(*(frame(record, first=seq) for seq, record in enumerate(records, 1))))
    for number, line in enumerate(lines):
        for at in paths(line)[1:]:
            spoiled = [*lines[:number], planted(line, at, "SECRET/CANARY"), *lines[number + 1 :]]
            found = validate(entries(b"".join(json.dumps(each).encode() + b"\n" for each in spoiled)))
            assert found.findings_total, at
            assert not any("SECRET" in finding.message for finding in found.findings), at


def test_every_record_reads_back_with_its_position() -> None:
    records, _ = every_type("word{}")
    read = entries(tape(*(frame(record, first=seq) for seq, record in enumerate(records, 1))))
    assert [each.fault for each in read if each.fault] == []
    shown = [pair for each in read for pair in each.records]
    assert [seq for seq, _record in shown] == list(range(1, len(records) + 1))
    redactor = Redactor(SALT)
    for (_seq, record), original in zip(shown, records, strict=True):
        assert type(record) is type(original)
        assert redactor.fields(record).keys() == redactor.fields(original).keys()


def test_envelopes_are_of_version_1_with_gapless_seqs_and_uuids_of_version_4() -> None:
    records, _ = every_type("word{}")
    lines = envelopes(tape(*(frame(record, first=seq) for seq, record in enumerate(records, 1)), verb="run"))
    assert [line["seq"] for line in lines] == list(range(len(records) + 4))
    assert {line["schema_version"] for line in lines} == {1}
    assert all(line["event_id"][14] == "4" and line["event_id"][19] in "89ab" for line in lines)
    assert len({line["event_id"] for line in lines}) == len(lines)
    kinds = [line["event_name"]["type"] for line in lines]
    assert (kinds[0], kinds[1], kinds[-2], kinds[-1]) == ("tape_started", "ui_command", "error_event", "tape_stopped")


def test_ids_are_stable_for_one_salt_and_unknown_without_it() -> None:
    records, _ = every_type("word{}")
    assert tape(frame(*records)) == tape(frame(*records))
    other: list[bytes] = []
    writer = TapeWriter(other.append, salt=b"t" * 32)
    writer.start(NOTHING, versions={}, now=Instant(now()))
    assert envelopes(b"".join(other))[0]["event_id"] != envelopes(tape())[0]["event_id"]


def test_the_salt_is_not_in_the_tape() -> None:
    text = tape(frame(*every_type("word{}")[0]), verb="run").lower()
    assert SALT not in text
    assert SALT.hex().encode() not in text


def test_a_line_that_is_too_long_is_a_fault_and_not_read_whole() -> None:
    data = tape()
    assert [bool(each.fault) for each in entries(data + b"x" * (LINE_BYTES_MAX + 1) + b"\n")] == [
        False,
        False,
        True,
        True,
    ]
