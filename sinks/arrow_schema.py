"""Owns the Arrow form of declared columns, and the schema that an artifact is stored with. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pyarrow as pa

from eventlog.column_types import arrow_type
from eventlog.schema import Column
from sinks.sink import ArtifactIdentity

METADATA_PREFIX: Final = "casparian."


def arrow_field(column: Column) -> pa.Field[pa.DataType]:
    """Return the Arrow field of a column, nullable as declared."""
    return pa.field(column.name, arrow_type(column.type), nullable=column.nullable)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of the columns, in their order."""
    return pa.schema([arrow_field(column) for column in columns])


def artifact_metadata(identity: ArtifactIdentity) -> dict[str, str]:
    """Return what an artifact says of itself, every name prefixed with `casparian.`.

    Raises ValueError if a further fact would replace one of the identity's own.
    """
    own = {
        "log_id": identity.log_id,
        "job": str(identity.job),
        "attempt": str(identity.attempt),
        "output": identity.output,
        "schema_hash": identity.schema_hash,
    }
    further = {name.removeprefix(METADATA_PREFIX): value for name, value in identity.metadata.items()}
    if taken := sorted(own.keys() & further.keys()):
        raise ValueError(
            f"describe output {identity.output}: {', '.join(taken)} is the artifact's own; rename the fact"
        )
    return {f"{METADATA_PREFIX}{name}": value for name, value in (own | further).items()}


def artifact_schema(schema: pa.Schema, identity: ArtifactIdentity) -> pa.Schema:
    """Return the schema to store: the same fields, and our metadata in place of any that a guest sent along."""
    metadata: dict[bytes | str, bytes | str] = dict(artifact_metadata(identity).items())
    return pa.schema(list(schema), metadata=metadata)
