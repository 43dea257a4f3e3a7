"""Owns the checkpoint (c2sp.org/tlog-checkpoint), the signed head of a log, and what one proves against a log.

    casparian/log/<log_id>
    <seq of the last record, which is the size of the tree>
    <base64 of the RFC 6962 root over the first so many records>
    commit <number> <hash>

    — casparian/log/<log_id> <signature>

The fourth line is an extension: the last commit that holds a record. The root covers what was recorded; the commit's
hash covers who recorded it and when, for it and for all commits before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from eventlog.chain import ChainScan, Link
from eventlog.errors import BadNoteError
from eventlog.files import read_small
from eventlog.frames import RawFrame
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import LogId
from eventlog.merkle import HASH_BYTES, CompactRange, Node
from eventlog.note import VerifyingKey, bad_note, from_base64, parse_note, verify_note
from eventlog.recovery import Witness
from eventlog.sealed import Ancestor
from eventlog.verdict import WHAT_TO_DO, Finding, Judgement, Verdict

ORIGIN_PREFIX: Final = "casparian/log/"
ANCHORS_NAME: Final = "anchors"
ANCHOR_NAME: Final = "ANCHOR"
ANCHOR_PLACE: Final = f"{ANCHORS_NAME}/{ANCHOR_NAME}"
_BODY: Final = re.compile(
    rf"{ORIGIN_PREFIX}([0-9a-f]{{32}})\n([1-9][0-9]{{0,17}})\n([A-Za-z0-9+/]{{43}}=)\n"
    rf"commit ([1-9][0-9]{{0,17}}) ([0-9a-f]{{64}})\n",
    re.ASCII,
)


class Checkpoint(Struct, frozen=True, kw_only=True):
    """Where a log stood: its first `size` records have this root, the last of them is in the commit with this hash."""

    log_id: LogId
    size: int
    root: bytes
    commit: int
    hash: str

    @property
    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        return f"{origin(self.log_id)}\n{self.size}\n{root}\ncommit {self.commit} {self.hash}\n"


class Expected(Struct, frozen=True, kw_only=True):
    """A checkpoint that a log must agree with, and what to call it in sentences."""

    name: str
    checkpoint: Checkpoint
    verified: bool = True  # its signature was checked, not only its form
    signed: bool = True  # there is a signature
    inside: bool = False  # it stands in the log itself: of an end that damage made it says nothing new


def origin(log_id: LogId) -> str:
    """Return the first line of a log's checkpoints, which is the name of its key too."""
    return ORIGIN_PREFIX + log_id


def read_checkpoint(data: bytes, key: VerifyingKey | None) -> Checkpoint:
    """Return the checkpoint of a signed note; without a key the signature is not looked at.

    Raises BadNoteError, BadSignatureError.
    """
    note = parse_note(data)
    found = _BODY.fullmatch(note.text)
    root = from_base64(found[3]) if found else None
    if found is None or root is None or len(root) != HASH_BYTES:
        raise bad_note("its text is not a checkpoint of a log of ours")
    if key is not None:
        verify_note(note, key)
    return Checkpoint(log_id=LogId(found[1]), size=int(found[2]), root=root, commit=int(found[4]), hash=found[5])


def require_log(checkpoint: Checkpoint, log_id: LogId) -> Checkpoint:
    """Return the checkpoint if it is of this log. Raises BadNoteError."""
    if checkpoint.log_id != log_id:
        raise bad_note(f"it is of log {checkpoint.log_id}, and this is log {log_id}")
    return checkpoint


def refuse_earlier_life(checkpoint: Checkpoint, ancestors: Sequence[Ancestor]) -> None:
    """Raise BadNoteError if the checkpoint was signed for a log that this one was forked from."""
    for life in ancestors:
        if checkpoint.log_id == life.log_id:
            raise BadNoteError(
                f"Compare the log with a signed head of log {life.log_id}: the log was forked from that one behind "
                f"record {life.seq}, and has another id and another key since. The head was signed at record "
                f"{checkpoint.size}.",
                next_step=f"Hold a copy of the log from before the fork against it: `casparian log verify --log COPY "
                f"--expect NOTE --key VKEY`, with the key of then. Of the fork, sign a new head: `casparian log "
                f"checkpoint`; it goes on from records 1 to {life.seq} as they were.",
            )


def read_anchor(folder: Path, *, fs: FsPort = OS_FS) -> bytes | None:
    """Return the newest checkpoint that was signed of the log in `folder`, None if there is none. Raises OSError."""
    try:
        return read_small(folder / ANCHORS_NAME / ANCHOR_NAME, fs=fs)
    except FileNotFoundError:
        return None


