"""Owns the export of a part of the log, to hand on to somebody who has nothing of ours: bytes as they are, a verifier.

GENESIS.json     who the log is, as it is in the log; GENESIS.<log id>.json too, if it was forked
<seq>.ndjson     whole frames, byte for byte, from the one that holds the first record asked for
SLICE.json       where they begin and end, the hash that the first must name, and how they fit into the tree
anchors/ANCHOR   the newest signed checkpoint of the log, if there is one
verify.py        checks all that, with the Python standard library alone
README.txt       how
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from eventlog.chain import Link, Segment, list_segments, opened_segment, segment_path
from eventlog.checkpoint import ANCHOR_PLACE, ANCHORS_NAME, read_anchor, read_checkpoint, require_log
from eventlog.errors import LogCorruptError, LogMissingError
from eventlog.files import (
    COPY_BYTES,
    created,
    make_folder,
    read_small,
    sync_folder,
    temporary,
    write_all,
    write_durably,
)
from eventlog.frames import RawFrame
from eventlog.fsport import FOLDER_MODE, OS_FS
from eventlog.ids import LogId
from eventlog.lineage import Lineage
from eventlog.merkle import CompactRange, consistency_spans, leaf_hash, subtree_roots
from eventlog.reader import read_raw_frames
from eventlog.recovery import require_lineage
from eventlog.sealed import GENESIS_NAME, ancestor_name, self_hashed
from eventlog.standalone.verify import check
from eventlog.verdict import WHAT_TO_DO

FORMAT: Final = "casparian.slice.v1"
SLICE_NAME: Final = "SLICE.json"
README_NAME: Final = "README.txt"
VERIFIER: Final = Path(__file__).parent / "standalone" / "verify.py"
_README: Final = """This folder holds records {first} to {last} of the Casparian log {log_id}.

Check it with Python 3.9 or newer, on any machine; nothing needs to be installed:

    python verify.py .

That shows that these bytes fit each other: none was changed, lost or added by accident, and the records are all that
stand in commits {first_commit} to {last_commit} of that log. The first of them continues the commit with the hash

    {prev}

Whoever can write this folder anew could write other records that fit each other. To prove that these are what was
signed, give the public key, which you received on another way than this folder:

    python verify.py . --key NAME+ID+BASE64

