"""Owns how bytes that are held as Latin-1 become text, and how notes become one."""

from collections.abc import Sequence
from typing import TypeAlias

from . import limits

Pair: TypeAlias = tuple[str, str]


def shown(text: str) -> str:
    """Return bytes, held as Latin-1, as the text that they are; Latin-1 if they are not UTF-8."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


def decoded(message: str, pairs: list[Pair], notes: list[str]) -> list[Pair]:
    """Return values as UTF-8 text; as Latin-1, with a note, if the message is not UTF-8."""
    try:
        message.encode("latin-1").decode("utf-8")
        return [(tag, value.encode("latin-1").decode("utf-8")) for tag, value in pairs]
    except UnicodeDecodeError:
        notes.append("encoding_latin1")
        return pairs


def joined_notes(notes: Sequence[str]) -> str | None:
    """Return notes as they stand in a row: each once, so many, and none where there is nothing to say."""
    if not notes:
        return None
    different = list(dict.fromkeys(notes))
    more = len(different) - limits.NOTES_MAX
    return "; ".join(different if more <= 0 else [*different[: limits.NOTES_MAX], f"more_notes:{more}"])


def short(text: str) -> str:
    return text if len(text) <= 20 else text[:20] + "..."
