"""Tests of signed heads: what ANCHOR allows to be signed, and what a checkpoint proves against a log."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from eventlog.checkpoint import (
    ANCHOR_PLACE,
    Checkpoint,
    Expected,
    origin,
    read_anchor,
    read_checkpoint,
    refuse_earlier_life,
    require_log,
)
from eventlog.errors import (
    BadNoteError,
    LogCorruptError,
    LogLockedError,
    LogMissingError,
    LogRegressedError,
)
from eventlog.fork import fork_log
from eventlog.ids import LogId
from eventlog.merkle import CompactRange
from eventlog.note import SigningKey
from eventlog.sealed import read_genesis
from eventlog.signing import sign_head
from eventlog.verify import Verification, verify
from tests.eventlog.support import (
    LOG_ID,
    NOW,
    SEGMENT,
    append,
    crash_image,
    draft,
    event,
    frames_of,
    genesis_hash,
    open_log,
    small_log,
    stdlib_frame,
)

KEY: Final = SigningKey(origin(LOG_ID), bytes(range(32)))
FORGER: Final = SigningKey(origin(LOG_ID), bytes(range(1, 33)))


def grow(folder: Path, number: int) -> None:
    log = open_log(folder)
    log.commit([draft(event(number))])
    log.close()


def checked(folder: Path, note: bytes) -> Verification:
    return verify(folder, expected=[Expected(name="the note", checkpoint=read_checkpoint(note, KEY.verifying))])


def found(result: Verification) -> list[tuple[str, str]]:
    return [(result.verdict, finding.check) for finding in result.findings]


def rewritten(folder: Path, target: Path, **changes: str) -> Path:
    """Copy a log and write its history anew: every frame whole and linked, in the way only its owner could."""
    crash_image(folder, target)
    (target / "CLOSED").unlink()
    lines = [line for line in (folder / SEGMENT).read_bytes().split(b"\n") if line.startswith(b'{"seq":')]
    data = b""
    prev = genesis_hash(folder)
    for commit, line in enumerate(lines, 1):
        record = json.loads(line)
        record["data"].update({key: value for key, value in changes.items() if key in record["data"]})
        frame, prev = stdlib_frame(
            prev=prev,
            commit=commit,
            first=commit,
            records=[(record["type"], record["data"])],
            durable=commit - 1,
            actor=changes["actor"],
        )
        data += frame
    mark, _ = stdlib_frame(prev=prev, commit=len(lines) + 1, first=len(lines) + 1, records=[], durable=len(lines))
    data += mark
    (target / SEGMENT).write_bytes(data)
    return target


def test_a_head_is_signed_and_read_back(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    checkpoint, note = sign_head(tmp_path / "log", KEY)
    assert read_checkpoint(note, KEY.verifying) == checkpoint
    assert read_anchor(tmp_path / "log") == note
    assert (checkpoint.log_id, checkpoint.size) == (LOG_ID, 4)
    assert note.startswith(b"casparian/log/0123456789abcdef0123456789abcdef\n4\n")
    tree = CompactRange()
    for frame in frames_of((tmp_path / "log" / SEGMENT).read_bytes()):
        tree.extend(b"".join(line + b"\n" for line in frame.split(b"\n") if line.startswith(b'{"seq":')))
    assert tree.root() == checkpoint.root
    assert found(checked(tmp_path / "log", note)) == []


def test_a_head_is_signed_beside_a_living_writer_up_to_what_is_known_durable(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    log.commit([draft(event(2))])
    checkpoint, note = sign_head(tmp_path / "log", KEY)
    assert checkpoint.size == 2
    log.commit([draft(event(3))])
    assert sign_head(tmp_path / "log", KEY)[0].size == 3
    log.close()
    assert found(checked(tmp_path / "log", note)) == []


def test_a_log_that_goes_on_agrees_with_every_note_of_its_past(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    notes = [sign_head(tmp_path / "log", KEY)[1]]
    for number in range(5):
        grow(tmp_path / "log", number)
        notes.append(sign_head(tmp_path / "log", KEY)[1])
    for note in notes:
        assert verify(tmp_path / "log").verdict == "OK"
        assert found(checked(tmp_path / "log", note)) == []


def test_a_log_behind_its_note_has_regressed(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    shutil.copytree(tmp_path / "log", tmp_path / "backup")
    grow(tmp_path / "log", 9)
    _, note = sign_head(tmp_path / "log", KEY)
    assert found(checked(tmp_path / "backup", note)) == [("REGRESSED", "checkpoint")]


def test_15c_a_log_behind_its_own_anchor_has_regressed_and_is_not_signed(tmp_path: Path) -> None:
    ends = small_log(tmp_path / "log", clean=True)
    sign_head(tmp_path / "log", KEY)
    with (tmp_path / "log" / SEGMENT).open("r+b") as file:
        file.truncate(ends[1])
    (tmp_path / "log" / "CLOSED").unlink()
    assert found(verify(tmp_path / "log")) == [("REGRESSED", "checkpoint")]
    with pytest.raises(LogRegressedError, match=r"it is REGRESSED \(checkpoint\)"):
        sign_head(tmp_path / "log", KEY)


def test_another_history_of_the_same_length_is_found_and_not_signed(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    _, note = sign_head(tmp_path / "log", KEY)
    other = rewritten(tmp_path / "log", tmp_path / "other", actor="cli:test", reason="another reason")
    result = checked(other, note)
    assert found(result) == [("CORRUPT", "checkpoint")] * 2  # against the note, and against its own ANCHOR
    assert "two histories" in result.findings[0].actual
    with pytest.raises(LogCorruptError, match="two histories of one log"):
        sign_head(other, KEY)


def test_the_same_records_by_another_actor_are_found_too(tmp_path: Path) -> None:
    """The root is the same: the commit's hash on the fourth line is what tells."""
    small_log(tmp_path / "log", clean=True)
    checkpoint, note = sign_head(tmp_path / "log", KEY)
    other = rewritten(tmp_path / "log", tmp_path / "other", actor="cli:somebody")
    (other / ANCHOR_PLACE).unlink()
    assert sign_head(other, KEY)[0].root == checkpoint.root
    (other / ANCHOR_PLACE).unlink()
    result = checked(other, note)
    assert found(result) == [("CORRUPT", "checkpoint")]
    assert "who or when was rewritten" in result.findings[0].actual


