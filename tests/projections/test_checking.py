"""Tests that a read model which does not say what its log says is found out, to the cell."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from eventlog.reader import read_frames
from projections import checking
from projections.checking import Comparison, compare
from projections.errors import ReadModelDoubtError
from projections.projector import table_digests
from projections.readmodel import open_writer
from projections.witness import readmodel_path
from tests.projections import histories as h
from tests.projections.logs import LOG_ID, open_log, write_log


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two jobs in its log, and a read model that was closed at the log's head."""
    write_log(tmp_path, [h.deployed(), h.joined()], [h.run_started(), *h.whole_job(1)], [*h.whole_job(2, version="2")])
    log = open_log(tmp_path)
    writer = open_writer(tmp_path, LOG_ID)
    writer.projector.apply_all(log.replay())
    writer.close()
    log.close()
    return tmp_path


def compared(home: Path) -> Comparison:
    return compare(home, home / "log")


def change(home: Path, statement: str) -> None:
    with duckdb.connect(str(readmodel_path(home))) as connection:
        connection.execute(statement)


def test_the_same_is_said_with_the_digests_of_the_file(home: Path) -> None:
    with duckdb.connect(str(readmodel_path(home)), read_only=True) as connection:
        digests = table_digests(connection)
    said = compared(home)
    assert (said.verdict, said.digests, said.differences) == ("same", digests, ())


def test_a_read_model_behind_the_log_is_compared_where_it_stands(home: Path) -> None:
    write_log(home, [h.run_started(2)])
    said = compared(home)
    assert (said.verdict, said.seq) == ("same", 17)


def test_a_read_model_is_compared_up_to_the_last_frame_of_a_writer_that_was_killed_behind_it(home: Path) -> None:
    log = open_log(home)
    writer = open_writer(home, LOG_ID)
    writer.projector.apply_all(log.replay(writer.projector.checkpoint.seq + 1))
    writer.close()
    try:
        assert list(read_frames(home / "log"))[-1].last < log.head.seq, "nothing says yet that the last one is durable"
        assert (compared(home).verdict, compared(home).seq) == ("same", log.head.seq)
    finally:
        log.close()


def test_one_changed_cell_is_named_with_both_values(home: Path) -> None:
    change(home, "UPDATE cf_jobs SET found = 99 WHERE job_id = 2")
    said = compared(home)
    assert (said.verdict, said.tables_different) == ("different", ("cf_jobs",))
    (only,) = said.differences
    assert (only.table, only.key, only.in_file) == ("cf_jobs", {"job_id": 2}, {"found": 99})
    assert only.in_log is not None
    assert only.in_log["found"] != 99


def test_a_changed_instant_is_found(home: Path) -> None:
    change(home, "UPDATE cf_jobs SET finished_at = finished_at + INTERVAL 1 MICROSECOND WHERE job_id = 1")
    (only,) = compared(home).differences
    assert (only.in_file or {}).keys() == {"finished_at"}


def test_rows_that_are_missing_or_too_many_or_twice_are_found(home: Path) -> None:
    change(home, "DELETE FROM cf_job_events WHERE job_id = 1 AND job_seq = 3")
    change(home, "INSERT INTO cf_job_events VALUES (7, 1, 1, 'JobQueued', NULL)")
    change(home, "INSERT INTO cf_runs SELECT * FROM cf_runs")
    found = {(each.table, tuple(each.key.values())): each for each in compared(home).differences}
    assert found.keys() == {("cf_job_events", (1, 3)), ("cf_job_events", (7, 1)), ("cf_runs", (1,))}
    assert found["cf_job_events", (1, 3)].in_file is None
    assert found["cf_job_events", (7, 1)].in_log is None
    assert found["cf_runs", (1,)].in_log is None


def test_the_first_keys_are_named_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "DIFFERENCES_MAX", 2)
    change(home, "UPDATE cf_job_events SET type = 'Nothing'")
    assert [each.key for each in compared(home).differences] == [
        {"job_id": 1, "job_seq": 1},
        {"job_id": 1, "job_seq": 2},
    ]


def test_without_a_read_model_there_is_nothing_to_compare(home: Path) -> None:
    readmodel_path(home).unlink()
    with pytest.raises(ReadModelDoubtError, match="there is none"):
        compared(home)


def test_a_file_that_is_no_database_is_told_as_such(home: Path) -> None:
    readmodel_path(home).write_bytes(b"not a database")
    with pytest.raises(ReadModelDoubtError, match="it is damaged"):
        compared(home)


def test_a_read_model_of_another_log_is_told_as_such(home: Path) -> None:
    change(home, f"UPDATE cf_checkpoint SET log_id = '{'f' * 32}'")
    with pytest.raises(ReadModelDoubtError, match="it is of another log"):
        compared(home)


def test_a_read_model_of_other_tables_is_told_as_such(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "schema_digest", lambda: "another")
    with pytest.raises(ReadModelDoubtError, match="made by another version"):
        compared(home)


@pytest.mark.parametrize("change_to", ["seq = 18", "hash = 'abc'"])
def test_a_read_model_that_has_seen_another_log_is_told_as_such(home: Path, change_to: str) -> None:
    change(home, f"UPDATE cf_checkpoint SET {change_to}")
    with pytest.raises(ReadModelDoubtError, match="another history"):
        compared(home)


def test_checking_changes_no_file(home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    compared(home)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
