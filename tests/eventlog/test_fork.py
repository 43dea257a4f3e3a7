"""Tests of forks: a new history behind a kept record, verified across its lives, whole or not there after any crash."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from eventlog.checkpoint import origin, read_anchor
from eventlog.errors import ForkRefusedError, InvalidRecordError, LogCorruptError, LogLockedError, LogMissingError
from eventlog.events import LogForked, WriterOpened
from eventlog.fork import FORKS_MAX, Forked, fork_log
from eventlog.ids import LogId
from eventlog.lineage import aside_folder
from eventlog.log import Log
from eventlog.note import SigningKey
from eventlog.reader import read_frames
from eventlog.recovery import require_lineage
from eventlog.sealed import FORKING_NAME
from eventlog.sealing import seal_full_segments
from eventlog.signing import sign_head
from eventlog.slices import export_slice
from eventlog.standalone.verify import NoLogError, check
from eventlog.stats import measure
from eventlog.verify import verify
from tests.eventlog.support import (
    LOG_ID,
    NOW,
    draft,
    event,
    fixed_clock,
    flip_bit,
    genesis_hash,
    stop,
)
from tests.eventlog.test_seal_faults import at_every_call

NEW_ID: Final = LogId("f" * 32)
KEY: Final = SigningKey(origin(LOG_ID), bytes(range(32)))
NEW_KEY: Final = SigningKey(origin(NEW_ID), bytes(range(1, 33)))
REASON: Final = "no copy holds what is behind"
SEGMENT_BYTES: Final = 3000


def open_log(folder: Path) -> Log:
    return Log.open(
        folder, clock=fixed_clock, new_log_id=lambda: LOG_ID, version="0.0.test", purpose="test", die=stop,
        ballast_bytes=0, segment_bytes=SEGMENT_BYTES,
    )  # fmt: skip


def fork(folder: Path, seq: int, *, log_id: LogId = NEW_ID, reason: str = REASON, actor: str = "cli:test") -> Forked:
    return fork_log(folder, from_seq=seq, reason=reason, actor=actor, log_id=log_id, now=NOW)


def history(folder: Path) -> list[tuple[int, str]]:
    """Return the durable frames with records as (last seq, hash)."""
    return [(frame.last, frame.hash) for frame in read_frames(folder) if frame.records]


def agreed(folder: Path, **named: Any) -> str:
    """Return the verdict that both verifiers give, with the same head and place."""
    ours, theirs = verify(folder, **named), check(folder)
    assert theirs["verdict"] == ours.verdict
    assert (theirs["head_seq"], theirs["head_hash"], theirs["log_id"]) == (ours.head_seq, ours.head_hash, ours.log_id)
    assert [each["check"] for each in theirs["findings"]] == [each.check for each in ours.findings]
    return ours.verdict


@pytest.fixture
def log_folder(quick: Path) -> Path:
    """A closed log of several raw segments: commits of two records behind the first, so they end at odd seqs."""
    folder = quick / "log"
    log = open_log(folder)
    for number in range(1, 13):
        log.commit([draft(event(number, "why " * 40), event(number, "again " * 20))])
    log.close()
    assert len(list(folder.glob("*.ndjson"))) > 3
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "LOCK"}


@pytest.mark.parametrize("seq", [1, 3, 11, 17, 25])
def test_26_a_fork_goes_on_from_any_end_of_a_commit(log_folder: Path, seq: int) -> None:
    before, kept = contents(log_folder), [each for each in history(log_folder) if each[0] <= seq]
    end = kept[-1][1]  # the mark that the writer left behind the last record is left behind too
    forked = fork(log_folder, seq)
    assert (forked.old_log_id, forked.seq, forked.hash, forked.abandoned_seq) == (LOG_ID, seq, end, 25)
    assert agreed(log_folder) == "OK"
    log = open_log(log_folder)
    assert (log.log_id, log.head.seq, log.epoch) == (NEW_ID, seq + 2, 2)
    log.commit([draft(event(77))])
    assert [frame.hash for frame in log.replay() if frame.records][: len(kept)] == [hash_ for _, hash_ in kept]
    told = [record.data for frame in log.replay(from_seq=seq + 1) for record in frame.records]
    assert isinstance(told[0], LogForked)
    assert isinstance(told[1], WriterOpened)
    assert (told[0].old_log_id, told[0].seq, told[0].hash, told[0].reason) == (LOG_ID, seq, end, REASON)
    log.close()
    assert history(log_folder)[: len(kept)] == kept
    assert history(log_folder)[-1][0] == seq + 3
    assert agreed(log_folder) == "OK"
    (ancestor,) = verify(log_folder).ancestors
    assert (ancestor.log_id, ancestor.seq, ancestor.hash) == (LOG_ID, seq, end)
    aside = contents(aside_folder(log_folder, LOG_ID))
    assert aside == {name: before[name] for name in aside}, "what is left behind is whole, byte for byte"
    gone = {name for name in before if name not in contents(log_folder) or contents(log_folder)[name] != before[name]}
    assert gone - {"GENESIS.json"} <= set(aside) | {"CLOSED"}
    assert (log_folder / f"GENESIS.{LOG_ID}.json").read_bytes() == before["GENESIS.json"]
    assert all(not each.problem for each in measure(log_folder).segments)


def test_a_mark_that_begins_a_segment_is_left_behind_with_it(quick: Path) -> None:
    folder = quick / "log"
    log = open_log(folder)
    log.commit([draft(event(1, "why " * 40))])
    log._segment_bytes = log.head.bytes  # the mark of the close passes the bound
    log.close()
    mark = folder / f"{log.head.seq + 1:020d}.ndjson"
    before = mark.read_bytes()
    fork(folder, log.head.seq)
    assert agreed(folder) == "OK"
    assert (aside_folder(folder, LOG_ID) / mark.name).read_bytes() == before
    open_log(folder).close()
    assert agreed(folder) == "OK"


def test_a_word_of_a_fork_that_comes_back_takes_nothing_from_the_log(log_folder: Path) -> None:
    (log_folder / FORKING_NAME).write_text(f"{LOG_ID} {'a' * 32}")  # in a log that was never forked
    before = history(log_folder)
    open_log(log_folder).close()
    assert not (log_folder / FORKING_NAME).exists()
    assert history(log_folder)[: len(before)] == before
    fork(log_folder, 11)
    log = open_log(log_folder)
    for number in range(20):
        log.commit([draft(event(number, "new " * 40))])
    log.close()
    before = history(log_folder)
    (log_folder / FORKING_NAME).write_text(f"{NEW_ID} {LOG_ID}")  # in a fork that has gone on
    assert agreed(log_folder) == "OK", "before the next start, too"
    assert history(log_folder) == before
    open_log(log_folder).close()
    assert history(log_folder)[: len(before)] == before
    assert agreed(log_folder) == "OK"


@pytest.mark.parametrize("seq", [1, 5, 7, 11, 25])
def test_a_copy_of_a_folder_whose_fork_is_under_way_is_settled_too(
    log_folder: Path, quick: Path, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("eventlog.fork._settle", lambda *_: stop("the process ends here"))
        with pytest.raises(Exception, match="ends here"):
            fork(log_folder, seq)
    copied = quick / "copied"
    shutil.copytree(log_folder, copied)  # one file of two names becomes two files
    open_log(copied).close()
    assert (verify(copied).log_id, verify(copied).head_seq, agreed(copied)) == (NEW_ID, seq + 2, "OK")
    assert contents(aside_folder(copied, LOG_ID)) == contents(aside_folder(log_folder, LOG_ID))


def test_the_first_frame_of_a_fork_names_the_new_genesis_and_is_told_by_who_forked(log_folder: Path) -> None:
    fork(log_folder, 11, actor="cli:an examiner")
    open_log(log_folder).close()
    first = next(frame for frame in read_frames(log_folder) if frame.first == 12)
    assert first.prev == hashlib.sha256((log_folder / "GENESIS.json").read_bytes()).hexdigest()
    assert first.actor == "cli:an examiner"
    open_log(log_folder).close()
    told = [
        each.data for frame in read_frames(log_folder) for each in frame.records if isinstance(each.data, LogForked)
    ]
    assert len(told) == 1, "a later opening tells nothing of it again"


def test_a_fork_is_the_way_out_of_corrupt(log_folder: Path) -> None:
    third = sorted(log_folder.glob("*.ndjson"))[2]
    seq = int(third.stem) - 1
    flip_bit(third, byte=40, bit=3)
    damaged = third.read_bytes()
    assert agreed(log_folder) == "CORRUPT"
    with pytest.raises(LogCorruptError):
        open_log(log_folder)
    assert fork(log_folder, seq).abandoned_seq == seq
    open_log(log_folder).close()
    assert agreed(log_folder) == "OK"
    assert (aside_folder(log_folder, LOG_ID) / third.name).read_bytes() == damaged


def test_a_fork_is_the_way_out_of_regressed_and_the_old_anchor_goes_with_the_old_log(log_folder: Path) -> None:
    sign_head(log_folder, KEY)
    for path in sorted(log_folder.glob("*.ndjson"))[3:]:
        path.unlink()
    (log_folder / "CLOSED").unlink()
    assert agreed(log_folder) == "REGRESSED"
    head = verify(log_folder).head_seq
    anchor = read_anchor(log_folder)
    fork(log_folder, head)
    assert read_anchor(log_folder) is None
    assert (aside_folder(log_folder, LOG_ID) / "ANCHOR").read_bytes() == anchor
    open_log(log_folder).close()
    sign_head(log_folder, NEW_KEY)
    assert verify(log_folder, key=NEW_KEY.verifying).signed == head + 2
    assert agreed(log_folder) == "OK"


def test_a_fork_within_a_sealed_segment_and_the_seals_of_both_lives(log_folder: Path) -> None:
    seal_full_segments(
        log_folder, lineage=require_lineage(log_folder), key=KEY, leave=lambda: False,
    )  # fmt: skip
    second = sorted(log_folder.glob("*.zst"))[1]
    kept = history(log_folder)
    seq = next(last for last, _ in kept if last > int(second.name.partition(".")[0]))
    sealed = second.read_bytes()
    fork(log_folder, seq)
    assert not second.exists()
    assert (aside_folder(log_folder, LOG_ID) / second.name).read_bytes() == sealed
    log = open_log(log_folder)
    for number in range(12):
        log.commit([draft(event(number, "why " * 40))])
    log.close()
    assert seal_full_segments(log_folder, lineage=require_lineage(log_folder), key=NEW_KEY, leave=lambda: False) >= 3
    for key in (None, NEW_KEY.verifying):
        result = verify(log_folder, key=key)
        assert result.verdict == "OK"
        assert result.sealed > seq
        assert result.signed == (result.sealed if key else 0)
    assert [each.sealed for each in measure(log_folder).segments[:-1]] == [True] * (result.segments - 1)
    assert history(log_folder)[: len([1 for last, _ in kept if last <= seq])] == [e for e in kept if e[0] <= seq]


@pytest.mark.parametrize(
    ("seq", "near"), [(0, "1"), (-4, "1"), (2, "1 or 3"), (12, "11 or 13"), (26, "25"), (10**9, "25")]
)
def test_a_record_that_ends_no_commit_is_refused_with_those_near_it(log_folder: Path, seq: int, near: str) -> None:
    before = contents(log_folder)
    with pytest.raises(ForkRefusedError) as refused:
        fork(log_folder, seq)
    assert f": {near}." in refused.value.next_step
    assert contents(log_folder) == before
    assert not (log_folder / "quarantine").exists()


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\ud800", "x" * 1001])
def test_a_reason_that_says_nothing_is_refused(log_folder: Path, reason: str) -> None:
    before = contents(log_folder)
    with pytest.raises(ForkRefusedError, match="reason"):
        fork(log_folder, 11, reason=reason)
    with pytest.raises(InvalidRecordError):
        fork(log_folder, 11, actor="an actor\nof two lines")
    assert contents(log_folder) == before


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("elsewhere")], ids=["folder", "link"])
def test_what_is_no_plain_file_cannot_be_kept_aside_and_is_named(
    log_folder: Path, make: Callable[[Path], None]
) -> None:
    last = sorted(log_folder.glob("*.ndjson"))[-1]
    last.unlink()
    make(last)
    with pytest.raises(ForkRefusedError, match=f"{last.name} is no plain file"):
        fork(log_folder, 11)
    assert not (log_folder / "quarantine").exists()


def test_a_log_that_is_written_to_is_not_forked(log_folder: Path) -> None:
    log = open_log(log_folder)
    with pytest.raises(LogLockedError):
        fork(log_folder, 11)
    log.close()
    assert verify(log_folder).log_id == LOG_ID


def test_a_fork_of_a_fork_and_one_that_begins_before_an_earlier_one(log_folder: Path) -> None:
    fork(log_folder, 11)
    open_log(log_folder).close()
    fork(log_folder, 13, log_id=LogId("e" * 32))
    open_log(log_folder).close()
    assert [(life.log_id, life.seq) for life in verify(log_folder).ancestors] == [(LOG_ID, 11), (NEW_ID, 13)]
    assert agreed(log_folder) == "OK"
    fork(log_folder, 5, log_id=LogId("d" * 32))
    open_log(log_folder).close()
    assert [(life.log_id, life.seq) for life in verify(log_folder).ancestors] == [(LOG_ID, 5)]
    assert [record.data.old_log_id for frame in read_frames(log_folder) for record in frame.records
            if isinstance(record.data, LogForked)] == ["e" * 32]  # fmt: skip
    assert agreed(log_folder) == "OK"


def test_a_fork_from_the_same_record_as_the_fork_before_takes_its_place(log_folder: Path) -> None:
    fork(log_folder, 11)
    fork(log_folder, 11, log_id=LogId("e" * 32))
    open_log(log_folder).close()
    assert [(life.log_id, life.seq) for life in verify(log_folder).ancestors] == [(LOG_ID, 11)]
    assert agreed(log_folder) == "OK"


def test_forks_have_a_bound(log_folder: Path) -> None:
    for number in range(FORKS_MAX):
        fork(log_folder, 11 + 2 * number, log_id=LogId(f"{number:032x}"), reason="x" * 1000)
        open_log(log_folder).close()
    assert agreed(log_folder) == "OK"
    before = contents(log_folder)
    with pytest.raises(ForkRefusedError, match="forked 16 times"):
        fork(log_folder, 11 + 2 * FORKS_MAX, log_id=LogId("e" * 32))
    assert contents(log_folder) == before


def test_a_slice_across_a_fork_is_checked_by_python_alone(log_folder: Path, quick: Path) -> None:
    fork(log_folder, 11)
    log = open_log(log_folder)
    log.commit([draft(event(5), event(6))])
    log.close()
    sign_head(log_folder, NEW_KEY)
    for number, (first, last) in enumerate([(1, None), (5, 15), (12, None), (11, 12), (1, 11), (3, 7)]):
        target = quick / f"slice{number}"
        made = export_slice(log_folder, target, first=first, last=last)
        assert made.log_id == NEW_ID
        run = subprocess.run(
            [sys.executable, "-I", "verify.py", ".", "--json", "--key", NEW_KEY.verifying.text],
            cwd=target, capture_output=True, text=True, check=False,
        )  # fmt: skip
        report = json.loads(run.stdout)
        assert (report["verdict"], report["first_seq"], report["head_seq"]) == ("OK", made.first, made.last), report
        assert report["signed"] == made.last
        (target / f"GENESIS.{LOG_ID}.json").write_bytes(b"{}")
        assert check(target)["verdict"] == "CORRUPT"


def _drop_first_of_fork(folder: Path) -> None:
    (folder / f"{12:020d}.ndjson").unlink()


def _put_back_what_was_left(folder: Path) -> None:
    for path in aside_folder(folder, LOG_ID).glob("*.ndjson"):
        if not (folder / path.name).exists() or int(path.stem) < 12:
            shutil.copy(path, folder / path.name)


def _other_end(folder: Path) -> None:
    path = folder / "GENESIS.json"
    path.write_bytes(path.read_bytes().replace(b'"seq":11', b'"seq":13'))


def _lose_old_genesis(folder: Path) -> None:
    (folder / f"GENESIS.{LOG_ID}.json").unlink()


def _take_old_genesis(folder: Path) -> None:
    shutil.copy(folder / f"GENESIS.{LOG_ID}.json", folder / "GENESIS.json")


@pytest.mark.parametrize(
    "damage",
    [_drop_first_of_fork, _put_back_what_was_left, _other_end, _lose_old_genesis, _take_old_genesis],
    ids=lambda each: each.__name__.strip("_"),
)
@pytest.mark.parametrize("clean", [True, False])
def test_damage_to_what_binds_the_lives_is_found_by_both_verifiers(
    log_folder: Path, damage: Callable[[Path], None], *, clean: bool
) -> None:
    fork(log_folder, 11)
    open_log(log_folder).close()
    if not clean:
        (log_folder / "CLOSED").unlink()
    damage(log_folder)
    assert verify(log_folder).verdict == check(log_folder)["verdict"] == "CORRUPT"
    with pytest.raises(LogCorruptError):
        open_log(log_folder)


@pytest.mark.parametrize("seq", [1, 11, 25])
def test_a_fault_at_any_call_of_a_fork_leaves_the_old_log_or_the_new_one(
    log_folder: Path, quick: Path, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    sign_head(log_folder, KEY)
    original = quick / "original"
    shutil.copytree(log_folder, original)
    before = history(log_folder)
    seen: set[tuple[LogId, str]] = set()

    def it_is_the_one_or_the_other() -> None:
        result = verify(log_folder)
        seen.add((result.log_id, result.verdict))
        assert (result.log_id, agreed(log_folder)) in {(LOG_ID, "OK"), (NEW_ID, "OK"), (NEW_ID, "TORN")}
        kept = before if result.log_id == LOG_ID else [each for each in before if each[0] <= seq]
        assert history(log_folder) in (kept, kept[:-1]), (
            "a reader is one commit behind where nothing says it is durable"
        )
        open_log(log_folder).close()
        assert history(log_folder)[: len(kept)] == kept
        result = verify(log_folder)
        assert result.verdict == "OK"
        assert result.head_seq == len(kept) * 2 - 1 + (1 if result.log_id == LOG_ID else 2)
        if result.log_id == NEW_ID:
            aside = contents(aside_folder(log_folder, LOG_ID))
            assert aside == {name: content for name, content in whole.items() if name in aside}
            assert {name for name in whole if ".ndjson" in name and int(name[:20]) > seq} <= set(aside)
        assert not (log_folder / FORKING_NAME).exists()
        shutil.rmtree(log_folder)
        shutil.copytree(original, log_folder)

    whole = contents(original) | {"ANCHOR": (original / "anchors" / "ANCHOR").read_bytes()}
    assert at_every_call(monkeypatch, lambda: fork(log_folder, seq), it_is_the_one_or_the_other) > 30
    assert {(LOG_ID, "OK"), (NEW_ID, "OK"), (NEW_ID, "TORN")} == seen


def test_a_fork_that_never_came_is_forgotten_and_may_be_asked_for_again(
    log_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("eventlog.fork.encode_genesis", lambda _: stop("the process ends here"))
        with pytest.raises(Exception, match="ends here"):
            fork(log_folder, 11)
    assert (log_folder / FORKING_NAME).exists()
    log = open_log(log_folder)
    assert log.log_id == LOG_ID
    log.close()
    assert not (log_folder / FORKING_NAME).exists()
    with pytest.raises(ForkRefusedError, match="earlier attempt"):
        fork(log_folder, 13)
    aside_folder(log_folder, LOG_ID).rename(log_folder / "quarantine" / "elsewhere")
    fork(log_folder, 13)
    open_log(log_folder).close()
    assert agreed(log_folder) == "OK"
    assert genesis_hash(log_folder) != ""


def test_33_both_verifiers_agree_on_a_damaged_fork(log_folder: Path, quick: Path) -> None:
    fork(log_folder, 11)
    log = open_log(log_folder)
    log.commit([draft(event(1)), draft(event(2))])
    log.close()
    chance = Random(26)
    names = sorted(name for name in contents(log_folder))
    verdicts = set()
    for number in range(150):
        folder = quick / "damaged"
        shutil.copytree(log_folder, folder)
        path = folder / chance.choice(names)
        match chance.randrange(4):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
            case _:
                flip_bit(path, byte=chance.randrange(path.stat().st_size), bit=chance.randrange(8))
        if chance.randrange(3) == 0:
            (folder / "CLOSED").unlink(missing_ok=True)
        try:
            ours: str = verify(folder).verdict
        except LogMissingError:
            ours = "none"
        try:
            theirs = check(folder)["verdict"]
        except NoLogError:
            theirs = "none"
        assert ours == theirs, (number, path.name)
        verdicts.add(ours)
        shutil.rmtree(folder)
    assert {"CORRUPT", "OK"} <= verdicts  # OK: without CLOSED, an end cut off cleanly
