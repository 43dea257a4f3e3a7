"""Owns the tables of Windows event logs (EVTX): five in one decode, and a statement of what could not be read.

Guest code: it knows nothing of the host and needs only the standard library, pyarrow, msgspec, blake3 and evtx. The
layout of file, chunk and record follows the public description of libevtx, "Windows XML Event Log (EVTX) format".
docs/EVTX.md says what every column, note and number means.

Two readers look at every chunk. The walk (walk.py) reads headers by `struct` alone and says what is there: it is where
`found` comes from. The decoder (decoding.py, by way of `evtx`) says what the records mean. They are matched record by
record, in the order of the chunk, so that whatever the decoder leaves out has a place and a length.
"""

import io
from collections.abc import Generator
from pathlib import Path
from typing import Final

from blake3 import blake3

from .account import Statement
from .layout import FILE_HEADER_BYTES, FileHeader
from .limits import HASH_BYTES, WHOLE_BYTES_MAX
from .log import Log
from .settings import Options
from .tables import Batch, Tables

outputs = {
    "evtx_events": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": False},
            {"name": "timestamp", "type": "timestamp_utc", "nullable": False},
            {"name": "provider_name", "type": "string", "nullable": True},
            {"name": "provider_guid", "type": "string", "nullable": True},
            {"name": "provider_event_source_name", "type": "string", "nullable": True},
            {"name": "channel", "type": "string", "nullable": True},
            {"name": "computer", "type": "string", "nullable": True},
            {"name": "event_id", "type": "int64", "nullable": False},
            {"name": "event_qualifiers", "type": "int64", "nullable": True},
            {"name": "version", "type": "int64", "nullable": True},
            {"name": "level", "type": "int64", "nullable": True},
            {"name": "task", "type": "int64", "nullable": True},
            {"name": "opcode", "type": "int64", "nullable": True},
            {"name": "keywords_hex", "type": "string", "nullable": True},
            {"name": "execution_process_id", "type": "int64", "nullable": True},
            {"name": "execution_thread_id", "type": "int64", "nullable": True},
            {"name": "security_user_id", "type": "string", "nullable": True},
            {"name": "correlation_activity_id", "type": "string", "nullable": True},
            {"name": "correlation_related_activity_id", "type": "string", "nullable": True},
            {"name": "raw_event_json", "type": "string", "nullable": True},
            {"name": "raw_event_xml", "type": "string", "nullable": True},
            {"name": "header_record_id", "type": "int64", "nullable": False},
            {"name": "header_time", "type": "timestamp_utc", "nullable": True},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": False},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "record_length", "type": "int64", "nullable": False},
        ],
    },
    "evtx_eventdata_kv": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": False},
            {"name": "section", "type": "string", "nullable": False},
            {"name": "key", "type": "string", "nullable": False},
            {"name": "idx", "type": "int64", "nullable": False},
            {"name": "value_raw", "type": "string", "nullable": True},
            {"name": "value_type", "type": "string", "nullable": False},
            {"name": "value_int64", "type": "int64", "nullable": True},
            {"name": "value_bool", "type": "boolean", "nullable": True},
            {"name": "value_ts", "type": "timestamp_utc", "nullable": True},
            {"name": "value_bytes", "type": "binary", "nullable": True},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": False},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "header_record_id", "type": "int64", "nullable": False},
        ],
    },
    "evtx_userdata_kv": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": False},
            {"name": "section", "type": "string", "nullable": False},
            {"name": "key", "type": "string", "nullable": False},
            {"name": "idx", "type": "int64", "nullable": False},
            {"name": "value_raw", "type": "string", "nullable": True},
            {"name": "value_type", "type": "string", "nullable": False},
            {"name": "value_int64", "type": "int64", "nullable": True},
            {"name": "value_bool", "type": "boolean", "nullable": True},
            {"name": "value_ts", "type": "timestamp_utc", "nullable": True},
            {"name": "value_bytes", "type": "binary", "nullable": True},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": False},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "header_record_id", "type": "int64", "nullable": False},
        ],
    },
    "evtx_record_annotations": {
        "mode": "strict",
        "columns": [
            {"name": "event_record_id", "type": "int64", "nullable": True},
            {"name": "note_type", "type": "string", "nullable": False},
            {"name": "note_key", "type": "string", "nullable": False},
            {"name": "note_value", "type": "string", "nullable": True},
            {"name": "severity", "type": "int64", "nullable": False},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "chunk_index", "type": "int64", "nullable": True},
            {"name": "record_offset", "type": "int64", "nullable": False},
            {"name": "length", "type": "int64", "nullable": False},
            {"name": "header_record_id", "type": "int64", "nullable": True},
        ],
    },
    "evtx_files": {
        "mode": "strict",
        "columns": [
            {"name": "file_size", "type": "int64", "nullable": False},
            {"name": "record_count", "type": "int64", "nullable": False},
            {"name": "chunk_count", "type": "int64", "nullable": True},
            {"name": "dirty", "type": "boolean", "nullable": True},
            {"name": "header_next_record_id", "type": "int64", "nullable": True},
            {"name": "unreadable", "type": "int64", "nullable": False},
            {"name": "parser_output_version", "type": "string", "nullable": False},
            {"name": "file_ref", "type": "string", "nullable": False},
            {"name": "file_hash", "type": "string", "nullable": False},
            {"name": "records_found", "type": "int64", "nullable": False},
            {"name": "unreadable_ranges", "type": "int64", "nullable": False},
            {"name": "unreadable_chunks", "type": "int64", "nullable": False},
            {"name": "slack_records", "type": "int64", "nullable": False},
            {"name": "header_chunk_count", "type": "int64", "nullable": True},
        ],
    },
}

TABLES: Final = Tables(outputs)


def parse(path: str, settings: dict[str, str], source_hash: str | None = None) -> Generator[Batch, None, Statement]:
    """Yield the batches of all outputs in file order and return the statement of units.

    The unit is the record: found = rows of evtx_events + unreadable, and found is the number of record headers that
    the walk met. Ranges name the bytes that gave no row, sorted by offset; a range without a record header, such as an
    unreadable chunk, holds an unknown number of records and counts none. `source_hash` is the BLAKE3 of the file in
    hex if the caller knows it, else it is computed. Memory holds one chunk, or the whole of a small file, and one batch
    of each output. Raises PermanentError if the file is not an event log or a setting is unknown, OSError if it cannot
    be read.
    """
    options = Options.read(settings, TABLES.outputs)
    with Path(path).open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        stream = file if size > WHOLE_BYTES_MAX else io.BytesIO(file.read(WHOLE_BYTES_MAX))
        header = FileHeader.read(stream, size)
        log = Log(options, source_hash or _blake3(stream), header, size, TABLES)
        stream.seek(FILE_HEADER_BYTES)
        yield from log.chunks(stream)
    yield from log.rest()
    return log.statement()


def _blake3(stream: io.BufferedIOBase) -> str:
    stream.seek(0)
    hasher = blake3()
    piece = memoryview(bytearray(HASH_BYTES))
    while count := stream.readinto(piece):  # bounded by the size of the file
        hasher.update(piece[:count])
    return hasher.hexdigest()
