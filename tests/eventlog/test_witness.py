"""A witness outside of the log: what it has seen cannot be missing, however clean the end of the log looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventlog.errors import LogRegressedError
from eventlog.log import Log
from eventlog.recovery import Witness
from eventlog.verify import verify
from tests.eventlog.support import LOG_ID, SEGMENT, draft, event, fixed_clock, open_log, small_log, stop


def open_with(folder: Path, witness: Witness | None) -> Log:
    return Log.open(
        folder,
        clock=fixed_clock,
        new_log_id=lambda: LOG_ID,
        version="0.0.test",
        purpose="test",
        witness_of=lambda _: witness,
        die=stop,
    )


def seen(folder: Path) -> Witness:
    """Return a witness of the last record of a log."""
    log = open_log(folder)
    log.commit([draft(event(7))])
    witness = Witness(name="the test", seq=log.head.seq, hash=log.head.hash)
    log.close()
    return witness


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "LOCK"}


def test_a_log_that_its_witness_has_seen_whole_opens(tmp_path: Path) -> None:
    witness = seen(tmp_path / "log")
    open_with(tmp_path / "log", witness).close()
    assert verify(tmp_path / "log", witness_of=lambda _: witness).verdict == "OK"


def test_a_witness_that_is_behind_the_log_is_no_reason_to_refuse(tmp_path: Path) -> None:
    witness = seen(tmp_path / "log")
    seen(tmp_path / "log")
    open_with(tmp_path / "log", witness).close()


@pytest.mark.parametrize("torn_bytes", [b"", b"half a line"], ids=["cut", "torn"])
def test_a_log_that_ends_before_its_witness_is_refused_and_not_changed(tmp_path: Path, torn_bytes: bytes) -> None:
    ends = small_log(tmp_path / "log")
    segment = tmp_path / "log" / SEGMENT
    witness = Witness(name="the test", seq=4, hash="0" * 64)
    os.truncate(segment, ends[2])
    segment.write_bytes(segment.read_bytes() + torn_bytes)
    before = bytes_of(tmp_path / "log")
    for _ in range(3):  # being refused must not let the log grow past its witness
        with pytest.raises(LogRegressedError, match="the test has seen"):
            open_with(tmp_path / "log", witness)
    assert bytes_of(tmp_path / "log") == before
    assert verify(tmp_path / "log", witness_of=lambda _: witness).verdict == "REGRESSED"


def test_a_log_with_another_history_than_its_witness_saw_is_refused(tmp_path: Path) -> None:
    witness = seen(tmp_path / "log")
    other = Witness(name="the test", seq=witness.seq, hash="f" * 64)
    with pytest.raises(LogRegressedError, match="another history"):
        open_with(tmp_path / "log", other)


def test_15_without_a_witness_a_cut_log_is_taken_for_torn(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log")
    os.truncate(tmp_path / "log" / SEGMENT, ends[2] + 5)
    assert verify(tmp_path / "log").verdict == "TORN"
    open_with(tmp_path / "log", None).close()
