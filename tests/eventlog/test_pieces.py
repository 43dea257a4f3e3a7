"""Tests of the audit in pieces: it says what one walk from the beginning says, whatever is wrong and whoever helps."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog import pieces, split_audit
from eventlog.chain import Segment, list_segments
from eventlog.errors import LogMissingError
from eventlog.events import CancelAccepted
from eventlog.ids import JobId
from eventlog.lineage import Lineage
from eventlog.pieces import Piece, PieceReport, audit_named_piece, audit_piece, cut
from eventlog.recovery import Witness, require_lineage
from eventlog.sealed import HeadClaim, write_claim
from eventlog.verify import Verification, verify
from tests.eventlog.mutations import KEY, Bases, mutated, store
from tests.eventlog.support import NOW, SEGMENT, abandon, append, draft, event, frames_of, open_log, stdlib_frame
from tests.eventlog.test_verify import outputs_committed

SEEDS = 400
SEEDS_LONG = 10_000
SEEDS_WITH_A_PROCESS = 8


class Helper:
    """Stands for the second process: audits what it is handed at once, and answers `late` rounds later."""

    late = 0

    def __init__(self, folder: Path, lineage: Lineage) -> None:
        self.ready, self.gone = True, False
        self._folder, self._lineage = folder, lineage
        self._waiting: deque[Piece] = deque()
        self._round = 0

    def hand(self, piece: Piece) -> None:
        self._waiting.append(piece)

    def answers(self, *, wait: bool) -> Iterator[PieceReport | None]:
        self._round += 1
        if not self.gone and (wait or self._round % (self.late + 1) == 0):
            while self._waiting:
                yield audit_named_piece(self._folder, self._lineage, self._waiting.popleft())

    def end(self) -> None:
        self._waiting.clear()


class Deserter(Helper):
    """Is gone after it was handed something."""

    def hand(self, piece: Piece) -> None:
        super().hand(piece)
        self.gone = True


def said(folder: Path, *, keyed: bool = False, witness: Witness | None = None) -> Verification | None:
    try:
        return verify(folder, key=KEY.verifying if keyed else None, witness_of=lambda _: witness)
    except LogMissingError:
        return None


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Cut logs into pieces of a few frames, with a helper in this process; undo it to have one walk."""
    monkeypatch.setattr(split_audit, "SPLIT_BYTES_MIN", 0)
    monkeypatch.setattr(split_audit, "SecondProcess", Helper)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 700)
    return monkeypatch


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tmp_path_factory.mktemp("bases"))


def agree(bases: Bases, folder: Path, seeds: range, split: pytest.MonkeyPatch) -> None:
    """Hold the audit in pieces against the one walk; a difference names the seed that repeats it."""
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        files, done = mutated(bases, seed)
        store(files, folder)
        Helper.late = seed % 4
        in_pieces = said(folder, keyed=seed % 2 == 0)
        with split.context() as whole:
            whole.setattr(split_audit, "SPLIT_BYTES_MIN", 1 << 60)
            at_once = said(folder, keyed=seed % 2 == 0)
        assert in_pieces == at_once, f"seed {seed}: {done}"


def test_33_in_pieces_400_damaged_logs_are_judged_as_by_one_walk(
    bases: Bases, quick: Path, split: pytest.MonkeyPatch
) -> None:
    agree(bases, quick / "log", range(SEEDS), split)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_33_in_pieces_10_000_damaged_logs_are_judged_as_by_one_walk(
    bases: Bases, quick: Path, split: pytest.MonkeyPatch
) -> None:
    agree(bases, quick / "log", range(SEEDS, SEEDS_LONG), split)


def test_damaged_logs_are_judged_alike_with_a_process(bases: Bases, quick: Path, split: pytest.MonkeyPatch) -> None:
    split.setattr(split_audit, "SecondProcess", Patient)
    agree(bases, quick / "log", range(SEEDS_WITH_A_PROCESS), split)


class Patient(split_audit.SecondProcess):
    """A real second process that is waited for before the first piece, so that it has its share of a short log."""

    def __init__(self, folder: Path, lineage: Lineage) -> None:
        super().__init__(folder, lineage)
        for _ in self.answers(wait=True):
            raise AssertionError("it has been handed nothing")


def many_frames(folder: Path) -> None:
    log = open_log(folder)
    for number in range(60):
        log.commit([draft(event(number), event(number))])
    log.close()


def test_both_have_their_share_of_a_whole_log(tmp_path: Path, split: pytest.MonkeyPatch) -> None:
    many_frames(tmp_path / "log")
    handed, own = list[Piece](), list[Piece]()

    class Counted(Helper):
        def hand(self, piece: Piece) -> None:
            handed.append(piece)
            super().hand(piece)

    def counted(segment: Segment, lineage: Lineage, piece: Piece) -> PieceReport | None:
        own.append(piece)
        return audit_piece(segment, lineage, piece)

    split.setattr(split_audit, "SecondProcess", Counted)
    split.setattr(split_audit, "audit_piece", counted)
    found = said(tmp_path / "log")
    assert found is not None
    assert (found.verdict, found.events) == ("OK", 121)
    assert len(handed) >= 5
    assert len(own) >= 5


