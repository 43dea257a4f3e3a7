"""What somebody was told of a log when it was durable holds, or the log is not the one that told it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from eventlog import pieces
from eventlog.errors import LogCorruptError, LogRegressedError
from eventlog.fork import fork_log
from eventlog.frames import Frame
from eventlog.fsport import OS_FS
from eventlog.head_claim import hash_at
from eventlog.ids import LogId
from eventlog.log import Log
from eventlog.reader import follow, read_frames
from eventlog.recovery import Witness
from eventlog.repair import repair_log
from eventlog.sealed import WITNESS_NAME, HeadClaim, write_claim
from eventlog.sealing import seal_full_segments
from eventlog.verify import verify
from tests.eventlog.support import LOG_ID, NOW, draft, event, open_log
from tests.eventlog.test_backup import HOLDER

BY = "the executor executor-1 (process 7)"
OTHER_ID = LogId("fedcba9876543210" * 2)


def told(log: Log, *, by: str = BY) -> HeadClaim:
    """Return what somebody is told of a log that ends with a record."""
    return HeadClaim(log_id=log.log_id, seq=log.head.seq, hash=log.head.hash, by=by)


def grow(log: Log, *numbers: int) -> None:
    for number in numbers:
        log.commit([draft(event(number))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def put_back(folder: Path, older: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(older, folder)


@pytest.fixture
def claim(folder: Path, tmp_path: Path) -> HeadClaim:
    """Leave a log that was put back to an older state, and return what was told of it before that."""
    log = open_log(folder)
    grow(log, 1)
    log.close()
    shutil.copytree(folder, tmp_path / "older")
    log = open_log(folder)
    grow(log, 2, 3)
    said = told(log)
    log.close()
    shutil.copytree(folder, tmp_path / "newer")
    put_back(folder, tmp_path / "older")
    return said


def contradicted(folder: Path, claim: HeadClaim, *numbers: int) -> str:
    """Open the log, have it grow, hold it to what was told, and close it; return the words."""
    log = open_log(folder)
    grow(log, *numbers)
    with pytest.raises(LogRegressedError) as caught:
        log.hold_to(claim)
    log.close()
    return str(caught.value)


def test_what_was_told_at_any_time_holds_as_long_as_the_log_goes_on(folder: Path) -> None:
    said: list[HeadClaim] = []
    for opening in range(4):
        log = open_log(folder)
        said.append(told(log))
        for number in range(3):
            grow(log, 10 * opening + number)
            said.append(told(log))
        log.mark()  # empty frames end where the one before them does
        for each in said:
            log.hold_to(each)
        log.close()
    assert not (folder / WITNESS_NAME).exists()


@pytest.mark.parametrize("sealed", [False, True], ids=["raw", "sealed"])
def test_a_commit_is_found_wherever_it_stands(folder: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1500)
    log = open_log(folder, segment_bytes=6000)
    frames: list[Frame] = []
    for number in range(60):
        frames += log.commit([draft(event(number), event(number))])
        if number % 7 == 0:
            log.mark()
    if sealed:
        assert seal_full_segments(folder, lineage=log.lineage, key=None, leave=lambda: False) > 2
    assert len(log.segments()) > 3
    for frame in frames:
        log.hold_to(HeadClaim(log_id=LOG_ID, seq=frame.last, hash=frame.hash, by=BY))
        assert hash_at(frame.last, log.segments(), log.lineage, fs=OS_FS) == frame.hash
        assert hash_at(frame.last - 1, log.segments(), log.lineage, fs=OS_FS) == ""
    log.close()


def test_a_commit_is_found_on_both_sides_of_a_fork(folder: Path) -> None:
    log = open_log(folder)
    frames = log.commit([draft(event(1))])
    grow(log, 2)
    log.close()
    fork_log(folder, from_seq=frames[-1].last, reason="a test", actor="cli:test", log_id=OTHER_ID, now=NOW)
    log = open_log(folder)
    frames += log.commit([draft(event(3))])
    for frame in frames:
        assert hash_at(frame.last, log.segments(), log.lineage, fs=OS_FS) == frame.hash
    log.close()


@pytest.mark.parametrize("grown", [(), tuple(range(10, 20))], ids=["behind", "grown past it"])
def test_a_log_that_was_put_back_is_found_out_and_stays_so(
    folder: Path, claim: HeadClaim, grown: tuple[int, ...]
) -> None:
    words = contradicted(folder, claim, *grown)
    where = "the log has another history there" if grown else "the log ends at record 3"
    assert f"{BY} was told of record {claim.seq} in commit {claim.hash[:16]}…, and {where}" in words
    assert all(
        verb in words for verb in ("casparian log verify", "put the copy in the place of log/", "casparian log fork")
    )
    with pytest.raises(LogRegressedError, match="executor-1"):
        open_log(folder)
    with pytest.raises(LogRegressedError, match="executor-1"):
        list(read_frames(folder))
    report = verify(folder)
    assert (report.verdict, [finding.check for finding in report.findings]) == ("REGRESSED", ["witness"])


@pytest.mark.parametrize("seen_by_read_model", [False, True], ids=["note alone", "and the read model went along"])
@pytest.mark.parametrize("grown", [(), tuple(range(10, 20))], ids=["behind", "grown past it"])
def test_a_repair_says_of_a_copy_whether_it_has_what_was_told(
    folder: Path, claim: HeadClaim, tmp_path: Path, grown: tuple[int, ...], seen_by_read_model: bool
) -> None:
    contradicted(folder, claim, *grown)
    (folder / WITNESS_NAME).rename(tmp_path / WITNESS_NAME)
    *_, last = read_frames(folder)
    shutil.copy(tmp_path / WITNESS_NAME, folder)
    read_model = Witness(name="the read model", seq=last.last, hash=last.hash) if seen_by_read_model else None
    said = {}
    for copy in ("older", "newer"):
        with pytest.raises(LogRegressedError) as caught:
            repair_log(folder, tmp_path / copy, holder=HOLDER, now=NOW, witness_of=lambda _: read_model)
        said[copy] = caught.value.next_step
    assert said["older"] == "Find a newer copy: this one does not have what was seen."
    assert "put the copy in the place of log/" in said["newer"]


def test_a_log_that_is_again_what_was_told_is_opened_and_the_note_goes(
    folder: Path, claim: HeadClaim, tmp_path: Path
) -> None:
    contradicted(folder, claim)
    note = (folder / WITNESS_NAME).read_bytes()
    put_back(folder, tmp_path / "newer")
    (folder / WITNESS_NAME).write_bytes(note)
    assert verify(folder).verdict == "OK"
    assert len(list(read_frames(folder))) > 0
    open_log(folder).close()
    assert not (folder / WITNESS_NAME).exists()


def test_a_follower_hears_the_witness_once(folder: Path, claim: HeadClaim, tmp_path: Path) -> None:
    """Its later looks begin behind the place that the witness speaks of."""
    put_back(folder, tmp_path / "newer")
    write_claim(folder, claim)
    looks = iter((True, True, False))
    assert list(follow(folder, after=0, wait=lambda: next(looks)))


def test_a_follower_is_told_of_a_witness_that_comes_while_it_waits(folder: Path, claim: HeadClaim) -> None:
    def wait() -> bool:
        if not (folder / WITNESS_NAME).exists():
            contradicted(folder, claim, 10, 11)
            return True
        pytest.fail("it goes on in a log that every other reader refuses")

    with pytest.raises(LogRegressedError, match="executor-1"):
        list(follow(folder, after=0, wait=wait))


def test_a_fork_keeps_aside_what_a_witness_said_of_the_old_log(folder: Path, claim: HeadClaim) -> None:
    contradicted(folder, claim)
    forked = fork_log(folder, from_seq=3, reason="no copy has more", actor="cli:test", log_id=OTHER_ID, now=NOW)
    assert WITNESS_NAME in forked.kept_aside
    assert not (folder / WITNESS_NAME).exists()
    open_log(folder).close()
    assert verify(folder).verdict == "OK"


def test_a_note_of_another_log_says_nothing_of_this_one(folder: Path, claim: HeadClaim) -> None:
    write_claim(folder, replace(claim, log_id=OTHER_ID))
    open_log(folder).close()
    assert verify(folder).verdict == "OK"


def refused_to_open(folder: Path) -> None:
    with pytest.raises(LogCorruptError, match=WITNESS_NAME):
        open_log(folder)


def refused_to_read(folder: Path) -> None:
    with pytest.raises(LogCorruptError, match=WITNESS_NAME):
        list(read_frames(folder))


def found_by_the_audit(folder: Path) -> None:
    report = verify(folder)
    assert (report.verdict, report.findings[0].segment) == ("CORRUPT", WITNESS_NAME)


@pytest.mark.parametrize("refused", [refused_to_open, refused_to_read, found_by_the_audit])
def test_a_damaged_note_is_named(folder: Path, claim: HeadClaim, refused: Callable[[Path], None]) -> None:
    write_claim(folder, claim)
    data = (folder / WITNESS_NAME).read_bytes()
    (folder / WITNESS_NAME).write_bytes(data.replace(b'"seq"', b'"sex"'))
    refused(folder)


def test_a_note_that_cannot_be_written_is_told_of(folder: Path, claim: HeadClaim) -> None:
    log = open_log(folder)
    (folder / f"{WITNESS_NAME}.tmp").mkdir()
    with pytest.raises(LogRegressedError, match=f"The note {WITNESS_NAME} could not be written"):
        log.hold_to(claim)
    (folder / f"{WITNESS_NAME}.tmp").rmdir()
    log.close()


def test_bytes_that_changed_under_an_open_log_are_not_taken_for_another_history(folder: Path) -> None:
    log = open_log(folder)
    grow(log, 1, 2, 3)
    frame = log.commit([draft(event(4))])[0]
    grow(log, 5)
    path = log.segments()[-1].path
    path.write_bytes(path.read_bytes().replace(frame.hash.encode(), b"0" * 64, 1))
    with pytest.raises(LogCorruptError, match="no longer what was there"):
        log.hold_to(HeadClaim(log_id=LOG_ID, seq=frame.last, hash=frame.hash, by=BY))
    assert not (folder / WITNESS_NAME).exists()
    log._let_go("the test is over")
