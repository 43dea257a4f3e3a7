"""Owns the signed note (c2sp.org/signed-note): text, a blank line, signature lines; and Ed25519 keys in its forms.

    <text, one or more lines>

    — <key name> <base64 of: 4 bytes key id, 64 bytes Ed25519 signature over the text with its last line break>

    public key   <name>+<8 hex digits of key id>+<base64 of: 0x01, 32 bytes>                  (a "vkey")
    private key  PRIVATE+KEY+<name>+<8 hex digits of key id>+<base64 of: 0x01, 32 bytes seed>

The key id is the start of SHA-256(name || 0x0A || 0x01 || public key). Signatures by keys that we were not given are
passed over, as the format demands; one by ours that does not fit is refused by name. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from msgspec import Struct

from eventlog.errors import BadNoteError, BadSignatureError

NOTE_BYTES_MAX: Final = 64 * 1024
SIGNATURES_MAX: Final = 16
_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_NAME: Final = r"[^\s+\x00-\x1f\x7f]{1,200}"
_SIGNATURE_LINE: Final = re.compile(rf"— ({_NAME}) ([A-Za-z0-9+/]+=*)")
_PUBLIC: Final = re.compile(rf"({_NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/]+=*)")
_PRIVATE: Final = re.compile(rf"PRIVATE\+KEY\+({_NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/]+=*)")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class VerifyingKey(Struct, frozen=True, kw_only=True):
    """A named public key; `public` is 32 bytes."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """Return the key as a vkey, to carry off the machine."""
        return f"{self.name}+{self.key_id.hex()}+{_to_base64(_ED25519 + self.public)}"

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the public key in hexadecimal, to compare by eye or over the telephone."""
        return hashlib.sha256(self.public).hexdigest()


class SigningKey:
    """A named private key. It has no text form that could be printed by accident; see `private_text`."""

    def __init__(self, name: str, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifying = VerifyingKey(name=name, public=self._key.public_key().public_bytes_raw())

    def private_text(self) -> str:
        """Return what the key file holds. For the key file alone."""
        verifying = self.verifying
        return f"PRIVATE+KEY+{verifying.name}+{verifying.key_id.hex()}+{_to_base64(_ED25519 + self._seed)}"

    def sign(self, text: str) -> bytes:
        """Return the note: `text`, which ends with a line break, and one signature line."""
        _refuse_text(text)
        signature = _to_base64(self.verifying.key_id + self._key.sign(text.encode()))
        return f"{text}\n— {self.verifying.name} {signature}\n".encode()


class Signature(Struct, frozen=True):
    """One signature line; `blob` is what follows the key id."""

    name: str
    key_id: bytes
    blob: bytes


class Note(Struct, frozen=True):
    """A note that is well formed; who signed it is not yet checked. `text` ends with a line break."""

    text: str
    signatures: tuple[Signature, ...]


def parse_note(data: bytes, *, signatures_min: int = 1) -> Note:
    """Return the note of these bytes. Raises BadNoteError, naming what is not as it must be.

    With `signatures_min` 0 a text and a blank line alone are a note too, one that nobody has signed.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise bad_note(f"it has more than {NOTE_BYTES_MAX} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise bad_note("it is not UTF-8 text") from None
    text, blank, tail = whole.rpartition("\n\n")
    if not blank:
        raise bad_note("no blank line ends its text")
    text += "\n"
    _refuse_text(text)
    if not tail and signatures_min == 0:
        return Note(text, ())
    if not tail.endswith("\n"):
        raise bad_note("its last line is not whole")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise bad_note(f"it has more than {SIGNATURES_MAX} signatures")
    return Note(text, tuple(_signature(line) for line in lines))


def verify_note(note: Note, key: VerifyingKey) -> None:
    """Return if the note is signed by `key`. Raises BadSignatureError if it is not, or if a signature by it is bad."""
    ours = [each for each in note.signatures if (each.name, each.key_id) == (key.name, key.key_id)]
    if not ours:
        signers = ", ".join(f"{each.name}+{each.key_id.hex()}" for each in note.signatures)
        raise _bad_signature(f"it is signed by {signers}, not by {key.name}+{key.key_id.hex()}")
    if not all(_fits(each.blob, note.text.encode(), key) for each in ours):
        raise _bad_signature(f"the signature by {key.name}+{key.key_id.hex()} does not fit its text")


def parse_verifying_key(text: str) -> VerifyingKey:
    """Return the public key of a vkey, white space around it allowed. Raises BadNoteError."""
    name, key_id, raw = _key_parts(_PUBLIC, text.strip(), "public")
    key = VerifyingKey(name=name, public=raw)
    if key.key_id.hex() != key_id:
        raise _bad_key("public", "its id does not fit its name and its bytes")
    return key


def parse_signing_key(text: str) -> SigningKey:
    """Return the private key of a key file's text. Raises BadNoteError, which never repeats the text."""
    name, key_id, raw = _key_parts(_PRIVATE, text.strip(), "private")
    key = SigningKey(name, raw)
    if key.verifying.key_id.hex() != key_id:
        raise _bad_key("private", "its id does not fit its name and its bytes")
    return key


def bad_note(why: str) -> BadNoteError:
    """Return the error for a note that is not as it must be."""
    return BadNoteError(
        f"Read a signed note: {why}.", next_step="Take the file as it was written; a note is signed byte for byte."
    )


def from_base64(text: str) -> bytes | None:
    """Return the bytes of standard base64 in the one form they have, None for any other text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _to_base64(raw) == text else None


def _to_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _refuse_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n" or _CONTROL.search(text):
        raise bad_note("its text is not whole lines without control characters")


def _signature(line: str) -> Signature:
    found = _SIGNATURE_LINE.fullmatch(line)
    raw = from_base64(found[2]) if found else None
    if found is None or raw is None or len(raw) <= _KEY_ID_BYTES:
        raise bad_note(f"{line[:60]!r} is not a signature line")
    return Signature(found[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def _fits(signature: bytes, message: bytes, key: VerifyingKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: the 32 bytes are no point of the curve
        return False
    return True


def _key_parts(form: re.Pattern[str], text: str, kind: str) -> tuple[str, str, bytes]:
    found = form.fullmatch(text)
    raw = from_base64(found[3]) if found else None
    if found is None or raw is None or len(raw) != 1 + _KEY_BYTES:
        raise _bad_key(kind, "it is not in the form of a note key")
    if raw[:1] != _ED25519:
        raise _bad_key(kind, f"it is of type {raw[0]}, and only type 1 (Ed25519) is known")
    return found[1], found[2], raw[1:]


def _bad_key(kind: str, why: str) -> BadNoteError:
    return BadNoteError(
        f"Read a {kind} key: {why}.", next_step="Give the key as `casparian log keygen` wrote it, on one line."
    )


def _bad_signature(why: str) -> BadSignatureError:
    return BadSignatureError(
        f"Check a signed note: {why}.",
        next_step="Compare the key with the one that was carried off; keep both files: one is not what it says.",
    )