def anchor_witness(folder: Path, log_id: LogId) -> Witness | None:
    """Return ANCHOR as a witness for an opening: without its signature, because a forged one can only refuse.

    Raises BadNoteError if it is damaged or of another log: `log verify` tells more.
    """
    data = read_anchor(folder)
    if data is None:
        return None
    anchor = require_log(read_checkpoint(data, None), log_id)
    return Witness(name=ANCHOR_PLACE, seq=anchor.size, hash=anchor.hash)


# --- comparing ------------------------------------------------------------------------------------------------------


class Comparison:
    """Compares a log with checkpoints while its chain is walked: `hear` every frame, then `verdicts`."""

    def __init__(self, expected: Sequence[Expected]) -> None:
        self._expected = expected
        self._tree = CompactRange()
        self._sizes = sorted({each.checkpoint.size for each in expected})
        self._commits = {each.checkpoint.commit for each in expected}
        self._roots: dict[int, bytes] = {}
        self._hashes: dict[int, tuple[str, int]] = {}

    def hear(self, raw: RawFrame) -> None:
        """Take in one frame of the chain; free of charge when nothing is expected of it any more."""
        if raw.line.commit in self._commits:
            self._hashes[raw.line.commit] = (raw.line.hash, raw.line.last)
        if self._sizes and self._tree.size < self._sizes[-1]:
            self._tree.extend(raw.lines)
            if self._tree.size in self._sizes:  # our checkpoints end where commits end
                self._roots[self._tree.size] = self._tree.root()

    @property
    def tree_size_max(self) -> int:
        """Return up to which record the tree is asked for, 0 if nothing is expected."""
        return self._sizes[-1] if self._sizes else 0

    def ends_inside(self, start: Link, behind: Link) -> bool:
        """Return whether a checkpoint was made between two places of the chain, so that each frame must be heard."""
        return any(start.seq < size < behind.seq for size in self._sizes) or any(
            start.commit < commit < behind.commit for commit in self._commits
        )

    def hear_part(self, nodes: Sequence[Node], behind: Link) -> None:
        """Take in frames that no checkpoint was made between, as the tree over their records, and where they end."""
        if behind.commit in self._commits:
            self._hashes[behind.commit] = (behind.hash, behind.seq)
        if self._tree.size < self.tree_size_max:
            self._tree.extend_by(nodes)
            if self._tree.size in self._sizes:
                self._roots[self._tree.size] = self._tree.root()

    def verdicts(self, scan: ChainScan) -> Iterator[Judgement]:
        """Yield what each checkpoint has against the log that was walked to its end."""
        for each in self._expected:
            wrong = self._wrong(each, scan)
            if wrong is not None:
                yield _judged(each, scan, *wrong)

    def agreed_size(self, scan: ChainScan, *, verified: bool = True) -> int:
        """Return the seq up to which a checkpoint agrees with the log, 0 if none does.

        Only those of checked signature count, unless all are asked for.
        """
        known = [each for each in self._expected if each.verified or not verified]
        seen = [each for each in known if each.checkpoint.size <= scan.link.seq]
        agreed = [each for each in seen if self._wrong(each, scan) is None]
        return max((each.checkpoint.size for each in agreed), default=0)

    def _wrong(self, each: Expected, scan: ChainScan) -> tuple[Verdict, str] | None:
        checkpoint = each.checkpoint
        if checkpoint.size > scan.link.seq and each.inside and scan.gap is not None:
            return None
        if checkpoint.size > scan.link.seq:
            return "REGRESSED", f"an end at record {scan.link.seq}"
        root = self._roots.get(checkpoint.size)
        if root != checkpoint.root:
            found = "no commit that ends there" if root is None else f"root {root.hex()}"
            return "CORRUPT", f"{found}: two histories of one log, keep both as evidence"
        if self._hashes.get(checkpoint.commit) != (checkpoint.hash, checkpoint.size):
            return "CORRUPT", "the same records in other commits: who or when was rewritten, keep both as evidence"
        return None


def _judged(each: Expected, scan: ChainScan, verdict: Verdict, actual: str) -> Judgement:
    link, checkpoint = scan.link, each.checkpoint
    expected = f"{checkpoint.size} records with root {checkpoint.root.hex()}, as {each.name} says"
    finding = Finding(
        segment=scan.segment.path.name if scan.segments else "",
        offset=scan.offset,
        seq=min(checkpoint.size, link.seq + 1),
        check="checkpoint",
        expected=expected,
        actual=actual,
        provable=f"commits 1 to {link.commit} fit each other" if link.commit else "nothing",
        what_to_do=WHAT_TO_DO[verdict],
    )
    return Judgement(verdict=verdict, finding=finding)
