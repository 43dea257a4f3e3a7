"""Owns sealed segments: a closed segment as zstd frames that read like the raw file, beside its manifest.

    00000000000000000001.ndjson.zst    independent zstd frames of 1 MiB raw each, with checksums, and nothing else
    00000000000000000001.seal          the manifest, with the table of the frames

A frame is decompressed only after its header says exactly the size that the table implies, so no file can make us
allocate more than one frame. A raw byte is found by its offset alone: frame offset // 1 MiB.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Final

import zstandard
from msgspec import Struct

from eventlog.chain import ChainScan, Link, Segment, Waypoint, genesis_link, segment_path
from eventlog.errors import LogCorruptError
from eventlog.files import (
    created,
    opened_regular,
    read_small,
    remove_durably,
    sync_file,
    sync_folder,
    temporary,
    write_all,
    write_durably,
)
from eventlog.frames import RawFrame
from eventlog.fsport import OS_FS
from eventlog.ids import Instant, LogId
from eventlog.manifest import (
    FORMAT,
    FRAME_RAW_BYTES,
    SEGMENT_RAW_BYTES_MAX,
    TYPES_MAX,
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_digest,
)
from eventlog.merkle import CompactRange
from eventlog.note import SigningKey, VerifyingKey
from eventlog.records import misplaced_line
from eventlog.recovery import WHAT_TO_DO

LEVEL: Final = 3
_TYPE_KEY: Final = b'"type":"'


class SealStart(Struct, frozen=True, kw_only=True):
    """What a segment goes on from: the chain, the tree, and the manifest before it."""

    link: Link
    peaks: tuple[bytes, ...] = ()
    before: str = ""


def first_seal(genesis_hash: str) -> SealStart:
    """Return what the first segment of a log goes on from."""
    return SealStart(link=genesis_link(genesis_hash))


def seal_after(manifest: Manifest, data: bytes) -> SealStart:
    """Return what the segment behind a sealed one goes on from; `data` is the manifest's file."""
    link = Link(manifest.last_commit, manifest.last, manifest.hash, manifest.epoch, manifest.durable)
    return SealStart(link=link, peaks=manifest.tree().peaks, before=manifest_digest(data))


def sealed_path(folder: Path, *, first: int) -> Path:
    """Return the name of the sealed segment that begins with this seq."""
    return folder / f"{first:020d}.ndjson.zst"


def manifest_path(folder: Path, *, first: int) -> Path:
    """Return the name of the manifest of the segment that begins with this seq."""
    return folder / f"{first:020d}.seal"


# --- sealing --------------------------------------------------------------------------------------------------------


def seal_segment(folder: Path, *, log_id: LogId, start: SealStart, key: SigningKey | None) -> Manifest:
    """Seal the closed raw segment that goes on from `start`; returns when both files are durable. The raw file stays.

    What is sealed is what the disk holds: the segment is walked and proven, compressed, and compared byte by byte with
    what the compressed file gives back. Repeating it after a crash does it all again.
    Raises LogCorruptError if the segment is damaged or has changed meanwhile, OSError.
    """
    first = start.link.seq + 1
    raw, sealed = segment_path(folder, first=first), sealed_path(folder, first=first)
    sync_file(raw)
    beside = temporary(sealed)
    try:
        packed = _compress(raw, beside)
        holdings = _examine(Segment(path=raw, first=first, size=packed.raw_bytes), log_id, start)
        manifest = _manifest(log_id, start, holdings, packed, key)
        data = encode_manifest(manifest, key)
        decode_manifest(data)  # what could not be read back is never written
        _require_same(raw, beside, manifest)
        beside.rename(sealed)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(folder)
    write_durably(manifest_path(folder, first=first), data)
    return manifest


def drop_raw(folder: Path, *, first: int) -> None:
    """Remove the raw file of a sealed segment, after both files that stand for it were read back from the disk.

    Raises BadManifestError or LogCorruptError, with the raw file still there, if they do not stand for it.
    """
    manifest, _ = read_manifest(folder, first=first)
    _require_same(segment_path(folder, first=first), sealed_path(folder, first=first), manifest)
    remove_durably(segment_path(folder, first=first))


class _Packed(Struct, frozen=True, kw_only=True):
    raw_bytes: int
    raw_sha256: str
    frames: tuple[int, ...]
    zst_sha256: str


