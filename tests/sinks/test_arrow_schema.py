"""That every declared type has one Arrow form, and that it agrees with the DuckDB form."""

from __future__ import annotations

from typing import get_args

import duckdb
import pyarrow as pa
import pytest

from eventlog.schema import DUCKDB_TYPES, LINEAGE_COLUMNS, Column, PrimitiveType
from sinks.arrow_schema import arrow_schema, arrow_type, artifact_schema
from tests.sinks.artifacts import SCHEMA, identity

TYPES: tuple[PrimitiveType, ...] = get_args(PrimitiveType)


def test_declared_types_map_to_these_arrow_types() -> None:
    assert {name: arrow_type(Column(name="x", type=name)) for name in TYPES} == {
        "boolean": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "timestamp_utc": pa.timestamp("us", tz="UTC"),
    }


@pytest.mark.parametrize("name", TYPES)
def test_duckdb_takes_the_arrow_type_for_the_declared_one(name: PrimitiveType) -> None:
    table = arrow_schema([Column(name="x", type=name)]).empty_table()
    with duckdb.connect() as connection:
        connection.register("seen", table)
        [described] = connection.execute("DESCRIBE SELECT x FROM seen").fetchall()
        [declared] = connection.execute(f"DESCRIBE SELECT NULL::{DUCKDB_TYPES[name]} AS x").fetchall()
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
