from __future__ import annotations

import json
import struct
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventlog.events import RANGES_MAX
from executors.guest import limits, shim
from executors.guest.errors import BadFrameError, BadStatementError
from executors.guest.frames import Statement, decode_batch, decode_error, decode_log, decode_statement
from executors.shape import sentence
from executors.validate import Checked, validate
from tests.executors.jobs import LINES

Codec = Literal["zstd", "lz4"]

BATCH = pa.record_batch({"n": [1, 2, 3], "text": ["a", None, "ccc"]})


def stream(*batches: pa.RecordBatch, compression: Codec | None = None) -> bytes:
    target = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(target, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return target.getvalue().to_pybytes()


def test_a_batch_comes_through_unchanged() -> None:
    assert decode_batch(bytearray(stream(BATCH))).equals(BATCH)


def test_a_second_batch_in_a_frame_is_refused_not_lost() -> None:
    with pytest.raises(BadFrameError, match="more than one batch"):
        decode_batch(stream(BATCH, BATCH))


def test_a_stream_without_a_batch_is_refused() -> None:
    whole = stream(BATCH)
    schema_bytes = 8 + struct.unpack_from("<i", whole, 4)[0]
    with pytest.raises(BadFrameError, match="ends before its record batch"):
        decode_batch(whole[:schema_bytes])


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_batch_is_refused_before_it_is_unpacked(codec: Codec) -> None:
    bomb = pa.record_batch({"n": pa.nulls(50_000, pa.int64())})
    with pytest.raises(BadFrameError, match="compressed"):
        decode_batch(stream(bomb, compression=codec))


def test_batches_that_begin_alike_are_read_each_for_itself() -> None:
    other = pa.record_batch(
        {name: column.slice(0, 1) for name, column in zip(BATCH.schema.names, BATCH.columns, strict=True)}
    )
    for batch in (BATCH, other, BATCH, other):
        assert decode_batch(stream(batch)).equals(batch)
    whole = stream(BATCH)
    with pytest.raises(BadFrameError):
        decode_batch(whole[: len(whole) // 2])
    with pytest.raises(BadFrameError, match="more than one batch"):
        decode_batch(stream(BATCH, BATCH))


def test_a_dictionary_column_is_refused_with_advice() -> None:
    batch = pa.record_batch([pa.array(["a", "a"]).dictionary_encode()], names=["text"])
    with pytest.raises(BadFrameError, match="cast it to its plain type"):
        decode_batch(stream(batch))


def test_more_rows_than_allowed_are_refused_even_without_bytes() -> None:
    with pytest.raises(BadFrameError, match="50,001 rows, at most 50,000"):
        decode_batch(stream(pa.record_batch({"n": pa.nulls(limits.ROWS_PER_BATCH_MAX + 1)})))


@given(cut=st.integers(min_value=0, max_value=len(stream(BATCH)) - 9))
def test_a_cut_stream_is_refused(cut: int) -> None:
    with pytest.raises(BadFrameError):
        decode_batch(stream(BATCH)[:cut])


@given(changes=st.lists(st.tuples(st.integers(0, len(stream(BATCH)) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_give_a_batch_that_validates_or_a_sentence(changes: list[tuple[int, int]]) -> None:
    data = bytearray(stream(BATCH))
    for position, value in changes:
        data[position] = value
    try:
        batch = decode_batch(data)
    except BadFrameError as error:
        assert len(str(error)) < 500
        return
    checked = validate(batch, LINES)
    if isinstance(checked, Checked):
        assert checked.accepted.num_rows <= batch.num_rows <= limits.ROWS_PER_BATCH_MAX
        checked.accepted.to_pylist()
    else:
        assert sentence(checked)


@given(data=st.binary(max_size=300))
@example(data=b"")
@example(data=b"\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_any_bytes_are_answered(data: bytes) -> None:
    with pytest.raises(BadFrameError):
        decode_batch(data)


STATED: dict[str, Any] = {"unit": "records", "output": "lines", "found": 3, "skipped": 1, "unreadable": 1}


def decoded(statement: dict[str, Any]) -> Statement:
    (only,) = decode_statement(json.dumps({"statements": [statement]}).encode()).statements
    return only


def test_a_statement_is_read_and_its_ranges_fit_the_log() -> None:
    ranges = [{"offset": at, "length": -1, "reason": "bad\nchunk\x1b[31m" + "x" * 500} for at in range(RANGES_MAX + 5)]
    statement = decoded({**STATED, "ranges": ranges, "ranges_total": len(ranges)})
    kept = statement.unreadable_ranges()
    assert (len(kept), statement.ranges_total) == (RANGES_MAX, RANGES_MAX + 5)
    assert (kept[7].offset, kept[7].length) == (7, -1)
    assert kept[0].reason.startswith("bad chunk?[31mxxx")
    assert len(kept[0].reason) == limits.RANGE_REASON_CHARS_MAX


def test_the_reasons_for_what_was_skipped_fit_the_log() -> None:
    skips = [{"count": 2, "reason": "blank\n" + "x" * 500}, {"count": 1, "reason": "a comment"}]
    kept = decoded({**STATED, "skipped": 3, "skips": skips}).skipped_units()
    assert [(skip.count, skip.reason[:7]) for skip in kept] == [(2, "blank x"), (1, "a comme")]
    assert len(kept[0].reason) == limits.RANGE_REASON_CHARS_MAX


@pytest.mark.parametrize(
    "change",
    [
        {"found": -1},
        {"found": 2**63},
        {"found": 1.5},
        {"found": "3"},
        {"unit": ""},
        {"unit": None},
        {"output": 7},
        {"skipped": None},
        {"skips": [{"count": 0, "reason": "blank"}]},
        {"skips": [{"count": 1, "reason": ""}]},
        {"skips": [{"count": 1}]},
        {"skips": [{"count": 1, "reason": "blank"}] * 101},
        {"ranges": [{"offset": -2, "length": 0, "reason": ""}]},
        {"ranges": [{"offset": 0}]},
        {"ranges": "none"},
    ],
)
def test_a_statement_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadStatementError, match="statement of units cannot be used"):
        decoded({**STATED, **change})


@given(
    data=st.one_of(
        st.binary(max_size=60), st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode)
    )
)
@example(data=b"[" * 100_000)
@example(data=b'{"unit":"\\ud800"}')
def test_any_json_or_bytes_are_answered(data: bytes) -> None:
    with pytest.raises(BadStatementError):
        decode_statement(data)
    with pytest.raises(BadFrameError):
        decode_error(data)


def error_frame(**change: Any) -> bytes:
    return json.dumps({"error": "why", "retryable": False, "kind": "not_evtx", "hint": "what next", **change}).encode()


def test_an_error_is_read_and_cut_to_what_the_log_holds() -> None:
    failure = decode_error(error_frame(error="a\nb\x00" + "ä" * 9000, retryable=True))
    assert (failure.failure, failure.kind, failure.hint) == ("transient", "not_evtx", "what next")
    assert failure.reason.startswith("a b?ä")
    assert len(failure.reason) == limits.REASON_CHARS_MAX


@pytest.mark.parametrize("kind", ["", "Not A Word", "x" * 65, "1st", "a\x1bb"])
def test_a_kind_that_is_no_word_becomes_parser_error(kind: str) -> None:
    assert decode_error(error_frame(kind=kind)).kind == "parser_error"


def test_a_log_line_has_a_level_and_replaced_bytes() -> None:
    line = decode_log(b"\x1eodd \xff byte")
    assert (line.level, line.text) == (30, "odd � byte")


@pytest.mark.parametrize("payload", [b"", b"\x14" + b"x" * (limits.LOG_LINE_BYTES_MAX + 1)])
def test_a_log_frame_outside_its_bounds_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFrameError):
        decode_log(payload)


def test_the_shim_repeats_the_host_s_bounds_and_marks() -> None:
    shared = {name for name in vars(limits) if name.isupper() and name in vars(shim)}
    assert {"ROWS_PER_BATCH_MAX", "FRAME_BYTES_MAX", "JSON_BYTES_MAX", "LOG_LINE_BYTES_MAX"} <= shared
    assert {"LOG_JOB_BYTES_MAX", "FRAME_END", "FRAME_METRICS", "FRAME_SELECT", "FRAME_LOG", "FRAME_ERROR"} <= shared
    assert {name: vars(shim)[name] for name in shared} == {name: vars(limits)[name] for name in shared}
    assert shim.RANGES_MAX == RANGES_MAX
