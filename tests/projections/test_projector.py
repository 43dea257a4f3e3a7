"""Tests that a read model is the same however the log reached it, and that a batch is all or nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from random import Random

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from eventlog.events import Event, LogForked
from eventlog.frames import Frame
from eventlog.ids import JobId, LogId, PathText, RunId, Seq, Sha256
from projections import projector as module
from projections import queries
from projections.arrow_rows import arrow_schema_of, registered, select, table_of
from projections.errors import ProjectorFailedError, ProjectorGapError, ProjectorRacedError, UnknownSubjectError
from projections.projector import BATCH_EVENTS_MAX, Projector, batches, create_tables, table_digests
from projections.rows import TABLES, FileRow, JobRow, Table
from projections.sql_blocks import FOLDER
from tests.projections import histories as h


def digests_after(cuts: Sequence[Sequence[Frame]]) -> dict[str, str]:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, LogId("0" * 32))
        projector = Projector(connection)
        for cut in cuts:
            projector.apply(cut)
        return table_digests(connection)


def random_cuts(frames: Sequence[Frame], random: Random) -> list[list[Frame]]:
    cuts: list[list[Frame]] = []
    rest = list(frames)
    while rest:
        size = random.randrange(1, 6)
        cuts.append(rest[:size])
        rest = rest[size:]
    return cuts


def history(*events: Event) -> list[Frame]:
    return h.frames_of([[event] for event in (h.opened(), h.deployed(), h.joined(), h.run_started(), *events)])


# --- the tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_row_has_the_columns_of_its_table_in_order(projector: Projector, table: Table) -> None:
    described = projector.connection.execute(f"DESCRIBE {table.name}").fetchall()
    assert [column[0] for column in described] == [field.name for field in fields(table.row)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_column_may_be_null_where_the_row_may_be_none(projector: Projector, table: Table) -> None:
    described = projector.connection.execute(f"DESCRIBE {table.name}").fetchall()
    optional = {name for name, hint in table.row.__annotations__.items() if str(hint).endswith("| None")}
    assert {column[0] for column in described if column[2] == "YES"} == optional


def test_every_table_has_a_line_of_purpose() -> None:
    text = (FOLDER / "schema.sql").read_text()
    assert len(re.findall(r"^-- .+\nCREATE TABLE ", text, re.MULTILINE)) == len(TABLES)


@given(st.text().filter(lambda text: text.isprintable()), st.none() | st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=20, deadline=None)
def test_rows_survive_the_way_through_arrow(text: str, number: int | None) -> None:
    row = FileRow(
        path=PathText(text), size=number, mtime_ns=number, file_uid=text, source_hash=None, sha256=None,
        first_seen_seq=Seq(1), last_seen_seq=Seq(2), last_run=RunId(3), refused_reason=h.HOSTILE_TEXT,
    )  # fmt: skip
    with duckdb.connect(":memory:") as connection, registered(connection, "batch", table_of([row], FileRow)):
        assert select(connection, "SELECT * FROM batch", FileRow) == [row]


def test_an_arrow_schema_knows_the_types_behind_new_types_and_none() -> None:
    types = dict(zip(arrow_schema_of(JobRow).names, map(str, arrow_schema_of(JobRow).types), strict=True))
    assert (types["job_id"], types["status"], types["found"], types["queued_at"]) == (
        "int64", "string", "int64", "string",
    )  # fmt: skip


# --- the same rows, however they came -------------------------------------------------------------------------------


@given(h.frame_lists(), st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
@pytest.mark.slow
def test_cutting_the_same_frames_otherwise_gives_the_same_tables(frames: list[Frame], seed: int) -> None:
    assert digests_after([frames]) == digests_after(random_cuts(frames, Random(seed)))


def test_a_digest_sees_a_single_changed_value(projector: Projector) -> None:
    projector.apply(history(*h.whole_job(1)))
    before = table_digests(projector.connection)
    projector.connection.execute("UPDATE cf_jobs SET error_hint = 'x'")
    after = table_digests(projector.connection)
    assert {name for name in before if before[name] != after[name]} == {"cf_jobs"}


def test_instants_come_back_as_they_went_in(projector: Projector) -> None:
    projector.apply(history(h.queued(7)))
    assert select(projector.connection, "SELECT * FROM cf_jobs", JobRow)[0].queued_at == h.now(7)


def test_hostile_text_comes_back_as_it_went_in(projector: Projector) -> None:
    projector.apply(history(h.files_refused("/a", reason=h.HOSTILE_TEXT)))
    assert queries.files(projector.connection)[0].refused_reason == h.HOSTILE_TEXT


@pytest.mark.parametrize("cuts", [1, 100], ids=["one batch", "a batch a frame"])
def test_a_job_is_marked_whether_its_rows_are_of_this_batch_or_an_earlier_one(projector: Projector, cuts: int) -> None:
    frames = history(*h.whole_job(1), *h.whole_job(2, version="2"), h.reused(1), h.outputs_lost(2))
    for batch in [frames] if cuts == 1 else [[frame] for frame in frames]:
        projector.apply(batch)
    first, second = queries.materializations_of_jobs(projector.connection, [JobId(1), JobId(2)])
    assert second.recorded_seq < first.asked_seq < (second.lost_seq or 0)
    assert (first.lost_seq, second.asked_seq) == (None, second.recorded_seq)


def test_the_ranges_of_a_newer_balance_sheet_replace_the_older_ones(projector: Projector) -> None:
    first = history(h.queued(1), h.dispatched(1), h.committed(1, unreadable=3))
    projector.apply(first)
    projector.apply(h.frames_of([[h.completed(1, unreadable=1)]], after=first[-1]))
    detail = queries.job(projector.connection, JobId(1))
    assert detail is not None
    assert [(each.n, each.byte_offset) for each in detail.ranges] == [(1, 0)]


# --- the checkpoint -------------------------------------------------------------------------------------------------


def test_the_checkpoint_is_that_of_the_last_frame_with_records(projector: Projector) -> None:
    frames = h.frames_of([[h.opened()], [h.run_started()], []])
    projector.apply(frames)
    assert (projector.checkpoint.seq, projector.checkpoint.commit_no, projector.checkpoint.hash) == (
        2, 2, frames[1].hash,
    )  # fmt: skip
    assert module.read_checkpoint(projector.connection) == projector.checkpoint


def test_frames_after_an_empty_one_continue(projector: Projector) -> None:
    frames = h.frames_of([[h.opened()], [], [h.run_started()]])
    projector.apply(frames[:1])
    projector.apply(frames[2:])  # who applies live is never shown the empty frame
    assert projector.checkpoint.seq == 2


def test_a_gap_is_refused_and_nothing_changes(projector: Projector) -> None:
    frames = history(h.queued(1), h.dispatched(1))
    projector.apply(frames[:2])
    before = table_digests(projector.connection)
    with pytest.raises(ProjectorGapError, match="event 3 is due"):
        projector.apply(frames[3:])
    assert table_digests(projector.connection) == before


def test_frames_given_twice_are_refused(projector: Projector) -> None:
    frames = history()
    projector.apply(frames)
    with pytest.raises(ProjectorGapError, match="begins at event 1"):
        projector.apply(frames)


def test_the_first_frame_of_a_fork_continues_the_commit_that_its_event_names(projector: Projector) -> None:
    frames = h.frames_of([[h.opened()], [h.run_started()]])
    kept = frames[0]
    told = LogForked(old_log_id="0" * 32, seq=1, hash=Sha256(kept.hash), abandoned_seq=2, reason="no copy")
    (fork,) = h.frames_of([[told, h.opened()]], after=kept)
    projector.apply([kept])
    with pytest.raises(ProjectorGapError, match="another log"):
        projector.apply([replace(frames[1], prev="f" * 64)])
    projector.apply([replace(fork, prev="f" * 64)])
    assert projector.checkpoint.seq == 3


def test_a_frame_of_another_chain_is_refused(projector: Projector) -> None:
    frames = history()
    projector.apply(frames[:2])
    with pytest.raises(ProjectorGapError, match="another log"):
        projector.apply([replace(frames[2], prev="0" * 64)])


def test_42_a_second_projector_that_fell_behind_is_told_so(projector: Projector) -> None:
    frames = history()
    late = Projector(projector.connection.cursor())
    projector.apply(frames[:1])
    with pytest.raises(ProjectorRacedError, match="from event 0: somebody else"):
        late.apply(frames[:1])
    assert projector.checkpoint == module.read_checkpoint(projector.connection)


def test_42_two_transactions_at_once_cannot_both_advance(projector: Projector) -> None:
    frames = history()
    other = projector.connection.cursor()
    other.execute("BEGIN TRANSACTION")
    other.execute("UPDATE cf_checkpoint SET commit_no = 9")
    with pytest.raises(ProjectorRacedError):
        projector.apply(frames)
    other.execute("ROLLBACK")
    projector.apply(frames)
    assert projector.checkpoint.seq == len(frames)


def test_an_event_that_cannot_be_folded_changes_nothing_and_can_be_tried_again(projector: Projector) -> None:
    good = h.frames_of([[h.opened()], [h.run_started()]])
    bad = h.frames_of([[h.completed(5)]], after=good[-1])
    with pytest.raises(UnknownSubjectError):
        projector.apply([*good, *bad])
    assert queries.runs(projector.connection) == []
    projector.apply(good)
    assert len(queries.runs(projector.connection)) == 1


def test_a_row_that_the_database_refuses_changes_nothing(projector: Projector) -> None:
    projector.connection.execute("ALTER TABLE cf_runs DROP COLUMN reason")
    with pytest.raises(ProjectorFailedError, match="write events 1 to 2 into the read model"):
        projector.apply(h.frames_of([[h.opened()], [h.run_started()]]))
    assert module.read_checkpoint(projector.connection).seq == 0


# --- bounds and speed -----------------------------------------------------------------------------------------------


def test_too_many_events_at_once_are_refused(projector: Projector) -> None:
    with pytest.raises(ValueError, match="use apply_all"):
        projector.apply(h.frames_of([[h.opened()] * 4000 for _ in range(BATCH_EVENTS_MAX // 4000 + 1)]))


def test_batches_are_bounded_in_events_and_in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_EVENTS_MAX", 4)
    monkeypatch.setattr(module, "BATCH_ROWS_MAX", 6)
    many = h.files_seen(*(h.seen(f"/{n}") for n in range(5)))
    frames = h.frames_of([[h.opened()] * 3, [h.opened()] * 2, [many], [many], []])
    assert [[frame.commit for frame in batch] for batch in batches(frames)] == [[1], [2], [3], [4, 5]]


def test_volume_is_written_set_by_set(projector: Projector) -> None:
    jobs = range(1, 5001)
    groups: list[list[Event]] = [[h.opened(), h.run_started()]]
    groups += [[h.files_seen(*(h.seen(f"/case/{n}") for n in range(k, k + 1000)))] for k in range(0, 20_000, 1000)]
    groups += [[h.queued(job, content="abcdef"[job % 6]) for job in jobs[k : k + 1000]] for k in range(0, 5000, 1000)]
    begun = time.monotonic()
    projector.apply_all(h.frames_of(groups))
    # Row by row this takes 15 s or more; sets of rows take well under one.
    assert time.monotonic() - begun < 5
    assert queries.job_counts(projector.connection) == {"queued": 5000}
