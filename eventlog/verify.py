"""Owns the audit of a log: what is whole, what is not, and what can still be proven. Changes no byte, takes no lock.

It checks all that recovery checks, and what recovery leaves to it for speed (frame_audit.py). A long log is audited in
pieces by two processes; what is said is what one walk from the beginning says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from eventlog import split_audit
from eventlog.chain import ChainScan, Link, Segment, Waypoint, find_segment, genesis_link, list_segments, without_zeros
from eventlog.checkpoint import ANCHOR_PLACE, Comparison, Expected, read_anchor, read_checkpoint, require_log
from eventlog.errors import (
    BadNoteError,
    BadSignatureError,
    LogCorruptError,
    LogError,
    LogFormatError,
    LogMissingError,
    LogStorageError,
)
from eventlog.frame_audit import FINDINGS_MAX, Findings, FrameAudit
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import LogId
from eventlog.lineage import Lineage, alone
from eventlog.lock import is_locked
from eventlog.note import VerifyingKey
from eventlog.pieces import Piece, PieceReport, cut, part_of
from eventlog.recovery import Hearing, Witness, judge, require_lineage, witness_of_note
from eventlog.sealed import (
    CLOSED_NAME,
    GENESIS_NAME,
    WITNESS_NAME,
    Ancestor,
    Closed,
    HeadClaim,
    read_claim,
    read_closed,
)
from eventlog.seals import SealAudit, expected_of_seals
from eventlog.verdict import Finding, Judgement, Verdict

__all__ = ["FINDINGS_MAX", "Verification", "verify"]


class Verification(Struct, frozen=True, kw_only=True):
    """The result of an audit. Counts, head and durable mark are those of the part whose chain holds.

    `signed` is the seq up to which a signed head agrees whose signature was verified, `unchecked` that of signed heads
    whose signature nobody looked at, because no key was given; 0 if there is none. `witnessed` is the seq up to which
    something beside the frames says that they were there: CLOSED, a signed head, or who has seen the log from outside.
    What was behind it in a log that was not closed may have been cut off, or made zeros, and nothing here would tell.
    """

    verdict: Verdict
    log_id: LogId
    ancestors: tuple[Ancestor, ...]  # the lives that it was forked from, the first one first
    segments: int
    commits: int
    events: int
    skipped: int  # records of types that this version does not know, which their writer let it pass over
    head_seq: int
    head_hash: str
    durable: int
    sealed: int  # the seq up to which segments are sealed
    signed: int
    unchecked: int
    witnessed: int
    epochs: int
    clean_close: bool
    writer_active: bool
    findings: tuple[Finding, ...]
    findings_total: int


def verify(
    folder: Path,
    *,
    witness_of: Callable[[LogId], Witness | None] = lambda _: None,
    expected: Sequence[Expected] = (),
    key: VerifyingKey | None = None,
    fs: FsPort = OS_FS,
) -> Verification:
    """Read the whole log and report; `witness_of` is asked who has seen the log of this id from outside.

    The log must agree with its own ANCHOR, if it has one, and with every checkpoint that is `expected`. With a key,
    ANCHOR must be signed by it; without, it is compared all the same.
    Raises LogMissingError if there is no log, LogStorageError if it cannot be read.
    """
    try:
        return _Audit(folder, witness_of, expected, key, fs).run()
    except LogError:
        raise
    except OSError as error:
        raise LogStorageError(
            f"Verify the log in {folder}: {error}.", next_step="Check the disk and the rights, then verify again."
        ) from error


class _Audit:
    """One walk over the log; memory holds the findings and the ids of cancelled jobs, nothing else that grows."""

    def __init__(
        self,
        folder: Path,
        witness_of: Callable[[LogId], Witness | None],
        expected: Sequence[Expected],
        key: VerifyingKey | None,
        fs: FsPort,
    ) -> None:
        self.folder = folder
        self.fs = fs
        self.witness_of = witness_of
        self.expected = list(expected)
        self.key = key
        self.findings = Findings()
        self.frames = FrameAudit(self.findings)
        self.sealed = 0
        self.signed = 0
        self.unchecked = 0
        self.witnessed = 0
        self.clean_close = False
        self.writer_active = False

    def run(self) -> Verification:
        try:
            lineage = require_lineage(self.folder, fs=self.fs)
        except LogMissingError:
            raise
        except (LogCorruptError, LogFormatError) as error:
            unknown = isinstance(error, LogFormatError)
            self._note_file("UNKNOWN-TYPE" if unknown else "CORRUPT", GENESIS_NAME, error)
            return self._result(alone(LogId("")), (), genesis_link(""))
        closed = self._read_closed()  # before the sizes: a log that is closed in between is then not a regressed one
        self.writer_active = is_locked(self.folder, fs=self.fs)
        # Before the sizes: a witness is never ahead of the log.
        hearing = Hearing(self.witness_of(lineage.log_id), witness_of_note(self._read_claim(lineage.log_id)))
        if not lineage.unfinished:  # else it is still that of the log that was left
            self._expect_anchor(lineage.log_id)
        segments = list_segments(self.folder, fs=self.fs)
        self._expect_seals(segments, lineage)
        comparison, seals = Comparison(self.expected), SealAudit(segments)
        walk = _Walk(self.folder, segments, lineage, self.frames, hearing, comparison, seals, self.fs)
        scan = walk.to_end()
        for complaint in seals.finish(scan):
            self._note_file("CORRUPT", complaint.name, complaint.error)
        for judgement in comparison.verdicts(scan):
            self.findings.add(judgement)
        self.signed = comparison.agreed_size(scan)
        self.witnessed = comparison.agreed_size(scan, verified=False)
        self._judge_end(scan, closed, hearing)
        return self._result(lineage, segments, scan.link)

    def _read_closed(self) -> Closed | None:
        try:
            return read_closed(self.folder, fs=self.fs)
        except LogCorruptError as error:
            self._note_file("CORRUPT", CLOSED_NAME, error)
            return None

    def _read_claim(self, log_id: LogId) -> HeadClaim | None:
        try:
            return read_claim(self.folder, log_id, fs=self.fs)
        except LogCorruptError as error:
            self._note_file("CORRUPT", WITNESS_NAME, error)
            return None

    def _expect_anchor(self, log_id: LogId) -> None:
        try:
            data = read_anchor(self.folder, fs=self.fs)
            if data is not None:
                anchor = require_log(read_checkpoint(data, self.key), log_id)
                self.expected.append(Expected(name=ANCHOR_PLACE, checkpoint=anchor, verified=self.key is not None))
                self.unchecked = 0 if self.key is not None else anchor.size
        except (BadNoteError, BadSignatureError) as error:
            self._note_file("CORRUPT", ANCHOR_PLACE, error)

    def _expect_seals(self, segments: Sequence[Segment], lineage: Lineage) -> None:
        for each in expected_of_seals(self.folder, segments, lineage=lineage, key=self.key, fs=self.fs):
            if isinstance(each, Expected):
                self.sealed = each.checkpoint.size
                self.expected.append(each)
                if each.signed and not each.verified:
                    self.unchecked = max(self.unchecked, each.checkpoint.size)
            else:
                self._note_file("CORRUPT", each.name, each.error)

    # --- the end ---

    def _judge_end(self, scan: ChainScan, closed: Closed | None, hearing: Hearing) -> None:
        contradicted = hearing.verdict(scan)
        if contradicted is not None:
            self.findings.add(contradicted)
        else:
            self.witnessed = max(self.witnessed, hearing.seq_max)
        judgement = judge(scan, closed)
        if closed is not None and judgement.verdict == "CORRUPT" and self._reopened_meanwhile(closed):
            judgement = judge(scan, None)
        if judgement.verdict == "TORN" and not scan.lineage.unfinished and self._being_written(scan.segment):
            return
        self.clean_close = judgement.clean
        self.findings.add(judgement)

    def _being_written(self, segment: Segment) -> bool:
        """Return whether the bytes past the chain are a write under way."""
        self.writer_active = self.writer_active or is_locked(self.folder, fs=self.fs)
        if self.writer_active:
            return True
        now = without_zeros(find_segment(self.folder, first=segment.first, fs=self.fs), fs=self.fs)
        return (now.size, now.ahead) != (segment.size, segment.ahead)

    def _reopened_meanwhile(self, closed: Closed) -> bool:
        """Return whether a writer has come since CLOSED was read: it removes CLOSED before it appends.

        It may have left again by now, with another CLOSED behind it, so the lock says nothing.
        """
        self.writer_active = self.writer_active or is_locked(self.folder, fs=self.fs)
        return read_closed(self.folder, fs=self.fs) != closed

    def _result(self, lineage: Lineage, segments: Sequence[Segment], link: Link) -> Verification:
        return Verification(
            verdict=self.findings.verdict,
            log_id=lineage.log_id,
            ancestors=tuple(life.end for life in lineage.lives if life.end is not None),
            segments=len(segments),
            commits=link.commit,
            events=self.frames.events,
            skipped=self.frames.skipped,
            head_seq=link.seq,
            head_hash=link.hash,
            durable=link.seq if self.clean_close else link.durable,
            sealed=self.sealed,
            signed=self.signed,
            unchecked=self.unchecked,
            witnessed=link.seq if self.clean_close else self.witnessed,
            epochs=link.epoch,
            clean_close=self.clean_close,
            writer_active=self.writer_active,
            findings=tuple(self.findings.kept),
            findings_total=self.findings.total,
        )

    # --- findings ---

    def _note_file(self, verdict: Verdict, name: str, error: LogError) -> None:
        finding = Finding(
            segment=name,
            offset=0,
            seq=0,
            check="file",
            expected="a file that fits its own hash",
            actual=error.message,
            provable="nothing that depends on this file",
            what_to_do=error.next_step,
        )
        self.findings.add(Judgement(verdict=verdict, finding=finding))


class _Walk:
    """The way along the chain for all who listen to it, by pieces with a second process where the log is long."""

    def __init__(
        self, folder: Path, segments: Sequence[Segment], lineage: Lineage, frames: FrameAudit, hearing: Hearing,
        comparison: Comparison, seals: SealAudit, fs: FsPort,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._segments = segments
        self._lineage = lineage
        self._frames = frames
        self._hearing = hearing
        self._comparison = comparison
        self._seals = seals
        self._fs = fs
        self._place = Waypoint(link=lineage.begin, index=0, offset=0)

    def to_end(self) -> ChainScan:
        """Walk to the end of the chain and return the scan that stands there."""
        if self._fs is OS_FS and sum(segment.size for segment in self._segments) >= split_audit.SPLIT_BYTES_MIN:
            self._by_pieces()
        scan = self._scan(self._segments)
        self._listen(scan)
        return scan

    def _by_pieces(self) -> None:
        """Go on piece by piece, as long as each begins where the chain stands and the chain holds to its end."""
        reports = split_audit.reports(self._folder, self._segments, self._lineage, self._pieces())
        with closing(reports):
            for piece, report in reports:
                if not self._begins_here(piece):
                    return
                if report is None or not self._take(piece, report):
                    scan = self._scan(part_of(self._segments, piece), part=True)
                    self._listen(scan)
                    self._place = scan.waypoint()
                    if scan.gap is not None or scan.offset != piece.end:
                        return

    def _pieces(self) -> Iterator[Piece]:
        tree_size, witness_seqs = self._comparison.tree_size_max, self._hearing.seqs
        for piece in cut(self._segments, self._place.link, fs=self._fs):
            yield replace(piece, witness_seqs=witness_seqs, leaves=piece.start.seq < tree_size)

    def _begins_here(self, piece: Piece) -> bool:
        place = self._place
        if piece.start != place.link:
            return False
        if piece.offset or piece.index == place.index:
            return (piece.index, piece.offset) == (place.index, place.offset)
        return piece.index == place.index + 1 and place.offset == self._segments[place.index].size

    def _take(self, piece: Piece, report: PieceReport) -> bool:
        """Take in a clean piece; False, and nothing done, if its frames must be heard one by one."""
        if self._comparison.ends_inside(piece.start, piece.behind):
            return False
        if not self._frames.take(report):
            return False
        for seq, hash_ in report.witness_hashes.items():
            self._hearing.hear_of(seq=seq, hash_=hash_)
        self._comparison.hear_part(report.nodes, piece.behind)
        self._seals.hear_part(report.sealed, piece.index)
        self._place = Waypoint(link=piece.behind, index=piece.index, offset=piece.end)
        return True

    def _scan(self, segments: Sequence[Segment], *, part: bool = False) -> ChainScan:
        return ChainScan(lineage=self._lineage, segments=segments, start=self._place, fs=self._fs, part=part)

    def _listen(self, scan: ChainScan) -> None:
        before = scan.link
        for raw in scan.frames():
            self._frames.check(raw, before, scan)
            before = scan.link
            self._hearing.hear(raw.line)
            self._comparison.hear(raw)
            self._seals.hear(raw, scan.index)
