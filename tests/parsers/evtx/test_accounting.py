"""Every record accounted for: against the truth of made-up logs, against any change of bytes, against other readers."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Final

import Evtx.Evtx
import pyevtx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.demo.evtx_corpus import DAMAGE_SHARES, FileTruth, generate
from cli.demo.evtx_writer import CHUNK_BYTES, FILE_HEADER_BYTES, Layout, UserData
from parsers.evtx.errors import PermanentError
from tests.parsers.evtx.reading import Read, a_logon, assert_adds_up, read, written

SECONDS_MAX: Final = 5
SEEDS: Final = 200
# Far more damage than in life, so that a few small files hold all of it.
SHARES: Final = dict.fromkeys(DAMAGE_SHARES, 0.12) | {"dirty_flag": 0.5, "stale_chunk_count": 0.5}


def assert_as_truth_says(path: Path, truth: FileTruth) -> None:
    if not truth.readable:
        with pytest.raises(PermanentError) as refused:
            Read(path, recover="true")
        assert refused.value.kind == "not_evtx"
        return
    result = Read(path, recover="true")
    rows = result.count()
    assert truth.found - truth.unreadable - truth.doubtful <= rows <= truth.found - truth.unreadable
    assert result.statement["found"] == truth.found
    lost = {(each.offset, each.length) for each in truth.lost}
    ranges = {(offset, length) for offset, length, _ in result.ranges}
    assert lost <= ranges
    assert len(ranges - lost) <= truth.doubtful
    (file,) = result.rows("evtx_files")
    assert file["slack_records"] == truth.slack
    assert file["dirty"] == ("dirty_flag" in truth.damage)
    torn = [row for row in result.rows("evtx_record_annotations") if row["note_key"] == "size_copy"]
    assert len(torn) + result.statement["unreadable"] - truth.unreadable == truth.doubtful
    assert_adds_up(result)


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_every_made_up_log_gives_what_its_truth_says(tmp_path: Path, first: int) -> None:
    seen: set[str] = set()
    for seed in range(first, first + 20):
        folder = tmp_path / str(seed)
        truth = generate(folder, seed=seed, bytes_total=300_000, damage_shares=SHARES)
        for file in truth.files:
            assert_as_truth_says(folder / file.path, file)
            seen.update(file.damage)
    assert seen >= {"cut", "zero_record_size", "dirty_flag"}


@pytest.mark.slow
def test_a_corpus_with_the_damage_of_life_gives_what_its_truth_says(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=7, bytes_total=60_000_000)
    for file in truth.files:
        assert_as_truth_says(tmp_path / "logs" / file.path, file)


# --- any change of bytes ------------------------------------------------------------------------------------------


@functools.cache
def a_log() -> tuple[bytes, Layout]:
    events = [
        a_logon(number, user_data=UserData(name="Cleared", fields={"Who": "x"}) if number % 7 == 0 else None)
        for number in range(1, 401)
    ]
    return written(events)


Change = tuple[int, bytes]
CHANGES: Final = st.lists(
    st.tuples(
        st.integers(FILE_HEADER_BYTES, FILE_HEADER_BYTES + 3 * CHUNK_BYTES - 1),
        st.one_of(st.binary(min_size=1, max_size=8), st.binary(min_size=1, max_size=3000), st.just(bytes(512))),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    broken = bytearray(data)
    for at, piece in changes:
        broken[at : at + len(piece)] = piece[: max(0, len(data) - at)]
    return bytes(broken[: len(data)])


def untouched(layout: Layout, changes: list[Change]) -> set[int]:
    """Return the records whose bytes, and whose template and names, and whose chunk's header are as written.

    Names and templates stand in the first records of a chunk, so a change there may cost the records that use them.
    """
    spans = [range(at, at + len(piece)) for at, piece in changes]
    kept: set[int] = set()
    for chunk in layout.chunks:
        shared = chunk.records[min(7, len(chunk.records) - 1)]
        start = shared.offset + shared.length
        if any(span.start < start and span.stop > chunk.offset for span in spans):
            continue
        for record in chunk.records:
            if all(span.stop <= record.offset or span.start >= record.offset + record.length for span in spans):
                kept.add(record.record_id)
    return kept


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_any_change_of_bytes_costs_only_the_records_it_touches(tmp_path: Path, changes: list[Change]) -> None:
    data, layout = a_log()
    began = time.process_time()
    result = read(changed(data, changes), tmp_path, recover="true")
    assert time.process_time() - began < SECONDS_MAX
    assert untouched(layout, changes) <= result.ids
    assert_adds_up(result)
    assert_adds_up(read(changed(data, changes), tmp_path))  # by default the damage ends its chunk: named, never silent


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(FILE_HEADER_BYTES, FILE_HEADER_BYTES + 3 * CHUNK_BYTES))
def test_a_cut_anywhere_costs_only_what_is_cut_away(tmp_path: Path, at: int) -> None:
    data, layout = a_log()
    result = read(data[:at], tmp_path)
    whole = {r.record_id for chunk in layout.chunks for r in chunk.records if r.offset + r.length <= at}
    assert result.ids == whole
    assert_adds_up(result)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.binary(min_size=0, max_size=128), at=st.integers(8, 511))
def test_a_damaged_chunk_header_costs_no_record(tmp_path: Path, header: bytes, at: int) -> None:
    data, layout = a_log()
    place = layout.chunks[1].offset + at
    piece = header[: 512 - at]
    result = read(data[:place] + piece + data[place + len(piece) :], tmp_path)
    assert result.ids == set(layout.record_ids())
    assert_adds_up(result)


def test_a_chunk_full_of_record_headers_is_read_in_time(tmp_path: Path) -> None:
    data, layout = a_log()
    start = layout.chunks[0].offset + 512
    liar = b"\x2a\x2a\0\0" + (28).to_bytes(4, "little") + bytes(20)
    broken = data[:start] + (liar * 3000)[: CHUNK_BYTES - 512] + data[start + CHUNK_BYTES - 512 :]
    began = time.process_time()
    result = read(broken, tmp_path)
    assert time.process_time() - began < SECONDS_MAX
    assert_adds_up(result)


# --- other readers ------------------------------------------------------------------------------------------------


def by_python_evtx(path: Path) -> list[int]:
    with Evtx.Evtx.Evtx(str(path)) as log:
        return [record.record_num() for record in log.records()]


def by_libevtx(path: Path) -> list[tuple[int, int]]:
    log = pyevtx.file()
    log.open(str(path))
    try:
        return [(record.identifier, record.event_identifier & 0xFFFF) for record in log.records]
    finally:
        log.close()


@pytest.mark.parametrize("seed", range(3))
def test_two_independent_readers_agree_on_undamaged_logs(tmp_path: Path, seed: int) -> None:
    truth = generate(tmp_path / "logs", seed=seed, bytes_total=700_000, damage_shares={})
    for file in truth.files:
        path = tmp_path / "logs" / file.path
        result = Read(path, recover="true")
        rows = result.rows()
        assert result.notes() == {}
        assert [(row["header_record_id"], row["event_id"]) for row in rows] == by_libevtx(path)
        assert [row["header_record_id"] for row in rows] == by_python_evtx(path)
