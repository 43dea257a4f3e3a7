"""A log whose full segments are sealed reads, verifies, tails and opens as if they were not; damage is named."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest
from msgspec.structs import replace

from eventlog import snapshot
from eventlog.chain import list_segments
from eventlog.checkpoint import origin
from eventlog.compressed import manifest_path, read_manifest, sealed_path
from eventlog.errors import LogCorruptError
from eventlog.lineage import alone
from eventlog.log import Log
from eventlog.manifest import encode_manifest
from eventlog.merkle import CompactRange
from eventlog.note import SigningKey
from eventlog.reader import follow, read_frames
from eventlog.recovery import genesis_waypoint
from eventlog.sealing import seal_full_segments
from eventlog.stats import measure
from eventlog.verify import verify
from tests.eventlog.support import (
    LOG_ID,
    abandon,
    append,
    draft,
    event,
    fixed_clock,
    flip_bit,
    genesis_hash,
    stop,
)

KEY: Final = SigningKey(origin(LOG_ID), bytes(range(32)))
SEGMENT_BYTES: Final = 4000


def open_log(folder: Path) -> Log:
    """Open a log with small segments."""
    return Log.open(
        folder, clock=fixed_clock, new_log_id=lambda: LOG_ID, version="0.0.test", purpose="test", die=stop,
        ballast_bytes=0, segment_bytes=SEGMENT_BYTES,
    )  # fmt: skip


def seal(folder: Path, *, key: SigningKey | None = KEY, leave: Callable[[], bool] = lambda: False) -> int:
    return seal_full_segments(folder, lineage=alone(LOG_ID, genesis_hash(folder)), key=key, leave=leave)


def written(folder: Path, *, frames: int = 40) -> Log:
    log = open_log(folder)
    for number in range(frames):
        log.commit([draft(event(number, "why " * 30), event(number, str(number)))])
    return log


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A closed log of which all but the last segment are sealed."""
    folder = tmp_path / "log"
    written(folder).close()
    assert seal(folder) >= 3
    return folder


def test_what_is_sealed_reads_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    written(folder).close()
    before, result = list(read_frames(folder)), verify(folder)
    sizes = [(segment.first, segment.size) for segment in list_segments(folder)]
    assert seal(folder) == len(sizes) - 1
    assert seal(folder) == 0
    assert list(read_frames(folder)) == before
    assert [(segment.first, segment.size) for segment in list_segments(folder)] == sizes
    assert not [path for path in folder.glob("*.ndjson") if int(path.stem) < sizes[-1][0]]
    again = verify(folder, key=KEY.verifying)
    assert (again.verdict, again.head_hash, again.commits) == ("OK", result.head_hash, result.commits)
    assert again.sealed == again.signed == sizes[-1][0] - 1
    log = open_log(folder)
    assert list(log.replay())[: len(before)] == before
    assert list(log.replay(from_seq=9)) == [frame for frame in log.replay() if frame.last >= 9]
    log.commit([draft(event(99))])
    log.close()
    assert verify(folder).verdict == "OK"


