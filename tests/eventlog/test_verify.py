"""Tests of the audit: it reports what recovery leaves out for speed, changes nothing, leaves a writer alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from eventlog.errors import LogMissingError
from eventlog.events import CancelAccepted
from eventlog.ids import JobId
from eventlog.records import misplaced_line
from eventlog.verify import FINDINGS_MAX, Verification, verify
from tests.eventlog.support import (
    LOG_ID,
    NOW,
    SEGMENT,
    abandon,
    append,
    draft,
    event,
    flip_bit,
    open_log,
    small_log,
    stdlib_frame,
)

INTERRUPTED = ("RunInterrupted", {"run": 1, "reason": "", "interrupted_at": NOW})


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogMissingError):
        verify(tmp_path / "nowhere")


def test_a_whole_log_is_described(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1), event(2))])
    log.close()
    assert verify(tmp_path / "log") == Verification(
        verdict="OK",
        ancestors=(),
        log_id=LOG_ID,
        segments=1,
        commits=3,
        events=3,
        skipped=0,
        head_seq=3,
        head_hash=log.head.hash,
        durable=3,
        sealed=0,
        signed=0,
        unchecked=0,
        witnessed=3,
        epochs=1,
        clean_close=True,
        writer_active=False,
        findings=(),
        findings_total=0,
    )


def test_verify_changes_no_byte(tmp_path: Path) -> None:
    small_log(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, b"torn")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "log").iterdir()}
    assert verify(tmp_path / "log").verdict == "TORN"
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "log").iterdir()} == before


def test_a_finding_says_where_and_what_is_still_proven(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    flip_bit(tmp_path / "log" / SEGMENT, byte=ends[1] + 3, bit=0)
    (finding,) = verify(tmp_path / "log").findings
    assert (finding.segment, finding.offset, finding.seq, finding.check) == (SEGMENT, ends[1], 3, "hash")
    assert finding.provable == "commits 1 to 2, records 1 to 2"
    assert "repair --from" in finding.what_to_do


def test_a_write_under_way_is_no_finding_while_its_writer_lives(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    append(tmp_path / "log" / SEGMENT, b'{"seq":3,"ty')
    result = verify(tmp_path / "log")
    assert (result.verdict, result.writer_active, result.durable) == ("OK", True, 1)
    abandon(log)
    result = verify(tmp_path / "log")
    assert (result.verdict, result.writer_active) == ("TORN", False)


def test_damage_under_a_living_writer_is_found(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    end = log.head.bytes
    log.commit([draft(event(1))])
    log.commit([draft(event(2))])
    flip_bit(tmp_path / "log" / SEGMENT, byte=end + 5, bit=1)
    assert verify(tmp_path / "log").verdict == "CORRUPT"
    abandon(log)


def test_a_busy_writer_is_never_suspected_and_never_disturbed(tmp_path: Path) -> None:
    done = threading.Event()
    verdicts: list[str] = []

    def watch() -> None:
        while not done.is_set():  # bounded by the writer's 60 openings
            verdicts.append(verify(tmp_path / "log").verdict)

    open_log(tmp_path / "log").close()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(60):
        log = open_log(tmp_path / "log")
        log.commit([draft(event(number))])
        log.close()
    done.set()
    watcher.join(timeout=30)
    assert set(verdicts) == {"OK"}


def crashed(folder: Path) -> tuple[str, int]:
    """Make a crashed log of two commits and two records; return the hash to continue from and the size."""
    log = open_log(folder)
    log.commit([draft(event(1))])
    abandon(log)
    return log.head.hash, log.head.bytes


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"durable": 0}, "durable"),
        ({"durable": 3}, "durable"),
        ({"epoch": 2}, "epoch"),
        ({"epoch": 0}, "epoch"),
        ({"first_line_seq": 4}, "seq"),
        ({"records": [("WriterOpened", {"epoch": 1})]}, "type"),
    ],
)
def test_a_frame_that_hashes_well_but_breaks_a_rule_is_found(
    tmp_path: Path, change: dict[str, Any], check: str
) -> None:
    head, size = crashed(tmp_path / "log")
    fields: dict[str, Any] = {"prev": head, "commit": 3, "first": 3, "records": [INTERRUPTED], "durable": 1}
    fields.update(change)
    frame, _ = stdlib_frame(**fields)
    append(tmp_path / "log" / SEGMENT, frame)
    result = verify(tmp_path / "log")
    assert [(finding.check, finding.offset) for finding in result.findings] == [(check, size)]
    assert result.verdict == ("UNKNOWN-TYPE" if check == "type" else "CORRUPT")


def test_the_frame_that_breaks_no_rule_is_whole(tmp_path: Path) -> None:
    head, _ = crashed(tmp_path / "log")
    frame, _ = stdlib_frame(prev=head, commit=3, first=3, records=[INTERRUPTED], durable=1)
    append(tmp_path / "log" / SEGMENT, frame)
    assert verify(tmp_path / "log").verdict == "OK"


@pytest.mark.parametrize(
    "lines",
    [
        b'{"seq":3,"type":"RunInterrupted","data":{}}',
        b'{"seq":3,"type":"RunInterrupted","data":{}}\n\n',
        b'\n{"seq":3,"type":"RunInterrupted","data":{}}\n',
    ],
)
def test_lines_that_are_not_one_record_each_are_found(lines: bytes) -> None:
    assert misplaced_line(b'{"seq":3,"type":"RunInterrupted","data":{}}\n', first=3, last=3) is None
    assert misplaced_line(lines, first=3, last=3) is not None


def outputs_committed(job: int) -> tuple[str, dict[str, Any]]:
    sheet = {
        "unit": "records", "output": "x", "found": 0, "written": 0, "quarantined": 0, "skipped": 0, "unreadable": 0,
    }  # fmt: skip
    data = {
        "job": job, "attempt": 1, "lease": "l", "commit_key": "k", "status": "success", "sink_uri": "parquet:///x",
        "outputs": [], "empty": ["x"], "sheet": sheet, "committed_at": NOW,
    }  # fmt: skip
    return "OutputsCommitted", data


def test_outputs_after_an_accepted_cancel_are_found(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(CancelAccepted(job=JobId(7), reason="asked", accepted_at=NOW))])
    abandon(log)
    records = [outputs_committed(6), outputs_committed(7)]
    frame, _ = stdlib_frame(prev=log.head.hash, commit=3, first=3, records=records, durable=2)
    append(tmp_path / "log" / SEGMENT, frame)
    result = verify(tmp_path / "log")
    assert result.verdict == "CORRUPT"
    assert [(finding.check, finding.seq) for finding in result.findings] == [("cancel", 4)]


def test_findings_are_bounded_and_counted(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(CancelAccepted(job=JobId(7), reason="asked", accepted_at=NOW))])
    abandon(log)
    records = [outputs_committed(7)] * (FINDINGS_MAX + 5)
    frame, _ = stdlib_frame(prev=log.head.hash, commit=3, first=3, records=records, durable=2)
    append(tmp_path / "log" / SEGMENT, frame)
    result = verify(tmp_path / "log")
    assert (len(result.findings), result.findings_total) == (FINDINGS_MAX, FINDINGS_MAX + 5)


def test_a_copy_without_its_lock_file_verifies(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    (tmp_path / "log" / "LOCK").unlink()
    assert verify(tmp_path / "log").verdict == "OK"
