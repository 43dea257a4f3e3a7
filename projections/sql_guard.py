"""Owns the running of a user's SQL: one SELECT, over read-model tables and recorded files, and nothing else.

Two fences, because neither is enough alone. The statement must be exactly one SELECT by DuckDB's own parser, since a
COPY could write inside what may be read. And the connection is locked first: no file but the recorded ones, no
extensions, no Python variables, no settings; since a SELECT can name files and functions that read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import duckdb
import pyarrow as pa

from projections.arrow_rows import with_text_instants
from projections.catalog import Catalog, readable_paths
from projections.errors import SqlError, SqlRefusedError, UnknownTableError
from projections.reader import Reader
from projections.rows import TABLES
from projections.sql_text import exact_pattern, is_utf8, list_literal

BATCH_ROWS = 10_000  # rows in memory at a time

# Statements that list tables, or name them by an expression, need every view, not only those that are mentioned.
_LISTING = re.compile(
    r"\b(show|describe|summarize|information_schema|duckdb_\w+|pg_\w+|sqlite_\w+|query|query_table)\b", re.IGNORECASE
)
TABLES_SHOWN_MAX = 8  # to who names one that is not there, the nearest first
_UNKNOWN_TABLE = re.compile(r"Table with name (.+?) does not exist")
_UNKNOWN_FUNCTION = re.compile(r"Function with name (\w+) does not exist")
_CANDIDATES = re.compile(r"^Candidate bindings: (.+)$", re.MULTILINE)
_LOCKED = re.compile(r"the configuration has been locked")
_ENVIRONMENT_FUNCTIONS = frozenset({"getenv"})
_USE = "casparian sql runs one SELECT"


class QueryResult:
    """The answer to one query, read once and before the reader's next query, in batches: memory stays flat."""

    def __init__(self, *, relation: duckdb.DuckDBPyRelation, catalog: Catalog, limit_rows: int | None) -> None:
        self.columns: list[str] = list(relation.columns)
        self.types: list[str] = [str(each) for each in relation.types]
        self.truncated = False  # known when all batches are read: there were more rows than limit_rows
        self._catalog = catalog
        self._limit_rows = limit_rows
        self._reader: pa.RecordBatchReader = relation.to_arrow_reader(BATCH_ROWS)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow, at most limit_rows of them. Raises SqlError where the query fails on the way."""
        left = self._limit_rows
        while (batch := self._next()) is not None:  # bounded by the rows of the answer
            shown = batch if left is None else batch.slice(0, left)
            self.truncated = self.truncated or shown.num_rows < batch.num_rows
            if left is not None:
                left -= shown.num_rows
            if shown.num_rows:
                yield shown

    def table(self) -> pa.Table:
        """Return all rows as one Arrow table."""
        return pa.Table.from_batches(list(self.batches()), schema=self._reader.schema)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows as Python values: instants and decimals as text, whole numbers of any size as int."""
        for batch in self.batches():
            table = with_text_instants(pa.Table.from_batches([batch]))
            try:
                columns = [map(_python_value, column.to_pylist()) for column in table.columns]
            except (pa.ArrowException, ValueError, OverflowError) as error:
                raise SqlError(f"show the rows: {error}; cast that column to VARCHAR in the query") from error
            yield from zip(*columns, strict=True)

    def _next(self) -> pa.RecordBatch | None:
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            return None
        except (duckdb.Error, OSError) as error:  # pyarrow hands on DuckDB's errors as OSError
            raise _sentence(error, self._catalog) from error


def _python_value(value: Any) -> Any:
    """Return sums of whole numbers as int, which DuckDB widens to 128 bits and Arrow carries as a decimal.

    Other decimals are text with all their digits: of themselves they would write a zero of ten digits as 0E-10.
    """
    if not isinstance(value, Decimal):
        return value
    return int(value) if value.as_tuple().exponent == 0 else format(value, "f")


