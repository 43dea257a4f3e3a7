"""Owns the way from bytes to lines: the text of a file in blocks that end where a line ends."""

from __future__ import annotations

import codecs
from typing import BinaryIO, Final, NamedTuple

from . import limits
from .settings import CODECS

MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Unreadable(NamedTuple):
    """A record that cannot be held: its place in the file, and how many lines it has."""

    offset: int
    length: int
    lines: int
    reason: str


class Source:
    """The text of a file, block by block, each ending where a line ends.

    Bytes that are no text in the encoding stand in it as lone surrogates, so that they can be found again.
    """

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        mark, name = _marked(stream, encoding)
        self.encoding = CODECS[name]
        self._wide = name.startswith("utf-16")
        self.errors = "surrogatepass" if self._wide else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)
        self._stream = stream
        self._kept: list[str] = []  # the line that has begun
        self._kept_chars = 0
        self._ended = False
        self.offset = mark  # of what comes next

    def next(self) -> str | Unreadable | None:
        """Return the next lines, or one line that is too long, or None at the end."""
        while not self._ended:
            text = self._read()
            end = text.rfind("\n") + 1
            if end and self._kept_chars + text.index("\n") > limits.RECORD_CHARS_MAX:
                return self._too_long(text)
            if end:
                return self._given([*self._kept, text[:end]], rest=text[end:])
            self._keep(text)
            if self._kept_chars > limits.RECORD_CHARS_MAX:
                return self._too_long("")
        return self._given(self._kept, rest="") if self._kept else None

    def bytes_of(self, text: str) -> int:
        """Return how many bytes of the file a text was read from."""
        return len(text) if text.isascii() and not self._wide else len(text.encode(self.encoding, self.errors))

    def shown(self, text: str) -> str:
        """Return a text with what is no text in it made visible."""
        if self._wide:
            return text.encode("utf-8", "backslashreplace").decode()
        return "".join(char if is_text(char) else f"\\x{ord(char) - 0xDC00:02x}" for char in text)

    def _read(self) -> str:
        data = self._stream.read(limits.BLOCK_BYTES)
        self._ended = not data
        if self._ended and self._wide:
            pending = self._decoder.getstate()[0]  # half a character
            return "".join(chr(0xDC00 + byte) for byte in pending)
        return self._decoder.decode(data, final=self._ended)

    def _keep(self, text: str) -> None:
        if text:
            self._kept.append(text)
            self._kept_chars += len(text)

    def _given(self, parts: list[str], *, rest: str) -> str:
        block = "".join(parts)
        self._kept, self._kept_chars = [], 0
        self._keep(rest)
        self.offset += self.bytes_of(block)
        return block

    def _too_long(self, text: str) -> Unreadable:
        """Pass over the line that has begun, to its end in `text` or behind it."""
        offset, first = self.offset, self._kept
        self._kept, self._kept_chars = [], 0
        self.offset += sum(map(self.bytes_of, first))
        while "\n" not in text and not self._ended:
            self.offset += self.bytes_of(text)
            text = self._read()
        line, newline, rest = text.partition("\n")
        self.offset += self.bytes_of(line + newline)
        self._keep(rest)
        reason = f"a line of more than {limits.RECORD_CHARS_MAX:,} characters"
        return Unreadable(offset=offset, length=self.offset - offset, lines=1, reason=reason)


def _marked(stream: BinaryIO, encoding: str) -> tuple[int, str]:
    """Leave the stream behind a byte order mark; return its length and the name of the encoding."""
    first = stream.read(3)
    for mark, name in MARKS:
        if first.startswith(mark) and encoding in ("auto", name):
            stream.seek(len(mark))
            return len(mark), name
    stream.seek(0)
    return 0, "utf-8" if encoding == "auto" else encoding


def lines_of(block: str) -> list[str]:
    lines = [f"{line}\n" for line in block.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
