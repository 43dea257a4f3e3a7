"""Owns mending a log from a copy of it: what fits nothing any more is replaced by what the copy has there.

What that is says the plan (eventlog/repair_plan.py). Its result is audited as a whole before a byte is written, with
every witness of this log; what was here is kept under quarantine/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import ChainScan, Waypoint, list_segments
from eventlog.errors import LogCorruptError, LogError, LogRegressedError, LogStorageError
from eventlog.events import LogRepaired
from eventlog.files import (
    COPY_BYTES,
    created,
    exists,
    file_sha256,
    make_folder,
    opened_regular,
    remove,
    sync_file,
    sync_folder,
    temporary,
    write_all,
)
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId, Sha256
from eventlog.lock import LockHolder, LogLock
from eventlog.note import VerifyingKey
from eventlog.overlay import Spliced, opened_spliced
from eventlog.recovery import QUARANTINE_NAME, Hearing, Witness, require_lineage, witness_of_note
from eventlog.repair_note import NOTED_MAX, read_note, write_note
from eventlog.repair_plan import Change, Plan
from eventlog.sealed import read_claim, read_genesis
from eventlog.verify import Verification, verify

_NAME_DIGITS: Final = 12  # of a hash, in a name under quarantine/
_FIND_A_NEWER_ONE: Final = "Find a newer copy: this one does not have what was seen."
_PUT_IN_ITS_PLACE: Final = (
    "The copy has what was seen, so restore it as a whole: keep log/ and readmodel/ of the home elsewhere and put the "
    "copy in the place of log/."
)


class Repair(Struct, frozen=True, kw_only=True):
    """What was replaced, and the audit of the result. The next opening of the log tells of each in the log itself."""

    repairs: tuple[LogRepaired, ...]
    verification: Verification


def repair_log(
    folder: Path,
    copy: Path,
    *,
    holder: LockHolder,
    now: Instant,
    witness_of: Callable[[LogId], Witness | None] = lambda _: None,
    key: VerifyingKey | None = None,
    fs: FsPort = OS_FS,
) -> Repair:
    """Replace what is damaged or missing in the log by what its copy has. Takes the lock of the log, none of the copy.

    Where nothing is, no byte is changed. Repeated after a crash, it goes on. Open the log after it: that tells of it.
    Raises OtherLogError if the copy is of another log, LogCorruptError if it does not cover the damage and
    LogRegressedError if a witness has seen more than the result has, all with the log as it was; LogLockedError,
    LogStorageError.
    """
    copied, copied_hash = read_genesis(copy, fs=fs)
    lock = LogLock.acquire(folder, holder, fs=fs)
    try:
        plan = Plan(folder, copy, key, fs=fs)
        plan.make(copied, copied_hash)
        _require_one_history(plan)
        verification = verify(folder, witness_of=witness_of, key=key, fs=plan.view)
        _require_proven(plan, verification, witness=witness_of(plan.lineage.log_id))
        epoch = verification.epochs + 1
        return Repair(repairs=_apply(plan, epoch=epoch, now=now, fs=fs), verification=verification)
    except OSError as error:
        if isinstance(error, LogError):
            raise
        raise LogStorageError(
            f"Repair the log in {folder} from {copy}: {error}.",
            next_step="Correct the cause and type the same again: it goes on where it ended.",
        ) from error
    finally:
        lock.release()


def _require_one_history(plan: Plan) -> None:
    """Raise LogCorruptError if the result has another commit where one of ours is whole behind the damage.

    The copy may have gone on from a common past by itself: then neither is a copy of the other.
    """
    ours = dict(plan.whole_commits())
    start = Waypoint(link=plan.lineage.begin, index=0, offset=0)
    segments = list_segments(plan.folder, fs=plan.view)
    scan = ChainScan(lineage=plan.lineage, segments=segments, start=start, fs=plan.view)
    for raw in scan.frames() if ours else ():
        if ours.get(raw.line.commit, raw.line.hash) != raw.line.hash:
            raise LogCorruptError(
                f"Repair the log in {plan.folder} from {plan.copy}: commit {raw.line.commit} is whole in both, and not "
                f"the same: two histories of one log.",
                next_step="Keep both folders as evidence; `casparian log fork` goes on from what they have in common.",
            )


def _require_proven(plan: Plan, verification: Verification, *, witness: Witness | None) -> None:
    """Raise unless the result is whole; a torn end is left to the next opening."""
    replaced = len(plan.changes)
    if verification.verdict in ("OK", "TORN"):
        if replaced > NOTED_MAX:
            raise LogCorruptError(
                f"Repair the log in {plan.folder}: {replaced} files would be replaced, at most {NOTED_MAX} can be.",
                next_step="Restore the whole copy instead, and keep the folder.",
            )
        return
    finding = verification.findings[0]
    why = f"in {finding.segment} {finding.expected} was expected, {finding.actual} would be found"
    if verification.verdict == "REGRESSED":
        raise LogRegressedError(
            f"Repair the log in {plan.folder} from {plan.copy}: {why}, and nothing was changed.",
            next_step=_PUT_IN_ITS_PLACE if _has_what_was_seen(plan, witness) else _FIND_A_NEWER_ONE,
        )
    raise plan.uncovered(verification.head_seq, why)


def _has_what_was_seen(plan: Plan, witness: Witness | None) -> bool:
    """Return whether the copy as it is agrees with who speaks in WITNESS, or where nobody does, with the witness.

    The read model may have followed the log when that went another way: then it would speak against every copy.
    """
    note = witness_of_note(read_claim(plan.folder, plan.lineage.log_id, fs=plan.view))
    hearing, lineage = Hearing(note or witness), require_lineage(plan.copy, fs=plan.fs)
    start = Waypoint(link=lineage.begin, index=0, offset=0)
    scan = ChainScan(lineage=lineage, segments=list_segments(plan.copy, fs=plan.fs), start=start, fs=plan.fs)
    for raw in scan.frames():
        hearing.hear(raw.line)
    return bool(hearing.seqs) and hearing.verdict(scan) is None


def _apply(plan: Plan, *, epoch: int, now: Instant, fs: FsPort) -> tuple[LogRepaired, ...]:
    """Make the changes; return them with those that an attempt before this one had made when it ended.

    First everything is beside its name, then what is here has a second name, then the note is written: after that, each
    name that changes leads from one proven step to the next, whichever of them a crash lets happen.
    """
    before = read_note(plan.folder, epoch=epoch, fs=fs)
    if not plan.changes:
        return before
    _stage_all(plan, fs)
    told = {(each.segment, each.kept_as): each for each in before}
    for change in plan.changes:
        each = _repaired(change, _set_aside(plan.folder, change.name, epoch=epoch, fs=fs), plan.copy, now)
        told[each.segment, each.kept_as] = each
    write_note(plan.folder, epoch=epoch, repairs=tuple(told.values()), fs=fs)
    for change in sorted(plan.changes, key=lambda each: each.content is None):  # what goes, goes last
        path = plan.folder / change.name
        if change.content is None:
            remove(path, fs=fs)
        else:
            fs.rename(temporary(path), path)
            sync_folder(plan.folder, fs=fs)
    sync_folder(plan.folder, fs=fs)
    return tuple(told.values())


def _repaired(change: Change, kept_as: str, copy: Path, now: Instant) -> LogRepaired:
    return LogRepaired(
        segment=change.name,
        copied_bytes=change.copied_bytes,
        own_bytes=change.own_bytes,
        kept_as=kept_as,
        source=str(copy),
        reason=change.reason,
        repaired_at=now,
    )


def _stage_all(plan: Plan, fs: FsPort) -> None:
    staged: list[Path] = []
    try:
        for change in plan.changes:
            if change.content is not None:
                staged.append(temporary(plan.folder / change.name))
                _stage(change.content, staged[-1], fs)
    except BaseException:
        for path in staged:
            remove(path, fs=fs)
        raise


def _stage(content: Path | Spliced, beside: Path, fs: FsPort) -> None:
    """Write content to the disk and read it back. Raises LogStorageError if it is not the same."""
    digest = hashlib.sha256()
    with created(beside, fs=fs) as fd:
        for piece in _pieces(content, fs):
            digest.update(piece)
            write_all(fd, piece, fs=fs)
        fs.sync(fd)
        fs.forget(fd)
    if file_sha256(beside, fs=fs) != digest.hexdigest():
        raise LogStorageError(
            f"Write {beside}: it does not read back as it was written.",
            next_step="Check the disk; the log is as it was.",
        )


def _pieces(content: Path | Spliced, fs: FsPort) -> Iterator[bytes]:
    if isinstance(content, Path):
        with opened_regular(content, fs=fs) as fd:
            for offset in range(0, fs.fstat(fd).st_size, COPY_BYTES):
                yield fs.read(fd, COPY_BYTES, offset)
        return
    with opened_spliced(content, fs=fs) as read:
        for offset in range(0, content.size, COPY_BYTES):
            yield read(min(COPY_BYTES, content.size - offset), offset)


def _set_aside(folder: Path, name: str, *, epoch: int, fs: FsPort) -> str:
    """Give what has this name a second one under quarantine/, durably; return it, "" if there is nothing."""
    path, quarantine = folder / name, folder / QUARANTINE_NAME
    if not exists(path, fs=fs):
        return ""
    make_folder(quarantine, fs=fs)
    digest = _digest(path, fs)
    if digest is None:  # e.g. a pipe or a folder, which may have no second name: it goes there itself
        kept_as = quarantine / f"{name}.{epoch}.odd"
        fs.rename(path, kept_as)
        sync_folder(folder, fs=fs)
    else:
        kept_as = quarantine / f"{name}.{epoch}.{digest[:_NAME_DIGITS]}"
        if not exists(kept_as, fs=fs):
            fs.link(path, kept_as)
        elif file_sha256(kept_as, fs=fs) != digest:
            raise LogStorageError(
                f"Set {path} aside: {kept_as} exists and is another file.",
                next_step="Move that file out of quarantine/ and type the same again.",
            )
        sync_file(kept_as, fs=fs)
    sync_folder(quarantine, fs=fs)
    return kept_as.name


def _digest(path: Path, fs: FsPort) -> Sha256 | None:
    """Return the hash of a regular file, None for anything else, and where its bytes cannot be read."""
    try:
        return file_sha256(path, fs=fs)
    except OSError:
        return None
