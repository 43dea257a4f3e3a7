"""Owns sealing: a full segment is compressed, proven from the disk, vouched for by a manifest; then its raw file goes.

Nothing is renamed or removed before what stands for it is on the disk and was read back from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import zstandard
from msgspec import Struct
from msgspec.structs import replace

from eventlog.chain import ChainScan, Link, Segment, Waypoint, find_segment, genesis_link, list_segments, segment_path
from eventlog.checkpoint import origin
from eventlog.compressed import damaged, manifest_path, opened_sealed, read_exactly, read_manifest, sealed_path
from eventlog.files import (
    created,
    opened_regular,
    remove,
    remove_durably,
    sync_file,
    sync_folder,
    temporary,
    write_all,
    write_durably,
)
from eventlog.frames import RawFrame
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId
from eventlog.lineage import Lineage, alone
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
from eventlog.note import SigningKey
from eventlog.records import misplaced_line

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


def seal_segment(
    folder: Path, *, log_id: LogId, start: SealStart, key: SigningKey | None, fs: FsPort = OS_FS
) -> Manifest:
    """Seal the closed raw segment that goes on from `start`; returns when both files are durable. The raw file stays.

    What is sealed is what the disk holds: the segment is walked and proven, compressed, and compared byte by byte with
    what the compressed file gives back. Repeating it after a crash does it all again.
    Raises LogCorruptError if the segment is damaged or has changed meanwhile, OSError.
    """
    first = start.link.seq + 1
    raw, sealed = segment_path(folder, first=first), sealed_path(folder, first=first)
    sync_file(raw, fs=fs)
    beside = temporary(sealed)
    try:
        packed = _compress(raw, beside, fs)
        holdings = _examine(Segment(path=raw, first=first, size=packed.raw_bytes), log_id, start, fs)
        manifest = _manifest(log_id, start, holdings, packed, key)
        data = encode_manifest(manifest, key)
        decode_manifest(data)  # what could not be read back is never written
        _require_same(raw, beside, manifest, fs)
        fs.rename(beside, sealed)
    finally:
        remove(beside, fs=fs)
    sync_folder(folder, fs=fs)
    write_durably(manifest_path(folder, first=first), data, fs=fs)
    return manifest


def drop_raw(folder: Path, *, first: int, fs: FsPort = OS_FS) -> None:
    """Remove the raw file of a sealed segment, after both files that stand for it were read back from the disk.

    Raises BadManifestError or LogCorruptError, with the raw file still there, if they do not stand for it.
    """
    manifest, _ = read_manifest(folder, first=first, fs=fs)
    _require_same(segment_path(folder, first=first), sealed_path(folder, first=first), manifest, fs)
    remove_durably(segment_path(folder, first=first), fs=fs)


def seal_full_segments(
    folder: Path,
    *,
    lineage: Lineage,
    key: SigningKey | None,
    leave: Callable[[], bool],
    fs: FsPort = OS_FS,
) -> int:
    """Seal every segment but the last, which is the writer's; return how many were sealed now.

    In order, each raw file removed before the next segment is looked at: so a raw file beside its sealed form is what a
    crash left, and is sealed again. `leave` is asked before each. The key signs what is of the life it is named for.
    Raises LogCorruptError, BadManifestError if a segment is damaged, with its files as they were, and OSError.
    """
    start, sealed = first_seal(lineage.lives[0].genesis), 0
    unproven: list[tuple[Segment, LogId, SealStart]] = []  # sealed by nobody, and no signed manifest stands behind them
    for segment in list_segments(folder, fs=fs)[:-1]:
        if leave():
            break
        entered = lineage.entered(start.link)
        if segment.problem or entered is None:
            why = f"commit {start.link.commit} before it is not where an earlier life ended"
            raise damaged(segment.path, segment.problem or why)
        life, link = entered
        start = replace(start, link=link)
        ours = key if key is not None and key.verifying.name == origin(life.log_id) else None
        if segment.manifest is None:
            if ours is not None:
                _prove(unproven, fs)
                unproven.clear()
            seal_segment(folder, log_id=life.log_id, start=start, key=ours, fs=fs)
            drop_raw(folder, first=segment.first, fs=fs)
            sealed += 1
        manifest, data = read_manifest(folder, first=segment.first, key=ours.verifying if ours else None, fs=fs)
        if manifest.before != start.before:
            raise damaged(segment.path, "the manifest before it is not the one that it vouches for")
        if manifest.key:
            unproven.clear()
        else:
            unproven.append((find_segment(folder, first=segment.first, fs=fs), life.log_id, start))
        start = seal_after(manifest, data)
    return sealed


def _prove(unproven: Sequence[tuple[Segment, LogId, SealStart]], fs: FsPort) -> None:
    """Raise LogCorruptError unless unsigned manifests say what their segments hold: a key vouches for all before it."""
    for segment, log_id, start in unproven:
        manifest = segment.manifest
        assert manifest is not None
        tree = _examine(segment, log_id, start, fs).tree
        if tree.root().hex() != manifest.root or tuple(peak.hex() for peak in tree.peaks) != manifest.peaks:
            raise damaged(segment.path, "its manifest names another root than its records have")


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


def _compress(raw: Path, beside: Path, fs: FsPort) -> _Packed:
    raw_hash, zst_hash = hashlib.sha256(), hashlib.sha256()
    compressor = zstandard.ZstdCompressor(
        level=LEVEL, write_checksum=True, write_content_size=True, write_dict_id=False
    )
    sizes: list[int] = []
    raw_bytes = 0
    with opened_regular(raw, fs=fs) as source, created(beside, fs=fs) as target:
        for piece in _pieces(source, raw, fs):
            frame = compressor.compress(piece)
            raw_hash.update(piece)
            zst_hash.update(frame)
            write_all(target, frame, fs=fs)
            raw_bytes += len(piece)
            sizes.append(len(frame))
        fs.sync(target)
    return _Packed(
        raw_bytes=raw_bytes, raw_sha256=raw_hash.hexdigest(), frames=tuple(sizes), zst_sha256=zst_hash.hexdigest()
    )


def _pieces(fd: int, path: Path, fs: FsPort) -> Iterator[bytes]:
    """Yield a raw file in pieces of one frame each, the last one shorter."""
    size = fs.fstat(fd).st_size
    if not 0 < size <= SEGMENT_RAW_BYTES_MAX:
        raise damaged(path, f"it has {size} bytes, a segment has 1 to {SEGMENT_RAW_BYTES_MAX}")
    for offset in range(0, size, FRAME_RAW_BYTES):
        length = min(FRAME_RAW_BYTES, size - offset)
        piece = read_exactly(fd, length, offset, fs=fs)
        if piece is None:
            raise damaged(path, "it became shorter while it was read")
        yield piece


def _examine(segment: Segment, log_id: LogId, start: SealStart, fs: FsPort) -> _Holdings:
    """Walk the segment and prove every frame of it. Raises LogCorruptError at the first that does not fit."""
    scan = ChainScan(
        lineage=alone(log_id), segments=[segment], start=Waypoint(link=start.link, index=0, offset=0), fs=fs
    )
    holdings = _Holdings(start)
    for raw in scan.frames():
        line = raw.line
        wrong = misplaced_line(raw.lines, first=line.first, last=line.last)
        if wrong is not None:
            raise damaged(segment.path, f"commit {line.commit} holds {wrong[1]!r} where record {wrong[0]} must be")
        holdings.add(raw)
    if scan.gap is not None and scan.offset < segment.size:  # at its end, a sealed one misses its successor alone
        raise damaged(segment.path, f"at byte {scan.offset}: expected {scan.gap.expected}, found {scan.gap.actual}")
    if len(holdings.types) > TYPES_MAX:
        raise damaged(segment.path, f"it holds {len(holdings.types)} types of records, at most {TYPES_MAX} can be")
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


def _require_same(raw: Path, sealed: Path, manifest: Manifest, fs: FsPort) -> None:
    """Raise LogCorruptError unless the sealed file gives back, from the disk, exactly the raw file."""
    for path in (sealed, raw):
        with opened_regular(path, fs=fs) as fd:
            fs.forget(fd)
    with opened_regular(raw, fs=fs) as fd, opened_sealed(sealed, manifest, fs=fs) as compressed:
        for piece, given_back in zip(_pieces(fd, raw, fs), compressed.stream(), strict=False):
            if piece != given_back:
                raise damaged(raw, "it is not what its sealed file gives back")
        if fs.fstat(fd).st_size != compressed.size:
            raise damaged(raw, f"it has {fs.fstat(fd).st_size} bytes, its sealed file gives back {compressed.size}")
