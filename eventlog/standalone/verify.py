"""Checks a Casparian log, or a slice of one, with the Python standard library alone (3.9 or newer).

    python verify.py DIR [--expect CHECKPOINT] [--key VKEY] [--json]          exit code 0 if it is whole, 5 if not

It comes to the verdicts of `casparian log verify`, from the same rules, written a second time. It changes no byte.
What it does not do: it does not know which types of records there are, so a record that is well formed JSON is well.

A log is a sequence of frames. A frame is its record lines and one commit line:

    {"seq":101,"type":"CancelJob",...}
    {"commit":57,"first":101,"last":101,"bytes":412,"ts":"...","actor":"...","cause":0,"corr":0,"epoch":7,
     "durable":100,"prev":"<64 hex>","hash":"<64 hex>"}                    (one physical line, no spaces)

Between corr and epoch there may be "stamp":{"producer":"...","epoch":7,"sequence":918,"digest":"<32 hex>"}, which says
whose request the frame answers.

hash = SHA-256("casparian.log.v1\\0" + 16 bytes of log_id + all bytes of the frame before `"hash"`); prev is the hash of
the frame before, and of the first frame the SHA-256 of GENESIS.json. Where a log was forked, the segment behind the
last frame that was kept begins anew with another log_id and the SHA-256 of another GENESIS.json, which names the
earlier lives, where each of them ended, and the SHA-256 of its genesis, GENESIS.<log id>.json.

The signed root is RFC 6962 over the record lines without their line breaks. Signatures are Ed25519 (RFC 8032) in C2SP
signed notes.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import importlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FCNTL = importlib.import_module("fcntl") if os.name == "posix" else None  # elsewhere no writer of ours can be at work

SMALL_FILE_BYTES_MAX = 64 * 1024
WINDOW_BYTES = 1024 * 1024
FRAME_BYTES_MAX = 4 * 1024 * 1024
FRAME_SPAN_BYTES_MAX = FRAME_BYTES_MAX + 2048
TAIL_BYTES_MAX = 16 * 1024 * 1024
AHEAD_BYTES_MAX = 16 * 1024 * 1024
BACK_BYTES = 64 * 1024
WITNESS_HASHED_BYTES_MAX = 256 * 1024 * 1024
FINDINGS_MAX = 100
COMMITS_MAX = 10**18
SIGNATURES_MAX = 16
PROOF_HASHES_MAX = 128
ANCHOR = "anchors/ANCHOR"
WEIGHT = ("OK", "TORN", "UNKNOWN-TYPE", "REGRESSED", "CORRUPT")
COMMIT_START = b'{"commit":'
_COUNT = rb"(0|[1-9][0-9]{0,17})"
COMMIT_LINE = re.compile(
    rb'\{"commit":' + _COUNT + rb',"first":' + _COUNT + rb',"last":' + _COUNT + rb',"bytes":' + _COUNT
    + rb',"ts":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)"'
    + rb',"actor":"([^"\\\x00-\x1f]*(?:\\["\\][^"\\\x00-\x1f]*)*)"'
    + rb',"cause":' + _COUNT + rb',"corr":' + _COUNT
    + rb'(?:,"stamp":\{"producer":"[A-Za-z0-9._:@+-]{1,100}","epoch":(?:0|[1-9][0-9]{0,17}),'
    + rb'"sequence":(?:0|[1-9][0-9]{0,17}),"digest":"[0-9a-f]{32}"\})?'
    + rb',"epoch":' + _COUNT + rb',"durable":' + _COUNT
    + rb',"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}\n'
)  # fmt: skip
SEGMENT_NAME = re.compile(r"([0-9]{20})\.ndjson", re.ASCII)
LOG_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
CHECKPOINT = re.compile(
    r"casparian/log/([0-9a-f]{32})\n([1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\n"
    r"commit ([1-9][0-9]{0,17}) ([0-9a-f]{64})\n",
    re.ASCII,
)
_NAME = r"[^\s+\x00-\x1f\x7f]{1,200}"
SIGNATURE_LINE = re.compile(rf"— ({_NAME}) ([A-Za-z0-9+/]+=*)")
VKEY = re.compile(rf"({_NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/]+=*)")

Fields = dict[str, Any]


class NoLogError(Exception):
    """There is nothing to check, or not with what was given."""


class DamagedError(Exception):
    """A small file of the log is not what was written; `verdict` says how that counts."""

    def __init__(self, why: str, verdict: str = "CORRUPT") -> None:
        super().__init__(why)
        self.verdict = verdict


class Link(NamedTuple):
    """Where the chain stands: after this commit and seq, with the hash that the next frame must name."""

    commit: int
    seq: int
    hash: str
    epoch: int
    durable: int


class Closed(NamedTuple):
    """Where the log, or the slice, says that it ends."""

    seq: int
    hash: str
    commit: int
    segment: str
    bytes: int


class Segment(NamedTuple):
    path: Path
    name: str
    first: int
    size: int
    ahead: int = 0  # zeros behind `size`, written ahead by whoever writes to the last segment


class Commit(NamedTuple):
    """The fields of a commit line that a rule speaks of."""

    commit: int
    first: int
    last: int
    bytes: int
    epoch: int
    durable: int
    prev: str
    hash: str


class Life(NamedTuple):
    """A part of the chain with an id and a first hash of its own, up to and with the commit `commit`."""

    log_id: str
    genesis: str
    commit: int = COMMITS_MAX
    seq: int = 0
    hash: str = ""
    segment: str = ""
    bytes: int = 0


class Fact(NamedTuple):
    """What the rules ask of one record: None where it is not of the type that has it."""

    seq: int
    is_command: bool
    epoch: int | None
    cancelled: int | None  # the job
    committed: int | None  # the job


class Checkpoint(NamedTuple):
    name: str
    log_id: str
    size: int
    root: bytes
    commit: int
    hash: str
    verified: bool


class Key(NamedTuple):
    name: str
    key_id: bytes
    public: bytes


class Slice(NamedTuple):
    """What SLICE.json says of a part of a log: where it begins and ends, and how it fits into the tree."""

    start: Link
    end: Closed
    peaks: tuple[bytes, ...]
    root: bytes
    proof: tuple[bytes, ...]  # from the slice's end to ANCHOR


# --- files that check themselves ------------------------------------------------------------------------------------


def read_small(path: Path) -> bytes | None:
    """Return the content of a small regular file, None if there is none. Raises DamagedError for a link or a device."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DamagedError(f"{path.name} is not a regular file")
        return file.read(SMALL_FILE_BYTES_MAX + 1)


