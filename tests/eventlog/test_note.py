"""Tests of signed notes: the published vector, hostile notes and keys refused by name, private keys never repeated."""

from __future__ import annotations

import base64
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import BadNoteError, BadSignatureError
from eventlog.note import (
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    SigningKey,
    parse_note,
    parse_signing_key,
    parse_verifying_key,
    verify_note,
)

# The example of golang.org/x/mod/sumdb/note, from which the C2SP format comes; Ed25519 signs the same text alike.
PUBLIC: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE: Final = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT: Final = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE: Final = (
    f"{TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
OTHER: Final = SigningKey("other", bytes(range(32)))


def test_the_published_note_is_made_and_verified() -> None:
    assert parse_signing_key(PRIVATE).sign(TEXT) == NOTE
    verify_note(parse_note(NOTE), parse_verifying_key(PUBLIC))
    assert parse_note(NOTE).text == TEXT


def test_keys_have_one_text_form() -> None:
    key = parse_signing_key(PRIVATE + "\n")
    assert (key.private_text(), key.verifying.text) == (PRIVATE, PUBLIC)
    assert len(key.verifying.fingerprint) == 64


def test_every_changed_bit_of_a_note_is_refused() -> None:
    key = parse_verifying_key(PUBLIC)
    for at in range(len(NOTE)):
        for bit in range(8):
            changed = bytearray(NOTE)
            changed[at] ^= 1 << bit
            with pytest.raises((BadNoteError, BadSignatureError)):
                verify_note(parse_note(bytes(changed)), key)


def test_a_bad_signature_says_whose() -> None:
    forged = NOTE.replace(b"don't know", b"do know")
    with pytest.raises(BadSignatureError, match=r"the signature by PeterNeumann\+c74f20a3 does not fit its text"):
        verify_note(parse_note(forged), parse_verifying_key(PUBLIC))
    with pytest.raises(BadSignatureError, match=r"signed by PeterNeumann\+c74f20a3, not by other\+"):
        verify_note(parse_note(NOTE), OTHER.verifying)


def test_signatures_of_strangers_are_passed_over_and_a_second_bad_one_of_ours_is_not() -> None:
    stranger = OTHER.sign(TEXT).decode().rpartition("\n\n")[2]
    ours = NOTE.decode().rpartition("\n\n")[2]
    verify_note(parse_note(NOTE + stranger.encode()), parse_verifying_key(PUBLIC))
    raw = bytearray(base64.b64decode(ours.split()[2]))
    raw[-1] ^= 1
    bad = f"— PeterNeumann {base64.b64encode(raw).decode()}\n"
    with pytest.raises(BadSignatureError, match="does not fit"):
        verify_note(parse_note(NOTE + bad.encode()), parse_verifying_key(PUBLIC))


SIGNATURE: Final = NOTE.decode().rpartition("\n\n")[2]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no blank line"),
        (b"x" * (NOTE_BYTES_MAX + 1), "more than 65536 bytes"),
        (b"\xff\n\n" + SIGNATURE.encode(), "not UTF-8"),
        (TEXT.encode(), "no blank line"),
        (NOTE[:-1], "last line is not whole"),
        (NOTE + b"\n", "last line is not whole"),
        (NOTE + SIGNATURE.encode() * SIGNATURES_MAX, "more than 16 signatures"),
        (NOTE.replace(b"think", b"thi\x00k"), "control characters"),
        (NOTE.replace(b"think", b"thi\rk"), "control characters"),
        (NOTE.replace("— ".encode(), b"- "), "is not a signature line"),
        (NOTE.replace(b"PeterNeumann", b"Peter Neumann"), "is not a signature line"),
        (NOTE.replace(b"PeterNeumann", b"Peter+Neumann"), "is not a signature line"),
        (NOTE.replace(b"nAM=", b"nAN="), "is not a signature line"),  # other spare bits of base64, the same bytes
        (f"{TEXT}\n— PeterNeumann x08gow==\n".encode(), "is not a signature line"),
        (b"\n\n" + SIGNATURE.encode(), "whole lines"),
    ],
)
def test_a_hostile_note_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(BadNoteError, match=why):
        parse_note(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        PUBLIC.replace("c74f20a3", "c74f20a4"),
        PUBLIC.replace("PeterNeumann", "PeterNewman"),
        PUBLIC[:-4],
        PUBLIC.replace("+ARpc", "+AhpC"),
        PUBLIC.replace("+ARpc", "+BBpc"),
        PRIVATE,
    ],
)
def test_a_bad_public_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadNoteError, match="Read a public key"):
        parse_verifying_key(text)


@pytest.mark.parametrize("text", [PUBLIC, PRIVATE[:-5], PRIVATE.replace("c74f20a3", "c74f20a4"), PRIVATE + "x"])
def test_a_bad_private_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadNoteError, match="Read a private key") as refused:
        parse_signing_key(text)
    assert "AYEKFALVFGyNhPJEMzD1QIDr" not in str(refused.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_note_or_refused(data: bytes) -> None:
    try:
        parse_note(data)
    except BadNoteError:
        return
    assert b"\n\n" in data


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50))
def test_what_is_signed_verifies(line: str) -> None:
    text = f"head\n{line}\n"
    note = parse_note(OTHER.sign(text))
    assert note.text == text
    verify_note(note, OTHER.verifying)
