"""Owns the type system of columns: names, their canonical hash, and the one table that maps them to engines.

Shape and words follow behaviour 1.9: primitives are plain strings, parameterised types are objects. Only what an
output declares today is listed; a type that is not listed is refused when the parser is deployed.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eventlog.ids import OutputName, SchemaHash, canonical_hash
from eventlog.redact import ByPart, Public

PrimitiveType = Literal["boolean", "int64", "float64", "string", "binary", "timestamp_utc"]

# timestamp_utc is timestamp_tz with the zone UTC: microseconds, an instant.
DUCKDB_TYPES: dict[PrimitiveType, str] = {
    "boolean": "BOOLEAN",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "timestamp_utc": "TIMESTAMPTZ",
}


class Column(Struct, frozen=True, kw_only=True):
    name: Public[str]
    type: Public[PrimitiveType]
    nullable: Public[bool] = True


class OutputSchema(Struct, frozen=True, kw_only=True):
    """One declared output of a parser: its columns in order. The host's lineage columns are not part of it."""

    output: Public[OutputName]
    columns: ByPart[tuple[Column, ...]]


# Added by the host after the data columns; a parser that supplies one of them is refused (anti-spoofing).
# The comments are the columns' meanings in docs/TABLES.md.
LINEAGE_COLUMNS: tuple[Column, ...] = (
    # BLAKE3 of the bytes of the file that the row was read from.
    Column(name="_cf_source_hash", type="string", nullable=False),
    # The job that read it; `casparian explain job ID` tells the rest.
    Column(name="_cf_job_id", type="string", nullable=False),
    # When the job was dispatched: the same for all rows of a job.
    Column(name="_cf_processed_at", type="timestamp_utc", nullable=False),
    # The version that the parser states of itself.
    Column(name="_cf_parser_version", type="string", nullable=False),
    # The row's place in this output of the job, from 0.
    Column(name="_cf_row_seq", type="int64", nullable=False),
    # Hash of the approved schema, null before approval.
    Column(name="_cf_contract", type="string", nullable=True),
)

RESERVED_PREFIXES = ("_cf_", "__cf_")


def schema_hash(schema: OutputSchema) -> SchemaHash:
    """Return the identity of an output's shape: names, types, nullability, order."""
    return SchemaHash(
        canonical_hash(schema.output, [[column.name, column.type, column.nullable] for column in schema.columns])
    )
