"""Damaged logs: what is there is counted, named and read around."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.demo.evtx_writer import (
    CHUNK_BYTES,
    FILE_HEADER_BYTES,
    Damaged,
    Layout,
    cut,
    empty_file,
    fill_slack,
    make_chunk_count_stale,
    overwrite_chunk_from_middle,
    set_dirty_flag,
    text_file,
    zero_chunk_magic,
    zero_record_size,
)
from fixtures.evtx_case import build_case
from parsers.evtx.errors import PermanentError
from parsers.evtx.layout import RECORD_MAGIC
from parsers.evtx.walk import sound_starts
from tests.parsers.evtx.reading import (
    Read,
    a_logon,
    assert_adds_up,
    read,
    whole_log,
    written,
)


def survivors(damaged: Damaged, layout: Layout) -> set[int]:
    """Return the records whose own bytes are whole and whose chunk is one."""
    lost = set(damaged.damage.damaged)
    if damaged.damage.kind == "zero_chunk_magic":
        lost |= set(damaged.damage.stranded)
    return set(layout.record_ids()) - lost


@pytest.mark.parametrize("kept", [600, 30_000, 65_000])
def test_cut_file_keeps_every_whole_record_and_names_the_cut_one(tmp_path: Path, kept: int) -> None:
    data, layout = whole_log()
    chunk = layout.chunks[2]
    damaged = cut(data, layout, at=chunk.offset + kept)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout)
    torn = next(record for record in chunk.records if record.offset + record.length > chunk.offset + kept)
    reason = f"the file ends inside a record: it has {torn.length} bytes, {len(damaged.data) - torn.offset} are there"
    assert result.ranges == [(torn.offset, len(damaged.data) - torn.offset, reason)]
    assert result.statement["unreadable"] == 1
    assert result.notes()["parse_warning", "cut_chunk"] == 1
    assert_adds_up(result)


def test_file_cut_inside_a_chunk_header_names_that_chunk(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = cut(data, layout, at=layout.chunks[2].offset + 100)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout)
    assert result.ranges == [(layout.chunks[2].offset, 100, "file ends inside a chunk's header")]
    assert_adds_up(result)


def test_zeroed_chunk_magic_costs_that_chunk_even_behind_a_stale_count(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_chunk_magic(make_chunk_count_stale(data, layout).data, layout, chunk=2)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout)
    ((offset, length, reason),) = result.ranges
    assert (offset, length) == (layout.chunks[2].offset, CHUNK_BYTES)
    assert "instead of b'ElfChnk" in reason
    assert_adds_up(result)


def test_with_recovery_a_zeroed_record_size_costs_that_record_and_none_behind_it(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_record_size(data, layout, chunk=1, record=3)
    result = read(damaged.data, tmp_path, recover="true")
    assert result.ids == survivors(damaged, layout)
    victim = layout.chunks[1].records[3]
    reason = "the record's header says 0 bytes, which does not fit its place"
    assert result.ranges == [(victim.offset, victim.length, reason)]
    assert (result.statement["found"], result.statement["unreadable"]) == (900, 1)
    assert result.notes() == {
        ("record_undecodable", "record"): 1,
        ("parse_warning", "chunk_data_checksum"): 1,
        ("gap", "record_ids"): 1,
    }
    assert_adds_up(result)


def test_without_recovery_a_range_goes_to_the_end_of_the_chunk(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_record_size(data, layout, chunk=1, record=3)
    result = read(damaged.data, tmp_path)
    assert result.ids == survivors(damaged, layout) - set(damaged.damage.stranded)
    chunk = layout.chunks[1]
    ((offset, length, _),) = result.ranges
    assert (offset, length) == (chunk.records[3].offset, chunk.free - chunk.records[3].offset)
    assert result.statement["unreadable"] == 1
    assert_adds_up(result)


@pytest.mark.parametrize("seed", range(8))
def test_overwritten_half_chunk_costs_only_the_records_in_it(tmp_path: Path, seed: int) -> None:
    data, layout = written([a_logon(n, data={f"Field{n}": "x", "Same": "y"}) for n in range(1, 401)])
    damaged = overwrite_chunk_from_middle(data, layout, chunk=1, seed=seed)
    result = read(damaged.data, tmp_path)
    noted = {row["header_record_id"] for row in result.rows("evtx_record_annotations") if row["note_type"] == "torn"}
    assert result.ids - noted == survivors(damaged, layout)
    assert noted <= set(damaged.damage.damaged)
    assert result.ranges
    assert_adds_up(result)


def test_damaged_name_table_costs_nothing(tmp_path: Path) -> None:
    data, layout = whole_log()
    broken = bytearray(data)
    struct.pack_into("<64I", broken, layout.chunks[1].offset + 128, *([0xFFFFFF00] * 64))
    result = read(bytes(broken), tmp_path)
    assert result.content() == read(data, tmp_path).content()
    assert result.ranges == []


def test_damage_that_loses_nothing_changes_no_row(tmp_path: Path) -> None:
    data, layout = whole_log()
    rows = read(data, tmp_path).content()
    for damaged in (
        set_dirty_flag(data),
        make_chunk_count_stale(data, layout),
        fill_slack(data, layout, chunk=len(layout.chunks) - 1),
    ):
        result = read(damaged.data, tmp_path)
        assert result.content() == rows
        assert result.ranges == []


def test_record_that_cannot_be_decoded_is_named_with_its_place(tmp_path: Path) -> None:
    data, layout = whole_log()
    victim = layout.chunks[1].records[4]
    broken = bytearray(data)
    broken[victim.offset + 28] = 0xFF  # the token behind the fragment header
    result = read(bytes(broken), tmp_path)
    assert result.ids == set(layout.record_ids()) - {victim.record_id}
    ((offset, length, reason),) = result.ranges
    assert (offset, length) == (victim.offset, victim.length)
    assert reason.startswith(f"Failed to parse record number {victim.record_id}")
    assert_adds_up(result)


def test_unused_chunks_are_no_damage(tmp_path: Path) -> None:
    result = read(written([a_logon(1)], spare_chunks=3)[0], tmp_path)
    assert (result.statement["found"], result.ranges) == (1, [])
    assert result.rows("evtx_files")[0]["chunk_count"] == 1


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_overwritten_bytes_leave_an_account_that_adds_up(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    data, layout = whole_log()
    at = draw.draw(st.integers(FILE_HEADER_BYTES, len(data) - 1))
    noise = draw.draw(st.binary(min_size=1, max_size=600))
    broken = (data[:at] + noise + data[at + len(noise) :])[: len(data)]
    result = read(broken, tmp_path_factory.mktemp("noise"))
    assert_adds_up(result)
    touched = range(at, at + len(noise))
    untouched = [
        chunk for chunk in layout.chunks if chunk.offset >= touched.stop or chunk.offset + CHUNK_BYTES <= touched.start
    ]
    assert {record.record_id for chunk in untouched for record in chunk.records} <= result.ids


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty (0 bytes); an EVTX file starts with a 4,096-byte header"),
        (b"ElfFile\0", "the file has 8 bytes; an EVTX file starts with a 4,096-byte header"),
        (b"x" * 5000, "the file starts with b'xxxxxxxx'; an EVTX file starts with b'ElfFile\\x00'"),
        (empty_file(whole_log()[1]).data, "the file is empty (0 bytes)"),
        (text_file(whole_log()[1]).data, "the file has 68 bytes"),
    ],
)
def test_what_is_no_event_log_is_refused_with_a_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(PermanentError) as caught:
        read(data, tmp_path)
    assert str(caught.value).startswith(sentence)
    assert caught.value.kind == "not_evtx"
    assert caught.value.hint.endswith(".")


def test_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Read(tmp_path / "missing.evtx")


def test_case_folder_gives_the_expected_records_of_every_log(tmp_path: Path) -> None:
    for file in build_case(tmp_path):
        result = Read(tmp_path / file.path)
        assert len(result.rows()) == file.records_expected
        assert bool(result.ranges) == (file.damage is not None)
        assert_adds_up(result)


@given(
    pieces=st.lists(
        st.sampled_from([b"*", b"**", b"**\0", RECORD_MAGIC, bytes(40)])
        | st.integers(0, 60).map(lambda more: _record_of(28 + more)),
        max_size=12,
    ),
    cut=st.integers(0, 30),
)
def test_the_starts_of_records_are_those_that_a_look_at_every_byte_finds(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    end = max(len(data) - cut, 0)
    found: list[int] = []
    at = 0
    while at < end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        whole = data[at : at + 4] == RECORD_MAGIC and 28 <= size <= end - at
        if whole and data[at + size - 4 : at + size] == data[at + 4 : at + 8]:
            found.append(at)
            at += size
        else:
            at += 1
    assert sound_starts(data, 0, end) == found


def _record_of(size: int) -> bytes:
    length = struct.pack("<I", size)
    return RECORD_MAGIC + length + bytes(size - 12) + length
