"""Owns where a message begins and ends in its line, and what separates its fields."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from . import limits
from .dictionary import DATA_OF, SOH
from .text import shown

# Where a message begins: BeginString, what separates its fields, and BodyLength, each of them if it is there.
START: Final = re.compile(
    r"8=(FIXT?\.\d{1,2}\.\d{1,2})(?:(\^A|<SOH>|\\u0001|\\x01|[^0-9A-Za-z=]{1,4}?)(?:9=(\d{1,9})\2)?(?=\d{1,7}=))?"
)


class Delimiter:
    """What stands between two fields, and what that makes of a message."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self.excess = sum(text.encode("latin-1")) - 1  # of the checksum as printed over that of the message as sent
        self.single = self.length == 1  # as long as what it stands for
        self.empty = "=" + text
        self.name = "SOH" if text == SOH else shown(text)
        self.shape = b"=" + text.encode("latin-1")  # of a plain field, when all else is left away
        self.others = bytes(set(range(256)) - set(self.shape))
        self.mark = _mark(text)


def _mark(delimiter: str) -> re.Pattern[str]:
    """Match what matters between the beginning of a message and its end.

    Groups: value of a CheckSum; length tag, its value and the tag behind it; the beginning of another message. In a log
    with the real delimiter, BeginString, BodyLength and MsgType in a row begin another message even in a value.
    """
    between = re.escape(delimiter)
    start = r"8=FIXT?\.\d{1,2}\.\d{1,2}"
    lengths = "|".join(DATA_OF)
    pattern = (
        rf"{between}(?:10=(\d{{1,3}}(?!\d)|(?:(?!{between})\S)*)|({lengths})=(\d{{1,9}}){between}(\d+)=|(?=({start})))"
    )
    return re.compile(pattern + rf"|(?={start}\x019=\d{{1,9}}\x0135=)" if delimiter == SOH else pattern)


@lru_cache(maxsize=64)
def delimiter_of(text: str) -> Delimiter:
    return Delimiter(text)


class Span(NamedTuple):
    """Where a message is in its line."""

    start: int
    body: int  # behind BodyLength and its delimiter; -1 without a BodyLength in its place
    told: int  # what BodyLength says; -1 without
    trailer: int  # where CheckSum begins; -1 without
    end: int  # behind the last delimiter, if there is one


def span_of(text: str, start: "re.Match[str]", delimiter: Delimiter) -> Span:
    """Find the end of a message: where BodyLength says, if a CheckSum stands there; else by looking for it."""
    told = int(start[3]) if start[3] else -1
    behind = start.end()
    if told > 0 and delimiter.single:
        stop = behind + told
        last = stop + 7
        if (
            text[stop - 1 : stop + 3] == delimiter.text + "10="
            and text[stop + 6 : last] == delimiter.text
            and text[stop + 3 : stop + 6].isdigit()
        ):
            return Span(start.start(), behind, told, stop, last)
    trailer, end = _search_end(text, behind - delimiter.length, delimiter)
    return Span(start.start(), behind if told >= 0 else -1, told, trailer, end)


def _search_end(text: str, at: int, delimiter: Delimiter) -> tuple[int, int]:
    while (found := delimiter.mark.search(text, at)) is not None:  # each turn moves on by at least one character
        if found[1] is not None:
            end = found.end()
            trailer = found.start() + delimiter.length
            return trailer, end + delimiter.length if text.startswith(delimiter.text, end) else end
        if found[2] is None:
            return -1, found.end()
        behind = found.end() + int(found[3])
        counted = DATA_OF[found[2]] == found[4] and text.startswith(delimiter.text, behind)
        at = behind if counted else found.start() + 1
    return -1, len(text)


def usual_delimiter(data: bytes) -> Delimiter | None:
    """Return what separates the fields of the first message with a BodyLength where one character does."""
    at = -1
    for _ in range(limits.DELIMITER_TRIES_MAX):
        at = data.find(b"8=FIX", at + 1)
        found = START.match(data[at : at + 64].decode("latin-1")) if at >= 0 else None
        if found is not None and found[3] and len(found[2]) == 1 and found[2].isascii() and found[2] not in "\r\n":
            return delimiter_of(found[2])
    return None
