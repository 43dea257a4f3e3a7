"""The proof that a record reads back, against the reading back itself: it may doubt, and it may never be wrong."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType, Union, cast, get_args, get_origin

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import fields, replace

from eventlog.errors import InvalidRecordError
from eventlog.events import Event, RunInterrupted
from eventlog.guard import proof_of
from eventlog.ids import Instant, RunId
from eventlog.records import COMMAND_TYPES, EVENT_TYPES, RECORD_TYPES, decode_records, encode_records


class Text(str):
    """A text that is not exactly a `str`."""


class Number(int):
    """A number that is not exactly an `int`."""


class Word(StrEnum):
    """A text by another class that JSON writes as one, and that is equal to what is read."""

    X = "x"


class Other(Struct, frozen=True):
    """A shape that is no event of ours."""

    run: int = 1


HOSTILE: list[Any] = [
    None, 0, 1, -1, 2**53 + 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, True, False, 1.0, 1.5, math.nan,
    math.inf, "", "x", "success", "é\u2028\x00", "\ud800", b"", b"x", Text("x"), Word.X, Number(1), object(),
    datetime(2026, 1, 22), (), ("x",), (1,), (None,), ("\ud800",), (math.nan,), (Text("x"),), (Word.X,), [], ["x"], [1],
    {}, {"a": "b"}, {"a": 1}, {1: "a"}, {"a": None}, {None: "a"}, {"\ud800": "a"}, {Text("a"): "b"}, {"x"}, frozenset(),
    Other(), (Other(),), (((),),),
]  # fmt: skip


def sample(kind: Any) -> Any:
    """Return a value of a type that reads back."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, NewType):
        return sample(kind.__supertype__)
    if origin is Annotated:
        return sample(arguments[0])
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind(**{field.name: sample(field.type) for field in fields(kind)})
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return sample(arguments[0])
    if origin is tuple:
        return (sample(arguments[0]), sample(arguments[0]))
    if origin is dict:
        return {"b": sample(arguments[1]), "a": sample(arguments[1])}
    return {str: "some text", int: 7, bool: True}[kind]


def changed(value: Any) -> Iterator[Any]:
    """Yield the value with every part of it, at every depth, replaced by everything hostile."""
    yield from HOSTILE
    if isinstance(value, Struct):
        for field in fields(value):
            for new in changed(getattr(value, field.name)):
                yield replace(value, **{field.name: new})
    elif isinstance(value, tuple):
        for new in changed(value[0]):
            yield (*value[1:], new)
    elif isinstance(value, dict):
        for new in HOSTILE:
            yield value | {"a": new}


def reads_back(record: Any) -> bool:
    """Say, with a codec of our own, whether a record reads back as what it is."""
    try:
        text = msgspec.json.encode(record, order="deterministic")
        return bool(msgspec.json.decode(text, type=type(record)) == record)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError, RecursionError):
        return False


def accepted(record: Any) -> bool:
    command = record if type(record).__name__ in COMMAND_TYPES else None
    try:
        lines = encode_records(() if command else (record,), first=1, command=command, command_id="c" * bool(command))
    except InvalidRecordError:
        return False
    ((read,), _) = decode_records(lines)
    assert read.data == record
    return True


@pytest.mark.parametrize("tag", sorted(RECORD_TYPES))
def test_27_a_record_is_taken_exactly_when_it_reads_back(tag: str) -> None:
    shape = RECORD_TYPES[tag]
    proof = proof_of(shape)
    whole = sample(shape)
    assert proof(whole), "a common record is proved, and not read back"
    refused = 0
    for record in changed(whole):
        if type(record) is not shape:
            assert not proof(record)
            continue
        right = reads_back(record)
        assert accepted(record) == right, record
        assert right or not proof(record) or _encoder_refuses(record), record
        refused += not right
    assert refused > len(HOSTILE) // 2


def _encoder_refuses(record: Any) -> bool:
    """What the proof leaves to the encoder: integers past 64 bits and halves of surrogate pairs."""
    try:
        msgspec.json.encode(record)
    except (OverflowError, UnicodeEncodeError):
        return True
    return False


def test_a_class_that_only_has_the_name_of_an_event_is_refused() -> None:
    impostor = msgspec.defstruct("RunInterrupted", [("run", int), ("reason", str), ("interrupted_at", str)])
    assert "RunInterrupted" in EVENT_TYPES
    with pytest.raises(InvalidRecordError, match="is not an event of the log"):
        encode_records((cast(Event, impostor(1, "", "")),), first=1)


def test_a_shape_with_a_type_that_is_not_known_is_never_sure() -> None:
    shape = msgspec.defstruct("Measured", [("at", float)])
    assert not proof_of(shape)(shape(1.0))


def test_a_doubt_is_settled_by_reading_back() -> None:
    doubtful = RunInterrupted(run=RunId(1), reason=Word.X, interrupted_at=Instant(""))
    assert not proof_of(RunInterrupted)(doubtful)
    assert accepted(doubtful)


def test_one_bad_record_among_many_of_several_shapes_is_refused() -> None:
    started, interrupted = (sample(EVENT_TYPES[tag]) for tag in ("JobStarted", "RunInterrupted"))
    bad = replace(interrupted, run="1")
    good = (started, interrupted, interrupted, started)
    encode_records(good, first=1)
    for place in range(len(good) + 1):
        with pytest.raises(InvalidRecordError, match="a record would not read back"):
            encode_records((*good[:place], bad, *good[place:]), first=1)
