"""Owns what an audit asks of each frame beside its hash and its link. It knows no file and no end of a log.

Every line is where its frame says, every record decodes, epochs and durable marks only go up, and no job commits
outputs after its cancel was accepted. Whoever walks the chain hands the frames over in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, get_args

from msgspec import Struct

from eventlog.chain import ChainScan, Link
from eventlog.errors import UnknownEventError
from eventlog.events import CancelAccepted, OutputsCommitted, WriterOpened
from eventlog.frames import RawFrame, WriterVersion
from eventlog.ids import JobId
from eventlog.records import CODEC, COMMAND_TYPES, LogRecord, decode_records, misplaced_line
from eventlog.verdict import WHAT_TO_DO, Finding, Judgement, Verdict

if TYPE_CHECKING:
    from eventlog.pieces import PieceReport

FINDINGS_MAX: Final = 100  # later ones are counted in `total`

_COMMANDS: Final = tuple(COMMAND_TYPES.values())
_TOLD_BY: Final[tuple[type[Struct], ...]] = (
    WriterOpened,
    CancelAccepted,
    OutputsCommitted,
    *_COMMANDS,
)  # the audit looks into these
_TELLING: Final = frozenset(CODEC.line_of[shape] for shape in _TOLD_BY)

# What outweighs what when several things are wrong.
_WEIGHT: Final[tuple[Verdict, ...]] = ("OK", "TORN", "UNKNOWN-TYPE", "REGRESSED", "CORRUPT")
assert set(_WEIGHT) == set(get_args(Verdict))


class Findings:
    """What was found wrong so far, and the verdict that follows from it."""

    def __init__(self) -> None:
        self.verdict: Verdict = "OK"
        self.kept: list[Finding] = []
        self.total = 0

    def add(self, judgement: Judgement) -> None:
        """Take in one judgement; one without a finding says nothing."""
        if judgement.finding is None:
            return
        self.verdict = max(self.verdict, judgement.verdict, key=_WEIGHT.index)
        self.total += 1
        if len(self.kept) < FINDINGS_MAX:
            self.kept.append(judgement.finding)


class FrameAudit:
    """Checks frame after frame; memory holds the findings and the ids of cancelled jobs, nothing else that grows.

    `committed` is asked for by those who check a part of a log: the jobs that committed outputs there.
    """

    def __init__(self, findings: Findings, *, committed: set[JobId] | None = None) -> None:
        self.findings = findings
        self.events = 0
        self.skipped = 0
        self.cancelled: set[JobId] = set()
        self.committed = committed
        self.writer = WriterVersion()

    def check(self, raw: RawFrame, before: Link, scan: ChainScan) -> None:
        """Check a frame that stands behind `before`; `scan` says in which segment."""
        line = raw.line
        if line.epoch != self.writer.epoch:
            self.writer.hear(raw)
        misplaced = misplaced_line(raw.lines, first=line.first, last=line.last)
        if misplaced is not None:
            seq, actual = misplaced
            self._note("CORRUPT", raw, scan, check="seq", expected=f"record {seq}", actual=f"{actual!r}", seq=seq)
        if not before.durable <= line.durable <= before.seq:
            expected = f"{before.durable} to {before.seq}"
            self._note("CORRUPT", raw, scan, check="durable", expected=expected, actual=str(line.durable))
        try:
            records, skipped = decode_records(raw.lines)
        except UnknownEventError as error:
            self._note_unknown(self.writer.blame(error), raw, scan)
            return
        self.skipped += len(skipped)
        self.events += len(records)
        telling = [record for record in records if type(record) in _TELLING]
        if telling or line.epoch != before.epoch:  # most frames say nothing that a rule looks into
            self._check_telling(telling, before, raw, scan)

    def take(self, report: PieceReport) -> bool:
        """Take in a piece that follows and was found clean by itself; False, and nothing done, if here it is not."""
        if not self.cancelled.isdisjoint(report.committed):
            return False
        self.events += report.events
        self.skipped += report.skipped
        self.cancelled.update(report.cancelled)
        if report.epoch != self.writer.epoch:
            self.writer.epoch, self.writer.version = report.epoch, report.version
        return True

    def _check_telling(self, records: Sequence[LogRecord], before: Link, raw: RawFrame, scan: ChainScan) -> None:
        opened = [record.data.epoch for record in records if isinstance(record.data, WriterOpened)]
        if opened or raw.line.epoch != before.epoch:
            self._check_epoch(opened, before, raw, scan)
        for record in records:
            self._check_told(record, raw, scan)

    def _check_epoch(self, opened: Sequence[int], before: Link, raw: RawFrame, scan: ChainScan) -> None:
        expected = before.epoch + len(opened)
        if raw.line.epoch != expected or len(opened) > 1 or any(epoch != expected for epoch in opened):
            actual = f"{raw.line.epoch}, opened {list(opened)}" if opened else str(raw.line.epoch)
            self._note("CORRUPT", raw, scan, check="epoch", expected=str(expected), actual=actual)

    def _check_told(self, record: LogRecord, raw: RawFrame, scan: ChainScan) -> None:
        data = record.data
        if isinstance(data, OutputsCommitted):
            if self.committed is not None:
                self.committed.add(data.job)
            if data.job in self.cancelled:
                expected = f"no outputs of job {data.job} after its cancel was accepted"
                actual = "OutputsCommitted"
                self._note("CORRUPT", raw, scan, check="cancel", expected=expected, actual=actual, seq=record.seq)
        elif isinstance(data, CancelAccepted):
            self.cancelled.add(data.job)
        elif isinstance(data, _COMMANDS):
            self.events -= 1

    def _note_unknown(self, error: UnknownEventError, raw: RawFrame, scan: ChainScan) -> None:
        self._note(
            "UNKNOWN-TYPE", raw, scan, check="type", expected="a type and shape of this version", actual=error.message,
            seq=error.seq, what_to_do=error.next_step,
        )  # fmt: skip

    def _note(
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
        self.findings.add(Judgement(verdict=verdict, finding=finding))
