"""A snapshot that does not fit is ignored with its reason; one that fits spares the walk and changes no verdict."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from msgspec.structs import replace

from eventlog.chain import list_segments
from eventlog.errors import LogCorruptError, LogRegressedError
from eventlog.frames import Head
from eventlog.ids import LogId
from eventlog.lineage import alone
from eventlog.log import Log
from eventlog.recovery import Witness, genesis_waypoint
from eventlog.snapshot import FORMAT, KEPT_MAX, Header, Snapshot, UnfitError, choose, examine, write
from tests.eventlog.support import LOG_ID, SEGMENT, abandon, draft, event, fixed_clock, open_log, stop

CODE = "c" * 64
STATE = b"the state"


def leave(home: Path, *, frames: int = 5, code: str = CODE) -> Header:
    """Append frames to the log of a home, snapshot it where it ends then, append one more and close."""
    log = open_log(home / "log")
    for number in range(frames):
        log.commit([draft(event(number))])
    header = header_of(home / "log", log, code=code)
    write(home / "snapshots", Snapshot(header=header, state=STATE))
    log.commit([draft(event(99))])
    log.close()
    return header


def header_of(folder: Path, log: Log, *, code: str = CODE) -> Header:
    at, told, prefix = examine(
        lineage=alone(LOG_ID), segments=log.segments(), start=genesis_waypoint(folder), last=None
    )
    assert (at.link.seq, at.link.hash) == (log.head.seq, log.head.hash)
    return Header(
        format=FORMAT, log_id=LOG_ID, at=at, told=told, prefix=prefix, code=code, state=blake3(STATE).hexdigest()
    )


def found(home: Path, *, log_id: LogId = LOG_ID, code: str = CODE) -> tuple[Snapshot | None, tuple[str, ...]]:
    return choose(home / "snapshots", log_id=log_id, code=code, segments=list_segments(home / "log"))


def open_with(home: Path, header: Header | None, *, witness: Witness | None = None) -> Log:
    return Log.open(
        home / "log", clock=fixed_clock, new_log_id=lambda: LOG_ID, version="0.0.test", purpose="test", die=stop,
        ballast_bytes=0, snapshot_of=lambda _: header, witness_of=lambda _: witness,
    )  # fmt: skip


def only(home: Path) -> Path:
    (path,) = (home / "snapshots").iterdir()
    return path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_the_newest_one_that_fits_is_found_with_its_state(tmp_path: Path) -> None:
    header = leave(tmp_path)
    assert found(tmp_path) == (Snapshot(header=header, state=STATE), ())


def unfit_log(home: Path) -> None:
    flip(home / "log" / SEGMENT, 30)


def unfit_length(home: Path) -> None:
    os.truncate(home / "log" / SEGMENT, 200)


def unfit_header(home: Path) -> None:
    flip(only(home), 40)


def unfit_state(home: Path) -> None:
    flip(only(home), -1)


def unfit_end(home: Path) -> None:
    os.truncate(only(home), 10)


def unfit_format(home: Path) -> None:
    line, _, state = only(home).read_bytes().split(b"\n", 2)
    line = line.replace(FORMAT.encode(), b"casparian.snapshot.v2")
    only(home).write_bytes(line + b"\n" + blake3(line).hexdigest().encode() + b"\n" + state)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (unfit_header, "is damaged: its first line"),
        (unfit_state, "is damaged: its state"),
        (unfit_end, "is damaged: its first line"),
        (unfit_format, "is of another format, casparian.snapshot.v2"),
        (unfit_log, "does not fit the log"),
        (unfit_length, "is of the future: the log ends before record 6"),
    ],
)
def test_40_what_does_not_fit_is_ignored_with_the_reason(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    leave(tmp_path)
    spoil(tmp_path)
    snapshot, doubts = found(tmp_path)
    assert snapshot is None
    assert [reason in doubt for doubt in doubts] == [True], doubts


def test_every_flipped_byte_of_a_snapshot_is_found(tmp_path: Path) -> None:
    leave(tmp_path)
    whole = only(tmp_path).read_bytes()
    for at in range(len(whole)):
        only(tmp_path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert found(tmp_path)[0] is None, at


def test_40_one_of_other_code_or_of_another_log_is_ignored(tmp_path: Path) -> None:
    leave(tmp_path)
    assert "other code" in found(tmp_path, code="d" * 64)[1][0]
    assert "another log" in found(tmp_path, log_id=LogId("f" * 32))[1][0]


def test_an_older_one_stands_in_for_a_damaged_newer_one(tmp_path: Path) -> None:
    older = leave(tmp_path)
    leave(tmp_path)
    flip(max((tmp_path / "snapshots").iterdir()), -1)
    snapshot, doubts = found(tmp_path)
    assert snapshot is not None
    assert (snapshot.header, len(doubts)) == (older, 1)


def test_a_few_are_kept_and_none_of_the_future(tmp_path: Path) -> None:
    ahead = tmp_path / "snapshots" / f"{10**6:020d}.snapshot"
    leave(tmp_path)
    ahead.write_bytes(b"of a log that was exchanged for an older copy")
    seqs = [leave(tmp_path).seq for _ in range(KEPT_MAX + 1)]
    names = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert names == [f"{seq:020d}.snapshot" for seq in seqs[-KEPT_MAX:]]


def test_no_snapshot_is_made_of_a_log_whose_bytes_have_changed(tmp_path: Path) -> None:
    last = leave(tmp_path)
    segments = list_segments(tmp_path / "log")
    flip(tmp_path / "log" / SEGMENT, 30)
    with pytest.raises(UnfitError):
        examine(lineage=alone(LOG_ID), segments=segments, start=last.at, last=last)
    with pytest.raises(UnfitError):
        examine(lineage=alone(LOG_ID), segments=segments, start=genesis_waypoint(tmp_path / "log"), last=None)


# --- the opening of the log -----------------------------------------------------------------------------------------


def opened(home: Path, header: Header | None) -> tuple[Head, list[str]]:
    log = open_with(home, header)
    head, frames = log.head, [frame.hash for frame in log.replay()]
    abandon(log)
    return head, frames


def test_a_log_opens_at_the_same_head_with_and_without_a_snapshot(tmp_path: Path) -> None:
    header = leave(tmp_path)
    image = tmp_path / "image"
    image.mkdir()
    (tmp_path / "log").rename(image / "log")
    bytes_before = (image / "log" / SEGMENT).read_bytes(), (image / "log" / "CLOSED").read_bytes()
    with_it = opened(image, header)
    (image / "log" / SEGMENT).write_bytes(bytes_before[0])
    (image / "log" / "CLOSED").write_bytes(bytes_before[1])
    assert opened(image, None) == with_it


def test_what_follows_the_snapshot_is_read_from_there(tmp_path: Path) -> None:
    header = leave(tmp_path)
    log = open_with(tmp_path, header)
    assert [frame.last for frame in log.replay(header.seq + 1) if frame.records] == [header.seq + 1, header.seq + 2]
    assert [frame.last for frame in log.replay(2) if frame.records] == list(range(2, header.seq + 3))
    abandon(log)


def test_damage_after_the_snapshot_is_refused_as_ever(tmp_path: Path) -> None:
    header = leave(tmp_path)
    flip(tmp_path / "log" / SEGMENT, header.at.offset + 30)
    with pytest.raises(LogCorruptError):
        open_with(tmp_path, header)


def test_after_a_crash_the_whole_log_is_walked(tmp_path: Path) -> None:
    header = leave(tmp_path)
    log = open_with(tmp_path, header)
    abandon(log)
    flip(tmp_path / "log" / SEGMENT, 30)  # a fitting snapshot would have been asked for the prefix: it is not believed
    with pytest.raises(LogCorruptError):
        open_with(tmp_path, header)


@pytest.mark.parametrize("back", [0, 1, 3])
def test_a_witness_is_heard_wherever_it_stands(tmp_path: Path, back: int) -> None:
    header = leave(tmp_path)
    hashes = {}
    log = open_log(tmp_path / "log")
    for frame in log.replay():
        if frame.records:
            hashes[frame.last] = frame.hash
    log.close()
    seq = header.seq - back
    open_with(tmp_path, header, witness=Witness(name="the test", seq=seq, hash=hashes[seq])).close()
    with pytest.raises(LogRegressedError):
        open_with(tmp_path, header, witness=Witness(name="the test", seq=seq, hash="0" * 64))


def test_a_header_of_the_wrong_position_cannot_make_a_damaged_log_open(tmp_path: Path) -> None:
    header = leave(tmp_path)
    wrong = replace(header, at=replace(header.at, offset=header.at.offset - 1))
    with pytest.raises(LogCorruptError):
        open_with(tmp_path, wrong)