def test_a_log_is_sealed_while_it_is_written_to_and_read(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    written_seqs = [1]
    done = threading.Event()

    def write() -> None:
        for number in range(150):
            log.commit([draft(event(number, "why " * 30))])
            written_seqs.append(log.head.seq)
        log.mark()
        done.set()

    def wait() -> bool:
        seal(folder)
        return not done.is_set()

    writer = threading.Thread(target=write)
    writer.start()
    shown = [record.seq for frame in follow(folder, after=0, wait=wait) for record in frame.records]
    writer.join()
    rest = [record.seq for frame in follow(folder, after=shown[-1], wait=lambda: False) for record in frame.records]
    assert shown + rest == written_seqs, "every record once, in order, across rotation and sealing"
    assert [record.seq for frame in log.replay() for record in frame.records] == written_seqs
    seal(folder)
    assert len(list(folder.glob("*.seal"))) == log.full_segments > 3
    log.close()
    assert verify(folder).verdict == "OK"


def test_25_a_slow_tailer_sees_all_across_a_hundred_segments(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    lives = iter(range(12))

    def wait() -> bool:
        for number in range(40):  # about ten segments between two looks
            log.commit([draft(event(number, "why " * 200))])
        log.mark()
        seal(folder)
        return next(lives, None) is not None

    durable = [(frame.last, log.head.seq) for frame in follow(folder, after=0, wait=wait)]
    assert len(list_segments(folder)) > 100
    shown = [last for last, _ in durable]
    assert shown == sorted(shown)
    assert {*range(1, shown[-1] + 1)} == {seq for seq in shown if seq}
    assert all(last <= head for last, head in durable)
    log.close()


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: Final[dict[str, Callable[[Path, int], None]]] = {
    "a flipped bit": lambda folder, first: flip_bit(sealed_path(folder, first=first), byte=200, bit=3),
    "a shorter file": lambda folder, first: os.truncate(sealed_path(folder, first=first), 100),
    "a longer file": lambda folder, first: append(sealed_path(folder, first=first), b"x"),
    "no sealed file": lambda folder, first: sealed_path(folder, first=first).unlink(),
    "no manifest": lambda folder, first: manifest_path(folder, first=first).unlink(),
    "a flipped bit in the manifest": lambda folder, first: flip_bit(manifest_path(folder, first=first), byte=99, bit=1),
    "a pipe": lambda folder, first: _replace_by_pipe(sealed_path(folder, first=first)),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("place", ["first", "middle", "newest sealed"])
def test_damage_to_a_sealed_segment_is_corrupt_and_nothing_is_written(sealed: Path, what: str, place: str) -> None:
    firsts = [segment.first for segment in list_segments(sealed)][:-1]
    first = {"first": firsts[0], "middle": firsts[len(firsts) // 2], "newest sealed": firsts[-1]}[place]
    DAMAGE[what](sealed, first)
    names = {path.name: path.lstat().st_size for path in sealed.iterdir()}
    result = verify(sealed)
    assert result.verdict == "CORRUPT"
    assert any(f"{first:020d}" in finding.segment or str(first) in finding.expected for finding in result.findings)
    with pytest.raises(LogCorruptError):
        open_log(sealed)
    assert {path.name: path.lstat().st_size for path in sealed.iterdir()} == names


def rewritten(folder: Path, first: int, **fields: object) -> None:
    """Put a manifest in another's place that nobody signed, and that fits itself."""
    manifest, _ = read_manifest(folder, first=first)
    data = encode_manifest(replace(manifest, key="", **fields), None)
    manifest_path(folder, first=first).write_bytes(data)


@pytest.mark.parametrize(
    "lie",
    [
        {"ts_min": "1999-01-01T00:00:00.000000Z"},
        {"ts_max": "2999-01-01T00:00:00.000000Z"},
        {"epoch": 7},
        {"durable": 0},
        {"prev": "0" * 64},
        {"raw_sha256": "0" * 64},
    ],
    ids=lambda lie: str(*lie),
)
def test_29_whatever_an_unsigned_manifest_says_wrongly_is_found(sealed: Path, lie: dict[str, object]) -> None:
    first = list_segments(sealed)[-2].first  # no manifest behind it vouches for it
    rewritten(sealed, first)
    assert verify(sealed, key=KEY.verifying).verdict == "OK", "unsigned, and true"
    rewritten(sealed, first, **lie)
    result = verify(sealed, key=KEY.verifying)
    assert result.verdict == "CORRUPT"
    assert any(finding.segment == f"{first:020d}.seal" for finding in result.findings)


def test_29_the_key_signs_nothing_that_goes_on_from_a_forged_tree(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    while log.full_segments < 1:
        log.commit([draft(event(1, "why " * 30))])
    seal(folder, key=None)
    forged = CompactRange()
    forged.extend(b"forged\n" * (list_segments(folder)[1].first - 1))
    peaks = tuple(peak.hex() for peak in forged.peaks)
    rewritten(folder, 1, root=forged.root().hex(), peaks=peaks)
    while log.full_segments < 2:
        log.commit([draft(event(1, "why " * 30))])
    log.close()
    with pytest.raises(LogCorruptError, match="another root"):
        seal(folder)
    assert len(list(folder.glob("*.seal"))) == 1


def test_a_lost_active_segment_behind_sealed_ones_is_corrupt_and_not_an_end(sealed: Path) -> None:
    last = list_segments(sealed)[-1]
    last.path.unlink()
    (sealed / "CLOSED").unlink()
    (finding,) = verify(sealed).findings
    assert (finding.check, finding.expected) == ("segment", last.path.name)
    with pytest.raises(LogCorruptError):
        open_log(sealed)


def test_manifests_of_another_key_and_swapped_ones_are_named(sealed: Path, tmp_path: Path) -> None:
    stranger = SigningKey(origin(LOG_ID), bytes(range(1, 33)))
    result = verify(sealed, key=stranger.verifying)
    assert result.verdict == "CORRUPT"
    assert result.signed == 0
    other = tmp_path / "other"
    written(other, frames=40).close()
    seal(other, key=None)  # the same records, sealed by nobody
    first = list_segments(sealed)[1].first
    shutil.copy(manifest_path(other, first=first), manifest_path(sealed, first=first))
    findings = verify(sealed, key=KEY.verifying).findings
    assert any("manifest before it" in finding.actual for finding in findings)


def test_unsigned_manifests_are_vouched_for_by_a_later_signed_one(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = written(folder)
    seal(folder, key=None)
    for number in range(40):
        log.commit([draft(event(number, "why " * 30))])
    log.close()
    seal(folder, key=KEY)
    result = verify(folder, key=KEY.verifying)
    assert (result.verdict, result.signed) == ("OK", list_segments(folder)[-1].first - 1)


@pytest.mark.parametrize("seed", range(12))
def test_a_crash_anywhere_in_sealing_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    print(f"seed {seed}")
    folder = tmp_path / "log"
    written(folder).close()
    before = list(read_frames(folder))
    random = Random(seed)
    for _ in range(4):
        with monkeypatch.context() as patch:
            _die_at(patch, random.randint(1, 60))
            with contextlib.suppress(_DeadError):
                seal(folder)
        assert verify(folder).verdict == "OK"
        assert list(read_frames(folder)) == before
    seal(folder)
    assert not list(folder.glob("*.tmp"))
    assert len(list(folder.glob("*.ndjson"))) == 1
    assert list(read_frames(folder)) == before
    log = open_log(folder)
    abandon(log)


class _DeadError(BaseException):
    """The process is over."""


def _die_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """End at the n-th call that changes or syncs a file."""
    calls = iter(range(1, 10_000))
    for name in ("write", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "unlink"):
        patch.setattr(os, name, _counted(getattr(os, name), calls, number))


def _counted(call: Callable[..., object], calls: Iterator[int], number: int) -> Callable[..., object]:
    def counted(*arguments: object, **options: object) -> object:
        if next(calls) >= number:
            raise _DeadError
        return call(*arguments, **options)

    return counted


def test_a_snapshot_of_raw_segments_fits_when_they_are_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = written(folder)
    start = genesis_waypoint(folder)
    at, told, prefix = snapshot.examine(lineage=alone(LOG_ID), segments=log.segments(), start=start, last=None)
    header = snapshot.Header(
        format=snapshot.FORMAT, log_id=LOG_ID, at=at, told=told, prefix=prefix, code="code", state=""
    )
    for number in range(20):  # the position is then inside a segment that is full, and sealed
        log.commit([draft(event(number, "why " * 30))])
    log.close()
    snapshot._require_fit(header, log_id=LOG_ID, code="code", segments=list_segments(folder))
    seal(folder)
    snapshot._require_fit(header, log_id=LOG_ID, code="code", segments=list_segments(folder))
    flip_bit(sealed_path(folder, first=list_segments(folder)[0].first), byte=300, bit=2)
    with pytest.raises((snapshot.UnfitError, LogCorruptError)):
        snapshot._require_fit(header, log_id=LOG_ID, code="code", segments=list_segments(folder))


def test_the_measure_is_the_same_raw_and_sealed_but_for_what_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    written(folder).close()
    raw = measure(folder)
    seal(folder)
    sealed = measure(folder)
    assert sealed.types == raw.types == {"RunInterrupted": 80, "WriterOpened": 1}
    kept = ("first", "last", "commits", "raw_bytes", "ts_first", "ts_last", "types")
    for one, other in zip(raw.segments, sealed.segments, strict=True):
        assert [getattr(one, name) for name in kept] == [getattr(other, name) for name in kept]
    assert [each.sealed for each in sealed.segments] == [True] * (len(sealed.segments) - 1) + [False]
    assert sum(each.stored_bytes for each in sealed.segments) < sum(each.raw_bytes for each in raw.segments)


def test_a_full_segment_that_is_damaged_is_not_sealed_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    written(folder).close()
    first = list_segments(folder)[1]
    flip_bit(first.path, byte=500, bit=1)
    with pytest.raises(LogCorruptError, match=first.path.name):
        seal(folder)
    assert first.path.exists()
    assert not sealed_path(folder, first=first.first).exists()
    assert len(list(folder.glob("*.seal"))) == 1
