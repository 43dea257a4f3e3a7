"""Owns the fields of one message, of any form."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from .dictionary import DATA_OF, NO_TEXT_TAGS, SOH
from .spans import Delimiter
from .text import Pair

_FIELD: Final = re.compile(r"([1-9]\d{0,9})=")


def split(message: str, delimiter: Delimiter, notes: list[str]) -> tuple[list[Pair], int]:
    """Return the fields of any message and how many delimiters it has.

    What has no tag continues a text, or is counted in the notes.
    """
    fields: list[list[Any]] = []  # tag, where its value begins and where it ends
    between, size = delimiter.text, len(message)
    at = malformed = 0
    while at < size:  # each turn moves on by at least a delimiter
        stop = message.find(between, at)
        stop = size if stop < 0 else stop
        field = _FIELD.match(message, at, stop)
        if field is not None:
            begin = field.end()
            if fields and DATA_OF.get(fields[-1][0]) == field[1]:
                stop = _data_end(message, begin, stop, fields[-1], between, notes)
            fields.append([field[1], begin, stop])
        elif fields and between != SOH and fields[-1][0] not in NO_TEXT_TAGS:
            fields[-1][2] = stop
            notes.append(f"continued_value:{fields[-1][0]}")
        else:
            malformed += 1
        at = stop + delimiter.length
    if malformed:
        notes.append(f"malformed_fields:{malformed}")
    return [(tag, message[begin:end]) for tag, begin, end in fields], len(fields) + malformed


def _data_end(message: str, begin: int, stop: int, length: list[Any], between: str, notes: list[str]) -> int:
    """Return where a value of data ends: behind the bytes that the field before it counts, if that can be."""
    told = message[length[1] : length[2]]
    end = begin + int(told) if told.isdecimal() and len(told) < 10 else -1
    if end >= begin and (end == len(message) or message.startswith(between, end)):
        return end
    notes.append(f"data_length_mismatch:{length[0]}")
    return stop


def empty_values(tags: Iterable[str], values: list[Any], typed: Sequence[int]) -> list[str]:
    """Return notes on the empty values. A text column keeps them; a number or a time without a digit is none."""
    empty = dict.fromkeys(tag for tag, value in zip(tags, values, strict=True) if not value)
    for position in typed:
        values[position] = values[position] or None
    return [f"empty_value:{tag}" for tag in empty]