def unsealed(data: bytes, *, domain: bytes, key: str, fields: Mapping[str, type]) -> Fields | None:
    """Return the fields of a line that ends with its own hash, None if the bytes are not what was sealed."""
    start = data[: data.rfind(b'"%s":' % key.encode())]
    ending = b'"%s":"%s"}\n' % (key.encode(), hashlib.sha256(domain + start).hexdigest().encode())
    if len(data) > SMALL_FILE_BYTES_MAX or data != start + ending:
        return None
    try:
        found = json.loads((start[:-1] + b"}").decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or {name: type(held) for name, held in found.items()} != fields:
        return None
    return found


ANCESTOR_FIELDS: dict[str, type] = {
    "log_id": str, "genesis": str, "commit": int, "seq": int, "hash": str, "segment": str, "bytes": int,
}  # fmt: skip


def read_lives(folder: Path) -> list[Life]:
    """Return who the log is, after who it was before it was forked. Raises NoLogError, DamagedError."""
    data = read_small(folder / "GENESIS.json")
    if data is None:
        if folder.is_dir() and (read_closed(folder) or any(part.size for part in list_segments(folder))):
            raise DamagedError("GENESIS.json is gone, and there is a log")
        raise NoLogError(f"there is no log in {folder}")
    fields = {"format": str, "log_id": str, "created_at": str, "alg": str, "compat": list, "incompat": list}
    domain = b"casparian.genesis.v1\0"
    forked = {**fields, "ancestors": list, "fork": dict}
    genesis = unsealed(data, domain=domain, key="hash", fields=fields) or unsealed(
        data, domain=domain, key="hash", fields=forked
    )
    if genesis is None or LOG_ID.fullmatch(genesis["log_id"]) is None:
        raise DamagedError("the bytes of GENESIS.json do not fit their own hash")
    features = ["fork"] if genesis.get("ancestors") else []
    if (genesis["format"], genesis["alg"], genesis["incompat"]) != ("casparian.log.v1", "sha256", features):
        raise DamagedError("the log needs a newer version of this program", "UNKNOWN-TYPE")
    kept = read_small(folder / f"GENESIS.{genesis['log_id']}.json")
    if kept is not None and read_small(folder / "FORKING") is None:
        raise DamagedError("GENESIS.json is that of a log that was forked here")
    lives = [ancestor_of(folder, said) for said in genesis.get("ancestors", [])]
    return [*lives, Life(genesis["log_id"], hashlib.sha256(data).hexdigest())]


def ancestor_of(folder: Path, said: object) -> Life:
    """Return an earlier life of a forked log, whose own genesis must be there. Raises DamagedError."""
    if not isinstance(said, dict) or {name: type(held) for name, held in said.items()} != ANCESTOR_FIELDS:
        raise DamagedError("GENESIS.json names an earlier life in a form that nobody writes")
    life = Life(**said)
    if LOG_ID.fullmatch(life.log_id) is None or SEGMENT_NAME.fullmatch(life.segment) is None:
        raise DamagedError("GENESIS.json names an earlier life that cannot have been")
    data = read_small(folder / f"GENESIS.{life.log_id}.json")
    if data is None or hashlib.sha256(data).hexdigest() != life.genesis:
        raise DamagedError(f"GENESIS.{life.log_id}.json is not the genesis that this log was forked from")
    return life


def is_unfinished(folder: Path, lives: Sequence[Life]) -> bool:
    """Return whether the fork to the last life is under way, so that files of the log that it leaves are still here.

    A fork that has a frame of its own was settled before that was written.
    """
    marker = read_small(folder / "FORKING")
    new = lives[-1].log_id.encode()
    if len(lives) < 2 or marker is None or re.fullmatch(new + rb" [0-9A-Za-z]{32}", marker) is None:
        return False
    path = folder / f"{lives[-2].seq + 1:020d}.ndjson"
    if not path.is_file() or path.is_symlink():
        return True
    with path.open("rb") as file:
        match = find_commit_line(file.read(FRAME_SPAN_BYTES_MAX), 0)
    return match is None or commit_of(match).prev != lives[-1].genesis


def life_of(lives: Sequence[Life], commit: int) -> Life:
    return next(life for life in lives if commit <= life.commit)


def entered(lives: Sequence[Life], link: Link) -> tuple[Life, Link] | None:
    """Return the life that goes on behind `link`, and what it must continue; None if the one before ended elsewhere."""
    before, life = life_of(lives, link.commit), life_of(lives, link.commit + 1)
    if before is life:
        return life, link
    if link.seq != before.seq or link.hash not in (before.hash, life.genesis):
        return None
    return life, link._replace(hash=life.genesis)


def read_closed(folder: Path) -> Closed | None:
    """Return the clean-close mark, None where there is none. Raises DamagedError."""
    data = read_small(folder / "CLOSED")
    if data is None:
        return None
    fields = {"seq": int, "hash": str, "commit": int, "segment": str, "bytes": int}
    closed = unsealed(data, domain=b"casparian.closed.v1\0", key="sha256", fields=fields)
    if closed is None:
        raise DamagedError("the bytes of CLOSED do not fit their own hash")
    return Closed(**closed)


SLICE_FIELDS: dict[str, type] = {
    "format": str, "log_id": str, "first": int, "last": int, "first_commit": int, "last_commit": int, "prev": str,
    "hash": str, "epoch": int, "durable": int, "segment": str, "bytes": int, "peaks": list, "root": str, "proof": list,
}  # fmt: skip


def read_slice(folder: Path, log_id: str) -> Slice | None:
    """Return what SLICE.json says, None for a whole log. Raises DamagedError."""
    data = read_small(folder / "SLICE.json")
    if data is None:
        return None
    said = unsealed(data, domain=b"casparian.slice.v1\0", key="sha256", fields=SLICE_FIELDS)
    if said is None or said["log_id"] != log_id or said["format"] != "casparian.slice.v1":
        raise DamagedError("the bytes of SLICE.json do not fit their own hash, or it is of another log")
    try:
        peaks = tuple(bytes.fromhex(text) for text in said["peaks"])
        proof = tuple(bytes.fromhex(text) for text in said["proof"])
        root = bytes.fromhex(said["root"])
        Tree(said["first"] - 1, peaks)
    except (ValueError, TypeError) as error:
        raise DamagedError(f"SLICE.json contradicts itself: {error}") from error
    start = Link(said["first_commit"] - 1, said["first"] - 1, said["prev"], said["epoch"], said["durable"])
    end = Closed(said["last"], said["hash"], said["last_commit"], said["segment"], said["bytes"])
    return Slice(start, end, peaks, root, proof)


def list_segments(folder: Path) -> list[Segment]:
    """Return the segments in order, with their sizes now. Raises DamagedError for one that is not a plain file."""
    segments = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = SEGMENT_NAME.fullmatch(entry.name)
            if entry.name.endswith(".ndjson.zst"):
                raise NoLogError(
                    f"{entry.name} is a sealed segment, which Python alone cannot read: check the log with "
                    f"`casparian log verify`, or hand it on with `casparian log export`"
                )
            if name is None:
                continue
            info = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(info.st_mode):
                raise DamagedError(f"{entry.name} is not a regular file")
            segments.append(Segment(Path(entry.path), entry.name, int(name[1]), info.st_size))
    segments.sort(key=lambda segment: segment.first)
    return [*segments[:-1], *map(without_zeros, segments[-1:])]


def without_zeros(segment: Segment) -> Segment:
    """Return a segment without the zeros behind its end. More than are ever written ahead are counted as its bytes."""
    size = segment.size
    floor, end = max(0, size - AHEAD_BYTES_MAX - 1), size
    with segment.path.open("rb", buffering=0) as file:
        while end > floor:  # every round goes back by a piece
            start = max(floor, end - BACK_BYTES)
            piece = read_at(file.fileno(), end - start, start).rstrip(b"\0")
            if piece:
                return segment._replace(size=start + len(piece), ahead=size - start - len(piece))
            end = start
    return segment if floor else segment._replace(size=0, ahead=size)


def kept_segments(segments: Sequence[Segment], end: Life) -> list[Segment]:
    """Return what of the segments belongs to the log while its fork is under way."""
    kept = [segment for segment in segments if segment.first <= end.seq]
    return [*kept[:-1], kept[-1]._replace(size=min(kept[-1].size, end.bytes), ahead=0)] if kept else []


def is_locked(folder: Path) -> bool:
    """Return whether a writer holds the log now."""
    if FCNTL is None:
        return False
    try:
        fd = os.open(folder / "LOCK", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        FCNTL.flock(fd, FCNTL.LOCK_SH | FCNTL.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


# --- the Merkle tree (RFC 6962, section 2.1) ------------------------------------------------------------------------


class Tree:
    """The tree over the first `size` record lines, as the roots of its perfect subtrees from left to right."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or bin(size).count("1") != len(peaks) or any(len(peak) != 32 for peak in peaks):
            raise ValueError(f"a tree of {size} leaves does not have {len(peaks)} peaks")
        self.size = size
        self._peaks = list(peaks)

    def extend(self, lines: bytes) -> None:
        for line in lines.split(b"\n")[:-1]:
            node, size = hashlib.sha256(b"\x00" + line).digest(), self.size
            while size & 1:  # one round for each trailing 1 of the size
                node, size = node_hash(self._peaks.pop(), node), size >> 1
            self._peaks.append(node)
            self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = node_hash(peak, root)
        return root


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_prefix(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the proof shows that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new or len(proof) > PROOF_HASHES_MAX:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old_node == old_root and new_node == new_root


# --- signatures (RFC 8032, section 6; c2sp.org/signed-note) ---------------------------------------------------------

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
Point = tuple[int, int, int, int]  # x, y, z, t in extended coordinates


def _add(one: Point, other: Point) -> Point:
    a, b = (one[1] - one[0]) * (other[1] - other[0]) % _P, (one[1] + one[0]) * (other[1] + other[0]) % _P
    c, d = 2 * one[3] * other[3] * _D % _P, 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(factor: int, point: Point) -> Point:
    product: Point = (0, 1, 1, 0)
    while factor > 0:  # 253 rounds at most
        if factor & 1:
            product = _add(product, point)
        point, factor = _add(point, point), factor >> 1
    return product


def _point(packed: bytes) -> Point | None:
    y = int.from_bytes(packed, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if len(packed) != 32 or y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else _P - x
    return (x, y, 1, x * y % _P)


_BASE = _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def signature_fits(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an Ed25519 signature fits."""
    key = _point(public)
    point = _point(signature[:32])
    factor = int.from_bytes(signature[32:], "little")
    if key is None or point is None or _BASE is None or len(signature) != 64 or factor >= _ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _ORDER
    left, right = _times(factor, _BASE), _add(point, _times(challenge, key))
    return not ((left[0] * right[2] - right[0] * left[2]) % _P or (left[1] * right[2] - right[1] * left[2]) % _P)


def from_base64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def parse_key(text: str) -> Key:
    """Return the public key of a vkey. Raises NoLogError."""
    found = VKEY.fullmatch(text.strip())
    raw = from_base64(found[3]) if found else None
    if found is None or raw is None or len(raw) != 33 or raw[:1] != b"\x01":
        raise NoLogError("the key is not in the form NAME+ID+BASE64 of an Ed25519 key")
    key_id = hashlib.sha256(found[1].encode() + b"\n" + raw).digest()[:4]
    if key_id.hex() != found[2]:
        raise NoLogError("the id of the key does not fit its name and its bytes")
    return Key(found[1], key_id, raw[1:])


def read_checkpoint(name: str, data: bytes, log_id: str, key: Key | None) -> Checkpoint:
    """Return a checkpoint of this log; its signature is looked at if there is a key. Raises DamagedError."""
    text, signatures = _note(name, data)
    found = CHECKPOINT.fullmatch(text)
    root = from_base64(found[3]) if found else None
    if found is None or root is None:
        raise DamagedError(f"the text of {name} is not a checkpoint of a log of ours")
    if key is not None:
        ours = [blob for signer, key_id, blob in signatures if (signer, key_id) == (key.name, key.key_id)]
        if not ours:
            raise DamagedError(f"{name} is not signed by {key.name}+{key.key_id.hex()}")
        if not all(signature_fits(key.public, text.encode(), blob) for blob in ours):
            raise DamagedError(f"the signature of {name} by {key.name}+{key.key_id.hex()} does not fit its text")
    if found[1] != log_id:
        raise DamagedError(f"{name} is of log {found[1]}, and this is log {log_id}")
    return Checkpoint(name, found[1], int(found[2]), root, int(found[4]), found[5], key is not None)


def _note(name: str, data: bytes) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return the text of a signed note and its signatures as (name, key id, signature). Raises DamagedError."""
    try:
        text, blank, tail = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise DamagedError(f"{name} is not UTF-8 text") from None
    text += "\n"
    lines = tail[:-1].split("\n")
    whole = len(data) <= SMALL_FILE_BYTES_MAX and blank and tail.endswith("\n") and len(lines) <= SIGNATURES_MAX
    if not whole or text == "\n" or re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text):
        raise DamagedError(f"{name} is not a signed note")
    signatures = []
    for line in lines:
        found = SIGNATURE_LINE.fullmatch(line)
        raw = from_base64(found[2]) if found else None
        if found is None or raw is None or len(raw) <= 4:
            raise DamagedError(f"{name} is not a signed note: {line[:60]!r} is no signature line")
        signatures.append((found[1], raw[:4], raw[4:]))
    return text, signatures


# --- the chain ------------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    line: Commit
    lines: bytes
    offset: int


class Scan:
    """Walks the segments frame by frame until the end or the first frame that does not fit."""

    def __init__(
        self, lives: Sequence[Life], segments: Sequence[Segment], start: Link, *, joined: bool = False,
        unfinished: bool = False,
    ) -> None:  # fmt: skip
        self.lives = lives
        self.joined = joined  # the segments of lives stand in one file, as in a slice
        self.unfinished = unfinished
        self.segments = segments
        self.link = start
        self.index = 0
        self.offset = 0
        self.gap: tuple[str, str, str] | None = None  # check, expected, actual
        self._live(life_of(lives, start.commit))

    def _live(self, life: Life) -> None:
        self.life = life
        self._base = hashlib.sha256(b"casparian.log.v1\0" + bytes.fromhex(life.log_id))

    def _enter(self) -> bool:
        """Go on in the life that what follows is of; False if the chain ends here."""
        found = entered(self.lives, self.link)
        if found is None or (found[0] is not self.life and self.link.commit != self.life.commit):
            self.gap = ("lineage", f"the end of log {self.life.log_id}", f"commit {self.link.commit}")
            return False
        life, self.link = found
        if life is not self.life:
            self._live(life)
        return True

    @property
    def segment(self) -> Segment:
        return self.segments[self.index]

    @property
    def bytes_after(self) -> int:
        return sum(segment.size for segment in self.segments[self.index :]) - self.offset

    def hash_of(self, data: bytes | memoryview) -> str:
        digest = self._base.copy()
        digest.update(data)
        return digest.hexdigest()

    def frames(self) -> Iterator[Frame]:
        for index, segment in enumerate(self.segments):
            if segment.first != self.link.seq + 1:
                self.gap = ("segment", f"the segment that begins with {self.link.seq + 1}", segment.name)
                return
            self.index, self.offset = index, 0
            if not self._enter():
                return
            with segment.path.open("rb", buffering=0) as file:
                yield from self._walk(file.fileno(), segment)
            if self.gap is not None:
                return
        if self.segments and self.life is not self.lives[-1] and not self.joined:
            check = "fork" if self.unfinished else "segment"
            self.gap = (check, f"the segment that begins with {self.link.seq + 1}", "nothing behind the fork")

    def _walk(self, fd: int, segment: Segment) -> Iterator[Frame]:
        window, at = b"", 0  # window[at] is the byte at self.offset
        while self.offset < segment.size:  # every round goes forward by a frame or ends with a gap
            if self.joined and self.link.commit == self.life.commit and not self._enter():
                return
            match = find_commit_line(window, at)
            for size in (WINDOW_BYTES, FRAME_SPAN_BYTES_MAX):
                if match is not None:
                    break
                window, at = read_at(fd, min(size, segment.size - self.offset), self.offset), 0
                match = find_commit_line(window, 0)
            if match is None:
                self.gap = ("frame", "a frame that ends with a whole commit line", repr(window[:60]))
                return
            line, middle = commit_of(match), match.start()
            if line.bytes != middle - at:
                self.gap = ("bytes", f"{line.bytes} bytes before the commit line", str(middle - at))
                return
            actual = self.hash_of(memoryview(window)[at : hashed_end(match)])
            self.gap = misfit(line, self.link, actual)
            if line.commit > self.life.commit and self.gap is None:
                self.gap = ("lineage", "the segment of the fork", f"commit {line.commit}")
            if self.gap is not None:
                return
            frame = Frame(line, window[at:middle], self.offset)
            self.link = Link(line.commit, line.last, line.hash, line.epoch, line.durable)
            self.offset += match.end() - at
            at = match.end()
            yield frame


def read_at(fd: int, size: int, offset: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    pieces = []
    while size > 0:  # every round reads at least one byte or ends
        piece = os.read(fd, size)
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def find_commit_line(data: bytes, start: int) -> re.Match[bytes] | None:
    at = start
    while not data.startswith(COMMIT_START, at):  # at most once for each line of the data
        at = data.find(b"\n", at) + 1
        if at == 0:
            return None
    return COMMIT_LINE.match(data, at)


def commit_of(match: re.Match[bytes]) -> Commit:
    commit, first, last, size, epoch, durable = (int(match[group]) for group in (1, 2, 3, 4, 9, 10))
    return Commit(commit, first, last, size, epoch, durable, match[11].decode(), match[12].decode())


def hashed_end(match: re.Match[bytes]) -> int:
    return match.start(12) - len(b'"hash":"')


def misfit(line: Commit, link: Link, actual: str) -> tuple[str, str, str] | None:
    if line.hash != actual:
        return ("hash", line.hash, actual)
    if line.prev != link.hash:
        return ("link", link.hash, line.prev)
    if line.commit != link.commit + 1:
        return ("commit", str(link.commit + 1), str(line.commit))
    if line.first != link.seq + 1:
        return ("seq", str(link.seq + 1), str(line.first))
    if line.last < line.first - 1:
        return ("seq", f"last of at least {line.first - 1}", str(line.last))
    return None


def misplaced_line(lines: bytes, first: int, last: int) -> tuple[int, str] | None:
    """Return (expected seq, what is there) of the first line that is not where its frame says, else None."""
    pieces = lines.split(b"\n")
    count = last - first + 1
    for index in range(min(count, len(pieces))):
        if not pieces[index].startswith(b'{"seq":%d,"type":"' % (first + index)):
            return first + index, repr(pieces[index][:80])
    if len(pieces) != count + 1 or pieces[-1]:
        return last + 1, f"{len(pieces) - 1} lines"
    return None


def fact_of(text: bytes) -> Fact:
    """Return what the rules ask of a record line. Raises ValueError, KeyError, TypeError if it is no record."""
    record = json.loads(text.decode())
    tag, data = record["type"], record["data"]
    if not isinstance(tag, str) or not isinstance(data, dict):
        raise TypeError("a record has a type and data")
    epoch = _number(data["epoch"]) if tag == "WriterOpened" else None
    job = _number(data["job"]) if tag in ("CancelAccepted", "OutputsCommitted") else None
    cancelled, committed = (job, None) if tag == "CancelAccepted" else (None, job)
    return Fact(_number(record["seq"]), "id" in record, epoch, cancelled, committed)


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.60} is no number")
    return value


def accusation(scan: Scan) -> str | None:
    """Return what proves that durable bytes are damaged, None if the bytes past the chain are an unsynced batch."""
    start = max(0, scan.offset - FRAME_BYTES_MAX)
    with scan.segment.path.open("rb", buffering=0) as file:
        data = read_at(file.fileno(), scan.segment.size - start, start)
    hashed = 0
    at = data.find(COMMIT_START, scan.offset - start)
    while at >= 0:  # goes forward through at most FRAME_BYTES_MAX + TAIL_BYTES_MAX bytes
        match = COMMIT_LINE.match(data, at)
        at = data.find(COMMIT_START, at + 1)
        if match is None:
            continue
        line = commit_of(match)
        if scan.link.commit == 0 and line.commit >= 2:
            return f"a commit line numbered {line.commit} follows, and not even the first commit can be read"
        if line.bytes > FRAME_BYTES_MAX:
            continue
        hashed += line.bytes
        if hashed > WITNESS_HASHED_BYTES_MAX:
            return "commit lines follow that claim more bytes than there are"
        begin = match.start() - line.bytes
        if begin < 0 or scan.hash_of(memoryview(data)[begin : hashed_end(match)]) != line.hash:
            continue
        said = testimony(line, scan.link)
        if said is not None:
            return said
    return None


def testimony(line: Commit, link: Link) -> str | None:
    if line.durable > link.seq:
        return f"the undamaged commit {line.commit} says that record {line.durable} was durable before it"
    if line.first <= link.seq or line.commit <= link.commit:
        return f"the undamaged commit {line.commit} with record {line.first} stands here a second time"
    if line.first == link.seq + 1 and line.commit > link.commit + 1:
        return f"the undamaged commit {line.commit} says that commit {line.commit - 1} was durable before it"
    return None


# --- the audit ------------------------------------------------------------------------------------------------------


class Audit:
    """One walk over a log. Memory holds the findings and the ids of cancelled jobs, nothing else that grows."""

    def __init__(self, folder: Path, expected: Sequence[tuple[str, bytes]] = (), key: Key | None = None) -> None:
        self.folder = folder
        self.notes = list(expected)
        self.key = key
        self.verdict = "OK"
        self.findings: list[Fields] = []
        self.findings_total = 0
        self.events = 0
        self.signed = 0
        self.cancelled: set[int] = set()
        self.writer_active = False
        self.slice: Slice | None = None
        self.log_id = ""
        self.unfinished = False
        self.checkpoints: list[Checkpoint] = []

    def run(self) -> Fields:
        """Check everything and return the report. Raises NoLogError, OSError."""
        try:
            lives = read_lives(self.folder)
            self.log_id = lives[-1].log_id
            self.unfinished = is_unfinished(self.folder, lives)
        except DamagedError as error:
            self._note_file("GENESIS.json", error)
            return self._report(Scan([Life("", "")], (), Link(0, 0, "", 0, 0)), clean=False)
        closed = self._read_end()
        self.writer_active = is_locked(self.folder)
        checkpoints = self.checkpoints = self._checkpoints()
        start = self.slice.start if self.slice else Link(0, 0, lives[0].genesis, 0, 0)
        segments = self._segments()
        if self.unfinished:
            segments = kept_segments(segments, lives[-2])
        scan = Scan(lives, segments, start, joined=self.slice is not None, unfinished=self.unfinished)
        tree = Tree(start.seq, self.slice.peaks if self.slice else ())
        roots, commits = self._walk(scan, tree, checkpoints)
        for checkpoint in checkpoints:
            self._compare(checkpoint, scan, tree, roots, commits)
        clean = self._judge_end(scan, closed)
        if self.slice and self.verdict == "OK" and tree.root() != self.slice.root:
            self._note("CORRUPT", scan, "root", self.slice.root.hex(), tree.root().hex())
        return self._report(scan, clean=clean)

    def _read_end(self) -> Closed | None:
        """Return where the log says that it ended cleanly, or the slice that it ends."""
        try:
            self.slice = read_slice(self.folder, self.log_id)
            return self.slice.end if self.slice else read_closed(self.folder)
        except DamagedError as error:
            self._note_file("CLOSED", error)
            return None

    def _segments(self) -> list[Segment]:
        try:
            return list_segments(self.folder)
        except DamagedError as error:
            self._note_file("", error)
            return []

    def _checkpoints(self) -> list[Checkpoint]:
        found = []
        for name, data in self.notes:
            try:
                found.append(read_checkpoint(name, data, self.log_id, self.key))
            except DamagedError as error:
                raise NoLogError(str(error)) from error
        try:
            anchor = read_small(self.folder / ANCHOR)
            if anchor is not None and not self.unfinished:  # else it is still that of the log that was left
                found.append(read_checkpoint(ANCHOR, anchor, self.log_id, self.key))
        except DamagedError as error:
            self._note_file(ANCHOR, error)
        return found

    def _walk(
        self, scan: Scan, tree: Tree, checkpoints: Sequence[Checkpoint]
    ) -> tuple[dict[int, bytes], dict[int, Commit]]:
        """Check every frame; return the roots at the sizes and the commits that the checkpoints speak of."""
        sizes = {each.size for each in checkpoints}
        numbers = {each.commit for each in checkpoints}
        roots = {tree.size: tree.root()}
        commits: dict[int, Commit] = {}
        before = scan.link
        for frame in scan.frames():
            self._check(frame, before, scan)
            before = scan.link
            if frame.line.commit in numbers:
                commits[frame.line.commit] = frame.line
            if sizes or self.slice:
                tree.extend(frame.lines)
                if tree.size in sizes:
                    roots[tree.size] = tree.root()
        return roots, commits

    def _check(self, frame: Frame, before: Link, scan: Scan) -> None:
        """Check what a frame that fits its hash may still have wrong."""
        line = frame.line
        misplaced = misplaced_line(frame.lines, line.first, line.last)
        if misplaced is not None:
            self._note_frame("CORRUPT", frame, scan, "seq", f"record {misplaced[0]}", misplaced[1], misplaced[0])
        if not before.durable <= line.durable <= before.seq:
            self._note_frame("CORRUPT", frame, scan, "durable", f"{before.durable} to {before.seq}", str(line.durable))
        try:
            facts = [fact_of(text) for text in frame.lines.split(b"\n")[:-1]]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            self._note_frame("UNKNOWN-TYPE", frame, scan, "type", "a record", repr(error)[:200])
            return
        opened = [fact.epoch for fact in facts if fact.epoch is not None]
        expected = before.epoch + len(opened)
        if line.epoch != expected or len(opened) > 1 or any(epoch != expected for epoch in opened):
            self._note_frame("CORRUPT", frame, scan, "epoch", str(expected), f"{line.epoch}, opened {opened}")
        for fact in facts:
            self.events += not fact.is_command
            if fact.cancelled is not None:
                self.cancelled.add(fact.cancelled)
            if fact.committed is not None and fact.committed in self.cancelled:
                rule = f"no outputs of job {fact.committed} after its cancel was accepted"
                self._note_frame("CORRUPT", frame, scan, "cancel", rule, "OutputsCommitted", fact.seq)

    def _compare(
        self, each: Checkpoint, scan: Scan, tree: Tree, roots: dict[int, bytes], commits: dict[int, Commit]
    ) -> None:
        """Hold the log against a checkpoint."""
        if self.slice and (each.size <= self.slice.start.seq or each.size > self.slice.end.seq):
            self._compare_beside(each, scan, tree)
            return
        expected = f"{each.size} records with root {each.root.hex()}, as {each.name} says"
        place = (scan.offset, min(each.size, scan.link.seq + 1))
        line = commits.get(each.commit)
        if each.size > scan.link.seq:
            actual = f"an end at record {scan.link.seq}"
            self._note("REGRESSED", scan, "checkpoint", expected, actual, place=place)
        elif roots.get(each.size) != each.root:
            actual = "another root: two histories of one log, keep both as evidence"
            self._note("CORRUPT", scan, "checkpoint", expected, actual, place=place)
        elif line is None or (line.hash, line.last) != (each.hash, each.size):
            actual = "the same records in other commits: who or when was rewritten, keep both as evidence"
            self._note("CORRUPT", scan, "checkpoint", expected, actual, place=place)
        elif each.verified:
            self.signed = max(self.signed, each.size)

    def _compare_beside(self, each: Checkpoint, scan: Scan, tree: Tree) -> None:
        """Hold a slice against a checkpoint that was signed before it begins or after it ends."""
        if self.slice is None or each.size <= self.slice.start.seq:
            return  # it speaks of records that are not here
        if each.name != ANCHOR:
            raise NoLogError(
                f"{each.name} was signed at record {each.size}, and the slice ends at {self.slice.end.seq}: "
                f"ask for a slice up to that record"
            )
        if not is_prefix(tree.size, each.size, tree.root(), each.root, self.slice.proof):
            expected = f"a part of the {each.size} records with root {each.root.hex()}, as {each.name} says"
            self._note("CORRUPT", scan, "checkpoint", expected, "no proof of that")
        elif each.verified:
            self.signed = max(self.signed, tree.size)

    # --- the end ---

    def _judge_end(self, scan: Scan, closed: Closed | None) -> bool:
        """Judge where the chain ends; returns whether that is where the last writer left in order."""
        judged = judge(scan, closed)
        if closed is not None and judged[0] == "CORRUPT" and self._reopened_meanwhile(closed):
            judged = judge(scan, None)
        if judged[0] == "TORN" and not self.unfinished and self._being_written(scan.segment):
            return False
        if judged[0] != "OK":
            self._note(*judged[:1], scan, *judged[1:])
        return closed is not None and judged[0] == "OK"

    def _being_written(self, segment: Segment) -> bool:
        self.writer_active = self.writer_active or is_locked(self.folder)
        return (
            self.writer_active
            or without_zeros(segment._replace(size=segment.path.stat().st_size, ahead=0))[3:] != segment[3:]
        )

    def _reopened_meanwhile(self, closed: Closed) -> bool:
        self.writer_active = self.writer_active or is_locked(self.folder)
        return self.slice is None and read_closed(self.folder) != closed

    # --- findings ---

    def _note(
        self, verdict: str, scan: Scan, check: str, expected: str, actual: str, *,
        place: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        offset, seq = place or (scan.offset, scan.link.seq + 1)
        segment = scan.segment.name if scan.segments else ""
        self._add(verdict, segment, offset, seq, check, expected, actual)

    def _note_frame(
        self, verdict: str, frame: Frame, scan: Scan, check: str, expected: str, actual: str, seq: int = 0
    ) -> None:
        self._note(verdict, scan, check, expected, actual, place=(frame.offset, seq or frame.line.first))

    def _note_file(self, name: str, error: DamagedError) -> None:
        self._add(error.verdict, name, 0, 0, "file", "a file that fits its own hash", str(error))

    def _add(self, verdict: str, segment: str, offset: int, seq: int, check: str, expected: str, actual: str) -> None:
        self.verdict = max(self.verdict, verdict, key=WEIGHT.index)
        self.findings_total += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(
                {"segment": segment, "offset": offset, "seq": seq, "check": check, "expected": expected,
                 "actual": actual}
            )  # fmt: skip

    def _report(self, scan: Scan, *, clean: bool) -> Fields:
        link = scan.link
        return {
            "verdict": self.verdict, "log_id": self.log_id, "segments": len(scan.segments), "commits": link.commit,
            "first_seq": self.slice.start.seq + 1 if self.slice else 1, "events": self.events, "head_seq": link.seq,
            "head_hash": link.hash, "durable": link.seq if clean else link.durable, "signed": self.signed,
            "unchecked": max((each.size for each in self.checkpoints), default=0) if self.key is None else 0,
            "epochs": link.epoch, "clean_close": clean, "writer_active": self.writer_active,
            "findings": self.findings, "findings_total": self.findings_total,
        }  # fmt: skip


def judge(scan: Scan, closed: Closed | None) -> tuple[str, str, str, str]:
    """Return (verdict, check, expected, actual) of a scan that has run to its end."""
    if not scan.segments:
        return ("REGRESSED" if closed else "CORRUPT"), "closed" if closed else "segment", "a segment", "none"
    gap, link = scan.gap, scan.link
    if gap is not None and gap[0] == "fork":
        return ("TORN", *gap)
    if gap is not None and (gap[0] in ("segment", "lineage") or scan.index != len(scan.segments) - 1):
        return ("CORRUPT", *gap)
    if closed is not None:
        here = Closed(link.seq, link.hash, link.commit, scan.segment.name, scan.segment.size)
        strange = scan.bytes_after + scan.segment.ahead
        if here == closed and strange == 0:
            return "OK", "", "", ""
        verdict = "REGRESSED" if strange == 0 and closed.commit > link.commit else "CORRUPT"
        return (
            verdict,
            "closed",
            f"the end at commit {closed.commit}, record {closed.seq}",
            f"{link.commit}, {link.seq}",
        )
    if gap is None:
        return "OK", "", "", ""
    if scan.bytes_after > TAIL_BYTES_MAX:
        expected = f"at most {TAIL_BYTES_MAX} bytes that were never acknowledged"
        return "CORRUPT", "tail", expected, f"{scan.bytes_after} bytes"
    said = accusation(scan)
    return ("CORRUPT", gap[0], gap[1], said) if said is not None else ("TORN", *gap)


def check(folder: Path, expected: Sequence[tuple[str, bytes]] = (), key: Key | None = None) -> Fields:
    """Check the log or slice in `folder` and return the report; `expected` are checkpoints as (name, bytes)."""
    return Audit(folder, expected, key).run()


def tell(report: Fields) -> None:
    """Print a report for people."""
    print(f"verdict: {report['verdict']}")
    span = f"records {report['first_seq']} to {report['head_seq']}"
    print(f"log {report['log_id']}: {span}, the last in commit {report['commits']}")
    print(f"head: sha256 {report['head_hash']}")
    if report["signed"]:
        print(f"coverage: records up to {report['signed']} are under a signed checkpoint")
    elif report["unchecked"]:
        print(f"signatures up to record {report['unchecked']} were not checked: give the public key, --key VKEY")
    for finding in report["findings"]:
        print(f"finding: {finding['check']} in {finding['segment']} at byte {finding['offset']}, seq {finding['seq']}")
        print(
            f"  expected {finding['expected']}, found {finding['actual']}".encode("ascii", "backslashreplace").decode()
        )


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Check a Casparian log or a slice of one.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder that holds GENESIS.json")
    parser.add_argument("--expect", metavar="CHECKPOINT", help="a signed head that the log must agree with")
    parser.add_argument("--key", metavar="VKEY", help="the public key, as NAME+ID+BASE64 or a file that holds it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(words)
    try:
        report = _checked(given.folder, given.expect, given.key)
    except (NoLogError, DamagedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(report))
    else:
        tell(report)
    return 0 if report["verdict"] == "OK" else 5


def _checked(folder: Path, expect: str | None, key_text: str | None) -> Fields:
    held = read_small(Path(key_text)) if key_text else None
    key = parse_key(held.decode("utf-8", "replace") if held else key_text) if key_text else None
    if expect and key is None:
        raise NoLogError("a checkpoint says nothing without the key that signed it: give --key")
    note = read_small(Path(expect)) if expect else None
    if expect and note is None:
        raise NoLogError(f"there is no checkpoint in {expect}")
    return check(folder, [(expect, note)] if expect and note else (), key)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
