"""Owns the rows of evtx_record_annotations."""

from typing import Any, Final, NamedTuple

import pyarrow as pa

from . import limits
from .layout import INT64_MAX
from .tables import batch_of

INFO: Final = 1
WARNING: Final = 3
ERROR: Final = 4


class Note(NamedTuple):
    """A note about the record at a position of its batch."""

    position: int
    note_type: str
    key: str
    value: str | None
    severity: int


class Notes:
    """The rows of evtx_record_annotations that wait for their batch."""

    def __init__(self, file_ref: str, schema: pa.Schema) -> None:
        self._schema = schema
        self._file_ref = file_ref
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        note_type: str,
        key: str,
        value: str | None,
        severity: int,
        *,
        chunk: int | None,
        offset: int,
        length: int,
        header_id: int | None = None,
        record_id: int | None = None,
    ) -> None:
        whole = header_id is not None and 0 <= header_id <= INT64_MAX
        row = {
            "event_record_id": record_id,
            "note_type": note_type,
            "note_key": key,
            "note_value": value if value is None else value[: limits.NOTE_CHARACTERS_MAX],
            "severity": severity,
            "file_ref": self._file_ref,
            "chunk_index": chunk,
            "record_offset": offset,
            "length": length,
            "header_record_id": header_id if whole else None,
        }
        self._rows.append(row)

    def take(self) -> pa.RecordBatch:
        rows, self._rows = self._rows, []
        return batch_of(rows, self._schema)
