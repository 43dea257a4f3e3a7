"""Owns reading sealed segments: zstd frames that read like the raw file, beside their manifest.

    00000000000000000001.ndjson.zst    independent zstd frames of 1 MiB raw each, with checksums, and nothing else
    00000000000000000001.seal          the manifest, with the table of the frames

A frame is decompressed only after its header says exactly the size that the table implies, so no file can make us
allocate more than one frame. A raw byte is found by its offset alone: frame offset // 1 MiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import zstandard

from eventlog.errors import LogCorruptError
from eventlog.files import opened_regular, read_small
from eventlog.fsport import OS_FS, FsPort
from eventlog.manifest import FRAME_RAW_BYTES, Manifest, decode_manifest
from eventlog.note import VerifyingKey
from eventlog.verdict import WHAT_TO_DO


def sealed_path(folder: Path, *, first: int) -> Path:
    """Return the name of the sealed segment that begins with this seq."""
    return folder / f"{first:020d}.ndjson.zst"


def manifest_path(folder: Path, *, first: int) -> Path:
    """Return the name of the manifest of the segment that begins with this seq."""
    return folder / f"{first:020d}.seal"


def read_manifest(
    folder: Path, *, first: int, key: VerifyingKey | None = None, fs: FsPort = OS_FS
) -> tuple[Manifest, bytes]:
    """Return the manifest of the segment that begins with `first`, and its file's bytes.

    Raises BadManifestError, BadSignatureError, OSError.
    """
    path = manifest_path(folder, first=first)
    data = read_small(path, fs=fs)
    manifest = decode_manifest(data, key=key)
    if manifest.first != first:
        raise damaged(path, f"it is of the segment that begins with {manifest.first}")
    return manifest, data


class CompressedSegment:
    """An open sealed segment. Reads like the raw file; holds at most one decompressed frame."""

    def __init__(self, path: Path, fd: int, manifest: Manifest, fs: FsPort) -> None:
        self.size = manifest.raw_bytes
        self._fs = fs
        self._path = path
        self._fd = fd
        self._manifest = manifest
        self._offsets = (0, *accumulate(manifest.frames))
        self._held: tuple[int, bytes] = (-1, b"")

    def pread(self, size: int, offset: int) -> bytes:
        """Return the raw bytes at `offset`, fewer than `size` only at the end. Raises LogCorruptError."""
        end = min(offset + size, self.size)
        pieces: list[bytes] = []
        while offset < end:  # one round for each frame touched
            index, inside = divmod(offset, FRAME_RAW_BYTES)
            piece = self._raw_frame(index)[inside : inside + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def stream(self) -> Iterator[bytes]:
        """Yield the raw bytes frame by frame; raises LogCorruptError, at the end if only the whole does not fit."""
        raw_hash, zst_hash = hashlib.sha256(), hashlib.sha256()
        for index in range(len(self._manifest.frames)):
            packed = self._packed_frame(index)
            raw = self._unpack(index, packed)
            zst_hash.update(packed)
            raw_hash.update(raw)
            yield raw
        self._require("compressed bytes", zst_hash.hexdigest(), self._manifest.zst_sha256)
        self._require("raw bytes", raw_hash.hexdigest(), self._manifest.raw_sha256)

    def _require(self, what: str, actual: str, expected: str) -> None:
        if actual != expected:
            raise damaged(self._path, f"its {what} have SHA-256 {actual}, its manifest says {expected}")

    def _raw_frame(self, index: int) -> bytes:
        if self._held[0] != index:
            self._held = (index, self._unpack(index, self._packed_frame(index)))
        return self._held[1]

    def _packed_frame(self, index: int) -> bytes:
        offset, end = self._offsets[index], self._offsets[index + 1]
        packed = read_exactly(self._fd, end - offset, offset, fs=self._fs)
        if packed is None:
            raise damaged(self._path, f"it ends inside frame {index}")
        return packed

    def _unpack(self, index: int, packed: bytes) -> bytes:
        expected = min(FRAME_RAW_BYTES, self.size - index * FRAME_RAW_BYTES)
        try:
            header = zstandard.get_frame_parameters(packed)
            if (header.content_size, header.dict_id, header.has_checksum) != (expected, 0, True):
                raise damaged(
                    self._path,
                    f"frame {index} announces {header.content_size} bytes, dictionary {header.dict_id} and "
                    f"{'a' if header.has_checksum else 'no'} checksum; it must be {expected} bytes, 0 and a checksum",
                )
            raw = zstandard.ZstdDecompressor(max_window_size=FRAME_RAW_BYTES).decompress(
                packed, max_output_size=expected, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise damaged(self._path, f"frame {index} cannot be decompressed ({error})") from error
        if len(raw) != expected:
            raise damaged(self._path, f"frame {index} holds {len(raw)} bytes, it must hold {expected}")
        return raw


@contextmanager
def opened_sealed(path: Path, manifest: Manifest, *, fs: FsPort = OS_FS) -> Iterator[CompressedSegment]:
    """Open a sealed segment for reading. Raises LogCorruptError if it has not the size that its manifest says."""
    with opened_regular(path, fs=fs) as fd:
        size = fs.fstat(fd).st_size
        if size != manifest.zst_bytes:
            raise damaged(path, f"it has {size} bytes, its manifest says {manifest.zst_bytes}")
        yield CompressedSegment(path, fd, manifest, fs)


def damaged(path: Path, why: str) -> LogCorruptError:
    return LogCorruptError(f"Use the segment {path}: {why}.", next_step=WHAT_TO_DO["CORRUPT"])


def read_exactly(fd: int, size: int, offset: int, *, fs: FsPort) -> bytes | None:
    """Return `size` bytes at `offset`, None if the file ends before; a read may give less than was asked for."""
    pieces = bytearray()
    while len(pieces) < size:  # every round reads at least one byte or ends
        piece = fs.read(fd, size - len(pieces), offset + len(pieces))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)
