"""That every declared type has one Arrow form, and that it agrees with the DuckDB form."""

from __future__ import annotations

from typing import get_args

import duckdb
import pyarrow as pa
import pytest

from eventlog.column_types import (
    ColumnType,
    DecimalType,
    ListType,
    PrimitiveType,
    StructField,
    StructType,
    TimestampTzType,
    arrow_type,
    duckdb_type,
)
from eventlog.schema import LINEAGE_COLUMNS, Column
from sinks.arrow_schema import arrow_schema, artifact_schema
from tests.sinks.artifacts import SCHEMA, identity

PRIMITIVES: tuple[PrimitiveType, ...] = get_args(PrimitiveType)
PRICE = DecimalType(precision=38, scale=10)
TYPES: tuple[ColumnType, ...] = (
    *PRIMITIVES,
    PRICE,
    DecimalType(precision=1, scale=1),
    TimestampTzType(tz="Europe/Berlin"),
    ListType(item=PRICE),
    StructType(fields=(StructField(name='a "b"', type="int64"), StructField(name="c", type=ListType(item="date")))),
)


def test_declared_types_map_to_these_arrow_types() -> None:
    assert {name: arrow_type(name) for name in PRIMITIVES} == {
        "boolean": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "timestamp_utc": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
    }
    assert arrow_type(PRICE) == pa.decimal128(38, 10)
    assert arrow_type(ListType(item=TimestampTzType(tz="Asia/Tokyo"))) == pa.list_(pa.timestamp("us", tz="Asia/Tokyo"))


@pytest.mark.parametrize("name", TYPES)
def test_duckdb_takes_the_arrow_type_for_the_declared_one(name: ColumnType) -> None:
    table = arrow_schema([Column(name="x", type=name)]).empty_table()
    with duckdb.connect() as connection:
        connection.register("seen", table)
        [described] = connection.execute("DESCRIBE SELECT x FROM seen").fetchall()
        [declared] = connection.execute(f"DESCRIBE SELECT NULL::{duckdb_type(name)} AS x").fetchall()
    assert described[1] == declared[1]


def test_schema_keeps_order_and_nullability() -> None:
    schema = arrow_schema(LINEAGE_COLUMNS)
    assert schema.names == [column.name for column in LINEAGE_COLUMNS]
    assert [field.nullable for field in schema] == [column.nullable for column in LINEAGE_COLUMNS]


def test_artifact_schema_has_the_same_fields_and_only_our_metadata() -> None:
    stored = artifact_schema(SCHEMA.with_metadata({"pandas": "no"}), identity())
    assert stored.equals(SCHEMA)
    assert stored.metadata is not None
    assert all(name.startswith(b"casparian.") for name in stored.metadata)
