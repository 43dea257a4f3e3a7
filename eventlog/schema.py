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

# What stands beside the data columns of rejected rows. The data columns are all text there: what was given, as it was.
QUARANTINE_COLUMNS: tuple[Column, ...] = (
    # What is wrong with the row, all of it.
    Column(name="_error_msg", type="string", nullable=False),
    # In one word: schema, null_not_allowed, parser or unknown.
    Column(name="_violation_type", type="string", nullable=False),
    # The first rule that the row broke: column.code.
    Column(name="_rule_id", type="string", nullable=False),
    # The row's place in the source (a line number, say), where the parser gives one; else null.
    Column(name="_source_row", type="int64", nullable=True),
    # The row's place in what the parser gave for this output, from 0, where there is no _source_row; else null.
    Column(name="_output_row_index", type="int64", nullable=True),
    # The job that read it.
    Column(name="_cf_job_id", type="string", nullable=False),
    # BLAKE3 of the bytes of the file that the row was read from.
    Column(name="_cf_source_hash", type="string", nullable=False),
    # The version that the parser states of itself.
    Column(name="_cf_parser_version", type="string", nullable=False),
)
QUARANTINE_SUFFIX = "_quarantine"

RESERVED_NAMES = frozenset(column.name for column in QUARANTINE_COLUMNS)


def is_reserved(name: str) -> bool:
    """Say whether a column of a parser may not have this name, in any mixture of cases: it is the host's."""
    return name.casefold().startswith(RESERVED_PREFIXES) or name.casefold() in RESERVED_NAMES


def quarantine_schema(schema: OutputSchema) -> OutputSchema:
    """Return the shape of an output's rejected rows: its columns as text, then what is wrong with them."""
    columns = (Column(name=column.name, type="string") for column in schema.columns)
    name = OutputName(schema.output + QUARANTINE_SUFFIX)
    return OutputSchema(output=name, columns=(*columns, *QUARANTINE_COLUMNS))


def schema_hash(schema: OutputSchema) -> SchemaHash:
    """Return the identity of an output's shape: names, types, nullability and formats, in order."""
    return SchemaHash(canonical_hash(schema.output, [_identity(column) for column in schema.columns]))


def _identity(column: Column) -> list[object]:
    # A format is added only where there is one: shapes without keep the hash that they were recorded with.
    formats = [column.format] if column.format else []
    return [column.name, msgspec.to_builtins(column.type), column.nullable, *formats]
