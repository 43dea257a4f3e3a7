"""Owns the shape of outputs: their columns, the canonical hash of both, and the columns that the host adds."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from eventlog.column_types import ColumnType
from eventlog.ids import OutputName, SchemaHash, canonical_hash
from eventlog.redact import ByPart, Public

# strict: exactly the declared columns in their order. allow_extra: further columns may come, are not kept, and are
# named. allow_missing_optional: a nullable column may be left out, is filled with nulls, and is named.
ShapeMode = Literal["strict", "allow_extra", "allow_missing_optional"]


class Column(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A declared column. `format` says how text is read as the type, see executors/validate.py; "" for not at all."""

    name: Public[str]
    type: Public[ColumnType]
    nullable: Public[bool] = True
    format: Public[str] = ""


class OutputSchema(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One declared output of a parser: its columns in order. The host's lineage columns are not part of it."""

    output: Public[OutputName]
    columns: ByPart[tuple[Column, ...]]
    mode: Public[ShapeMode] = "strict"


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
    """Return the identity of an output's shape: names, types, nullability and formats, in order."""
    return SchemaHash(canonical_hash(schema.output, [_identity(column) for column in schema.columns]))


def _identity(column: Column) -> list[object]:
    # A format is added only where there is one: shapes without keep the hash that they were recorded with.
    formats = [column.format] if column.format else []
    return [column.name, msgspec.to_builtins(column.type), column.nullable, *formats]