class _Holdings:
    """What a walk along a segment gathers."""

    def __init__(self, start: SealStart) -> None:
        self.tree = CompactRange(start.link.seq, start.peaks)
        self.types: dict[str, int] = {}
        self.times: list[Instant] = []  # the earliest and the latest
        self.link = start.link

    def add(self, raw: RawFrame) -> None:
        self.tree.extend(raw.lines)
        for line in raw.lines.split(b"\n")[:-1]:
            begin = line.index(_TYPE_KEY) + len(_TYPE_KEY)
            tag = line[begin : line.index(b'"', begin)].decode("utf-8", "replace")
            self.types[tag] = self.types.get(tag, 0) + 1
        times = [*self.times, raw.line.ts]
        self.times = [min(times), max(times)]


def _compress(raw: Path, beside: Path) -> _Packed:
    raw_hash, zst_hash = hashlib.sha256(), hashlib.sha256()
    compressor = zstandard.ZstdCompressor(
        level=LEVEL, write_checksum=True, write_content_size=True, write_dict_id=False
    )
    sizes: list[int] = []
    raw_bytes = 0
    with opened_regular(raw) as source, created(beside) as target:
        for piece in _pieces(source, raw):
            frame = compressor.compress(piece)
            raw_hash.update(piece)
            zst_hash.update(frame)
            write_all(target, frame)
            raw_bytes += len(piece)
            sizes.append(len(frame))
        os.fsync(target)
    return _Packed(
        raw_bytes=raw_bytes, raw_sha256=raw_hash.hexdigest(), frames=tuple(sizes), zst_sha256=zst_hash.hexdigest()
    )


def _pieces(fd: int, path: Path) -> Iterator[bytes]:
    """Yield a raw file in pieces of one frame each, the last one shorter."""
    size = os.fstat(fd).st_size
    if not 0 < size <= SEGMENT_RAW_BYTES_MAX:
        raise _damaged(path, f"it has {size} bytes, a segment has 1 to {SEGMENT_RAW_BYTES_MAX}")
    for offset in range(0, size, FRAME_RAW_BYTES):
        length = min(FRAME_RAW_BYTES, size - offset)
        piece = _exactly(fd, length, offset)
        if piece is None:
            raise _damaged(path, "it became shorter while it was read")
        yield piece


def _exactly(fd: int, size: int, offset: int) -> bytes | None:
    """Return `size` bytes at `offset`, None if the file ends before; a read may give less than was asked for."""
    pieces = bytearray()
    while len(pieces) < size:  # every round reads at least one byte or ends
        piece = os.pread(fd, size - len(pieces), offset + len(pieces))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)


def _examine(segment: Segment, log_id: LogId, start: SealStart) -> _Holdings:
    """Walk the segment and prove every frame of it. Raises LogCorruptError at the first that does not fit."""
    scan = ChainScan(log_id=log_id, segments=[segment], start=Waypoint(link=start.link, index=0, offset=0), fs=OS_FS)
    holdings = _Holdings(start)
    for raw in scan.frames():
        line = raw.line
        wrong = misplaced_line(raw.lines, first=line.first, last=line.last)
        if wrong is not None:
            raise _damaged(segment.path, f"commit {line.commit} holds {wrong[1]!r} where record {wrong[0]} must be")
        holdings.add(raw)
    if scan.gap is not None:
        raise _damaged(segment.path, f"at byte {scan.offset}: expected {scan.gap.expected}, found {scan.gap.actual}")
    if len(holdings.types) > TYPES_MAX:
        raise _damaged(segment.path, f"it holds {len(holdings.types)} types of records, at most {TYPES_MAX} can be")
    holdings.link = scan.link
    return holdings


def _manifest(
    log_id: LogId, start: SealStart, holdings: _Holdings, packed: _Packed, key: SigningKey | None
) -> Manifest:
    link, tree = holdings.link, holdings.tree
    return Manifest(
        format=FORMAT,
        log_id=log_id,
        first=start.link.seq + 1,
        last=link.seq,
        first_commit=start.link.commit + 1,
        last_commit=link.commit,
        prev=start.link.hash,
        hash=link.hash,
        epoch=link.epoch,
        durable=link.durable,
        ts_min=holdings.times[0],
        ts_max=holdings.times[-1],
        types=holdings.types,
        raw_bytes=packed.raw_bytes,
        raw_sha256=packed.raw_sha256,
        zst_bytes=sum(packed.frames),
        zst_sha256=packed.zst_sha256,
        frames=packed.frames,
        root=tree.root().hex(),
        peaks=tuple(peak.hex() for peak in tree.peaks),
        before=start.before,
        key=key.verifying.fingerprint if key is not None else "",
    )


