"""Owns what sealed segments say of a log beside their bytes: each manifest is a head that the log must agree with.

What is checked here is what a walk along the chain cannot see: the signature, the manifest before it, and that the
compressed bytes are those that were sealed. The walk itself proves what they give back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import Segment
from eventlog.checkpoint import Checkpoint, Expected, origin
from eventlog.errors import LogCorruptError, LogError
from eventlog.files import opened_regular, read_small
from eventlog.fsport import OS_FS, FsPort
from eventlog.lineage import Lineage
from eventlog.note import VerifyingKey

READ_BYTES: Final = 1024 * 1024


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
        from eventlog.compressed import manifest_path, read_manifest  # most logs have no sealed segment
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
            _require_bytes(segment, manifest.zst_sha256, fs)
        except LogError as error:
            yield Complaint(name, error)
            continue
        finally:
            before = manifest_digest(read_small(manifest_path(folder, first=segment.first), fs=fs))
        head = Checkpoint(
            log_id=manifest.log_id, size=manifest.last, root=bytes.fromhex(manifest.root), commit=manifest.last_commit,
            hash=manifest.hash,
        )  # fmt: skip
        yield Expected(name=name, checkpoint=head, verified=ours is not None and bool(manifest.key), inside=True)


def _require_bytes(segment: Segment, expected: str, fs: FsPort) -> None:
    digest, offset = hashlib.sha256(), 0
    with opened_regular(segment.path, fs=fs) as fd:
        while piece := fs.read(fd, READ_BYTES, offset):  # ends: each round goes forward in a file of known size
            digest.update(piece)
            offset += len(piece)
    if digest.hexdigest() != expected:
        raise _wrong(segment.path.name, f"its bytes have SHA-256 {digest.hexdigest()}, its manifest says {expected}")


def _wrong(name: str, why: str) -> LogCorruptError:
    return LogCorruptError(
        f"Check the sealed segment {name}: {why}.",
        next_step="Keep the folder as it is and restore this file from a copy: `casparian log repair --from COPY`.",
    )
