"""Owns the reading of delimited text (RFC 4180): every value as the text that stands in the file, for the host to read.

Guest code: it knows nothing of the host and needs only the standard library and pyarrow. Nothing is converted here. A
row that is wrong in itself is handed over with what is wrong with it and none of its text is lost, see docs/TABULAR.md.

Two ways lead to a row. A block without quotes and bare carriage returns is split, which is what the other way would
make of it; all else goes record by record through the standard library's reader, in its strict form.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa

from . import limits
from .errors import bad_header
from .header import Layout, layout_of, sniffed
from .rows import UNDECODABLE, Columns, Fields, Rows, even_columns
from .settings import Settings
from .source import Source, Unreadable, lines_of

outputs = {
    "csv_rows": {
        "columns_from": "schema",
        "description": "One row per record. The schema may give the table another name; see TABULAR.md.",
    }
}


Batch: TypeAlias = tuple[str, pa.RecordBatch]
Statement: TypeAlias = dict[str, Any]


def parse(path: str, settings: dict[str, str]) -> Generator[Batch, None, Statement]:
    """Yield the rows in file order and return the statement of units.

    The unit is the row: found = rows + blank lines (skipped) + records that are too long (unreadable, with their
    place). Without a schema every column of the header comes as text behind the two helper columns, for a look.
    Raises PermanentError for settings and headers that cannot be used, OSError if the file cannot be read.
    """
    with Path(path).open("rb") as stream:
        reading = _Reading(stream, Settings.read(settings))
        for batch in reading.batches():
            yield reading.output, batch
    return reading.statement()


class _Reading:
    """One file being read. `statement` is whole when `batches` has ended."""

    def __init__(self, stream: BinaryIO, settings: Settings) -> None:
        csv.field_size_limit(limits.RECORD_CHARS_MAX * 2)  # what bounds a record is counted here
        self._settings = settings
        self._source = Source(stream, settings.encoding)
        self._lines: deque[str] = deque()
        self._waiting: Unreadable | None = None  # it stands behind the lines
        self._begun: list[str] = []  # the lines of the record that is being read
        self._line = 0  # how many were taken
        self._delimiter = settings.delimiter
        self._columns = Columns(Layout((), ()), self._source.shown)
        self._width = 0
        self._rows = 0
        self._blank = 0
        self._ranges: list[Unreadable] = []
        self.output = settings.schema.output if settings.schema else "csv_rows"

    def batches(self) -> Iterator[pa.RecordBatch]:
        if not self._begin():
            return
        if self._settings.schema is None:
            yield self._columns.of_rows(Rows())  # whoever looks sees the header, also of a file without rows
        while self._fill():
            rows = self._taken()
            if rows.num_rows:
                self._rows += rows.num_rows
                yield rows

    def statement(self) -> Statement:
        """Return what was found: see `parse`."""
        return {
            "unit": "rows",
            "output": self.output,
            "found": self._rows + self._blank + len(self._ranges),
            "skipped": self._blank,
            "skips": [{"count": self._blank, "reason": "blank line"}] if self._blank else [],
            "unreadable": len(self._ranges),
            "ranges": [{"offset": r.offset, "length": r.length, "reason": r.reason} for r in self._ranges],
        }

    def _fill(self) -> bool:
        """Have lines to take, unless the file has ended."""
        while not self._lines:
            told = self._waiting or self._source.next()
            self._waiting = None
            if told is None:
                return False
            if isinstance(told, Unreadable):
                self._pass_over(told)
            else:
                self._lines.append(told)
        return True

    def _pass_over(self, told: Unreadable) -> None:
        self._ranges.append(told)
        self._line += told.lines

    # --- the header ---

    def _begin(self) -> bool:
        """Learn delimiter and columns from the first line; False for a file that has none."""
        if not self._fill():
            return False
        if self._ranges:
            raise bad_header(
                f"the first line has more than {limits.RECORD_CHARS_MAX:,} characters", "is it delimited text?"
            )
        first = self._lines[0].partition("\n")[0].rstrip("\r")
        if "\0" in first:
            raise bad_header("the first line has NUL characters", "if it is UTF-16, --set encoding=utf-16-le")
        self._delimiter = self._delimiter or sniffed(first, quotes=self._settings.quotes)
        header = self._header() if self._settings.header else self._places()
        if len(header) > limits.COLUMNS_MAX:
            why = f"the header has {len(header):,} columns, at most {limits.COLUMNS_MAX:,} are read"
            raise bad_header(why, "name the delimiter: --set delimiter=semicolon")
        self._columns = Columns(layout_of(header, self._settings), self._source.shown)
        self._width = len(header)
        return True

    def _places(self) -> list[str]:
        """Return names for the columns of a file without a header: as many as are declared, or as its first row has."""
        if self._settings.schema is not None:
            return [column.name for column in self._settings.schema.columns]
        first = self._first_record()
        self._lines = deque(["".join([*self._begun, *self._lines])])  # it is a row: to be read again
        self._line = 0
        return [f"column_{number}" for number in range(1, len(first) + 1)]

    def _first_record(self) -> list[str]:
        self._split_lines()
        rows = Rows()
        self._record(rows, self._reader())
        if rows.errors or not rows.fields:
            why = rows.errors.get(0, "it is too long" if self._ranges else "it is a blank line")
            raise bad_header(f"the first record cannot be read: {why}", "correct it in a copy of the file")
        return [field for field in rows.fields[0] if field is not None]

    def _header(self) -> list[str]:
        fields = self._first_record()
        if rest := "".join(self._lines):
            self._lines = deque([rest])
        try:
            "".join(fields).encode()
        except UnicodeEncodeError as error:
            name = self._source.shown(error.object[error.start : error.end])
            hint = "name the encoding: --set encoding=windows-1252"
            raise bad_header(f"the header has {UNDECODABLE}: {name}", hint) from error
        return fields

    # --- rows ---

    def _taken(self) -> pa.RecordBatch:
        """Take the lines that there are and make a batch of them."""
        if len(self._lines) == 1 and self._is_plain(self._lines[0]):
            return self._plain(self._lines.popleft())
        self._split_lines()
        rows = Rows()
        while self._lines:
            reader = self._reader()
            while self._lines and self._record(rows, reader):
                pass  # a record at a time, as many as there are lines at most
        return self._columns.of_rows(rows)

    def _is_plain(self, block: str) -> bool:
        """Say whether splitting a block is the same as reading it record by record."""
        if self._settings.quotes and '"' in block:
            return False
        return "\r" not in block or block.count("\r") == block.count("\r\n")

    def _plain(self, block: str) -> pa.RecordBatch:
        """Split a block: at once if each line has its delimiters, else line by line."""
        text = block.replace("\r\n", "\n").removesuffix("\n")
        lines = text.split("\n")
        first = self._line + 1
        self._line += len(lines)
        delimiter = self._delimiter
        if (columns := even_columns(text, lines, delimiter, self._width)) is not None:
            return self._columns.of_values(columns, range(first, first + len(lines)), {})
        rows = Rows()
        for number, line in enumerate(lines, first):
            self._add(rows, list(line.split(delimiter)) if line else [], number)
        return self._columns.of_rows(rows)

    def _split_lines(self) -> None:
        """Exchange the whole blocks for their lines, each with its end."""
        self._lines = deque(line for block in self._lines for line in lines_of(block))

    def _reader(self) -> Iterator[list[str]]:
        if not self._settings.quotes:
            return csv.reader(self._feed(), delimiter=self._delimiter, strict=True, quoting=csv.QUOTE_NONE)
        return csv.reader(self._feed(), delimiter=self._delimiter, strict=True)

    def _feed(self) -> Iterator[str]:
        """Yield lines to the reader. Ends inside a record that is too long, or that the file ends in."""
        chars = 0
        while self._lines or (self._begun and self._more()):
            if not self._begun:
                chars = 0
            line = self._lines.popleft()
            self._line += 1
            self._begun.append(line)
            chars += len(line)
            if chars > limits.RECORD_CHARS_MAX and len(self._begun) > 1:
                return
            yield line

    def _more(self) -> bool:
        """Have further lines for the record that has begun, unless the file ends or a line is too long."""
        told = self._waiting or self._source.next()
        if isinstance(told, str):
            self._lines.extend(lines_of(told))
            return True
        self._waiting = told
        return False

    def _record(self, rows: Rows, reader: Iterator[list[str]]) -> bool:
        """Read one record; False if the reader cannot go on and the next record needs another one."""
        self._begun = []
        number = self._line + 1
        try:
            self._add(rows, list(next(reader)), number)
            return True
        except csv.Error as error:
            record = "".join(self._begun)
            if len(record) > limits.RECORD_CHARS_MAX:
                self._ranges.append(self._given_up(record))
            else:
                self._add_damaged(rows, record, number, _damage(str(error)))
            return False

    def _given_up(self, record: str) -> Unreadable:
        length = self._source.bytes_of(record)
        behind = sum(map(self._source.bytes_of, self._lines))
        if self._waiting is not None:
            behind += self._waiting.length
        reason = (
            f"a quoted field that does not end within {limits.RECORD_CHARS_MAX:,} characters; see --set quotes=false"
        )
        offset = self._source.offset - behind - length
        return Unreadable(offset=offset, length=length, lines=0, reason=reason)

    def _add(self, rows: Rows, fields: Fields, line: int) -> None:
        """Add a record, made to have as many fields as there are columns. Before the header is known, as it is."""
        found, width = len(fields), self._width
        if found and width in (found, 0):
            rows.add(fields, line)
        elif not found and width == 1:
            rows.add([""], line)  # of a single column this is how a value without text is written
        elif not found:
            self._blank += 1
        elif found < width:
            rows.add([*fields, *([None] * (width - found))], line, f"{found:,} fields where {width:,} belong")
        else:
            surplus = self._delimiter.join(str(field) for field in fields[width - 1 :])
            error = f"{found:,} fields where {width:,} belong; the last column has all from number {width:,} on"
            rows.add([*fields[: width - 1], surplus], line, error)

    def _add_damaged(self, rows: Rows, record: str, line: int, error: str) -> None:
        text = record.removesuffix("\n").removesuffix("\r")
        rows.add([text, *([None] * (self._width - 1))], line, f"{error}; the whole record stands in the first column")


def _damage(error: str) -> str:
    """Say what the standard library's reader found, in words that do not need its source."""
    if "expected after" in error:
        return "text between a closing quote and the next delimiter"
    if "unexpected end" in error:
        return "a quote is opened and not closed"
    if "new-line character" in error:
        return "a carriage return outside quotes"
    return error