def _require_same(raw: Path, sealed: Path, manifest: Manifest) -> None:
    """Raise LogCorruptError unless the sealed file gives back, from the disk, exactly the raw file."""
    _forget(sealed)
    _forget(raw)
    with opened_regular(raw) as fd, opened_sealed(sealed, manifest) as compressed:
        for piece, given_back in zip(_pieces(fd, raw), compressed.stream(), strict=False):
            if piece != given_back:
                raise _damaged(raw, "it is not what its sealed file gives back")
        if os.fstat(fd).st_size != compressed.size:
            raise _damaged(raw, f"it has {os.fstat(fd).st_size} bytes, its sealed file gives back {compressed.size}")


def _forget(path: Path) -> None:
    """Have the next read come from the disk, where the system lets us."""
    if hasattr(os, "posix_fadvise"):
        with opened_regular(path) as fd:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


# --- reading --------------------------------------------------------------------------------------------------------


def read_manifest(folder: Path, *, first: int, key: VerifyingKey | None = None) -> tuple[Manifest, bytes]:
    """Return the manifest of the segment that begins with `first`, and its file's bytes.

    Raises BadManifestError, BadSignatureError, OSError.
    """
    path = manifest_path(folder, first=first)
    data = read_small(path)
    manifest = decode_manifest(data, key=key)
    if manifest.first != first:
        raise _damaged(path, f"it is of the segment that begins with {manifest.first}")
    return manifest, data


class CompressedSegment:
    """An open sealed segment. Reads like the raw file; holds at most one decompressed frame."""

    def __init__(self, path: Path, fd: int, manifest: Manifest) -> None:
        self.size = manifest.raw_bytes
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
            raise _damaged(self._path, f"its {what} have SHA-256 {actual}, its manifest says {expected}")

    def _raw_frame(self, index: int) -> bytes:
        if self._held[0] != index:
            self._held = (index, self._unpack(index, self._packed_frame(index)))
        return self._held[1]

    def _packed_frame(self, index: int) -> bytes:
        offset, end = self._offsets[index], self._offsets[index + 1]
        packed = _exactly(self._fd, end - offset, offset)
        if packed is None:
            raise _damaged(self._path, f"it ends inside frame {index}")
        return packed

    def _unpack(self, index: int, packed: bytes) -> bytes:
        expected = min(FRAME_RAW_BYTES, self.size - index * FRAME_RAW_BYTES)
        try:
            header = zstandard.get_frame_parameters(packed)
            if (header.content_size, header.dict_id, header.has_checksum) != (expected, 0, True):
                raise _damaged(
                    self._path,
                    f"frame {index} announces {header.content_size} bytes, dictionary {header.dict_id} and "
                    f"{'a' if header.has_checksum else 'no'} checksum; it must be {expected} bytes, 0 and a checksum",
                )
            raw = zstandard.ZstdDecompressor(max_window_size=FRAME_RAW_BYTES).decompress(
                packed, max_output_size=expected, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise _damaged(self._path, f"frame {index} cannot be decompressed ({error})") from error
        if len(raw) != expected:
            raise _damaged(self._path, f"frame {index} holds {len(raw)} bytes, it must hold {expected}")
        return raw


@contextmanager
def opened_sealed(path: Path, manifest: Manifest) -> Iterator[CompressedSegment]:
    """Open a sealed segment for reading. Raises LogCorruptError if it has not the size that its manifest says."""
    with opened_regular(path) as fd:
        size = os.fstat(fd).st_size
        if size != manifest.zst_bytes:
            raise _damaged(path, f"it has {size} bytes, its manifest says {manifest.zst_bytes}")
        yield CompressedSegment(path, fd, manifest)


def _damaged(path: Path, why: str) -> LogCorruptError:
    return LogCorruptError(f"Use the segment {path}: {why}.", next_step=WHAT_TO_DO["CORRUPT"])
