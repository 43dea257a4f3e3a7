"""Tests of verify.py: standard library alone, and the verdicts of the fast verifier on any damaged log (test 33)."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.checkpoint import ANCHOR_PLACE, Expected, read_checkpoint
from eventlog.errors import LogMissingError
from eventlog.log import Log
from eventlog.signing import sign_head
from eventlog.slices import VERIFIER
from eventlog.standalone.verify import Key, NoLogError, check, parse_key, signature_fits
from eventlog.verify import verify
from tests.eventlog.mutations import KEY, Bases, Files, load, mutated, store
from tests.eventlog.support import LOG_ID, SEGMENT, abandon, append, draft, event, open_log, small_log, stdlib_frame

SEEDS: Final = 500
SEEDS_LONG: Final = 10_000
SAME: Final = (
    "verdict", "log_id", "segments", "commits", "events", "head_seq", "head_hash", "durable", "signed", "epochs",
    "clean_close", "writer_active", "findings_total",
)  # fmt: skip
PUBLIC: Final[Key] = parse_key(KEY.verifying.text)


def fast(folder: Path, *, keyed: bool) -> dict[str, Any]:
    """Return what the fast verifier says, in the words that both have."""
    try:
        said = verify(folder, key=KEY.verifying if keyed else None)
    except LogMissingError:
        return {"verdict": "no log"}
    places = [(each.segment, each.offset, each.seq, each.check) for each in said.findings]
    return {name: getattr(said, name) for name in SAME} | {"places": places}


def slow(folder: Path, *, keyed: bool) -> dict[str, Any]:
    """Return what verify.py says, in the same words."""
    try:
        said = check(folder, key=PUBLIC if keyed else None)
    except NoLogError:
        return {"verdict": "no log"}
    places = [(each["segment"], each["offset"], each["seq"], each["check"]) for each in said["findings"]]
    return {name: said[name] for name in SAME} | {"places": places}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tmp_path_factory.mktemp("bases"))


def agree(bases: Bases, folder: Path, seeds: range) -> Counter[str]:
    """Hold both verifiers against the damaged logs of these seeds; a difference names the seed that repeats it."""
    folder.mkdir(exist_ok=True)
    verdicts: Counter[str] = Counter()
    for seed in seeds:
        files, done = mutated(bases, seed)
        store(files, folder)
        keyed = seed % 2 == 0
        one, two = fast(folder, keyed=keyed), slow(folder, keyed=keyed)
        assert one == two, f"seed {seed}: {done}; repeat with agree(bases, folder, range({seed}, {seed + 1}))"
        assert load(folder) == files, f"seed {seed}: a verifier changed a byte"
        verdicts[one["verdict"]] += 1
    return verdicts


def test_33_both_verifiers_agree_on_500_damaged_logs(bases: Bases, quick: Path) -> None:
    verdicts = agree(bases, quick / "log", range(SEEDS))
    print(f"seeds 0 to {SEEDS - 1}: {dict(verdicts)}")
    assert min(verdicts[each] for each in ("OK", "TORN", "CORRUPT", "REGRESSED")) >= 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_33_both_verifiers_agree_on_10_000_damaged_logs(bases: Bases, quick: Path) -> None:
    verdicts = agree(bases, quick / "log", range(SEEDS, SEEDS_LONG))
    print(f"seeds {SEEDS} to {SEEDS_LONG - 1}: {dict(verdicts)}")


def test_both_verifiers_agree_on_every_whole_log(bases: Bases, tmp_path: Path) -> None:
    for files in bases.logs:
        (tmp_path / "log").mkdir(exist_ok=True)
        store(files, tmp_path / "log")
        assert fast(tmp_path / "log", keyed=True) == slow(tmp_path / "log", keyed=True)
        assert fast(tmp_path / "log", keyed=True)["verdict"] == "OK"


def test_05_both_verifiers_agree_on_every_truncation(bases: Bases, quick: Path) -> None:
    files: Files = dict(bases.logs[0])
    whole = files[SEGMENT][:1600]  # four frames
    (quick / "log").mkdir()
    for size in range(len(whole)):
        store(files | {SEGMENT: whole[:size]}, quick / "log")
        assert fast(quick / "log", keyed=False) == slow(quick / "log", keyed=False), size


def test_both_verifiers_see_a_living_writer(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    append(tmp_path / "log" / SEGMENT, b'{"seq":3,"ty')
    assert slow(tmp_path / "log", keyed=False) == fast(tmp_path / "log", keyed=False)
    assert slow(tmp_path / "log", keyed=False)["writer_active"]
    abandon(log)
    assert slow(tmp_path / "log", keyed=False)["verdict"] == "TORN"


def test_a_log_of_many_windows_is_whole(tmp_path: Path) -> None:
    log: Log = open_log(tmp_path / "log")
    for number in range(12):
        log.commit([draft(*(event(number, "x" * 3000) for _ in range(number * 60 + 1)))])
    log.close()
    sign_head(tmp_path / "log", KEY)
    said = slow(tmp_path / "log", keyed=True)
    assert said == fast(tmp_path / "log", keyed=True)
    assert (said["verdict"], said["signed"]) == ("OK", log.head.seq)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"seq":3,"type":"OfTheFuture","data":{}}', "OK"),  # its one limit: it knows no types, and says so
        (b'{"seq":3,"type":"RunInterrupted","data":{', "UNKNOWN-TYPE"),
        (b'{"seq":3,"type":"RunInterrupted","data":[]}', "UNKNOWN-TYPE"),
        (b'{"seq":3,"type":"WriterOpened","data":{}}', "UNKNOWN-TYPE"),
        (b'{"seq":3,"type":"CancelAccepted","data":{"job":[7]}}', "UNKNOWN-TYPE"),
        (b'{"seq":3,"type":"\xff","data":{}}', "UNKNOWN-TYPE"),
        (b'{"seq":3,"type":"x","data":' + b"[" * 100_000, "UNKNOWN-TYPE"),
    ],
)
def test_a_frame_that_fits_and_holds_no_record_that_can_be_read(tmp_path: Path, line: bytes, said: str) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    abandon(log)
    frame, _ = stdlib_frame(prev=log.head.hash, commit=3, first=3, records=[("RunInterrupted", {})], durable=2)
    lines = line + b"\n"
    rest = frame[frame.index(b"\n") + 1 :]
    head = rest[: rest.index(b'"hash"')].replace(b'"bytes":%d' % (len(frame) - len(rest)), b'"bytes":%d' % len(lines))
    digest = hashlib.sha256(b"casparian.log.v1\0" + bytes.fromhex(LOG_ID) + lines + head).hexdigest()
    append(tmp_path / "log" / SEGMENT, lines + head + b'"hash":"%s"}\n' % digest.encode())
    assert fast(tmp_path / "log", keyed=False)["verdict"] == "UNKNOWN-TYPE"
    assert slow(tmp_path / "log", keyed=False)["verdict"] == said


# --- the file -------------------------------------------------------------------------------------------------------


def test_verify_py_imports_the_standard_library_alone() -> None:
    tree = ast.parse(VERIFIER.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def run(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of verify.py without site-packages and without anything of ours in reach."""
    copy = folder / "verify.py"
    copy.write_bytes(VERIFIER.read_bytes())
    command = [sys.executable, "-I", "-S", str(copy), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_tells_people_and_programs(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    _, note = sign_head(tmp_path / "log", KEY)
    (tmp_path / "head.note").write_bytes(note)
    (tmp_path / "case.pub").write_text(KEY.verifying.text + "\n")
    whole = run("log", "--expect", "head.note", "--key", "case.pub", folder=tmp_path)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.startswith("verdict: OK\n")
    assert "records up to 4 are under a signed checkpoint" in whole.stdout
    as_json = run("log", "--json", "--key", KEY.verifying.text, folder=tmp_path)
    assert json.loads(as_json.stdout)["signed"] == 4
    append(tmp_path / "log" / SEGMENT, b"x")
    damaged = run("log", folder=tmp_path)
    assert damaged.returncode == 5
    assert damaged.stdout.startswith("verdict: CORRUPT\n")
    assert "finding: closed in 00000000000000000001.ndjson" in damaged.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nowhere",), "there is no log in nowhere"),
        (("log", "--expect", "head.note"), "give --key"),
        (("log", "--key", "nonsense"), "not in the form"),
        (("log", "--key", KEY.verifying.text.replace("+A", "+B")), "not in the form"),
        (("log", "--expect", "nothing", "--key", KEY.verifying.text), "no checkpoint in nothing"),
    ],
)
def test_what_cannot_be_checked_is_an_error_and_no_verdict(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    small_log(tmp_path / "log", clean=True)
    (tmp_path / "head.note").write_bytes(sign_head(tmp_path / "log", KEY)[1])
    said = run(*words, folder=tmp_path)
    assert (said.returncode, said.stdout) == (1, "")
    assert why in said.stderr


def test_a_note_that_the_log_must_agree_with_is_held_against_it_alike(tmp_path: Path) -> None:
    small_log(tmp_path / "log", clean=True)
    behind = load(tmp_path / "log")
    log = open_log(tmp_path / "log")
    log.commit([draft(event(9))])
    log.close()
    _, note = sign_head(tmp_path / "log", KEY)
    store(behind, tmp_path / "log")
    expected = [Expected(name="n", checkpoint=read_checkpoint(note, KEY.verifying))]
    assert verify(tmp_path / "log", expected=expected).verdict == "REGRESSED"
    assert check(tmp_path / "log", [("n", note)], PUBLIC)["verdict"] == "REGRESSED"
    assert ANCHOR_PLACE not in behind


# --- Ed25519 --------------------------------------------------------------------------------------------------------

# RFC 8032, section 7.1, tests 1 to 3: public key, message, signature.
RFC_8032: Final = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_the_published_signatures_fit_and_changed_ones_do_not(public: str, message: str, signature: str) -> None:
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert signature_fits(key, text, signed)
    assert not signature_fits(key, text + b"x", signed)
    assert not signature_fits(key, text, signed[:-1])
    assert not signature_fits(bytes(32), text, signed)
    for at in range(64):
        assert not signature_fits(key, text, signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :])
    order = 2**252 + 27742317777372353535851937790883648493
    again = (int.from_bytes(signed[32:], "little") + order).to_bytes(32, "little")
    assert not signature_fits(key, text, signed[:32] + again)  # the same signature in a second form


@given(st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_signatures_of_the_library_fit(message: bytes, seed: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert signature_fits(key.public_key().public_bytes_raw(), message, key.sign(message))
