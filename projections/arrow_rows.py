"""Owns the way between typed rows and Arrow tables: whole columns at a time, instants as text on our side.

Instants stand in TIMESTAMPTZ columns. They go in as text, which DuckDB converts on insert, and come out as text, made
by DuckDB or, of an Arrow table, by Arrow: Python values for them need a package that is not a dependency.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import duckdb
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import astuple, fields

from projections.sql_text import identifier

R = TypeVar("R", bound=Struct)
Parameters = Mapping[str, str | int | None]

_ARROW: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
_INSTANT_TYPE = "TIMESTAMP WITH TIME ZONE"
_INSTANT_FORMAT_SQL = "%Y-%m-%dT%H:%M:%S.%fZ"
_INSTANT_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # %S of a microsecond column prints the microseconds


@cache
def arrow_schema_of(row: type[Struct]) -> pa.Schema:
    """Return the Arrow schema of a row type; text, whole numbers and booleans only."""
    hints = get_type_hints(row)
    return pa.schema([(field.name, _ARROW[_plain(hints[field.name])]) for field in fields(row)])


def _plain(hint: Any) -> type:
    """Return str, int or bool behind NewType, Literal and `| None`."""
    if isinstance(hint, NewType):
        return _plain(hint.__supertype__)
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])
    if get_origin(hint) in {Union, UnionType}:
        return _plain(next(each for each in get_args(hint) if each is not NoneType))
    assert hint in _ARROW, f"no column type for {hint!r}"
    return hint  # type: ignore[no-any-return]  # the assertion above says which types it can be


def table_of(rows: Sequence[R], row: type[R]) -> pa.Table:
    """Return rows as an Arrow table of `arrow_schema_of(row)`."""
    return table_of_values(map(astuple, rows), row)


def table_of_values(rows: Iterable[tuple[object, ...]], row: type[Struct]) -> pa.Table:
    """Return tuples, each the values of a row in the order of its fields, as an Arrow table; at least one."""
    schema = arrow_schema_of(row)
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [pa.array(c, type=t) for c, t in zip(columns, schema.types, strict=True)], schema=schema
    )


def with_text_instants(table: pa.Table) -> pa.Table:
    """Return the table with each timestamp column as text of fixed width, in UTC."""
    import pyarrow.compute as pc  # 40 ms, which `select` does not need

    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            # Without the zone first: Arrow would look it up in the machine's time zone database, which may be absent.
            naive = table.column(index).cast(pa.timestamp("us"))
            text = pc.strftime(naive, format=_INSTANT_FORMAT)  # type: ignore[arg-type]  # the stubs forget the zoneless
            table = table.set_column(index, field.name, text)
    return table


def select(
    connection: duckdb.DuckDBPyConnection, sql: str, row: type[R], parameters: Parameters | None = None
) -> list[R]:
    """Run one SELECT of ours with bound parameters and return its rows, in its order; its columns are the fields."""
    found = connection.sql(sql, params=dict(parameters)) if parameters else connection.sql(sql)
    names = found.columns
    told = [_told(name, str(kind)) for name, kind in zip(names, found.types, strict=True)]
    return [row(**dict(zip(names, values, strict=True))) for values in found.project(", ".join(told)).fetchall()]


def _told(name: str, kind: str) -> str:
    """Return the expression that gives a column's value as we have it: instants as text, the same as they went in."""
    column = identifier(name)
    if kind != _INSTANT_TYPE:
        return column
    return f"strftime(make_timestamp(epoch_us({column})), '{_INSTANT_FORMAT_SQL}') AS {column}"


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Make an Arrow table readable under a name while the block runs; the name belongs to this connection alone."""
    # Not unregistered after an error: inside a failed transaction that would fail too and hide the cause, and the
    # rollback takes the name away. Registering again replaces what an error outside a transaction leaves.
    connection.register(name, table)
    yield
    connection.unregister(name)
