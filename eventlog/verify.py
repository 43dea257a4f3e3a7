"""Owns the audit of a log: what is whole, what is not, and what can still be proven. Changes no byte, takes no lock.

It checks all that recovery checks, and what recovery leaves to it for speed: every line is where its frame says, every
record decodes, epochs and durable marks only go up, and no job commits outputs after its cancel was accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, get_args

from msgspec import Struct

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
    UnknownEventError,
)
from eventlog.events import CancelAccepted, OutputsCommitted, WriterOpened
from eventlog.frames import RawFrame, WriterVersion
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import JobId, LogId
from eventlog.lineage import Lineage, alone
from eventlog.lock import is_locked
from eventlog.note import VerifyingKey
from eventlog.records import COMMAND_TYPES, LogRecord, decode_records, misplaced_line
from eventlog.recovery import Hearing, Witness, judge, require_lineage
from eventlog.sealed import CLOSED_NAME, GENESIS_NAME, Ancestor, Closed, read_closed
from eventlog.seals import SealAudit, expected_of_seals
from eventlog.verdict import WHAT_TO_DO, Finding, Judgement, Verdict

FINDINGS_MAX: Final = 100  # later ones are counted in `findings_total`

_COMMANDS: Final = tuple(COMMAND_TYPES.values())
_TELLING: Final = frozenset({WriterOpened, CancelAccepted, OutputsCommitted, *_COMMANDS})  # the audit looks into these

# What outweighs what when several things are wrong.
_WEIGHT: Final[tuple[Verdict, ...]] = ("OK", "TORN", "UNKNOWN-TYPE", "REGRESSED", "CORRUPT")
assert set(_WEIGHT) == set(get_args(Verdict))


class Verification(Struct, frozen=True, kw_only=True):
    """The result of an audit. Counts, head and durable mark are those of the part whose chain holds.

    `signed` is the seq up to which a signed head agrees whose signature was verified, `unchecked` that of signed heads
    whose signature nobody looked at, because no key was given; 0 if there is none.
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
        self.verdict: Verdict = "OK"
        self.findings: list[Finding] = []
        self.findings_total = 0
        self.events = 0
        self.skipped = 0
        self.cancelled: set[JobId] = set()
        self.sealed = 0
        self.signed = 0
        self.unchecked = 0
        self.clean_close = False
        self.writer_active = False
        self.writer = WriterVersion()

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
        hearing = Hearing(self.witness_of(lineage.log_id))  # before the sizes: a witness is never ahead of the log
        if not lineage.unfinished:  # else it is still that of the log that was left
            self._expect_anchor(lineage.log_id)
        scan = self._scan(lineage)
        self._expect_seals(scan)
        comparison, seals = Comparison(self.expected), SealAudit(scan.segments)
        for raw in scan.frames():
            self._check_frame(raw, scan)
            hearing.hear(raw.line)
            comparison.hear(raw)
            seals.hear(raw, scan.index)
        for complaint in seals.finish(scan):
            self._note_file("CORRUPT", complaint.name, complaint.error)
        for judgement in comparison.verdicts(scan):
            self._note(judgement)
        self.signed = comparison.agreed_size(scan)
        self._judge_end(scan, closed, hearing)
        return self._result(lineage, scan.segments, scan.link)

    def _scan(self, lineage: Lineage) -> _AuditScan:
        segments = list_segments(self.folder, fs=self.fs)
        start = Waypoint(link=lineage.begin, index=0, offset=0)
        return _AuditScan(lineage=lineage, segments=segments, start=start, fs=self.fs)

    def _read_closed(self) -> Closed | None:
        try:
            return read_closed(self.folder, fs=self.fs)
        except LogCorruptError as error:
            self._note_file("CORRUPT", CLOSED_NAME, error)
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

    def _expect_seals(self, scan: _AuditScan) -> None:
        for each in expected_of_seals(self.folder, scan.segments, lineage=scan.lineage, key=self.key, fs=self.fs):
            if isinstance(each, Expected):
                self.sealed = each.checkpoint.size
                self.expected.append(each)
                if each.signed and not each.verified:
                    self.unchecked = max(self.unchecked, each.checkpoint.size)
            else:
                self._note_file("CORRUPT", each.name, each.error)

    # --- one frame ---

    def _check_frame(self, raw: RawFrame, scan: _AuditScan) -> None:
        before, line = scan.before, raw.line
        scan.before = scan.link
        if line.epoch != self.writer.epoch:
            self.writer.hear(raw)
        misplaced = misplaced_line(raw.lines, first=line.first, last=line.last)
        if misplaced is not None:
            seq, actual = misplaced
            self._note_frame("CORRUPT", raw, scan, check="seq", expected=f"record {seq}", actual=f"{actual!r}", seq=seq)
        if not before.durable <= line.durable <= before.seq:
            expected = f"{before.durable} to {before.seq}"
            self._note_frame("CORRUPT", raw, scan, check="durable", expected=expected, actual=str(line.durable))
        try:
            records, skipped = decode_records(raw.lines)
        except UnknownEventError as error:
            self._note_unknown(self.writer.blame(error), raw, scan)
            return
        self.skipped += len(skipped)
        self.events += len(records)
        telling = [record for record in records if type(record.data) in _TELLING]
        if telling or line.epoch != before.epoch:  # most frames say nothing that a rule looks into
            self._check_telling(telling, before, raw, scan)

    def _check_telling(self, records: Sequence[LogRecord], before: Link, raw: RawFrame, scan: _AuditScan) -> None:
        self._check_epoch(records, before, raw, scan)
        for record in records:
            if isinstance(record.data, _COMMANDS):
                self.events -= 1
            else:
                self._check_cancel(record, raw, scan)

    def _check_epoch(self, records: Sequence[LogRecord], before: Link, raw: RawFrame, scan: _AuditScan) -> None:
        opened = [record.data.epoch for record in records if isinstance(record.data, WriterOpened)]
        expected = before.epoch + len(opened)
        if raw.line.epoch != expected or len(opened) > 1 or any(epoch != expected for epoch in opened):
            actual = f"{raw.line.epoch}, opened {opened}" if opened else str(raw.line.epoch)
            self._note_frame("CORRUPT", raw, scan, check="epoch", expected=str(expected), actual=actual)

    def _check_cancel(self, record: LogRecord, raw: RawFrame, scan: _AuditScan) -> None:
        data = record.data
        if isinstance(data, CancelAccepted):
            self.cancelled.add(data.job)
        elif isinstance(data, OutputsCommitted) and data.job in self.cancelled:
            expected = f"no outputs of job {data.job} after its cancel was accepted"
            self._note_frame(
                "CORRUPT", raw, scan, check="cancel", expected=expected, actual="OutputsCommitted", seq=record.seq
            )

    # --- the end ---

    def _judge_end(self, scan: ChainScan, closed: Closed | None, hearing: Hearing) -> None:
        contradicted = hearing.verdict(scan)
        if contradicted is not None:
            self._note(contradicted)
        judgement = judge(scan, closed)
        if closed is not None and judgement.verdict == "CORRUPT" and self._reopened_meanwhile(closed):
            judgement = judge(scan, None)
        if judgement.verdict == "TORN" and not scan.lineage.unfinished and self._being_written(scan.segment):
            return
        self.clean_close = judgement.clean
        self._note(judgement)

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
            verdict=self.verdict,
            log_id=lineage.log_id,
            ancestors=tuple(life.end for life in lineage.lives if life.end is not None),
            segments=len(segments),
            commits=link.commit,
            events=self.events,
            skipped=self.skipped,
            head_seq=link.seq,
            head_hash=link.hash,
            durable=link.seq if self.clean_close else link.durable,
            sealed=self.sealed,
            signed=self.signed,
            unchecked=self.unchecked,
            epochs=link.epoch,
            clean_close=self.clean_close,
            writer_active=self.writer_active,
            findings=tuple(self.findings),
            findings_total=self.findings_total,
        )

    # --- findings ---

    def _note(self, judgement: Judgement) -> None:
        if judgement.finding is None:
            return
        self.verdict = max(self.verdict, judgement.verdict, key=_WEIGHT.index)
        self.findings_total += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(judgement.finding)

    def _note_unknown(self, error: UnknownEventError, raw: RawFrame, scan: ChainScan) -> None:
        self._note_frame(
            "UNKNOWN-TYPE", raw, scan, check="type", expected="a type and shape of this version", actual=error.message,
            seq=error.seq, what_to_do=error.next_step,
        )  # fmt: skip

    def _note_frame(
        self, verdict: Verdict, raw: RawFrame, scan: ChainScan, *, check: str, expected: str, actual: str, seq: int = 0,
        what_to_do: str = "",
    ) -> None:  # fmt: skip
        finding = Finding(
            segment=scan.segment.path.name,
            offset=raw.offset,
            seq=seq or raw.line.first,
            check=check,
            expected=expected,
            actual=actual,
            provable="the bytes are what was written: every hash fits",
            what_to_do=what_to_do or WHAT_TO_DO[verdict],
        )
        self._note(Judgement(verdict=verdict, finding=finding))

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
        self._note(Judgement(verdict=verdict, finding=finding))


class _AuditScan(ChainScan):
    """A scan that also remembers where the chain stood before the frame at hand."""

    def __init__(self, *, lineage: Lineage, segments: list[Segment], start: Waypoint, fs: FsPort) -> None:
        super().__init__(lineage=lineage, segments=segments, start=start, fs=fs)
        self.before = start.link
