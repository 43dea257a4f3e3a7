"""Tests of exported slices: whole without us, nothing in them changes unseen, tied to the signed tree of the log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from eventlog.checkpoint import ANCHOR_PLACE
from eventlog.errors import LogCorruptError, LogMissingError
from eventlog.events import CancelAccepted
from eventlog.ids import JobId
from eventlog.sealed import self_hashed
from eventlog.signing import sign_head
from eventlog.slices import FORMAT, SLICE_NAME, Slice, export_slice
from eventlog.standalone.verify import NoLogError, check, parse_key
from eventlog.verify import verify
from tests.eventlog.mutations import KEY, Bases, load, segments, store
from tests.eventlog.support import NOW, SEGMENT, draft, event, flip_bit, open_log

PUBLIC: Final = parse_key(KEY.verifying.text)


def log_of(folder: Path, *, commits: int = 12) -> None:
    log = open_log(folder)
    for number in range(commits):
        log.commit([draft(event(number), event(number, "why"), event(number))])
        if number % 4 == 3:
            log.mark()
    log.close()


def test_a_whole_log_is_a_slice_that_both_verifiers_read(tmp_path: Path) -> None:
    log_of(tmp_path / "log")
    made = export_slice(tmp_path / "log", tmp_path / "slice")
    assert (made.first, made.last, made.peaks, made.proof) == (1, 37, (), ())
    assert (tmp_path / "slice" / SEGMENT).read_bytes() == (tmp_path / "log" / SEGMENT).read_bytes()
    assert check(tmp_path / "slice")["verdict"] == "OK"
    assert verify(tmp_path / "slice").verdict == "OK"
    names = sorted(path.name for path in (tmp_path / "slice").iterdir())
    assert names == [SEGMENT, "GENESIS.json", "README.txt", "SLICE.json", "verify.py"]
    assert made.prev in (tmp_path / "slice" / "README.txt").read_text()


def test_every_slice_of_a_log_is_whole_and_holds_what_was_asked_for(quick: Path) -> None:
    log_of(quick / "log", commits=4)
    sign_head(quick / "log", KEY)
    for first in range(1, 14):
        for last in range(first, 14):
            made = export_slice(quick / "log", quick / "slice", first=first, last=last)
            report = check(quick / "slice", key=PUBLIC)
            assert (report["verdict"], report["first_seq"], report["head_seq"]) == ("OK", made.first, made.last)
            assert made.first <= first <= last <= made.last
            assert made.first > first - 3
            assert made.last < last + 3
            assert report["signed"] == made.last  # by the proof, or by the root itself
            shutil.rmtree(quick / "slice")


def test_a_slice_across_segments_is_one_file(tmp_path: Path) -> None:
    bases = Bases(tmp_path / "bases")
    (tmp_path / "log").mkdir()
    store(bases.logs[-2], tmp_path / "log")
    assert len(segments(bases.logs[-2])) == 3
    whole = b"".join(bases.logs[-2][name] for name in segments(bases.logs[-2]))
    made = export_slice(tmp_path / "log", tmp_path / "slice", first=5)
    data = (tmp_path / "slice" / made.segment).read_bytes()
    assert data in whole
    assert (check(tmp_path / "slice")["verdict"], made.bytes) == ("OK", len(data))


def test_every_changed_byte_of_a_slice_is_found(quick: Path) -> None:
    log_of(quick / "log", commits=6)
    sign_head(quick / "log", KEY)
    export_slice(quick / "log", quick / "slice", first=5, last=10)
    files = {name: data for name, data in load(quick / "slice").items() if name not in ("README.txt", "verify.py")}
    assert set(files) == {"GENESIS.json", "SLICE.json", "anchors/ANCHOR", "00000000000000000005.ndjson"}
    for name, data in files.items():
        for at in range(len(data)):
            (quick / "slice" / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            key = PUBLIC if name == ANCHOR_PLACE else None  # a signature takes longer than all the rest
            assert check(quick / "slice", key=key)["verdict"] != "OK", (name, at)
        (quick / "slice" / name).write_bytes(data)
    assert check(quick / "slice", key=PUBLIC)["verdict"] == "OK"


def test_every_shorter_slice_is_found(quick: Path) -> None:
    log_of(quick / "log", commits=4)
    made = export_slice(quick / "log", quick / "slice", first=5)
    path = quick / "slice" / made.segment
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert check(quick / "slice")["verdict"] in ("CORRUPT", "REGRESSED"), size


def test_a_forged_slice_of_well_hashed_frames_fails_against_the_signed_tree(tmp_path: Path) -> None:
    """Whoever rewrites records, the chain and SLICE.json cannot make them lead to the root that was signed."""
    log_of(tmp_path / "log")
    shutil.copytree(tmp_path / "log", tmp_path / "forged")
    sign_head(tmp_path / "log", KEY)
    log = open_log(tmp_path / "forged-log")
    for number in range(12):
        log.commit([draft(event(number), event(number, "lie" if number == 5 else "why"), event(number))])
    log.close()
    honest = export_slice(tmp_path / "log", tmp_path / "slice", first=14, last=20)
    forged = export_slice(tmp_path / "forged-log", tmp_path / "forged-slice", first=14, last=20)
    assert (honest.first, honest.last) == (forged.first, forged.last)
    shutil.copytree(tmp_path / "slice" / "anchors", tmp_path / "forged-slice" / "anchors")
    said = replace(forged, proof=honest.proof, peaks=honest.peaks)
    sealed = self_hashed(said, domain=FORMAT.encode() + b"\0", key="sha256")
    (tmp_path / "forged-slice" / SLICE_NAME).write_bytes(sealed)
    assert check(tmp_path / "slice", key=PUBLIC)["signed"] == honest.last
    report = check(tmp_path / "forged-slice", key=PUBLIC)
    assert (report["verdict"], report["signed"]) == ("CORRUPT", 0)
    assert [each["check"] for each in report["findings"]] == ["checkpoint"]


def test_a_checkpoint_inside_the_slice_vouches_for_who_and_when_too(tmp_path: Path) -> None:
    log_of(tmp_path / "log", commits=3)
    sign_head(tmp_path / "log", KEY)
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    log.close()
    made = export_slice(tmp_path / "log", tmp_path / "slice", first=5)
    report = check(tmp_path / "slice", key=PUBLIC)
    assert (report["verdict"], report["signed"], made.proof) == ("OK", 10, ())


def test_a_checkpoint_of_later_that_is_not_the_anchor_needs_a_longer_slice(tmp_path: Path) -> None:
    log_of(tmp_path / "log")
    _, note = sign_head(tmp_path / "log", KEY)
    export_slice(tmp_path / "log", tmp_path / "slice", first=5, last=8)
    with pytest.raises(NoLogError, match="ask for a slice up to that record"):
        check(tmp_path / "slice", [("head.note", note)], PUBLIC)


def test_what_was_cancelled_before_the_slice_does_not_make_it_wrong(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(CancelAccepted(job=JobId(7), reason="asked", accepted_at=NOW))])
    log.commit([draft(event(1))])
    log.close()
    log = open_log(tmp_path / "log")
    log.close()
    made = export_slice(tmp_path / "log", tmp_path / "slice", first=3)
    assert (made.epoch, check(tmp_path / "slice")["epochs"], check(tmp_path / "slice")["verdict"]) == (1, 2, "OK")


def test_only_what_is_known_to_be_durable_is_exported(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    log.commit([draft(event(2))])
    assert export_slice(tmp_path / "log", tmp_path / "slice").last == 2
    with pytest.raises(LogMissingError, match="durable up to record 2"):
        export_slice(tmp_path / "log", tmp_path / "other", first=3)
    assert not (tmp_path / "other").exists()
    log.close()


def test_nothing_is_left_where_the_log_is_damaged_or_the_folder_is_taken(tmp_path: Path) -> None:
    log_of(tmp_path / "log")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "evidence").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        export_slice(tmp_path / "log", tmp_path / "taken")
    flip_bit(tmp_path / "log" / SEGMENT, byte=900, bit=0)
    with pytest.raises(LogCorruptError):
        export_slice(tmp_path / "log", tmp_path / "slice")
    (tmp_path / "empty").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "log", "taken"]
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["evidence"]


def test_a_log_that_breaks_a_rule_is_not_handed_on_as_whole(tmp_path: Path) -> None:
    """The chain fits, so reading shows it; the verifier that would go with it does not find it whole."""
    log_of(tmp_path / "log")
    sign_head(tmp_path / "log", KEY)
    foreign = (tmp_path / "log" / ANCHOR_PLACE).read_bytes().replace(b"\n37\n", b"\n36\n")
    (tmp_path / "log" / ANCHOR_PLACE).write_bytes(foreign)
    with pytest.raises(LogCorruptError, match="what was written is CORRUPT"):
        export_slice(tmp_path / "log", tmp_path / "slice")
    assert not (tmp_path / "slice").exists()


def test_slice_json_says_what_it_must(tmp_path: Path) -> None:
    log_of(tmp_path / "log")
    made = export_slice(tmp_path / "log", tmp_path / "slice", first=14, last=20)
    said = json.loads((tmp_path / "slice" / SLICE_NAME).read_bytes())
    assert {name: said[name] for name in Slice.__struct_fields__} == json.loads(
        json.dumps({name: getattr(made, name) for name in Slice.__struct_fields__})
    )
    assert (tmp_path / "slice").stat().st_mode & 0o777 == 0o700
