"""Owns the account of a log: what was found, written and unreadable, and which bytes gave no row."""

from typing import Any, Final

from .decoding import sentence
from .layout import INT64_MAX, FileHeader

OUTPUT_VERSION: Final = "0.2.0"  # the same as `version` in casparian.toml

Statement = dict[str, Any]


class Account:
    """What the walk saw so far, and what became of it."""

    def __init__(self) -> None:
        self.found = 0
        self.written = 0
        self.unreadable = 0
        self.chunk_count = 0
        self.unreadable_chunks = 0
        self.slack_records = 0
        self._ranges: list[dict[str, Any]] = []

    def note_range(self, offset: int, length: int, reason: str) -> None:
        """Name bytes that gave no row."""
        self._ranges.append({"offset": offset, "length": length, "reason": sentence(reason)})

    def statement(self) -> Statement:
        return {
            "unit": "records",
            "output": "evtx_events",
            "found": self.found,
            "skipped": 0,
            "unreadable": self.unreadable,
            "ranges": sorted(self._ranges, key=lambda each: each["offset"]),
        }

    def file_row(self, header: FileHeader, *, size: int, file_ref: str, file_hash: str) -> dict[str, Any]:
        """Return the row of evtx_files; its counts are what the walk saw, not what the header says."""
        return {
            "file_size": size,
            "record_count": self.written,
            "chunk_count": self.chunk_count,
            "dirty": header.dirty,
            "header_next_record_id": header.next_record_id if header.next_record_id <= INT64_MAX else None,
            "unreadable": self.unreadable,
            "parser_output_version": OUTPUT_VERSION,
            "file_ref": file_ref,
            "file_hash": file_hash,
            "records_found": self.found,
            "unreadable_ranges": len(self._ranges),
            "unreadable_chunks": self.unreadable_chunks,
            "slack_records": self.slack_records,
            "header_chunk_count": header.chunk_count,
        }