The .ndjson file is text, one record or commit a line. A commit line says who (actor) and when (ts) for the records
before it. A signed checkpoint after the end of these records vouches for the records alone, not for who and when.
"""


class Slice(Struct, frozen=True, kw_only=True):
    """Where a slice begins and ends. `epoch` and `durable` are those of the commit before it; hashes are in hex."""

    format: str
    log_id: LogId
    first: int
    last: int
    first_commit: int
    last_commit: int
    prev: str
    hash: str
    epoch: int
    durable: int
    segment: str
    bytes: int
    peaks: tuple[str, ...]  # of the tree before the first record
    root: str  # of the tree up to the last record
    proof: tuple[str, ...]  # that the tree of ANCHOR begins with that one; empty unless ANCHOR is newer


class _Extent(Struct, frozen=True, kw_only=True):
    """Bytes of one segment that belong to a slice."""

    segment: Segment
    start: int
    end: int


def export_slice(folder: Path, target: Path, *, first: int = 1, last: int | None = None) -> Slice:
    """Write the durable frames that hold the records `first` to `last`, and what checks them, to a new folder.

    The folder appears when all of it is on the disk and the verifier in it has found it whole; an empty folder in its
    place is replaced. Raises LogMissingError if no such record is durable, LogCorruptError, LogRegressedError, OSError
    if the folder is not empty or an earlier attempt's is still there.
    """
    beside = temporary(target)
    make_folder(target.parent)
    beside.mkdir(mode=FOLDER_MODE)
    try:
        made = _write(folder, beside, first=first, last=last)
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside)
        raise
    sync_folder(target.parent)
    return made


def _write(folder: Path, beside: Path, *, first: int, last: int | None) -> Slice:
    lineage = require_lineage(folder)
    made, extents = _cut(folder, lineage, first=first, last=last)
    _copy(extents, beside / made.segment)
    for name in (GENESIS_NAME, *(ancestor_name(life.log_id) for life in lineage.lives[:-1])):
        write_durably(beside / name, read_small(folder / name))
    made = _with_anchor(folder, beside, made)
    write_durably(beside / SLICE_NAME, self_hashed(made, domain=FORMAT.encode() + b"\0", key="sha256"))
    write_durably(beside / VERIFIER.name, VERIFIER.read_bytes())
    words = {name: getattr(made, name) for name in ("first", "last", "log_id", "first_commit", "last_commit", "prev")}
    write_durably(beside / README_NAME, _README.format(**words).encode())
    report = check(beside)
    if report["verdict"] != "OK":
        raise _refused(folder, f"what was written is {report['verdict']}: {report['findings'][0]['actual']}")
    return made


def _cut(folder: Path, lineage: Lineage, *, first: int, last: int | None) -> tuple[Slice, list[_Extent]]:
    """Walk the durable frames and return what of them is the slice, and where its bytes are."""
    start = end = lineage.begin
    tree, before = CompactRange(), CompactRange()
    extents: list[_Extent] = []
    for segment, raw in _located(folder):
        line = raw.line
        if last is not None and line.first > last:
            break
        tree.extend(raw.lines)
        end = Link(line.commit, line.last, line.hash, line.epoch, line.durable)
        if not extents and line.last < first:
            start, before = end, CompactRange(tree.size, tree.peaks)
        elif extents and extents[-1].segment is segment:
            extents[-1] = replace(extents[-1], end=raw.end)
        else:
            extents.append(_Extent(segment=segment, start=raw.offset, end=raw.end))
    if end.seq < first:
        raise LogMissingError(
            f"Export records {first} to {last or 'the last'}: the log is known to be durable up to record {end.seq}.",
            next_step="Name records that are there: `casparian log show --tail 1` shows the last one.",
        )
    entered = lineage.entered(start)
    start = entered[1] if entered is not None else start
    made = Slice(
        format=FORMAT, log_id=lineage.log_id, first=start.seq + 1, last=end.seq, first_commit=start.commit + 1,
        last_commit=end.commit, prev=start.hash, hash=end.hash, epoch=start.epoch, durable=start.durable,
        segment=segment_path(folder, first=start.seq + 1).name, bytes=sum(each.end - each.start for each in extents),
        peaks=tuple(peak.hex() for peak in before.peaks), root=tree.root().hex(), proof=(),
    )  # fmt: skip
    return made, extents


def _located(folder: Path) -> Iterator[tuple[Segment, RawFrame]]:
    """Yield the durable frames with the segment that each is in: one that begins at byte 0 begins a segment."""
    frames = read_raw_frames(folder)
    segments = list_segments(folder)
    index = -1
    for raw in frames:
        index += raw.offset == 0
        yield segments[index], raw


def _copy(extents: Sequence[_Extent], target: Path) -> None:
    with created(target) as out:
        for extent in extents:
            with opened_segment(extent.segment, fs=OS_FS) as read:
                for offset in range(extent.start, extent.end, COPY_BYTES):
                    write_all(out, read(min(COPY_BYTES, extent.end - offset), offset))
        os.fsync(out)


def _with_anchor(folder: Path, beside: Path, made: Slice) -> Slice:
    """Put the newest checkpoint beside the slice; one that is newer than its end needs the proof of what it adds."""
    anchor = read_anchor(folder)
    if anchor is None:
        return made
    make_folder(beside / ANCHORS_NAME)
    write_durably(beside / ANCHOR_PLACE, anchor)
    size = require_log(read_checkpoint(anchor, None), made.log_id).size
    if size <= made.last:
        return made
    leaves = (leaf_hash(line) for raw in read_raw_frames(folder) for line in raw.lines.split(b"\n")[:-1])
    try:
        proof = subtree_roots(leaves, consistency_spans(made.last, size))
    except ValueError:
        raise _refused(folder, f"its checkpoint was signed at record {size}, and it ends before that") from None
    return replace(made, proof=tuple(node.hex() for node in proof))


def _refused(folder: Path, why: str) -> LogCorruptError:
    return LogCorruptError(f"Export a part of the log in {folder}: {why}.", next_step=WHAT_TO_DO["CORRUPT"])