def test_pieces_lie_behind_each_other_up_to_the_end(tmp_path: Path, split: pytest.MonkeyPatch) -> None:
    many_frames(tmp_path / "log")
    segments, lineage = list_segments(tmp_path / "log"), require_lineage(tmp_path / "log")
    found = list(cut(segments, lineage.begin))
    assert [piece.offset for piece in found] == [0, *(piece.end for piece in found[:-1])]
    assert [piece.start for piece in found] == [lineage.begin, *(piece.behind for piece in found[:-1])]
    assert found[-1].end == segments[-1].size


def test_a_piece_counts_only_where_the_chain_stands(tmp_path: Path, split: pytest.MonkeyPatch) -> None:
    """Frames that are whole and linked among themselves, behind one commit that was taken out."""
    many_frames(tmp_path / "log")
    path = tmp_path / "log" / SEGMENT
    frames = list(frames_of(path.read_bytes()))
    path.write_bytes(b"".join(frames[:30] + frames[31:]))
    found = said(tmp_path / "log")
    assert found is not None
    assert (found.verdict, found.commits) == ("CORRUPT", 30)


def test_a_commit_after_a_cancel_in_an_earlier_piece_is_found(tmp_path: Path, split: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(CancelAccepted(job=JobId(7), reason="asked", accepted_at=NOW))])
    for number in range(30):
        log.commit([draft(event(number), event(number))])
    abandon(log)
    head = log.head
    frame, _ = stdlib_frame(
        prev=head.hash, commit=head.commit + 1, first=head.seq + 1, records=[outputs_committed(7)], durable=head.seq
    )
    append(tmp_path / "log" / SEGMENT, frame)
    found = said(tmp_path / "log")
    assert found is not None
    assert [each.check for each in found.findings] == ["cancel"]


@pytest.mark.parametrize("seq", [1, 31, 61, 121])
def test_a_witness_is_heard_in_whatever_piece_its_commit_is(
    tmp_path: Path, split: pytest.MonkeyPatch, seq: int
) -> None:
    many_frames(tmp_path / "log")
    log = open_log(tmp_path / "log")
    hash_ = next(frame.hash for frame in log.replay() if frame.last == seq)
    log.close()
    for given, verdict in ((hash_, "OK"), ("0" * 64, "REGRESSED")):
        found = said(tmp_path / "log", witness=Witness(name="a test", seq=seq, hash=given))
        assert found is not None
        assert found.verdict == verdict


@pytest.mark.parametrize("wrong", [(), (31,), (121,), (31, 121)], ids=str)
def test_two_witnesses_are_heard_and_the_later_word_against_the_log_is_told(
    tmp_path: Path, split: pytest.MonkeyPatch, wrong: tuple[int, ...]
) -> None:
    many_frames(tmp_path / "log")
    log = open_log(tmp_path / "log")
    hashes = {frame.last: frame.hash for frame in log.replay() if frame.records} | dict.fromkeys(wrong, "0" * 64)
    log.close()
    write_claim(tmp_path / "log", HeadClaim(log_id=log.log_id, seq=31, hash=hashes[31], by="an executor"))
    witness = Witness(name="the read model", seq=121, hash=hashes[121])
    found = said(tmp_path / "log", witness=witness)
    assert found is not None
    assert found.verdict == ("REGRESSED" if wrong else "OK")
    assert [f"with record {max(wrong)}," in each.expected for each in found.findings] == ([True] if wrong else [])
    split.undo()
    assert said(tmp_path / "log", witness=witness) == found


def test_a_helper_that_dies_costs_no_word_of_the_verdict(tmp_path: Path, split: pytest.MonkeyPatch) -> None:
    many_frames(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, b'{"seq":9')
    expected = said(tmp_path / "log")
    split.setattr(split_audit, "SecondProcess", Deserter)
    assert said(tmp_path / "log") == expected


class Stopped(Patient):
    """A real process that the system stops as soon as it has something to do."""

    def hand(self, piece: Piece) -> None:
        os.kill(self._child.pid, signal.SIGSTOP)
        super().hand(piece)


def test_a_process_that_was_stopped_is_given_up(tmp_path: Path, split: pytest.MonkeyPatch) -> None:
    many_frames(tmp_path / "log")
    expected = said(tmp_path / "log")
    split.setattr(split_audit, "ANSWER_SECONDS_MAX", 1.5)
    split.setattr(split_audit, "SecondProcess", Stopped)
    begin = time.monotonic()
    assert said(tmp_path / "log") == expected
    assert time.monotonic() - begin < 30


def test_no_process_is_started_for_a_short_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many_frames(tmp_path / "log")
    monkeypatch.setattr(split_audit, "SecondProcess", None)  # calling it would raise
    found = said(tmp_path / "log")
    assert found is not None
    assert found.verdict == "OK"
