"""Owns the layout of the format: the header of a file, the slots of its chunks, and the sizes of what is in them."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from msgspec import Struct

from .errors import PermanentError

FILE_HEADER_BYTES: Final = 4096
CHUNK_BYTES: Final = 65536
CHUNK_HEADER_BYTES: Final = 512
INT64_MAX: Final = 2**63 - 1
FILE_MAGIC: Final = b"ElfFile\0"
CHUNK_MAGIC: Final = b"ElfChnk\0"
RECORD_MAGIC: Final = b"\x2a\x2a\0\0"
RECORD_HEADER: Final = struct.Struct("<4sIQQ")  # magic, size, id, FILETIME
RECORD_HEADER_BYTES: Final = 24
RECORD_BYTES_MIN: Final = 28
CHUNK_FIELDS: Final = struct.Struct("<8sQQQQIIII")  # magic, numbers, ids, header size, last record, free, checksum
EMPTY_SLOT: Final = bytes(CHUNK_BYTES)


class FileHeader(Struct, frozen=True, kw_only=True):
    dirty: bool
    next_record_id: int
    chunk_count: int
    sound: bool  # its checksum is right

    @classmethod
    def read(cls, stream: BinaryIO, size: int) -> "FileHeader":
        """Read the header. Raises PermanentError if it is no event log."""
        head = stream.read(FILE_HEADER_BYTES)
        if len(head) < FILE_HEADER_BYTES:
            held = "is empty (0 bytes)" if size == 0 else f"has {size} bytes"
            raise _not_evtx(f"the file {held}; an EVTX file starts with a {FILE_HEADER_BYTES:,}-byte header")
        if not head.startswith(FILE_MAGIC):
            raise _not_evtx(f"the file starts with {head[:8]!r}; an EVTX file starts with {FILE_MAGIC!r}")
        (next_record_id,) = struct.unpack_from("<Q", head, 24)
        (chunk_count,) = struct.unpack_from("<H", head, 42)
        flags, checksum = struct.unpack_from("<II", head, 120)
        return cls(
            dirty=bool(flags & 1),
            next_record_id=next_record_id,
            chunk_count=chunk_count,
            sound=checksum == zlib.crc32(head[:120]),
        )


def _not_evtx(reason: str) -> PermanentError:
    hint = "Look at the file itself; if it was cut while it was copied, copy it again from its source."
    return PermanentError(reason, kind="not_evtx", hint=hint)


def slots(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each chunk slot up to the end of the file; the last one may be short."""
    offset = FILE_HEADER_BYTES
    while slot := stream.read(CHUNK_BYTES):  # bounded by the size of the file
        yield offset, slot
        offset += len(slot)
