"""Records of every version: what was released can be read for ever, and what is not known is never guessed at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from eventlog.errors import UnknownEventError
from eventlog.events import RunInterrupted
from eventlog.ids import RunId
from eventlog.records import CODEC, COMMAND_TYPES, RECORD_TYPES, Codec, LogRecord, decode_records
from eventlog.registry import Change, Registry
from eventlog.upcasters import UPCASTERS
from eventlog.verify import verify
from fixtures.log import released
from fixtures.log.released import Released, ReleasedShapeError, extended
from tests.eventlog.support import NOW, SEGMENT, abandon, append, draft, event, open_log, stdlib_frame


class Weighed(Struct, frozen=True, kw_only=True):
    """The third version of a record: first in pounds as text, then in pounds, now in grams."""

    grams: int


def _to_number(data: dict[str, Any]) -> dict[str, Any]:
    return {"pounds": int(data["pounds"])}


def _to_grams(data: dict[str, Any]) -> dict[str, Any]:
    return {"grams": round(data["pounds"] * 453.592)}


STEPS: dict[str, Change] = {"Weighed": _to_number, "Weighed.2": _to_grams}


def codec(steps: Mapping[str, Change] = STEPS) -> Codec:
    return Codec({"Weighed": Weighed}, {}, upcasters=steps)


def data_of(record: LogRecord) -> Any:
    """Return a record's data as of any type: the log's own records are a closed set, and Weighed is none of them."""
    return record.data


def line(tag: str, data: dict[str, Any], *, seq: int = 1, **more: Any) -> bytes:
    return msgspec.json.encode({"seq": seq, "type": tag, **more, "data": data}) + b"\n"


# --- what was released --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [text for each in released.read().values() for text in each.lines], ids=lambda text: text[:40]
)
def test_39_every_line_that_was_ever_released_can_be_read(text: str) -> None:
    ((record,), skipped) = decode_records(text.encode() + b"\n")
    assert not skipped
    assert type(record.data) is RECORD_TYPES[record.type]


def test_what_is_read_from_any_line_reads_back_when_it_is_written_by_this_version() -> None:
    for shape in released.read().values():
        for text in shape.lines:
            ((record,), _) = decode_records(text.encode() + b"\n")
            data: Any = record.data
            if record.type in COMMAND_TYPES:
                again = CODEC.encode((), first=1, command=data, command_id=record.id)
            else:
                again = CODEC.encode((data,), first=1)
            assert decode_records(again) == ((record,), ())


def test_what_this_version_writes_is_written_down_as_released() -> None:
    assert extended(released.read(), released.current()) == released.read(), (
        "run `make golden` and review the difference"
    )


def test_every_version_that_was_released_is_still_known() -> None:
    assert released.read().keys() <= CODEC.registry.readable


ONE = {"A": Released(fields={"x": "text", "kind": "one of a, b", "y": "integer, may be left out"}, lines=["old"])}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kind": "one of a, b", "y": "integer, may be left out"}, "A.x was text in released logs and is gone"),
        ({**ONE["A"].fields, "x": "integer"}, "A.x was text in released logs and is integer"),
        ({**ONE["A"].fields, "kind": "one of a, c"}, "A.kind was one of a, b in released logs and is one of a, c"),
        ({**ONE["A"].fields, "y": "integer"}, "A.y was integer, may be left out in released logs and is integer"),
        ({**ONE["A"].fields, "z": "text"}, "A.z is new and has no default: released lines do not have it"),
    ],
)
def test_a_released_shape_is_never_changed_in_place(fields: dict[str, str], complaint: str) -> None:
    with pytest.raises(ReleasedShapeError, match=complaint):
        extended(ONE, {"A": Released(fields=fields, lines=["new"])})


def test_a_released_shape_may_gain_what_older_lines_need_not_have() -> None:
    wider = {**ONE["A"].fields, "kind": "one of a, b, c", "z": "list of object, may be left out", "z[].a": "text"}
    assert extended(ONE, {"A": Released(fields=wider, lines=["new"])})["A"].lines == ["old", "new"]


# --- older versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "data"), [("Weighed", {"pounds": "3"}), ("Weighed.2", {"pounds": 3}), ("Weighed.3", {"grams": 1361})]
)
def test_every_version_is_read_as_the_newest(tag: str, data: dict[str, Any]) -> None:
    records, skipped = codec().decode(line("Weighed.3", {"grams": 1}) + line(tag, data, seq=2))
    assert [(each.seq, each.type, data_of(each)) for each in records] == [
        (1, "Weighed", Weighed(grams=1)),
        (2, "Weighed", Weighed(grams=1361)),
    ]
    assert not skipped


def test_only_the_newest_version_is_written() -> None:
    thing: Any = Weighed(grams=5)
    assert codec().encode((thing,), first=9) == b'{"seq":9,"type":"Weighed.3","data":{"grams":5}}\n'


@pytest.mark.parametrize("missing", ["Weighed", "Weighed.2"])
def test_39_an_upcaster_that_was_taken_out_is_missed(missing: str) -> None:
    steps = {tag: step for tag, step in STEPS.items() if tag != missing}
    if missing == "Weighed":
        with pytest.raises(ValueError, match=r"no chain from a first version leads to: Weighed\.2"):
            codec(steps)
        return
    with pytest.raises(UnknownEventError, match=r"Weighed\.3 is not a type of this version"):
        codec(steps).decode(line("Weighed.3", {"grams": 1}))


def test_39_upcasters_in_the_wrong_order_are_found_by_their_lines() -> None:
    swapped = {"Weighed": _to_grams, "Weighed.2": _to_number}
    with pytest.raises(UnknownEventError, match="Weighed cannot be decoded"):
        codec(swapped).decode(line("Weighed", {"pounds": "3"}))


@pytest.mark.parametrize("data", [{}, {"pounds": "many"}, {"pounds": None}, {"pounds": "3", "grams": []}])
def test_data_that_no_version_had_is_refused_and_not_guessed_at(data: dict[str, Any]) -> None:
    try:
        records, _ = codec().decode(line("Weighed", data))
    except UnknownEventError as error:
        assert error.tag == "Weighed"
    else:
        assert data == {"pounds": "3", "grams": []}, "a field that the change does not look at is not its matter"
        assert data_of(records[0]) == Weighed(grams=1361)


def test_39_an_upcaster_gives_the_same_whenever_it_is_asked() -> None:
    registry = Registry(RECORD_TYPES, upcasters=UPCASTERS)
    for tag, shape in released.read().items():
        if tag in registry.older:
            for text in shape.lines:
                data = msgspec.json.decode(text)["data"]
                before = msgspec.json.encode(data)
                assert registry.upcast(tag, data) == registry.upcast(tag, data)
                assert msgspec.json.encode(data) == before, f"the upcaster of {tag} changes what it is given"


# --- unknown types ------------------------------------------------------------------------------------------------


def test_39_an_unknown_type_stops_the_reader_at_its_place() -> None:
    with pytest.raises(UnknownEventError) as stopped:
        codec().decode(line("Weighed.3", {"grams": 1}) + line("Painted", {}, seq=2))
    assert (stopped.value.seq, stopped.value.tag) == (2, "Painted")


def test_39_an_unknown_type_that_may_be_passed_over_is_passed_over_and_counted() -> None:
    lines = line("Painted", {"colour": [1, {"deep": 2}]}, opt=1) + line("Weighed.3", {"grams": 1}, seq=2)
    records, skipped = codec().decode(lines)
    assert [data_of(each) for each in records] == [Weighed(grams=1)]
    assert [(each.seq, each.type) for each in skipped] == [(1, "Painted")]


@pytest.mark.parametrize("mark", [0, 2, True, "1", None])
def test_only_the_one_mark_lets_a_line_be_passed_over(mark: Any) -> None:
    with pytest.raises(UnknownEventError):
        codec().decode(line("Painted", {}, opt=mark))


def test_a_known_type_is_never_passed_over() -> None:
    with pytest.raises(UnknownEventError):
        codec().decode(line("Weighed.3", {"grams": "heavy"}, opt=1))


def test_a_log_with_records_of_a_newer_version_that_may_be_passed_over_is_read_and_verified(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    log.commit([draft(event(1))])
    abandon(log)
    records: list[tuple[str, dict[str, Any]]] = [
        ("Painted", {"colour": "red"}),
        ("RunInterrupted", {"run": 2, "reason": "", "interrupted_at": NOW}),
    ]
    newer, _ = stdlib_frame(prev=log.head.hash, commit=3, first=3, records=records, durable=2, opt=("Painted",))
    append(folder / SEGMENT, newer)
    result = verify(folder)
    assert (result.verdict, result.events, result.skipped, result.head_seq) == ("OK", 3, 1, 4)
    again = open_log(folder)
    read = [record for frame in again.replay() for record in frame.records]
    assert [record.seq for record in read] == [1, 2, 4, 5]
    assert read[2].data == RunInterrupted(run=RunId(2), reason="", interrupted_at=NOW)
    again.close()
