"""A damaged log is mended from its copy, as a whole or not at all, and tells of it; no witness is contradicted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from eventlog.chain import list_segments
from eventlog.compressed import manifest_path, sealed_path
from eventlog.errors import LogCorruptError, LogError, LogRegressedError, OtherLogError
from eventlog.events import LogRepaired
from eventlog.frames import Frame
from eventlog.ids import LogId
from eventlog.reader import read_frames
from eventlog.recovery import Witness
from eventlog.repair import Repair, repair_log
from eventlog.repair_note import REPAIRED_NAME
from eventlog.sealed import WITNESS_NAME, write_genesis
from eventlog.signing import sign_head
from eventlog.verify import verify
from tests.eventlog.support import NOW, abandon, append, draft, event, flip_bit
from tests.eventlog.test_backup import HOLDER, backed_up, contents
from tests.eventlog.test_seal_faults import at_every_call
from tests.eventlog.test_sealed_log import KEY, open_log, seal, written


def repaired(folder: Path, copy: Path, *, witness: Witness | None = None) -> Repair:
    return repair_log(folder, copy, holder=HOLDER, now=NOW, witness_of=lambda _: witness)


def told(folder: Path) -> list[LogRepaired]:
    """Open and close the log; return what it tells of repairs."""
    open_log(folder).close()
    return [
        record.data for frame in read_frames(folder) for record in frame.records if isinstance(record.data, LogRepaired)
    ]


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def grow(folder: Path, *, frames: int) -> None:
    log = open_log(folder)
    for number in range(frames):
        log.commit([draft(event(number, "why " * 30))])
    log.close()


class Case:
    """A log with sealed, full raw and active segments, its copy, and more commits that the copy has not."""

    def __init__(self, root: Path, *, sealed: bool, frames: int = 40, grown: int = 3) -> None:
        self.folder, self.copy = root / "log", root / "copy"
        written(self.folder, frames=frames).close()
        if sealed:
            seal(self.folder)
        backed_up(self.folder, self.copy)
        grow(self.folder, frames=grown)
        self.frames: list[Frame] = list(read_frames(self.folder))
        self.firsts = [segment.first for segment in list_segments(self.folder)]

    def path(self, index: int) -> Path:
        return self.folder / f"{self.firsts[index]:020d}.ndjson"

    def require_mended(self, expected: int | None = None) -> list[LogRepaired]:
        result = repaired(self.folder, self.copy)
        found = told(self.folder)
        assert found == list(result.repairs)
        assert expected is None or len(found) == expected
        assert list(read_frames(self.folder))[: len(self.frames)] == self.frames
        assert verify(self.folder).verdict == "OK"
        assert not (self.folder / REPAIRED_NAME).exists()
        assert not list(self.folder.glob("*.tmp"))
        for each in found:
            assert not each.kept_as or os.path.lexists(self.folder / "quarantine" / each.kept_as)
        return found


@pytest.fixture
def raw(quick: Path) -> Case:
    return Case(quick, sealed=False)


@pytest.fixture
def sealed(quick: Path) -> Case:
    return Case(quick, sealed=True)


def test_where_nothing_is_damaged_no_byte_is_changed(sealed: Case) -> None:
    before = contents(sealed.folder)
    assert repaired(sealed.folder, sealed.copy).repairs == ()
    assert contents(sealed.folder) == before


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("what", ["flipped", "missing", "cut", "longer", "pipe", "blank"])
def test_a_damaged_raw_segment_is_taken_from_the_copy(raw: Case, what: str, index: int) -> None:
    path = raw.path(index)
    damage: dict[str, Callable[[], None]] = {
        "flipped": lambda: flip_bit(path, byte=700, bit=1),
        "missing": path.unlink,
        "cut": lambda: os.truncate(path, 1000),
        "longer": lambda: append(path, b"more"),
        "pipe": lambda: replace_by_pipe(path),
        "blank": lambda: os.truncate(path, 0),
    }
    damage[what]()
    assert verify(raw.folder).verdict == "CORRUPT"
    (each,) = raw.require_mended(1)
    assert (each.segment, each.own_bytes, bool(each.kept_as)) == (path.name, 0, what != "missing")


def unlink_both(folder: Path, first: int) -> None:
    sealed_path(folder, first=first).unlink()
    manifest_path(folder, first=first).unlink()


SEALED_DAMAGE: Final[dict[str, Callable[[Path, int], None]]] = {
    "bytes": lambda folder, first: flip_bit(sealed_path(folder, first=first), byte=200, bit=3),
    "manifest": lambda folder, first: flip_bit(manifest_path(folder, first=first), byte=99, bit=1),
    "no bytes": lambda folder, first: sealed_path(folder, first=first).unlink(),
    "no manifest": lambda folder, first: manifest_path(folder, first=first).unlink(),
    "neither": unlink_both,
}


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("what", SEALED_DAMAGE)
def test_a_damaged_sealed_segment_is_taken_from_the_copy_sealed(sealed: Case, what: str, index: int) -> None:
    before = contents(sealed.folder)
    SEALED_DAMAGE[what](sealed.folder, sealed.firsts[index])
    sealed.require_mended(2 if what == "neither" else 1)
    after = contents(sealed.folder)
    assert {name: after[name] for name in before if name.endswith((".zst", ".seal"))} == {
        name: data for name, data in before.items() if name.endswith((".zst", ".seal"))
    }


@pytest.mark.parametrize("what", SEALED_DAMAGE)
def test_what_was_sealed_after_the_copy_is_taken_raw_and_sealed_again(raw: Case, what: str) -> None:
    seal(raw.folder)
    SEALED_DAMAGE[what](raw.folder, raw.firsts[1])
    raw.require_mended()
    assert len(list(raw.folder.glob("*.seal"))) == 1, "those behind it are unsealed"
    assert seal(raw.folder) > 2
    assert verify(raw.folder, key=KEY.verifying).verdict == "OK"
    assert list(read_frames(raw.folder))[: len(raw.frames)] == raw.frames


def test_in_the_middle_of_the_last_segment_our_own_bytes_follow_those_of_the_copy(tmp_path: Path) -> None:
    case = Case(tmp_path, sealed=False, frames=1, grown=2)
    assert len(case.firsts) == 1
    flip_bit(case.path(0), byte=700, bit=1)
    (each,) = case.require_mended(1)
    assert each.copied_bytes == list_segments(case.copy)[0].size
    assert each.own_bytes > 1000


def test_damage_behind_the_copy_is_refused_with_what_is_provable(tmp_path: Path) -> None:
    case = Case(tmp_path, sealed=False, frames=1, grown=2)
    flip_bit(case.path(0), byte=list_segments(case.copy)[0].size + 700, bit=1)
    (case.folder / "CLOSED").unlink()
    before = contents(case.folder)
    with pytest.raises(LogCorruptError, match=r"records 1 to \d+ are provable") as refused:
        repaired(case.folder, case.copy)
    assert "log fork --from" in refused.value.next_step
    assert contents(case.folder) == before
    assert not (case.folder / "quarantine").exists()


def test_a_log_is_not_cut_where_the_copy_ends_although_the_damage_goes_on_there(tmp_path: Path) -> None:
    case = Case(tmp_path, sealed=False, frames=1, grown=2)
    flip_bit(case.path(0), byte=700, bit=1)
    flip_bit(case.path(0), byte=list_segments(case.copy)[0].size + 9, bit=1)
    (case.folder / "CLOSED").unlink()
    before = contents(case.folder)
    with pytest.raises(LogCorruptError, match="does not cover"):
        repaired(case.folder, case.copy)
    assert contents(case.folder) == before


def test_a_copy_that_went_on_by_itself_is_another_history_and_changes_nothing(quick: Path) -> None:
    folder, copy = quick / "log", quick / "copy"
    written(folder, frames=1).close()
    shutil.copytree(folder, copy)
    for place, frames in ((folder, 1), (copy, 2)):  # all of it in one segment
        log = open_log(place)
        for number in range(frames):
            log.commit([draft(event(number, place.name))])
        log.close()
    assert len(list_segments(copy)) == 1
    flip_bit(list_segments(folder)[0].path, byte=700, bit=3)  # of what both have
    (folder / "CLOSED").unlink()
    before = contents(folder)
    with pytest.raises(LogCorruptError, match="two histories of one log"):
        repaired(folder, copy)
    assert contents(folder) == before


def test_two_damaged_places_of_which_the_copy_covers_one_change_nothing(raw: Case) -> None:
    flip_bit(raw.path(0), byte=700, bit=1)
    flip_bit(raw.path(1), byte=700, bit=1)
    flip_bit(raw.copy / raw.path(1).name, byte=900, bit=1)
    before = contents(raw.folder)
    with pytest.raises(LogCorruptError, match=f"records 1 to {raw.firsts[1] - 1}|records 1 to"):
        repaired(raw.folder, raw.copy)
    assert contents(raw.folder) == before


def test_a_lost_end_that_a_witness_has_seen_is_refused(raw: Case) -> None:
    last = raw.frames[-2]
    seen = Witness(name="the read model", seq=last.last, hash=last.hash)
    for path in (*[raw.path(index) for index in range(1, len(raw.firsts))], raw.folder / "CLOSED"):
        path.unlink()
    before = contents(raw.folder)
    with pytest.raises(LogRegressedError):
        repaired(raw.folder, raw.copy, witness=seen)
    assert contents(raw.folder) == before


def test_an_anchor_that_has_seen_more_is_not_contradicted(raw: Case) -> None:
    sign_head(raw.folder, KEY)
    for path in (*[raw.path(index) for index in range(1, len(raw.firsts))], raw.folder / "CLOSED"):
        path.unlink()
    with pytest.raises(LogRegressedError):
        repaired(raw.folder, raw.copy)


@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_genesis_is_taken_from_the_copy(sealed: Case, gone: bool) -> None:
    path = sealed.folder / "GENESIS.json"
    path.unlink() if gone else flip_bit(path, byte=50, bit=0)
    (each,) = sealed.require_mended(1)
    assert each.segment == "GENESIS.json"


def test_a_damaged_closed_is_put_away(raw: Case) -> None:
    flip_bit(raw.folder / "CLOSED", byte=20, bit=0)
    (each,) = raw.require_mended(1)
    assert (each.segment, each.copied_bytes, each.own_bytes) == ("CLOSED", 0, 0)


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_text("{}"), Path.mkdir, lambda path: path.symlink_to("/dev/null")],
    ids=["file", "folder", "link"],
)
def test_a_damaged_note_of_a_witness_is_put_away(raw: Case, damage: Callable[[Path], None]) -> None:
    """A log of which every byte fits must not have to be forked because of what lies beside it."""
    damage(raw.folder / WITNESS_NAME)
    with pytest.raises(LogCorruptError) as refused:
        open_log(raw.folder)
    assert refused.value.next_step.startswith("Move it to a place of your own")
    (each,) = raw.require_mended(1)
    assert (each.segment, each.copied_bytes, each.own_bytes) == (WITNESS_NAME, 0, 0)
    assert WITNESS_NAME not in [each.name for each in raw.folder.iterdir()]


def test_a_segment_under_a_wrong_name_is_put_away(raw: Case) -> None:
    raw.path(1).rename(raw.folder / f"{raw.firsts[1] + 1:020d}.ndjson")
    assert {each.segment for each in raw.require_mended(2)} == {
        raw.path(1).name, f"{raw.firsts[1] + 1:020d}.ndjson",
    }  # fmt: skip


def test_a_copy_of_another_log_and_one_of_another_history_are_refused(raw: Case, tmp_path: Path) -> None:
    with pytest.raises(OtherLogError):
        repaired(raw.folder, _other_log(tmp_path / "other"))
    forked = tmp_path / "forked"
    shutil.copytree(raw.copy, forked)
    log = open_log(forked)
    for number in range(30):
        log.commit([draft(event(number, "another history " * 30))])
    log.close()
    before = contents(raw.folder)
    assert repaired(raw.folder, forked).repairs == ()
    os.truncate(raw.path(-1), list_segments(raw.folder)[-1].size - 10)
    (raw.folder / "CLOSED").unlink()
    last = (raw.path(-1)).read_bytes()
    with_tail = contents(raw.folder)
    try:
        assert repaired(raw.folder, forked).repairs == ()  # a torn end, which is the next opening's
    except LogError:
        raise AssertionError("the longer history of the copy was taken for ours") from None
    assert contents(raw.folder) == with_tail
    assert raw.path(-1).read_bytes() == last
    assert before.keys() - with_tail.keys() == {"CLOSED"}


def _other_log(folder: Path) -> Path:
    written(folder, frames=1).close()
    path = folder / "GENESIS.json"
    path.unlink()

    write_genesis(folder, log_id=LogId("f" * 32), created_at=NOW)
    return folder


def test_what_an_opening_tells_of_it_tells_once(raw: Case) -> None:
    flip_bit(raw.path(1), byte=700, bit=1)
    repaired(raw.folder, raw.copy)
    note = (raw.folder / REPAIRED_NAME).read_bytes()
    assert len(told(raw.folder)) == 1
    (raw.folder / REPAIRED_NAME).write_bytes(note)  # a crash before it was removed
    assert len(told(raw.folder)) == 1
    assert not (raw.folder / REPAIRED_NAME).exists()


@pytest.mark.parametrize("kind", ["raw", "sealed", "unsealed"])
def test_a_fault_at_any_call_of_a_repair_leaves_what_the_next_one_completes(
    quick: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    case = Case(quick, sealed=kind == "sealed", frames=12)
    if kind == "unsealed":
        seal(case.folder)
    first = case.firsts[0]
    if kind == "raw":
        flip_bit(case.path(0), byte=700, bit=1)
        case.path(1).unlink()
    else:
        SEALED_DAMAGE["bytes"](case.folder, first)
        SEALED_DAMAGE["manifest"](case.folder, first)
    damaged = quick / "damaged"
    shutil.copytree(case.folder, damaged)
    files = {path.name: path.read_bytes() for path in damaged.glob("0*")}

    def complete_it() -> None:
        kept = {path.read_bytes() for path in (case.folder / "quarantine").glob("*")}
        here = {path.read_bytes() for path in case.folder.glob("0*")}
        assert set(files.values()) <= kept | here, "what was there is there still, under one name or the other"
        found = case.require_mended()
        assert len(found) == len({each.segment for each in found}), "of each file once"
        assert {each.segment for each in found} >= {case.path(0).name if kind != "sealed" else f"{first:020d}.seal"}
        shutil.rmtree(case.folder)
        shutil.copytree(damaged, case.folder)

    assert at_every_call(monkeypatch, lambda: repaired(case.folder, case.copy), complete_it) > 30


def test_the_sequence_of_a_crashed_repair_and_a_plain_start_tells_of_what_was_done(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(quick, sealed=False, frames=12)
    flip_bit(case.path(0), byte=700, bit=1)
    damaged = quick / "damaged"
    shutil.copytree(case.folder, damaged)
    starts = [0, 0]

    def start() -> None:
        try:
            found = told(case.folder)
        except LogCorruptError:
            starts[0] += 1
        else:
            starts[1] += 1
            assert case.path(0).name in {each.segment for each in found}
        shutil.rmtree(case.folder)
        shutil.copytree(damaged, case.folder)

    at_every_call(monkeypatch, lambda: repaired(case.folder, case.copy), start)
    assert min(starts) > 0
    abandon(open_log(case.copy))