def run_query(reader: Reader, sql: str, *, limit_rows: int | None) -> QueryResult:
    """Check a user's statement, lock the connection, run it; the reader can run further queries, and nothing else.

    Raises SqlRefusedError, UnknownTableError, AmbiguousNameError, MissingFileError, UnreachableFileError, or SqlError
    with DuckDB's own words for a statement that is wrong.
    """
    statement = _one_select(sql)
    catalog = _locked(reader)
    if _LISTING.search(sql):
        catalog.create_possible()
    catalog.create_mentioned(sql)
    try:
        return _run(reader, statement, catalog, limit_rows)
    except duckdb.CatalogException as error:
        unknown = _UNKNOWN_TABLE.search(str(error))
        if unknown is None or unknown[1].lower() not in {name.lower() for name in catalog.names()}:
            raise _sentence(error, catalog) from error
    except duckdb.Error as error:
        raise _sentence(error, catalog) from error
    # The name was put together by the statement itself, so it did not stand in its text.
    catalog.create_all()
    try:
        return _run(reader, statement, catalog, limit_rows)
    except duckdb.Error as error:
        raise _sentence(error, catalog) from error


def _run(reader: Reader, statement: duckdb.Statement, catalog: Catalog, limit_rows: int | None) -> QueryResult:
    relation = reader.connection.sql(statement)
    if limit_rows is not None:
        relation = relation.limit(limit_rows + 1)  # one more, to know that there are more
    return QueryResult(relation=relation, catalog=catalog, limit_rows=limit_rows)


def _one_select(sql: str) -> duckdb.Statement:
    """Return the one SELECT of a text. Raises SqlRefusedError for anything else, SqlError for what is not SQL."""
    if not is_utf8(sql):
        raise SqlError("read the query: it has bytes that are not UTF-8; type file names as the tables show them")
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise SqlError(f"read the query: {_plain(error)}") from error
    if len(statements) != 1:
        raise SqlRefusedError(f"run the query: it has {len(statements)} statements; {_USE}, give them one at a time")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = statements[0].type.name
        raise SqlRefusedError(
            f"run the query: it is {_article(kind)} {kind} statement; {_USE}, tables and files are changed by runs only"
        )
    return statements[0]


def _article(word: str) -> str:
    return "an" if word[0] in "AEIOU" else "a"


def _locked(reader: Reader) -> Catalog:
    """Lock the reader's connection for good, once, and return its catalog."""
    if reader.catalog is not None:
        return reader.catalog
    catalog = Catalog(reader.connection)
    paths = readable_paths(catalog.recorded)
    for setting in (
        f"allowed_paths = {list_literal({*paths, *map(exact_pattern, paths)})}",
        "python_enable_replacements = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        reader.connection.execute(f"SET {setting}")
    reader.catalog = catalog
    return catalog


def _sentence(error: Exception, catalog: Catalog) -> SqlError:
    """Return what went wrong in our words where we know better, in DuckDB's where we do not."""
    text = str(error)
    if unknown := _UNKNOWN_TABLE.search(text):
        return catalog.explain_unknown(unknown[1]) or _unknown_table(unknown[1], catalog)
    if isinstance(error, duckdb.PermissionException) or text.startswith("Permission Error"):
        return SqlRefusedError(f"run the query: {_plain(error)}; queries reach recorded files and tables only")
    if _LOCKED.search(text):
        return SqlRefusedError(f"run the query: {_plain(error)}; queries cannot change settings")
    function = _UNKNOWN_FUNCTION.search(text)
    if function and function[1].lower() in _ENVIRONMENT_FUNCTIONS:
        return SqlRefusedError(f"run the query: {function[1]} reads the environment; queries reach tables only")
    if isinstance(error, OSError | duckdb.IOException):
        return catalog.explain_unread() or SqlError(f"run the query: {_plain(error)}")
    return SqlError(f"run the query: {_plain(error)}")


def _unknown_table(name: str, catalog: Catalog) -> UnknownTableError:
    known = [*catalog.names(), *(table.name for table in TABLES)]
    nearest = get_close_matches(name, known, n=TABLES_SHOWN_MAX)
    shown = [*nearest, *(each for each in known if each not in nearest)][:TABLES_SHOWN_MAX]
    more = f" and {len(known) - len(shown):,} more, see `show tables`" if len(known) > len(shown) else ""
    return UnknownTableError(f"run the query: there is no table {name}; there are {', '.join(shown)}{more}")


def _plain(error: Exception) -> str:
    """Return DuckDB's message without its kind and without the picture of the query, with the columns that it knows."""
    first = str(error).partition("\n\nLINE ")[0].partition("\n")[0]
    nearest = _CANDIDATES.search(str(error))
    return (first.partition(" Error: ")[2] or first) + (f" The nearest are {nearest[1]}" if nearest else "")
