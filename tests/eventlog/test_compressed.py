"""Tests of sealed segments: they give back what was sealed, and nothing that was damaged or forged (tests 30, 31)."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import zstandard
from msgspec.structs import replace

from eventlog import sealing
from eventlog.checkpoint import origin
from eventlog.compressed import CompressedSegment, manifest_path, opened_sealed, read_manifest, sealed_path
from eventlog.errors import BadManifestError, BadSignatureError, LogCorruptError
from eventlog.manifest import (
    FRAME_RAW_BYTES,
    FRAMES_MAX,
    TYPES_MAX,
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_digest,
)
from eventlog.merkle import CompactRange
from eventlog.note import SigningKey
from eventlog.sealing import SealStart, drop_raw, first_seal, seal_after, seal_segment
from tests.eventlog.support import LOG_ID, SEGMENT, draft, event, flip_bit, genesis_hash, open_log, stdlib_frame

KEY: Final = SigningKey(origin(LOG_ID), bytes(range(32)))
STRANGER: Final = SigningKey(origin(LOG_ID), bytes(range(1, 33)))


def log_of(folder: Path, *, commits: int = 40, text: str = "why " * 40) -> SealStart:
    log = open_log(folder)
    for number in range(commits):
        log.commit([draft(event(number, text), event(number, str(number)))])
    log.close()
    return first_seal(genesis_hash(folder))


def large_log(folder: Path) -> SealStart:
    """Make a log of several zstd frames."""
    log = open_log(folder)
    for number in range(5):
        log.commit([draft(*(event(number, os.urandom(2000).hex()) for _ in range(150)))])
    log.close()
    return first_seal(genesis_hash(folder))


def seal(folder: Path, start: SealStart, key: SigningKey | None = KEY) -> Manifest:
    return seal_segment(folder, log_id=LOG_ID, start=start, key=key)


def given_back(folder: Path, manifest: Manifest) -> bytes:
    with opened_sealed(sealed_path(folder, first=manifest.first), manifest) as sealed:
        return b"".join(sealed.stream())


def test_a_sealed_segment_gives_back_its_bytes(tmp_path: Path) -> None:
    start = large_log(tmp_path / "log")
    raw = (tmp_path / "log" / SEGMENT).read_bytes()
    manifest = seal(tmp_path / "log", start)
    assert len(manifest.frames) == -(-len(raw) // FRAME_RAW_BYTES) > 2
    assert given_back(tmp_path / "log", manifest) == raw
    assert (
        zstandard.ZstdDecompressor()
        .stream_reader(sealed_path(tmp_path / "log", first=1).read_bytes(), read_across_frames=True)
        .read()
        == raw
    )  # any zstd reads it
    with opened_sealed(sealed_path(tmp_path / "log", first=1), manifest) as sealed:
        for offset in (0, 1, FRAME_RAW_BYTES - 1, FRAME_RAW_BYTES, len(raw) - 1, len(raw), len(raw) + 5):
            for size in (0, 1, 10, FRAME_RAW_BYTES + 2, len(raw)):
                assert sealed.pread(size, offset) == raw[offset : offset + size]


def test_the_manifest_says_what_the_segment_holds(tmp_path: Path) -> None:
    start = log_of(tmp_path / "log")
    raw = (tmp_path / "log" / SEGMENT).read_bytes()
    manifest = seal(tmp_path / "log", start)
    lines = raw.split(b"\n")[:-1]
    commits = [json.loads(line) for line in lines if line.startswith(b'{"commit":')]
    tree = CompactRange()
    for line in lines:
        if line.startswith(b'{"seq":'):
            tree.extend(line + b"\n")
    assert manifest.types == {"WriterOpened": 1, "RunInterrupted": 80}
    assert (manifest.first, manifest.last, manifest.records) == (1, 81, 81)
    assert (manifest.prev, manifest.hash) == (genesis_hash(tmp_path / "log"), commits[-1]["hash"])
    assert (manifest.commits, manifest.root, manifest.before) == (len(commits), tree.root().hex(), "")
    assert manifest.raw_sha256 == hashlib.sha256(raw).hexdigest()
    assert manifest.key == KEY.verifying.fingerprint
    assert read_manifest(tmp_path / "log", first=1, key=KEY.verifying)[0] == manifest
    assert manifest.zst_bytes < manifest.raw_bytes / 3


def test_sealing_again_changes_nothing_and_leaves_no_leftovers(tmp_path: Path) -> None:
    start = log_of(tmp_path / "log")
    seal(tmp_path / "log", start)
    before = {path.name: path.read_bytes() for path in (tmp_path / "log").iterdir() if path.is_file()}
    (tmp_path / "log" / "00000000000000000001.ndjson.zst.tmp").write_bytes(b"half")
    seal(tmp_path / "log", start)
    assert {path.name: path.read_bytes() for path in (tmp_path / "log").iterdir() if path.is_file()} == before


def test_a_second_segment_goes_on_from_the_manifest_alone(tmp_path: Path) -> None:
    """The tree and the chain of two segments are those of one; the second manifest names the first."""
    folder = tmp_path / "log"
    whole = seal(folder, log_of(folder))
    raw = (folder / SEGMENT).read_bytes()
    at = raw.index(b"\n", raw.index(b'{"commit":20,')) + 1
    (folder / SEGMENT).write_bytes(raw[:at])
    one = seal(folder, first_seal(genesis_hash(folder)), None)
    _, data = read_manifest(folder, first=1)
    second = folder / f"{one.last + 1:020d}.ndjson"
    second.write_bytes(raw[at:])
    two = seal(folder, seal_after(one, data))
    assert (two.first, two.first_commit, two.before) == (one.last + 1, 21, manifest_digest(data))
    assert (two.last, two.hash, two.root) == (whole.last, whole.hash, whole.root)
    assert one.records + two.records == whole.records
    assert given_back(folder, one) + given_back(folder, two) == raw
    with pytest.raises(LogCorruptError, match="expected"):
        seal(folder, replace(seal_after(one, data), link=replace(seal_after(one, data).link, hash="0" * 64)))


def test_a_damaged_or_torn_segment_is_not_sealed(tmp_path: Path) -> None:
    start = log_of(tmp_path / "log")
    raw = (tmp_path / "log" / SEGMENT).read_bytes()
    for damaged in (raw[:-1], raw + b"x", raw[:500] + b"\0" + raw[501:], b""):
        (tmp_path / "log" / SEGMENT).write_bytes(damaged)
        with pytest.raises(LogCorruptError):
            seal(tmp_path / "log", start)
    assert {path.name for path in (tmp_path / "log").iterdir()} == {SEGMENT, "GENESIS.json", "LOCK", "CLOSED"}


def test_lines_that_are_not_the_records_that_their_commit_says_are_not_sealed(tmp_path: Path) -> None:
    start = log_of(tmp_path / "log", commits=0)
    data = {"run": 1, "reason": "", "interrupted_at": "2026-01-22T10:11:12.123456Z"}
    frame, _ = stdlib_frame(
        prev=start.link.hash, commit=1, first=1, records=[("RunInterrupted", data)], first_line_seq=7
    )
    (tmp_path / "log" / SEGMENT).write_bytes(frame)
    with pytest.raises(LogCorruptError, match="where record 1 must be"):
        seal(tmp_path / "log", start)


def test_a_segment_that_changes_while_it_is_sealed_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = log_of(tmp_path / "log")

    def examine_then_rot(*arguments: Any) -> Any:
        found = examine(*arguments)
        flip_bit(tmp_path / "log" / SEGMENT, byte=700, bit=3)
        return found

    examine = sealing._examine
    monkeypatch.setattr(sealing, "_examine", examine_then_rot)
    with pytest.raises(LogCorruptError, match="not what its sealed file gives back"):
        seal(tmp_path / "log", start)
    assert not sealed_path(tmp_path / "log", first=1).exists()


def test_the_raw_file_goes_only_when_the_sealed_one_stands_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    manifest = seal(folder, log_of(folder))
    raw = (folder / SEGMENT).read_bytes()
    flip_bit(sealed_path(folder, first=1), byte=manifest.zst_bytes // 2, bit=0)
    with pytest.raises(LogCorruptError):
        drop_raw(folder, first=1)
    flip_bit(sealed_path(folder, first=1), byte=manifest.zst_bytes // 2, bit=0)
    (folder / SEGMENT).write_bytes(raw + b"x")
    with pytest.raises(LogCorruptError, match="gives back"):
        drop_raw(folder, first=1)
    assert (folder / SEGMENT).exists()
    (folder / SEGMENT).write_bytes(raw)
    drop_raw(folder, first=1)
    assert not (folder / SEGMENT).exists()
    assert given_back(folder, manifest) == raw


# --- 30: hostile compressed bytes -----------------------------------------------------------------------------------


def forged(folder: Path, frames: list[bytes], *, raw_bytes: int) -> tuple[Path, Manifest]:
    """Make a sealed file of these frames with a manifest that agrees with them, as only a forger would."""
    manifest = seal(folder, log_of(folder, commits=1), None)
    path = sealed_path(folder, first=1)
    path.write_bytes(b"".join(frames))
    sizes = tuple(len(frame) for frame in frames)
    return path, replace(manifest, frames=sizes, zst_bytes=sum(sizes), raw_bytes=raw_bytes)


def packed(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**{"write_checksum": True, **options}).compress(data)


BOMB: Final = packed(bytes(64 * 1024 * 1024), level=1)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (BOMB, "announces 67108864 bytes"),
        (packed(bytes(1001)), "announces 1001 bytes"),
        (packed(bytes(999)), "announces 999 bytes"),
        (packed(bytes(1000), write_content_size=False), "announces 18446744073709551615 bytes"),
        (packed(bytes(1000), write_checksum=False), "no checksum"),
        (packed(bytes(1000))[:-1], "cannot be decompressed"),
        (packed(bytes(1000)) + b"garbage", "cannot be decompressed"),
        (packed(bytes(1000)) + packed(b"more"), "cannot be decompressed"),
        (b"not zstd at all", "cannot be decompressed"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd", "announces"),  # a skippable frame
        (b"", "cannot be decompressed"),
    ],
    ids=[
        "bomb",
        "longer",
        "shorter",
        "no size",
        "no checksum",
        "cut",
        "garbage",
        "two frames",
        "text",
        "skippable",
        "0",
    ],
)
def test_30_a_hostile_frame_is_refused_by_name_and_costs_no_memory(tmp_path: Path, frame: bytes, why: str) -> None:
    path, manifest = forged(tmp_path / "log", [frame], raw_bytes=1000)
    tracemalloc.start()
    with pytest.raises(LogCorruptError, match=why), opened_sealed(path, manifest) as sealed:
        sealed.pread(10, 0)
    assert tracemalloc.get_traced_memory()[1] < 4 * FRAME_RAW_BYTES
    tracemalloc.stop()


def test_30_a_frame_with_a_dictionary_is_refused(tmp_path: Path) -> None:
    samples: list[bytes | bytearray | memoryview[int]] = [
        f"record {number} of a log, written in the same words".encode() * 4 for number in range(200)
    ]
    dictionary = zstandard.train_dictionary(4096, samples)
    path, manifest = forged(tmp_path / "log", [packed(bytes(1000), dict_data=dictionary)], raw_bytes=1000)
    with pytest.raises(LogCorruptError, match=r"dictionary [1-9]"), opened_sealed(path, manifest) as sealed:
        sealed.pread(10, 0)


def test_30_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    manifest = seal(folder, log_of(folder))
    data = sealed_path(folder, first=1).read_bytes()
    for changed in (data[:-1], data + b"\0", data + packed(b"extra")):
        sealed_path(folder, first=1).write_bytes(changed)
        with pytest.raises(LogCorruptError, match=f"its manifest says {manifest.zst_bytes}"):
            given_back(folder, manifest)


def test_30_every_flipped_bit_of_a_sealed_file_is_found(quick: Path) -> None:
    manifest = seal(quick / "log", log_of(quick / "log", commits=3))
    path = sealed_path(quick / "log", first=1)
    data = path.read_bytes()
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(LogCorruptError):
                given_back(quick / "log", manifest)


def test_frames_that_are_whole_but_not_those_that_were_sealed_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    manifest = seal(folder, log_of(folder))
    raw = (folder / SEGMENT).read_bytes()
    other = packed(raw[:-3] + b"x" + raw[-2:], level=3)
    path = sealed_path(folder, first=1)
    path.write_bytes(other)
    fitting = replace(manifest, frames=(len(other),), zst_bytes=len(other))
    with pytest.raises(LogCorruptError, match="compressed bytes have SHA-256"):
        given_back(folder, fitting)
    fitting = replace(fitting, zst_sha256=hashlib.sha256(other).hexdigest())
    with pytest.raises(LogCorruptError, match="raw bytes have SHA-256"):
        given_back(folder, fitting)


# --- 31: hostile manifests ------------------------------------------------------------------------------------------


def rewritten(data: bytes, change: Callable[[str], str]) -> bytes:
    """Change the JSON line of an unsigned manifest and give it the hash that fits."""
    line = change(data.decode().partition("\n")[0])
    digest = hashlib.sha256(b"casparian.seal.v1\0" + line.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{line}\nsha256 {digest}\n\n".encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("unsigned") / "log"
    seal(folder, log_of(folder), None)
    return manifest_path(folder, first=1).read_bytes()


def with_field(name: str, value: str) -> Callable[[str], str]:
    def change(line: str) -> str:
        fields = {key: json.dumps(held, separators=(",", ":")) for key, held in json.loads(line).items()}
        fields[name] = value
        return "{" + ",".join(f'"{key}":{held}' for key, held in fields.items()) + "}"

    return change


def test_the_unchanged_manifest_is_read(unsigned: bytes) -> None:
    manifest = decode_manifest(rewritten(unsigned, lambda line: line))
    assert decode_manifest(unsigned, key=KEY.verifying) == manifest
    assert manifest.key == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_field("segment", '"../../etc/passwd"'), "unknown field `segment`"),
        (with_field("format", '"casparian.seal.v2"'), "Invalid enum value"),
        (with_field("log_id", '"../../../../../../../../../../x"'), "matching regex"),
        (with_field("raw_bytes", "-1"), ">= 1"),
        (with_field("raw_bytes", "9223372036854775808"), "<= 268435456"),
        (with_field("raw_bytes", "1e400"), "raw_bytes|number out of range"),
        (with_field("raw_bytes", "1.5"), "Expected `int`"),
        (with_field("raw_bytes", "null"), "Expected `int`"),
        (with_field("last", "9223372036854775808"), "last"),
        (with_field("last", "99999999999999999999999999999999999"), "last"),
        (with_field("last", "82"), "by type, and 82 by position"),
        (with_field("first", "0"), ">= 1"),
        (with_field("first_commit", "43"), "ends with commit 42 before"),
        (with_field("first_commit", "2"), "does not go with the manifest before it"),
        (with_field("before", f'"{"0" * 64}"'), "does not go with the manifest before it"),
        (with_field("frames", "[]"), "are 1 frames, it lists 0"),
        (with_field("frames", "[1,1]"), "are 1 frames, it lists 2"),
        (with_field("frames", "[1]"), "its frames have 1 bytes together"),
        (with_field("frames", "[0]"), ">= 1"),
        (with_field("frames", f"[{2**40}]"), "<="),
        (with_field("frames", "[" + ",".join("1" * (FRAMES_MAX + 1)) + "]"), "length <= 256"),
        (with_field("types", "{" + ",".join(f'"T{n}":1' for n in range(TYPES_MAX + 1)) + "}"), "length <= 500"),
        (with_field("types", '{"../x":81}'), "matching regex"),
        (with_field("types", '{"A":1,"A":81}'), "not written in the one form"),
        (with_field("types", '{"A":82}'), "counts 82 records by type"),
        (with_field("ts_min", '"2027-01-22T10:11:12.123456Z"'), "is after its latest"),
        (with_field("ts_min", '"yesterday"'), "matching regex"),
        (with_field("root", f'"{"0" * 64}"'), "not the root of its peaks"),
        (with_field("peaks", "[]"), "not the root of its peaks"),
        (with_field("key", '"abc"'), "matching regex"),
        (with_field("prev", f'"{"0" * 64}\\n"'), "matching regex"),
        (lambda line: line.replace('"last":', '"last":81,"last":'), "not written in the one form"),
        (lambda line: line.replace(",", ", ", 1), "not written in the one form"),
        (lambda line: line.replace('"types":{', '"types":' + "[" * 20_000), "types"),
    ],
)
def test_31_a_hostile_manifest_is_refused_by_name(unsigned: bytes, change: Callable[[str], str], why: str) -> None:
    data = rewritten(unsigned, change)
    assert data != unsigned
    with pytest.raises(BadManifestError, match=why):
        decode_manifest(data)


def test_31_every_changed_byte_of_a_manifest_is_refused(tmp_path: Path, unsigned: bytes) -> None:
    folder = tmp_path / "log"
    seal(folder, log_of(folder))
    signed = manifest_path(folder, first=1).read_bytes()
    for data in (unsigned, signed):
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises((BadManifestError, BadSignatureError)):
                decode_manifest(changed, key=KEY.verifying)


def test_29_a_signature_that_was_taken_off_or_made_by_another_key_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    manifest = seal(folder, log_of(folder))
    data = manifest_path(folder, first=1).read_bytes()
    with pytest.raises(BadSignatureError, match="names a signer and is not signed"):
        decode_manifest(data[: data.index(b"\n\n") + 2])
    forged = encode_manifest(replace(manifest, key=STRANGER.verifying.fingerprint), STRANGER)
    assert decode_manifest(forged, key=STRANGER.verifying)
    with pytest.raises(BadSignatureError, match="not by casparian/log/"):
        decode_manifest(forged, key=KEY.verifying)


def test_a_manifest_in_anothers_place_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    seal(folder, log_of(folder))
    manifest_path(folder, first=1).rename(manifest_path(folder, first=7))
    with pytest.raises(LogCorruptError, match="begins with 1"):
        read_manifest(folder, first=7)


def test_reading_a_large_segment_holds_one_frame(tmp_path: Path) -> None:
    start = large_log(tmp_path / "log")
    manifest = seal(tmp_path / "log", start)
    with opened_sealed(sealed_path(tmp_path / "log", first=1), manifest) as sealed:
        tracemalloc.start()
        for piece in sealed.stream():
            assert len(piece) <= FRAME_RAW_BYTES
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(sealed, CompressedSegment)
    assert peak < 5 * FRAME_RAW_BYTES
