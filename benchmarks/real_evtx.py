"""Owns the making of many real-shaped logs from few: the public logs, each copy with content of its own.

A copy gets another computer name of the same length, every FILETIME of a record moved (in its header and where the same
eight bytes stand among its values), its ids moved, and its checksums made anew, so that no two files are duplicates.
Damaged public logs are left out: what is measured is speed. The logs never enter the repository.
"""

from __future__ import annotations

import json
import os
import random
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

FILE_HEADER_BYTES: Final = 4096
CHUNK_BYTES: Final = 65536
CHUNK_HEADER_BYTES: Final = 512
ID_STEP: Final = 1_000_000
TICKS_PER_DAY: Final = 864_000_000_000
COPIES_MAX: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{3,62}")
_COMPUTER: Final = re.compile(rb'"Computer":"([^"]{4,63})"')


class _Source(NamedTuple):
    path: Path
    data: bytes
    computers: tuple[str, ...]
    records: int


def real_data() -> Path:
    """Return where the public data is, or would be."""
    return Path(os.environ.get("CASPARIAN_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def multiply(folder: Path, *, bytes_total: int, seed: int = 1) -> int:
    """Fill the folder with copies of the public logs until they have `bytes_total` bytes; return their records.

    Copies are made a round at a time: all logs once, then all again with other content. Raises FileNotFoundError.
    """
    sources = list(_sources())
    left, records = bytes_total, 0
    for copy in range(COPIES_MAX):
        chance = random.Random(f"{seed}/{copy}")
        for source in sources:
            if left <= 0:
                return records
            target = folder / f"HOST{copy:04}" / source.path.parent.name / source.path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_changed(source, copy + 1, chance))
            left -= len(source.data)
            records += source.records
    return records


def _sources() -> Iterator[_Source]:
    from evtx import PyEvtxParser

    truth = real_data() / "evtx.truth.ndjson"
    for line in truth.read_text().splitlines():
        entry = json.loads(line)
        path = real_data() / entry["file"]
        if path.parent.name == "dirty":
            continue
        decoded: Any = PyEvtxParser(str(path), 1).records_json()
        names = {
            found[1].decode()
            for record in decoded
            if (found := _COMPUTER.search(record["data"].encode())) and _NAME.fullmatch(found[1].decode())
        }
        yield _Source(path, path.read_bytes(), tuple(sorted(names)), entry["truth"]["records"])


def _changed(source: _Source, number: int, chance: random.Random) -> bytes:
    """Return the log with the content of copy `number`."""
    text = source.data
    for name in source.computers:
        other = "".join(chance.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") if c.isalnum() else c for c in name)
        text = text.replace(name.encode("utf-16-le"), other.encode("utf-16-le"))
    data = bytearray(text)
    shift = chance.randrange(1, 300 * TICKS_PER_DAY)
    for offset in range(FILE_HEADER_BYTES, len(data) - CHUNK_BYTES + 1, CHUNK_BYTES):
        if data.startswith(b"ElfChnk\0", offset):
            chunk = data[offset : offset + CHUNK_BYTES]
            _change_chunk(chunk, number * ID_STEP, shift)
            data[offset : offset + CHUNK_BYTES] = chunk
    (next_id,) = struct.unpack_from("<Q", data, 24)
    struct.pack_into("<Q", data, 24, next_id + number * ID_STEP)
    struct.pack_into("<I", data, 124, zlib.crc32(data[:120]))
    return bytes(data)


def _change_chunk(chunk: bytearray, ids: int, shift: int) -> None:
    (free,) = struct.unpack_from("<I", chunk, 48)
    start = CHUNK_HEADER_BYTES
    while start + 28 <= free:  # moves on by a record
        _, size, record_id, filetime = struct.unpack_from("<4sIQQ", chunk, start)
        old, new = struct.pack("<Q", filetime), struct.pack("<Q", filetime + shift)
        struct.pack_into("<Q", chunk, start + 8, record_id + ids)
        if filetime:
            record = chunk[start + 16 : start + size].replace(old, new)
            chunk[start + 16 : start + size] = record
        start += size
    if start > CHUNK_HEADER_BYTES:
        numbers = struct.unpack_from("<4Q", chunk, 8)
        struct.pack_into("<4Q", chunk, 8, *(each + ids for each in numbers))
    struct.pack_into("<I", chunk, 52, zlib.crc32(chunk[CHUNK_HEADER_BYTES:free]))
    struct.pack_into("<I", chunk, 124, zlib.crc32(chunk[128:512], zlib.crc32(chunk[:120])))
