"""Owns what sealed segments say of a log beside their bytes: each manifest is a head that the log must agree with.

What is checked here is what a walk along the chain cannot see: the signature, the manifest before it, and that the
compressed bytes are those that were sealed. The walk itself proves what they give back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import ChainScan, Segment
from eventlog.checkpoint import Checkpoint, Expected, origin
from eventlog.errors import LogCorruptError, LogError
from eventlog.files import read_small
from eventlog.frames import CommitLine, RawFrame
from eventlog.fsport import OS_FS, FsPort
from eventlog.lineage import Lineage
from eventlog.note import VerifyingKey

_TAG: Final = re.compile(rb'^\{"seq":[0-9]+,"type":"([^"]*)"', re.MULTILINE)


class Complaint(Struct, frozen=True):
    """What is wrong with the files of one sealed segment; `name` is the file that it is told of."""

    name: str
    error: LogError


def expected_of_seals(
    folder: Path, segments: Sequence[Segment], *, lineage: Lineage, key: VerifyingKey | None, fs: FsPort = OS_FS
) -> Iterator[Expected | Complaint]:
    """Yield what each sealed segment expects of the log, in order, or what is wrong with it.

    With a key, a manifest that names a signer must be signed by this key; one of an earlier life of the log, which had
    a key of its own, is then compared without its signature. Raises OSError.
    """
    before = ""
    for segment in segments:
        if segment.manifest is None:
            continue
        from eventlog.compressed import manifest_path, opened_sealed, read_manifest  # most logs have none
        from eventlog.manifest import manifest_digest

        name = manifest_path(folder, first=segment.first).name
        try:
            log_id = lineage.life_of(segment.manifest.last_commit).log_id
            own = log_id == lineage.log_id or (key is not None and key.name == origin(log_id))
            ours = key if own else None
            manifest, _ = read_manifest(folder, first=segment.first, key=ours, fs=fs)
            if manifest.log_id != log_id:
                raise _wrong(name, f"it is of log {manifest.log_id}, and this is log {log_id}")
            if manifest.before != before:
                raise _wrong(name, "the manifest before it is not the one that it vouches for")
            if segment.problem:
                continue  # the walk along the chain says so
            with opened_sealed(segment.path, manifest, fs=fs) as sealed:
                for _ in sealed.stream():
                    pass  # raises unless both hashes of the manifest fit
        except LogError as error:
            yield Complaint(name, error)
            continue
        finally:
            before = manifest_digest(read_small(manifest_path(folder, first=segment.first), fs=fs))
        head = Checkpoint(
            log_id=manifest.log_id, size=manifest.last, root=bytes.fromhex(manifest.root), commit=manifest.last_commit,
            hash=manifest.hash,
        )  # fmt: skip
        signed = bool(manifest.key)
        yield Expected(name=name, checkpoint=head, verified=ours is not None and signed, signed=signed, inside=True)


class SealedPart(Struct, frozen=True):
    """What some frames of one sealed segment say of what its manifest says: its values, and its records by type."""

    found: dict[str, int | str]
    types: dict[str, int]


class SealAudit:
    """Compares what each manifest says of its segment with the frames that a walk finds: `hear` each, then `finish`."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._manifests = {index: each.manifest for index, each in enumerate(segments) if each.manifest is not None}
        self._index = -1
        self._found: dict[str, int | str] = {}
        self._types: dict[str, int] = {}
        self.complaints: list[Complaint] = []

    def hear(self, raw: RawFrame, index: int) -> None:
        """Take in one frame of the chain; free of charge where the segment is not sealed."""
        if index not in self._manifests:
            return
        line = raw.line
        self._take(
            index, SealedPart(_said(line), Counter(tag.decode("utf-8", "replace") for tag in _TAG.findall(raw.lines)))
        )

    def hear_part(self, part: SealedPart | None, index: int) -> None:
        """Take in the frames of a part of a segment that follow those heard so far, from an audit of their own."""
        if part is not None and index in self._manifests:
            self._take(index, part)

    def part(self) -> SealedPart | None:
        """Return what was heard of the segment at hand, None if it is not sealed."""
        return SealedPart(self._found, self._types) if self._found else None

    def _take(self, index: int, part: SealedPart) -> None:
        if index != self._index:
            self._end()
            self._index, self._found, self._types = index, part.found, dict(part.types)
            return
        before, found = self._found, part.found
        self._found = found | {name: before[name] for name in ("first_commit", "prev")}
        self._found["ts_min"] = min(str(before["ts_min"]), str(found["ts_min"]))
        self._found["ts_max"] = max(str(before["ts_max"]), str(found["ts_max"]))
        for tag, number in part.types.items():
            self._types[tag] = self._types.get(tag, 0) + number

    def finish(self, scan: ChainScan) -> list[Complaint]:
        """Return what manifests say that the frames do not; where the chain broke, the walk says enough."""
        if scan.gap is None or scan.index > self._index:
            self._end()
        return self.complaints

    def _end(self) -> None:
        manifest = self._manifests.get(self._index)
        if manifest is None:
            return
        found = {**self._found, "types": dict(sorted(self._types.items()))}
        says = {name: getattr(manifest, name) for name in self._found} | {"types": dict(sorted(manifest.types.items()))}
        wrong = [name for name in found if found[name] != says[name]]
        if wrong:
            words = ", ".join(f"{name} {says[name]}, and its records say {found[name]}" for name in wrong)
            name = f"{manifest.first:020d}.seal"
            self.complaints.append(Complaint(name, _wrong(name, f"it says {words}")))


def _said(line: CommitLine) -> dict[str, int | str]:
    return {
        "first_commit": line.commit, "prev": line.prev, "ts_min": line.ts, "ts_max": line.ts, "last": line.last,
        "last_commit": line.commit, "epoch": line.epoch, "durable": line.durable,
    }  # fmt: skip


def _wrong(name: str, why: str) -> LogCorruptError:
    return LogCorruptError(
        f"Check the sealed segment {name}: {why}.",
        next_step="Keep the folder as it is and restore this file from a copy: `casparian log repair --from COPY`.",
    )
