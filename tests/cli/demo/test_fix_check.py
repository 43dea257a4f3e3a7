"""The comparison of a FIX day with its truth: agreement on tables that hold it, a sentence for each that does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from msgspec.structs import replace

from cli.demo.fix_check import Found, Sheet, Written, difference, read_rows
from cli.demo.fix_truth import FileTruth, Tally

CASE = Path("/case")
PATH = "/case/a.fix"

MADE = Tally(
    messages={"8": 3, "A": 1, "D": 2}, checksum_ok=4, checksum_bad=1, checksum_absent=1, body_length_ok=5,
    body_length_bad=0, body_length_absent=1,
)  # fmt: skip
QUARANTINED = Tally(
    messages={"8": 1}, checksum_ok=1, checksum_bad=0, checksum_absent=0, body_length_ok=1, body_length_bad=0,
    body_length_absent=0,
)  # fmt: skip
TRUTH = FileTruth(
    path="a.fix", bytes=1000, form="soh", lines=9, made=MADE, quarantined=QUARANTINED, unreadable=1, foreign_lines=2,
    group_entries={"268": 3}, dirt={},
)  # fmt: skip
SHEET = Sheet(status="completed", reason=None, found=7, written=5, quarantined=1, unreadable=1)

TABLES = """
    CREATE TABLE cf_jobs AS SELECT * FROM (VALUES (1, '/case/a.fix'), (2, '/case/b.fix')) t(job_id, path);
    CREATE TABLE fix_order_lifecycle AS SELECT * FROM (VALUES
        ('1', 'D', true, true), ('1', 'D', NULL, NULL), ('1', '8', true, true), ('1', '8', false, true),
        ('2', '8', true, false)
    ) t(_cf_job_id, msg_type, checksum_ok, body_length_ok);
    CREATE TABLE fix_session_events AS SELECT * FROM (VALUES ('1', 'A', true, true))
        t(_cf_job_id, msg_type, checksum_ok, body_length_ok);
    CREATE TABLE fix_other_messages AS SELECT * FROM fix_session_events LIMIT 0;
    CREATE TABLE fix_order_lifecycle_quarantine AS SELECT '1' _cf_job_id, '1O.25' last_px;
    CREATE TABLE fix_session_events_quarantine AS SELECT * FROM fix_order_lifecycle_quarantine LIMIT 0;
    CREATE TABLE fix_other_messages_quarantine AS SELECT * FROM fix_order_lifecycle_quarantine LIMIT 0;
    CREATE TABLE fix_parse_errors AS SELECT * FROM (VALUES
        ('1', 'no_message'), ('1', 'no_message'), ('1', 'no_msg_type')
    ) t(_cf_job_id, error_reason);
    CREATE TABLE fix_groups AS SELECT * FROM (VALUES
        ('1', 10, '268', '268[0]', 0, '269'), ('1', 10, '268', '268[0]', 0, '270'),
        ('1', 10, '268', '268[1]', 1, '269'), ('1', 90, '268', '268[0]', 0, '269'),
        ('1', 90, NULL, NULL, 1, '58')
    ) t(_cf_job_id, byte_offset, group_tag, entry_path, entry_index, tag);
"""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute(TABLES)
        yield opened


def found_in(connection: duckdb.DuckDBPyConnection) -> dict[str, Found]:
    return read_rows(lambda sql: connection.execute(sql).fetchall())


def told(found: dict[str, Found], *, truth: FileTruth = TRUTH, sheet: Sheet | None = SHEET) -> str:
    return difference(truth, CASE, {} if sheet is None else {PATH: sheet}, found)


def test_tables_that_hold_the_truth_agree(connection: duckdb.DuckDBPyConnection) -> None:
    assert told(found_in(connection)) == ""


def test_rows_are_told_apart_by_file(connection: duckdb.DuckDBPyConnection) -> None:
    found = found_in(connection)
    assert set(found) == {PATH, "/case/b.fix"}
    assert found["/case/b.fix"].written == [
        Written(
            output="fix_order_lifecycle", msg_type="8", rows=1, checksum_ok=1, checksum_bad=0, body_length_ok=0,
            body_length_bad=1,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM fix_order_lifecycle WHERE msg_type = '8' AND checksum_ok", "1 rows of type 8, 2 expected"),
        ("INSERT INTO fix_session_events VALUES ('1', '0', NULL, NULL)", "1 rows of type 0, 0 expected"),
        ("UPDATE fix_order_lifecycle SET checksum_ok = true WHERE NOT checksum_ok", "0 rows with checksum_bad, 1"),
        ("UPDATE fix_order_lifecycle SET checksum_ok = NULL WHERE checksum_ok", "1 rows with checksum_ok, 3 expected"),
        ("UPDATE fix_session_events SET body_length_ok = false", "1 rows with body_length_bad, 0 expected"),
        ("DELETE FROM fix_order_lifecycle_quarantine", "0 rows in fix_order_lifecycle_quarantine, 1 expected"),
        ("INSERT INTO fix_other_messages_quarantine VALUES ('1', NULL)", "1 rows in fix_other_messages_quarantine, 0"),
        ("DELETE FROM fix_parse_errors WHERE error_reason = 'no_message'", "0 lines without a message, 2 were written"),
        ("DELETE FROM fix_groups WHERE byte_offset = 90", "entries of groups {'268': 2}, {'268': 3} were made"),
        ("INSERT INTO fix_other_messages SELECT * FROM fix_session_events", "has messages of type A"),
    ],
)
def test_each_table_that_does_not_hold_it_is_told(
    connection: duckdb.DuckDBPyConnection, change: str, said: str
) -> None:
    connection.execute(change)
    assert said in told(found_in(connection))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"found": 6}, "6 messages found, 7 expected"),
        ({"written": 6}, "6 messages written, 5 expected"),
        ({"quarantined": 0}, "0 messages quarantined, 1 expected"),
        ({"unreadable": 0}, "0 messages unreadable, 1 expected"),
        ({"status": "failed", "reason": "out of memory"}, "out of memory"),
    ],
)
def test_a_sheet_that_says_otherwise_is_told(
    connection: duckdb.DuckDBPyConnection, change: dict[str, Any], said: str
) -> None:
    assert told(found_in(connection), sheet=replace(SHEET, **change)) == said


def test_a_file_that_left_nothing_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    assert told(found_in(connection), sheet=None) == "it was not read"
    assert "0 rows of type D, 2 expected" in told({})
