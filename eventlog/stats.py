"""Owns the measure of a log: what each segment holds and takes on the disk, and what the records are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from eventlog.chain import ChainScan, Link, Segment, Waypoint, list_segments
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId
from eventlog.lineage import Lineage
from eventlog.recovery import require_lineage

if TYPE_CHECKING:
    from eventlog.manifest import Manifest

_TAG: Final = re.compile(rb'^\{"seq":[0-9]+,"type":"([^"]*)"', re.MULTILINE)


class SegmentStats(Struct, frozen=True, kw_only=True):
    """One segment. `stored_bytes` is what its file takes without zeros written ahead; `problem` says why nothing of it
    could be counted."""

    name: str
    first: int
    last: int
    commits: int
    raw_bytes: int
    stored_bytes: int
    sealed: bool
    signed: bool
    ts_first: Instant
    ts_last: Instant
    types: dict[str, int]
    problem: str = ""


class LogStats(Struct, frozen=True, kw_only=True):
    log_id: LogId
    segments: tuple[SegmentStats, ...]

    @property
    def types(self) -> dict[str, int]:
        """Return how many records there are of each type, the most frequent first."""
        total: dict[str, int] = {}
        for segment in self.segments:
            for tag, number in segment.types.items():
                total[tag] = total.get(tag, 0) + number
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def measure(folder: Path, *, fs: FsPort = OS_FS) -> LogStats:
    """Return the measure of a log. What is sealed is taken from its manifest, the rest is walked.

    Where the chain ends before the bytes do, the segment says so as its problem: `log verify` tells more. Raises
    LogMissingError, LogCorruptError if the genesis is not there, OSError.
    """
    lineage = require_lineage(folder, fs=fs)
    link = lineage.begin
    measured: list[SegmentStats] = []
    for segment in list_segments(folder, fs=fs):
        entered = lineage.entered(link)
        link = entered[1] if entered is not None else link
        if segment.manifest is not None and segment.manifest.prev == link.hash:
            measured.append(_of_manifest(segment, segment.manifest, fs))
            manifest = segment.manifest
            link = Link(manifest.last_commit, manifest.last, manifest.hash, manifest.epoch, manifest.durable)
        else:
            stats, link = _walked(segment, lineage, link, fs)
            measured.append(stats)
    return LogStats(log_id=lineage.log_id, segments=tuple(measured))


def _of_manifest(segment: Segment, manifest: Manifest, fs: FsPort) -> SegmentStats:
    return SegmentStats(
        name=segment.path.name, first=manifest.first, last=manifest.last, commits=manifest.commits,
        raw_bytes=manifest.raw_bytes, stored_bytes=fs.lstat(segment.path).st_size, sealed=True,
        signed=bool(manifest.key), ts_first=manifest.ts_min, ts_last=manifest.ts_max, types=manifest.types,
    )  # fmt: skip


def _walked(segment: Segment, lineage: Lineage, link: Link, fs: FsPort) -> tuple[SegmentStats, Link]:
    start = Waypoint(link=link, index=0, offset=0)
    scan = ChainScan(lineage=lineage, segments=[segment], start=start, fs=fs)
    types: dict[str, int] = {}
    times: list[Instant] = []
    for raw in scan.frames():
        for tag in _TAG.findall(raw.lines):
            name = tag.decode("utf-8", "replace")
            types[name] = types.get(name, 0) + 1
        times = [*times[:1], raw.line.ts]
    gap = scan.gap
    if gap is not None and gap.check in ("segment", "fork") and scan.offset == segment.size:
        gap = None  # what is behind this segment is not looked at here
    stats = SegmentStats(
        name=segment.path.name, first=segment.first, last=scan.link.seq, commits=scan.link.commit - link.commit,
        raw_bytes=segment.size, stored_bytes=fs.lstat(segment.path).st_size - segment.ahead, sealed=False, signed=False,
        ts_first=times[0] if times else Instant(""), ts_last=times[-1] if times else Instant(""), types=types,
        problem="" if gap is None else f"the chain ends at byte {scan.offset}: expected {gap.expected}",
    )  # fmt: skip
    return stats, scan.link
