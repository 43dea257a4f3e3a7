"""Owns the manifest of a sealed segment: what the segment holds, where it stands in the log, and who vouches for it.

    {"format":"casparian.seal.v1","log_id":...,"first":...}                  (one line of JSON, the fields of Manifest)
    sha256 <SHA-256 of "casparian.seal.v1\\0" and the line above>

    — casparian/log/<log_id> <signature>                                     (none while the case has no key)

The file is a signed note. It names no file: names follow from `first`. `before` is the SHA-256 of the manifest before
it, so a signed manifest vouches for all before it, signed or not. Pure.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from eventlog.errors import BadManifestError, BadNoteError, BadSignatureError
from eventlog.ids import Instant, LogId, Sha256
from eventlog.merkle import CompactRange
from eventlog.note import SigningKey, VerifyingKey, parse_note, verify_note

FORMAT: Final = "casparian.seal.v1"
FRAME_RAW_BYTES: Final = 1024 * 1024  # of each zstd frame, the last may hold less
FRAME_ZST_BYTES_MAX: Final = FRAME_RAW_BYTES + 8 * 1024  # zstd adds at most 1 byte in 256 to what does not compress
FRAMES_MAX: Final = 256
SEGMENT_RAW_BYTES_MAX: Final = FRAMES_MAX * FRAME_RAW_BYTES
TYPES_MAX: Final = 500  # of 64 characters: a manifest stays a small file
_DOMAIN: Final = FORMAT.encode() + b"\0"
_TEXT: Final = re.compile(r"(\{[^\n]*\})\nsha256 ([0-9a-f]{64})\n", re.ASCII)

# \Z, because $ matches before a line break at the end too.
_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Count = Annotated[int, Meta(ge=0, lt=10**18)]
_Position = Annotated[int, Meta(ge=1, lt=10**18)]
_Tag = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9.]{0,63}\Z")]
_FrameBytes = Annotated[int, Meta(ge=1, le=FRAME_ZST_BYTES_MAX)]
_Moment = Annotated[
    Instant, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z", max_length=27)
]


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sealed segment holds. Positions are seqs from 1; sizes are in bytes; hashes are lowercase hexadecimal."""

    format: Literal["casparian.seal.v1"]
    log_id: Annotated[LogId, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    first: _Position  # the first record; `last` is one less in a segment of empty commits alone
    last: _Count
    first_commit: _Position
    last_commit: _Position
    prev: _Hex  # the hash that the first commit names
    hash: _Hex  # of the last commit, with its epoch and durable mark
    epoch: _Count
    durable: _Count
    ts_min: _Moment
    ts_max: _Moment
    types: Annotated[dict[_Tag, _Position], Meta(max_length=TYPES_MAX)]
    raw_bytes: Annotated[int, Meta(ge=1, le=SEGMENT_RAW_BYTES_MAX)]
    raw_sha256: _Hex
    zst_bytes: _Position
    zst_sha256: _Hex
    frames: Annotated[tuple[_FrameBytes, ...], Meta(max_length=FRAMES_MAX)]  # compressed sizes, in order
    root: _Hex  # of all records of the log up to `last`, RFC 6962
    peaks: Annotated[tuple[_Hex, ...], Meta(max_length=64)]  # from which the tree goes on
    before: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]  # "" for the first segment of the log
    key: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]  # fingerprint of the signing key, "" if there was none

    @property
    def records(self) -> int:
        return self.last - self.first + 1

    @property
    def commits(self) -> int:
        return self.last_commit - self.first_commit + 1

    def tree(self) -> CompactRange:
        """Return the tree over all records up to `last`, to go on from."""
        return CompactRange(self.last, [bytes.fromhex(peak) for peak in self.peaks])


_decoder: Final = msgspec.json.Decoder(Manifest)
_encoder: Final = msgspec.json.Encoder(order="deterministic")


def encode_manifest(manifest: Manifest, key: SigningKey | None) -> bytes:
    """Return the file of a manifest, signed if there is a key, whose fingerprint it must name."""
    assert manifest.key == (key.verifying.fingerprint if key else "")
    line = _encoder.encode(manifest)
    text = f"{line.decode()}\nsha256 {_digest(line)}\n"
    return key.sign(text) if key is not None else text.encode() + b"\n"


def decode_manifest(data: bytes, *, key: VerifyingKey | None = None) -> Manifest:
    """Return the manifest of a file. Raises BadManifestError, naming what is wrong, and BadSignatureError.

    With a key: one that names a signer must be signed by this key. One that names none is not refused, because it may
    be older than the key; the next signed one vouches for it.
    """
    try:
        note = parse_note(data, signatures_min=0)
    except BadNoteError as error:
        raise bad_manifest(error.message) from error
    found = _TEXT.fullmatch(note.text)
    if found is None or _digest(found[1].encode()) != found[2]:
        raise bad_manifest("its bytes do not fit their own hash")
    try:
        manifest = _decoder.decode(found[1])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise bad_manifest(str(error)) from error
    if _encoder.encode(manifest) != found[1].encode():
        raise bad_manifest("it is not written in the one form that its fields have")  # e.g. a key that stands twice
    wrong = _contradiction(manifest)
    if wrong is not None:
        raise bad_manifest(wrong)
    if manifest.key and not note.signatures:
        raise BadSignatureError(
            f"Check the manifest from record {manifest.first} on: it names a signer and is not signed.",
            next_step="Keep the folder as it is and restore the manifest from a copy.",
        )
    if key is not None and manifest.key:
        verify_note(note, key)
    return manifest


def manifest_digest(data: bytes) -> Sha256:
    """Return what the next manifest calls this file by."""
    return Sha256(hashlib.sha256(data).hexdigest())


def bad_manifest(why: str) -> BadManifestError:
    """Return the error for a manifest that is not as it must be."""
    return BadManifestError(
        f"Read the manifest of a sealed segment: {why}.",
        next_step="Keep the folder as it is, run `casparian log verify`, and restore the segment from a copy.",
    )


def _contradiction(manifest: Manifest) -> str | None:
    """Return how the fields contradict each other, None if they do not. One thing in each line, sizes first."""
    frames = -(-manifest.raw_bytes // FRAME_RAW_BYTES)
    if len(manifest.frames) != frames:
        return f"{manifest.raw_bytes} bytes are {frames} frames, it lists {len(manifest.frames)}"
    if sum(manifest.frames) != manifest.zst_bytes:
        return f"its frames have {sum(manifest.frames)} bytes together, and it says {manifest.zst_bytes}"
    if manifest.records < 0 or sum(manifest.types.values()) != manifest.records:
        return f"it counts {sum(manifest.types.values())} records by type, and {manifest.records} by position"
    if manifest.last_commit < manifest.first_commit:
        return f"it ends with commit {manifest.last_commit} before it begins with {manifest.first_commit}"
    if manifest.ts_min > manifest.ts_max:
        return f"its earliest time {manifest.ts_min} is after its latest {manifest.ts_max}"
    if len(manifest.peaks) != manifest.last.bit_count() or manifest.tree().root().hex() != manifest.root:
        return "its root is not the root of its peaks"
    if bool(manifest.before) != (manifest.first_commit > 1):
        return f"commit {manifest.first_commit} does not go with the manifest before it"
    return None


def _digest(line: bytes) -> str:
    return hashlib.sha256(_DOMAIN + line).hexdigest()
