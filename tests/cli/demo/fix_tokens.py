"""Owns a naive tokenizer of FIX logs for the tests: it shares no code with the writer and counts what stands there."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

DECIMALS = ("44", "31", "14", "151", "6", "32", "38")
TIMES = ("52", "60", "122")
REQUIRED = ("35", "49", "56", "34", "52")
DELIMITER_TAGS = {"453": "448", "555": "600"}


class Message(NamedTuple):
    """A message as its fields stand, and the checks that need its bytes; None where it lost its end."""

    fields: list[tuple[str, str]]
    checksum_ok: bool | None
    body_length_ok: bool | None
    ends_with_delimiter: bool

    def value(self, tag: str) -> str:
        return next((value for each, value in self.fields if each == tag), "")

    def count(self, tag: str) -> int:
        return sum(each == tag for each, _ in self.fields)


class Line(NamedTuple):
    text: bytes
    messages: list[Message]
    unreadable: int


def text_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def lines_of(path: Path) -> Iterator[Line]:
    """Yield the lines of a file; one that holds no message and nothing unreadable is a foreign one."""
    lines = text_of(path).split(b"\n")
    for line in lines if lines[-1] else lines[:-1]:
        starts = [found.start() for found in re.finditer(rb"8=FIX", line)]
        pieces = [line[start:end] for start, end in pairwise([*starts, len(line)])]
        messages = [message_of(piece) for piece in pieces]
        readable = [message for message in messages if message.value("35")]
        yield Line(line, readable, len(messages) - len(readable))


def message_of(piece: bytes) -> Message:
    """Cut a message into fields, one after the other, because the data of tag 96 may hold anything."""
    found = re.match(rb"8=FIXT?\.\d\.\d(.)", piece, re.DOTALL)
    assert found is not None, piece
    delimiter = found[1]
    soh = piece.replace(delimiter, b"\x01")
    fields: list[tuple[str, str]] = []
    at = body_at = 0
    trailer_at: int | None = None
    while at < len(piece):
        end = piece.find(delimiter, at)
        tag, equals, value = piece[at : end if end >= 0 else len(piece)].partition(b"=")
        if tag == b"96":
            value = piece[at + 3 : at + 3 + int(dict(fields)["95"])]
            end = at + 3 + len(value)
        if tag == b"10":
            trailer_at = at
        if equals:  # half a tag at a cut is no field
            fields.append((tag.decode(), value.decode()))
        at = end + 1 if end >= 0 else len(piece)
        if tag == b"9":
            body_at = at
    values = dict(fields)
    if trailer_at is None:
        return Message(fields, None, None, False)
    return Message(
        fields,
        sum(soh[:trailer_at]) % 256 == int(values["10"]),
        trailer_at - body_at == int(values["9"]),
        piece.endswith(delimiter),
    )


def breaks_a_type(message: Message) -> bool:
    """Say whether a value of a typed column is none of its type, or a required one is missing."""
    values = dict(reversed(message.fields))  # of a repeated tag the first
    if any(not values.get(tag) for tag in REQUIRED):
        return True
    numbers = (values[tag] for tag in DECIMALS if tag in values)
    times = (values[tag] for tag in TIMES if tag in values)
    return not (
        all(re.fullmatch(r"[+-]?\d{1,28}(\.\d{1,10})?", number) for number in numbers) and all(map(is_time, times))
    )


def is_time(text: str) -> bool:
    try:
        datetime.strptime(text[:17], "%Y%m%d-%H:%M:%S")
    except ValueError:
        return False
    return re.fullmatch(r"\.(\d{3}|\d{6}|\d{9})", text[17:]) is not None


def group_entries(message: Message) -> Counter[str]:
    """Count entries by the tag that begins each; one counter may begin its entries with another tag in another type."""
    market_data = "279" if message.value("35") == "X" else "269"
    begins = {**DELIMITER_TAGS, "268": market_data, "552": "54"}
    return Counter({tag: message.count(begins[tag]) for tag, _ in message.fields if tag in begins})