def test_32_a_note_of_another_log_is_named(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    checkpoint, _ = sign_head(tmp_path / "log", KEY)
    with pytest.raises(BadNoteError, match=r"is of log 0123456789abcdef0123456789abcdef, and this is log f+"):
        require_log(checkpoint, LogId("f" * 32))
    foreign = SigningKey(origin(LogId("f" * 32)), bytes(range(32)))
    with pytest.raises(BadNoteError, match=r"the key is of casparian/log/f+"):
        sign_head(tmp_path / "log", foreign)
    text = Checkpoint(log_id=LogId("f" * 32), size=1, root=bytes(32), commit=1, hash="0" * 64).text
    (tmp_path / "log" / ANCHOR_PLACE).write_bytes(KEY.sign(text))
    assert found(verify(tmp_path / "log")) == [("CORRUPT", "file")]


def test_32_a_note_of_the_log_that_was_forked_says_where_and_what_to_hold_it_against(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    checkpoint, _ = sign_head(tmp_path / "log", KEY)
    fork_log(tmp_path / "log", from_seq=3, reason="a test", actor="cli:test", log_id=LogId("f" * 32), now=NOW)
    genesis, _ = read_genesis(tmp_path / "log")
    with pytest.raises(BadNoteError, match="forked from that one behind record 3") as caught:
        refuse_earlier_life(checkpoint, genesis.ancestors)
    assert "casparian log verify --log COPY --expect NOTE --key VKEY" in caught.value.next_step
    refuse_earlier_life(replace(checkpoint, log_id=genesis.log_id), genesis.ancestors)


def test_32_an_anchor_by_another_key_is_found_and_nothing_is_signed_after_it(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    sign_head(tmp_path / "log", FORGER)
    assert found(verify(tmp_path / "log", key=FORGER.verifying)) == []
    assert found(verify(tmp_path / "log", key=KEY.verifying)) == [("CORRUPT", "file")]
    with pytest.raises(LogCorruptError, match=r"not by casparian/log/"):
        sign_head(tmp_path / "log", KEY)


def test_every_changed_byte_of_the_anchor_is_found(quick: Path) -> None:
    small_log(quick / "log", clean=True)
    _, note = sign_head(quick / "log", KEY)
    for at in range(len(note)):
        (quick / "log" / ANCHOR_PLACE).write_bytes(note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :])
        assert verify(quick / "log", key=KEY.verifying).verdict != "OK", at


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n4\n", "\n04\n"),
        ("\n4\n", "\n-4\n"),
        ("\n4\n", "\n0\n"),
        ("\n4\n", "\n9999999999999999999\n"),
        ("casparian/log/", "example.com/log/"),
        ("commit ", "komit "),
        ("commit 4", "commit 0"),
        ("=\n", "==\n"),
        ("=\n", "=\nmore\n"),
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(tmp_path: Path, old: str, new: str) -> None:
    small_log(tmp_path / "log", clean=True)
    checkpoint, _ = sign_head(tmp_path / "log", KEY)
    text = checkpoint.text
    assert old in text
    with pytest.raises(BadNoteError, match="not a checkpoint"):
        read_checkpoint(KEY.sign(text.replace(old, new, 1)), KEY.verifying)


def test_a_damaged_log_is_not_signed(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    append(tmp_path / "log" / SEGMENT, b"x")
    with pytest.raises(LogCorruptError):
        sign_head(tmp_path / "log", KEY)
    assert read_anchor(tmp_path / "log") is None


def test_a_head_that_a_crash_made_doubtful_again_is_the_anchor_still(tmp_path: Path) -> None:
    """The frame that said so was lost with its batch; ANCHOR itself is a witness of what was durable."""
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    end = log.head.bytes
    log.commit([draft(event(2))])
    signed = sign_head(tmp_path / "log", KEY)
    assert signed[0].size == 2
    crash_image(tmp_path / "log", tmp_path / "crashed")
    log.close()
    with (tmp_path / "crashed" / SEGMENT).open("r+b") as file:
        file.truncate(end)
    assert verify(tmp_path / "crashed").verdict == "OK"
    assert sign_head(tmp_path / "crashed", KEY) == signed


def test_nothing_durable_is_nothing_to_sign(tmp_path: Path) -> None:
    with pytest.raises(LogMissingError):
        sign_head(tmp_path / "nowhere", KEY)
    small_log(tmp_path / "log", frames=0)
    with pytest.raises(LogMissingError, match="known to be durable"):
        sign_head(tmp_path / "log", KEY)


def test_two_processes_do_not_sign_at_once(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    sign_head(tmp_path / "log", KEY)
    fd = os.open(tmp_path / "log" / "anchors" / "LOCK", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(LogLockedError, match="another process is signing"):
        sign_head(tmp_path / "log", KEY)
    os.close(fd)
    sign_head(tmp_path / "log", KEY)
