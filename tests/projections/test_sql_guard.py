"""Tests that `sql` answers one SELECT over recorded files and tables, and refuses everything else in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog.events import Event
from projections.errors import (
    AmbiguousNameError,
    MissingFileError,
    SqlError,
    SqlRefusedError,
    UnknownTableError,
    UnreachableFileError,
)
from projections.reader import Reader, open_reader
from projections.sql_guard import QueryResult, run_query
from tests.projections import histories as h
from tests.projections.logs import write_log
from tests.projections.published import published


def make_home(tmp_path: Path) -> Path:
    """Return a home with one recorded file of three rows, and one stray file beside it."""
    events: list[Event] = [h.deployed(outputs=[h.output(), h.output("evtx_files")]), h.joined(), h.run_started()]
    home = tmp_path / "a [1] 'home'"
    write_log(home, events, published(home / "output", 1))
    (home / "output" / "stray.txt").write_text("secret")
    return home


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home that tests leave as it is."""
    return make_home(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def reader(shared_home: Path) -> Iterator[Reader]:
    """Return one reader for all tests that only ask: no query may change what the next one gets."""
    with open_reader(shared_home, shared_home / "log") as reader:
        yield reader


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home that a test may damage."""
    return make_home(tmp_path)


@pytest.fixture
def own_reader(home: Path) -> Iterator[Reader]:
    with open_reader(home, home / "log") as reader:
        yield reader


def ask(reader: Reader, sql: str, *, limit_rows: int | None = None) -> list[tuple[object, ...]]:
    return list(run_query(reader, sql, limit_rows=limit_rows).rows())


# --- what is answered -----------------------------------------------------------------------------------------------


def test_views_and_tables_are_joined_in_one_query(reader: Reader) -> None:
    sql = (
        "SELECT j.path, count(*) AS rows FROM evtx_events e JOIN cf_jobs j ON j.job_id = e._cf_job_id::BIGINT "
        "GROUP BY ALL -- with a comment"
    )
    assert ask(reader, sql) == [("/case/a.evtx", 3)]


def test_instants_come_as_text_in_utc(reader: Reader) -> None:
    result = run_query(reader, "SELECT at_time, finished_at FROM evtx_events, cf_jobs LIMIT 1", limit_rows=None)
    assert result.types == ["TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"]
    assert list(result.rows()) == [("2026-01-22T10:11:12.123456Z", h.now(7))]


def test_sums_of_whole_numbers_are_whole_numbers(reader: Reader) -> None:
    (row,) = ask(reader, "SELECT sum(event_id), 1.50::DECIMAL(4,2), NULL FROM evtx_events")
    assert (row[0], type(row[0]), str(row[1]), row[2]) == (3 * 4624, int, "1.50", None)


def test_columns_keep_their_order_and_do_not_hide_each_other(reader: Reader) -> None:
    result = run_query(reader, "SELECT 1 AS a, 2 AS a, 'x' AS b", limit_rows=10)
    assert len(set(result.columns)) == 3
    assert list(result.rows()) == [(1, 2, "x")]


def test_decimals_keep_all_their_digits_and_whole_numbers_none(reader: Reader) -> None:
    sql = "SELECT 0::DECIMAL(38,10), -1.5::DECIMAL(38,10), 1e-10::DECIMAL(38,10), sum(7::BIGINT), 3::DECIMAL(9,0)"
    assert ask(reader, sql) == [("0.0000000000", "-1.5000000000", "0.0000000001", 7, 3)]


@pytest.mark.parametrize(
    ("limit_rows", "shown", "truncated"), [(2, 2, True), (3, 3, False), (0, 0, True), (None, 3, False)]
)
def test_a_limit_cuts_the_answer_and_says_so(
    reader: Reader, limit_rows: int | None, shown: int, truncated: bool
) -> None:
    result = run_query(reader, "SELECT * FROM evtx_events", limit_rows=limit_rows)
    assert (result.table().num_rows, result.truncated) == (shown, truncated)


def test_an_answer_comes_in_batches(reader: Reader) -> None:
    result = run_query(reader, "SELECT range AS n FROM range(100000) ORDER BY n DESC", limit_rows=50_000)
    sizes = [batch.num_rows for batch in result.batches()]
    assert (sum(sizes), len(sizes) > 1, result.truncated) == (50_000, True, True)


def test_an_answer_without_rows_still_has_columns(reader: Reader) -> None:
    result = run_query(reader, "SELECT event_id FROM evtx_events WHERE false", limit_rows=None)
    assert (result.columns, result.table().num_rows) == (["event_id"], 0)


@pytest.mark.parametrize(
    ("sql", "name"),
    [("SHOW TABLES", "evtx_events_all"), ("SHOW ALL TABLES", "evtx__evtx_files"), ("DESCRIBE evtx_files", "event_id")],
)
def test_tables_can_be_listed_and_described(reader: Reader, sql: str, name: str) -> None:
    assert any(name in row for row in ask(reader, sql))


@pytest.mark.parametrize(
    "sql", ["FROM evtx_events", "TABLE evtx_events", "WITH x AS (FROM evtx_events) FROM x", "FROM EVTX_Events;"]
)
def test_other_spellings_of_a_select_are_answered(reader: Reader, sql: str) -> None:
    assert len(ask(reader, sql)) == 3


def test_a_name_that_the_query_puts_together_is_found(reader: Reader) -> None:
    assert ask(reader, "SELECT count(*) FROM query_table('evtx_' || 'events')") == [(3,)]


def test_a_reader_answers_several_queries(reader: Reader) -> None:
    assert ask(reader, "SELECT count(*) FROM evtx_events_all") == [(3,)]
    assert ask(reader, "SELECT count(*) FROM outputs.evtx__evtx_events") == [(3,)]
    assert ask(reader, "SELECT count(*) FROM evtx_files") == [(0,)]


def test_a_large_sort_spills_outside_the_home(home: Path) -> None:
    before = sorted(home.rglob("*"))
    with open_reader(home, home / "log") as reader:
        reader.connection.execute("SET memory_limit = '100MB'")
        sql = "SELECT md5(range::VARCHAR) || repeat('x', 200) AS t FROM range(600000) ORDER BY t"
        assert run_query(reader, sql, limit_rows=None).table().num_rows == 600_000
    assert sorted(home.rglob("*")) == before


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM evtx_events WHERE event_id IN (SELECT length(content) FROM read_text('/etc/passwd'))",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM read_duckdb('/tmp/casparian-other.duckdb')",
        "SELECT * FROM enable_logging(storage = 'file', storage_path = '/tmp/casparian-log')",
        "SELECT * FROM enable_profiling(save_location = '/tmp/casparian-profile')",
        "SELECT getenv('HOME')",
        "COPY (SELECT 1) TO '/tmp/casparian-out.csv'",
        "COPY cf_jobs TO '/tmp/casparian-out.csv'",
        "ATTACH '/tmp/casparian-other.duckdb' AS other",
        "DETACH readmodel",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "USE memory",
        "CREATE TABLE mine AS SELECT 1",
        "CREATE VIEW evtx_events AS SELECT 1",
        "DROP VIEW evtx_events",
        "INSERT INTO cf_jobs SELECT * FROM cf_jobs",
        "UPDATE cf_jobs SET path = ''",
        "DELETE FROM cf_jobs",
        "CALL pragma_version()",
        "CHECKPOINT",
        "EXPLAIN SELECT 1",
        "EXPORT DATABASE '/tmp/casparian-export'",
        "BEGIN TRANSACTION",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '/tmp/casparian-out.csv'",
        "",
        "-- nothing",
    ],
)
def test_anything_but_a_select_over_what_is_recorded_is_refused(reader: Reader, sql: str) -> None:
    with pytest.raises(SqlRefusedError) as told:
        ask(reader, sql)
    assert str(told.value).startswith("run the query: ")
    assert "\n" not in str(told.value)


def test_files_beside_the_recorded_ones_are_refused(reader: Reader, shared_home: Path) -> None:
    stray = str(shared_home / "output" / "stray.txt").replace("'", "''")
    with pytest.raises(SqlRefusedError):
        ask(reader, f"SELECT * FROM read_text('{stray}')")


def test_a_refused_statement_has_written_nothing(reader: Reader, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with pytest.raises(SqlRefusedError):
        ask(reader, f"COPY (SELECT 1) TO '{target}'")
    assert not target.exists()


def test_python_variables_are_not_tables(reader: Reader) -> None:
    hidden = run_query(reader, "SELECT 1 AS secret", limit_rows=None).table()
    assert hidden.num_rows == 1
    with pytest.raises(UnknownTableError):
        ask(reader, "SELECT * FROM hidden")


def test_an_unknown_table_is_answered_with_the_nearest_and_how_to_see_all(reader: Reader) -> None:
    with pytest.raises(UnknownTableError) as told:
        ask(reader, "SELECT * FROM evtx_event")
    assert "there is no table evtx_event; there are evtx_events, evtx_events_all" in str(told.value)
    assert str(told.value).endswith(" more, see `show tables`")
    assert len(str(told.value)) < 400
    with pytest.raises(UnknownTableError, match="there are cf_jobs, "):
        ask(reader, "SELECT * FROM cf_job")


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT nothing FROM cf_jobs",
        "SELECT $1",
        "SELECT no_such_function(1)",
        "SELECT '\udcff'",
        "SELECT \0",
    ],
)
def test_a_wrong_query_is_answered_in_one_line(reader: Reader, sql: str) -> None:
    with pytest.raises(SqlError) as told:
        ask(reader, sql)
    assert not isinstance(told.value, SqlRefusedError)
    assert "\n" not in str(told.value)


def test_a_column_that_is_not_there_is_answered_with_the_nearest(reader: Reader) -> None:
    with pytest.raises(SqlError, match=r'column "eventid" not found .*The nearest are "event_id"'):
        ask(reader, "SELECT eventid FROM evtx_events")


def test_an_error_half_way_through_an_answer_is_a_sentence(reader: Reader) -> None:
    sql = "SELECT (CASE WHEN range = 90000 THEN 'x' ELSE '1' END)::INT FROM range(100000)"
    result: QueryResult = run_query(reader, sql, limit_rows=None)
    with pytest.raises(SqlError, match="run the query: Could not convert string 'x' to INT32"):
        result.table()


def test_a_name_of_two_parsers_is_refused_bare_and_answered_in_full(tmp_path: Path) -> None:
    events: list[Event] = [h.deployed(), h.deployed("fix"), h.joined(), h.run_started()]
    write_log(tmp_path, events, published(tmp_path, 1), published(tmp_path, 2, parser="fix", content="b", rows=2))
    with open_reader(tmp_path, tmp_path / "log") as reader:
        with pytest.raises(AmbiguousNameError, match=r"ask for one of these"):
            ask(reader, "SELECT * FROM evtx_events")
        assert ask(reader, "SELECT count(*) FROM outputs.fix__evtx_events") == [(2,)]


def test_a_recorded_file_that_is_gone_is_named(own_reader: Reader, home: Path) -> None:
    path = next((home / "output").glob("*.parquet"))
    path.unlink()
    with pytest.raises(MissingFileError, match="it is not there, although the log says that it was published") as told:
        ask(own_reader, "SELECT * FROM evtx_events")
    assert str(path) in str(told.value)


def test_a_recorded_file_that_goes_after_the_first_query_is_named(own_reader: Reader, home: Path) -> None:
    assert len(ask(own_reader, "SELECT * FROM evtx_events")) == 3
    path = next((home / "output").glob("*.parquet"))
    path.unlink()
    with pytest.raises(MissingFileError) as told:
        ask(own_reader, "SELECT * FROM evtx_events")
    assert str(path) in str(told.value)


def test_a_missing_file_does_not_hinder_other_tables(own_reader: Reader, home: Path) -> None:
    next((home / "output").glob("*.parquet")).unlink()
    assert ask(own_reader, "SELECT count(*) FROM cf_jobs") == [(1,)]
    assert ask(own_reader, "SELECT count(*) FROM evtx_files") == [(0,)]


def test_a_missing_file_does_not_hide_the_other_tables_from_a_list(own_reader: Reader, home: Path) -> None:
    next((home / "output").glob("*.parquet")).unlink()
    assert ("evtx_files",) in ask(own_reader, "SHOW TABLES")
    with pytest.raises(MissingFileError):
        ask(own_reader, "SELECT * FROM query_table('evtx_' || 'events')")


def test_a_home_whose_name_is_not_utf8_has_tables_but_no_views(tmp_path: Path) -> None:
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    home.mkdir()
    write_log(home, [h.deployed(), h.joined(), h.run_started()], published(home / "output", 1))
    with open_reader(home, home / "log") as reader:
        assert ask(reader, "SELECT count(*) FROM cf_jobs") == [(1,)]
        with pytest.raises(UnreachableFileError, match="not UTF-8"):
            ask(reader, "SELECT * FROM evtx_events")
