"""Owns the way from a line to the members of its object, each value as the JSON text that stands there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

Members: TypeAlias = dict[str, str]  # of an object: key and the JSON text of its value


class NotAnObjectError(ValueError):
    """The line is no JSON object; the sentence continues "the line ..."."""


class Repeated(NamedTuple):
    """A key that an object has more than once, with the text of each of its values; nested ones without."""

    key: str
    values: tuple[str, ...]


_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


class Decoder:
    """Takes an object apart: the text of each value, and keys that stand in an object twice."""

    def __init__(self) -> None:
        self._repeated: list[Repeated] = []
        self._value: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
            object_pairs_hook=self._pairs, parse_constant=_refuse_constant, parse_int=str, parse_float=str
        ).raw_decode
        self._plain: Callable[[str], Any] = json.JSONDecoder(
            object_pairs_hook=tuple, parse_constant=_refuse_constant, parse_int=str, parse_float=str
        ).decode

    def plain(self, text: str) -> dict[str, Any] | None:
        """Return the values of an object that has no nested ones and no key twice, by key; None for any other line.

        Numbers are the text of their digits. This is `members` in one call, for the lines that need no more.
        """
        try:
            pairs = self._plain(text)
        except (ValueError, RecursionError):
            return None  # `members` says what is wrong
        if type(pairs) is not tuple:
            return None
        found = dict(pairs)
        nested = len(found) < len(pairs) or any(type(value) in (list, tuple) for value in found.values())
        return None if nested else found

    def members(self, text: str) -> tuple[Members, list[Repeated]]:
        """Return key and text of each value, the first one of a key that is repeated. Raises NotAnObjectError."""
        self._repeated = []
        try:
            return self._members(text)
        except RecursionError as error:
            raise NotAnObjectError("is nested too deep to be read") from error
        except ValueError as error:
            if isinstance(error, NotAnObjectError):
                raise
            raise NotAnObjectError(f"is no JSON: {error}") from error

    def _members(self, text: str) -> tuple[Members, list[Repeated]]:
        place = _skip(text, 0)
        if text[place : place + 1] != "{":
            _, end = self._value(text, place)
            raise NotAnObjectError("is JSON, but no object" if _skip(text, end) == len(text) else "is no JSON")
        pairs: list[tuple[str, str]] = []
        place = _skip(text, place + 1)
        while text[place : place + 1] != "}":  # each turn takes a member, or raises
            place = _member(text, place, self._value, pairs)
        if _skip(text, place + 1) != len(text):
            raise NotAnObjectError("is no JSON: something follows the object")
        return _unique(pairs, self._repeated)

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self._repeated.extend(Repeated(key, ()) for key, number in counts.items() if number > 1)
        return found


def _member(text: str, place: int, value: Callable[[str, int], tuple[Any, int]], pairs: list[tuple[str, str]]) -> int:
    """Take one member and what follows it; return where the next one begins, or the closing brace stands."""
    if text[place : place + 1] != '"':
        raise NotAnObjectError(f"is no JSON: a key is expected at character {place}")
    key, place = value(text, place)
    place = _skip(text, place)
    if text[place : place + 1] != ":":
        raise NotAnObjectError(f"is no JSON: a colon is expected at character {place}")
    start = _skip(text, place + 1)
    _, end = value(text, start)
    pairs.append((key, text[start:end]))
    place = _skip(text, end)
    if text[place : place + 1] == ",":
        place = _skip(text, place + 1)
        if text[place : place + 1] == "}":
            raise NotAnObjectError(f"is no JSON: a key is expected at character {place}")
        return place
    if text[place : place + 1] != "}":
        raise NotAnObjectError(f"is no JSON: a comma is expected at character {place}")
    return place


def _skip(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _unique(pairs: list[tuple[str, str]], nested: list[Repeated]) -> tuple[Members, list[Repeated]]:
    members: Members = dict(reversed(pairs))  # the first one of each key
    if len(members) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = [key for key, number in counts.items() if number > 1]
        nested = [*nested, *(Repeated(key, tuple(text for each, text in pairs if each == key)) for key in twice)]
    return {key: members[key] for key in dict.fromkeys(key for key, _ in pairs)}, nested
