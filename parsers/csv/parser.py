"""Owns the reading of delimited text (RFC 4180): every value as the text that stands in the file, for the host to read.

Guest code: it knows nothing of the host and needs only the standard library and pyarrow. Nothing is converted here. A
row that is wrong in itself is handed over with what is wrong with it and none of its text is lost, see docs/TABULAR.md.

Two ways lead to a row. A block without quotes and bare carriage returns is split, which is what the other way would
make of it; all else goes record by record through the standard library's reader, in its strict form.
"""

from __future__ import annotations

import codecs
import csv
import json
import logging
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

outputs = {
    "csv_rows": {
        "columns_from": "schema",
        "description": "One row per record. The schema may give the table another name; see TABULAR.md.",
    }
}

BLOCK_BYTES: Final = 1024 * 1024
RECORD_CHARS_MAX: Final = 4 * 1024 * 1024  # more than a block; a longer record is unreadable
COLUMNS_MAX: Final = 10_000
NAMES_SHOWN_MAX: Final = 20
ROW_ID: Final = "__cf_row_id"
ROW_ERROR: Final = "__cf_row_error"
DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
CODECS: Final = {
    "utf-8": "utf-8",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "latin-1": "iso-8859-1",
    "windows-1252": "cp1252",
}
UNDECODABLE: Final = "bytes that are not text in this encoding, shown with backslashes"

Batch: TypeAlias = tuple[str, pa.RecordBatch]
Statement: TypeAlias = dict[str, Any]
Fields: TypeAlias = list[str | None]

logger = logging.getLogger("parser.csv")


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


def parse(path: str, settings: dict[str, str]) -> Generator[Batch, None, Statement]:
    """Yield the rows in file order and return the statement of units.

    The unit is the row: found = rows + blank lines (skipped) + records that are too long (unreadable, with their
    place). Without a schema every column of the header comes as text behind the two helper columns, for a look.
    Raises PermanentError for settings and headers that cannot be used, OSError if the file cannot be read.
    """
    with Path(path).open("rb") as stream:
        reading = _Reading(stream, _Settings.read(settings))
        for batch in reading.batches():
            yield reading.output, batch
    return reading.statement()


# --- settings and columns --------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    name: str
    read_from: str  # the name in the header
    nullable: bool
    null_values: tuple[str, ...]


class _Schema(NamedTuple):
    output: str
    mode: str
    columns: tuple[_Column, ...]


class _Settings(NamedTuple):
    schema: _Schema | None
    delimiter: str  # "" for whatever the first line says
    encoding: str
    header: bool
    quotes: bool

    @classmethod
    def read(cls, given: dict[str, str]) -> _Settings:
        """Return the settings with their defaults. Raises PermanentError for a value that is none of theirs."""
        delimiter = _one_of(given, "delimiter", {"auto": "", **DELIMITERS})
        encoding = _one_of(given, "encoding", {"auto": "auto", **{name: name for name in CODECS}})
        switches = {"true": "true", "false": ""}
        return cls(
            schema=_schema(given.get("schema", "")),
            delimiter=delimiter,
            encoding=encoding,
            header=bool(_one_of(given, "header", switches)),
            quotes=bool(_one_of(given, "quotes", switches)),
        )


def _one_of(given: dict[str, str], name: str, known: dict[str, str]) -> str:
    text = given.get(name, next(iter(known)))
    if text not in known:
        hint = f"use one of: {', '.join(known)}"
        raise PermanentError(f"the setting {name}={text!r} is not one of the parser's", kind="bad_setting", hint=hint)
    return known[text]


def _schema(text: str) -> _Schema | None:
    if not text:
        return None
    declared = json.loads(text)
    nested = [each["name"] for each in declared["columns"] if _is_nested(each["type"])]
    if nested:
        hint = "declare them as string: a field of delimited text has no parts"
        raise PermanentError(f"lists and structs are declared: {_listed(nested)}", kind="bad_schema", hint=hint)
    columns = tuple(
        _Column(
            name=each["name"],
            read_from=each.get("read_from", each["name"]),
            nullable=each.get("nullable", True),
            null_values=tuple(each.get("null_values", ())),
        )
        for each in declared["columns"]
    )
    return _Schema(output=declared.get("output", "csv_rows"), mode=declared.get("mode", "strict"), columns=columns)


def _is_nested(type_: object) -> bool:
    return isinstance(type_, dict) and type_["kind"] in ("list", "struct")


# --- bytes to lines --------------------------------------------------------------------------------------------------


class _Unreadable(NamedTuple):
    """A record that cannot be held: its place in the file, and how many lines it has."""

    offset: int
    length: int
    lines: int
    reason: str


class _Source:
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

    def next(self) -> str | _Unreadable | None:
        """Return the next lines, or one line that is too long, or None at the end."""
        while not self._ended:
            text = self._read()
            end = text.rfind("\n") + 1
            if end and self._kept_chars + text.index("\n") > RECORD_CHARS_MAX:
                return self._too_long(text)
            if end:
                return self._given([*self._kept, text[:end]], rest=text[end:])
            self._keep(text)
            if self._kept_chars > RECORD_CHARS_MAX:
                return self._too_long("")
        return self._given(self._kept, rest="") if self._kept else None

    def bytes_of(self, text: str) -> int:
        """Return how many bytes of the file a text was read from."""
        return len(text) if text.isascii() and not self._wide else len(text.encode(self.encoding, self.errors))

    def shown(self, text: str) -> str:
        """Return a text with what is no text in it made visible."""
        if self._wide:
            return text.encode("utf-8", "backslashreplace").decode()
        return "".join(char if _is_text(char) else f"\\x{ord(char) - 0xDC00:02x}" for char in text)

    def _read(self) -> str:
        data = self._stream.read(BLOCK_BYTES)
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

    def _too_long(self, text: str) -> _Unreadable:
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
        reason = f"a line of more than {RECORD_CHARS_MAX:,} characters"
        return _Unreadable(offset=offset, length=self.offset - offset, lines=1, reason=reason)


def _marked(stream: BinaryIO, encoding: str) -> tuple[int, str]:
    """Leave the stream behind a byte order mark; return its length and the name of the encoding."""
    first = stream.read(3)
    for mark, name in MARKS:
        if first.startswith(mark) and encoding in ("auto", name):
            stream.seek(len(mark))
            return len(mark), name
    stream.seek(0)
    return 0, "utf-8" if encoding == "auto" else encoding


# --- lines to rows ---------------------------------------------------------------------------------------------------


class _Rows:
    """Rows that are not yet columns: of each its fields, its first line, and what is wrong with it."""

    def __init__(self) -> None:
        self.fields: list[Fields] = []
        self.lines: list[int] = []
        self.errors: dict[int, str] = {}

    def add(self, fields: Fields, line: int, error: str = "") -> None:
        if error:
            self.errors[len(self.fields)] = error
        self.fields.append(fields)
        self.lines.append(line)


class _Reading:
    """One file being read. `statement` is whole when `batches` has ended."""

    def __init__(self, stream: BinaryIO, settings: _Settings) -> None:
        csv.field_size_limit(RECORD_CHARS_MAX * 2)  # what bounds a record is counted here
        self._settings = settings
        self._source = _Source(stream, settings.encoding)
        self._lines: deque[str] = deque()
        self._waiting: _Unreadable | None = None  # it stands behind the lines
        self._begun: list[str] = []  # the lines of the record that is being read
        self._line = 0  # how many were taken
        self._delimiter = settings.delimiter
        self._layout = _Layout((), ())
        self._width = 0
        self._rows = 0
        self._blank = 0
        self._ranges: list[_Unreadable] = []
        self.output = settings.schema.output if settings.schema else "csv_rows"

    def batches(self) -> Iterator[pa.RecordBatch]:
        if not self._begin():
            return
        if self._settings.schema is None:
            yield self._batch(_Rows())  # whoever looks sees the header, also of a file without rows
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
            if isinstance(told, _Unreadable):
                self._pass_over(told)
            else:
                self._lines.append(told)
        return True

    def _pass_over(self, told: _Unreadable) -> None:
        self._ranges.append(told)
        self._line += told.lines

    # --- the header ---

    def _begin(self) -> bool:
        """Learn delimiter and columns from the first line; False for a file that has none."""
        if not self._fill():
            return False
        if self._ranges:
            raise _bad_header(f"the first line has more than {RECORD_CHARS_MAX:,} characters", "is it delimited text?")
        first = self._lines[0].partition("\n")[0].rstrip("\r")
        if "\0" in first:
            raise _bad_header("the first line has NUL characters", "if it is UTF-16, --set encoding=utf-16-le")
        self._delimiter = self._delimiter or _sniffed(first, quotes=self._settings.quotes)
        header = self._header() if self._settings.header else self._places()
        if len(header) > COLUMNS_MAX:
            why = f"the header has {len(header):,} columns, at most {COLUMNS_MAX:,} are read"
            raise _bad_header(why, "name the delimiter: --set delimiter=semicolon")
        self._layout = _layout(header, self._settings)
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
        rows = _Rows()
        self._record(rows, self._reader())
        if rows.errors or not rows.fields:
            why = rows.errors.get(0, "it is too long" if self._ranges else "it is a blank line")
            raise _bad_header(f"the first record cannot be read: {why}", "correct it in a copy of the file")
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
            raise _bad_header(f"the header has {UNDECODABLE}: {name}", hint) from error
        return fields

    # --- rows ---

    def _taken(self) -> pa.RecordBatch:
        """Take the lines that there are and make a batch of them."""
        if len(self._lines) == 1 and self._is_plain(self._lines[0]):
            return self._plain(self._lines.popleft())
        self._split_lines()
        rows = _Rows()
        while self._lines:
            reader = self._reader()
            while self._lines and self._record(rows, reader):
                pass  # a record at a time, as many as there are lines at most
        return self._batch(rows)

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
        if (columns := _even(text, lines, delimiter, self._width)) is not None:
            return self._columns(columns, range(first, first + len(lines)), {})
        rows = _Rows()
        for number, line in enumerate(lines, first):
            self._add(rows, list(line.split(delimiter)) if line else [], number)
        return self._batch(rows)

    def _split_lines(self) -> None:
        """Exchange the whole blocks for their lines, each with its end."""
        self._lines = deque(line for block in self._lines for line in _lines_of(block))

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
            if chars > RECORD_CHARS_MAX and len(self._begun) > 1:
                return
            yield line

    def _more(self) -> bool:
        """Have further lines for the record that has begun, unless the file ends or a line is too long."""
        told = self._waiting or self._source.next()
        if isinstance(told, str):
            self._lines.extend(_lines_of(told))
            return True
        self._waiting = told
        return False

    def _record(self, rows: _Rows, reader: Iterator[list[str]]) -> bool:
        """Read one record; False if the reader cannot go on and the next record needs another one."""
        self._begun = []
        number = self._line + 1
        try:
            self._add(rows, list(next(reader)), number)
            return True
        except csv.Error as error:
            record = "".join(self._begun)
            if len(record) > RECORD_CHARS_MAX:
                self._ranges.append(self._given_up(record))
            else:
                self._add_damaged(rows, record, number, _damage(str(error)))
            return False

    def _given_up(self, record: str) -> _Unreadable:
        length = self._source.bytes_of(record)
        behind = sum(map(self._source.bytes_of, self._lines))
        if self._waiting is not None:
            behind += self._waiting.length
        reason = f"a quoted field that does not end within {RECORD_CHARS_MAX:,} characters; see --set quotes=false"
        offset = self._source.offset - behind - length
        return _Unreadable(offset=offset, length=length, lines=0, reason=reason)

    def _add(self, rows: _Rows, fields: Fields, line: int) -> None:
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

    def _add_damaged(self, rows: _Rows, record: str, line: int, error: str) -> None:
        text = record.removesuffix("\n").removesuffix("\r")
        rows.add([text, *([None] * (self._width - 1))], line, f"{error}; the whole record stands in the first column")

    # --- columns ---

    def _batch(self, rows: _Rows) -> pa.RecordBatch:
        columns: list[tuple[str | None, ...]] = list(zip(*rows.fields, strict=True))
        return self._columns(columns, rows.lines, rows.errors)

    def _columns(
        self, columns: Sequence[Sequence[str | None] | pa.Array[Any]], lines: Sequence[int], errors: dict[int, str]
    ) -> pa.RecordBatch:
        arrays = [
            _with_nulls(self._text(columns[place] if columns else (), errors), nulls)
            for place, nulls in zip(self._layout.places, self._layout.null_values, strict=True)
        ]
        told: pa.Array[Any] = pa.nulls(len(lines), pa.string())
        if errors:
            told = pa.array([errors.get(row) for row in range(len(lines))], pa.string())
        names = [ROW_ID, ROW_ERROR, *self._layout.names]
        return pa.RecordBatch.from_arrays([pa.array(lines, pa.int64()), told, *arrays], names=names)

    def _text(self, values: Sequence[str | None] | pa.Array[Any], errors: dict[int, str]) -> pa.Array[Any]:
        """Return a column; what is no text in it is made visible, and its row is wrong."""
        if isinstance(values, pa.Array):
            return values
        try:
            return pa.array(values, pa.string())
        except UnicodeEncodeError:
            shown = [value if value is None else self._source.shown(value) for value in values]
        for row, (value, visible) in enumerate(zip(values, shown, strict=True)):
            if value is not None and not _is_text(value):
                shown[row] = visible
                errors[row] = f"{errors[row]}; {UNDECODABLE}" if row in errors else UNDECODABLE
            else:
                shown[row] = value
        return pa.array(shown, pa.string())


def _even(text: str, lines: list[str], delimiter: str, width: int) -> list[pa.Array[Any]] | None:
    """Return the columns of lines that all have their delimiters; None if one has not, or has what is no text."""
    try:
        whole = pa.array([text.replace("\n", delimiter)], pa.string())
        counts = pc.count_substring(pa.array(lines, pa.string()), delimiter)
    except UnicodeEncodeError:
        return None
    if pc.unique(counts).to_pylist() != [width - 1]:
        return None
    flat = pc.list_flatten(pc.split_pattern(whole, delimiter))
    return [flat.take(pa.array(range(place, len(flat), width), pa.int64())) for place in range(width)]


def _lines_of(block: str) -> list[str]:
    lines = [f"{line}\n" for line in block.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _with_nulls(array: pa.Array[Any], null_values: tuple[str, ...]) -> pa.Array[Any]:
    if not null_values:
        return array
    told: pa.Array[Any] = pc.if_else(pc.is_in(array, pa.array(null_values, pa.string())), None, array)
    return told


def _damage(error: str) -> str:
    """Say what the standard library's reader found, in words that do not need its source."""
    if "expected after" in error:
        return "text between a closing quote and the next delimiter"
    if "unexpected end" in error:
        return "a quote is opened and not closed"
    if "new-line character" in error:
        return "a carriage return outside quotes"
    return error


# --- the first line --------------------------------------------------------------------------------------------------


def _sniffed(first: str, *, quotes: bool) -> str:
    """Return the delimiter that stands most often in the first line, outside quotes. Refuses a tie."""
    outside = "".join(first.split('"')[::2]) if quotes else first
    counts = {name: outside.count(char) for name, char in DELIMITERS.items() if char in outside}
    if not counts:
        logger.info("no delimiter stands in the first line: one column")
        return ","
    most = max(counts.values())
    best = [name for name, number in counts.items() if number == most]
    if len(best) > 1:
        why = f"{' and '.join(best)} stand equally often in the first line ({most:,})"
        raise PermanentError(why, kind="delimiter_ambiguous", hint=f"say which it is: --set delimiter={best[0]}")
    logger.info("delimiter %s: it stands most often in the first line (%s)", best[0], counts)
    return DELIMITERS[best[0]]


class _Layout(NamedTuple):
    """Which columns of the file go where: names as handed over, places in the file, texts that are nulls."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    null_values: tuple[tuple[str, ...], ...] = ()


def _layout(header: list[str], settings: _Settings) -> _Layout:
    """Match the header with the declared columns. Raises PermanentError where they differ more than the mode allows."""
    twice = [name for name, number in Counter(header).items() if number > 1]
    if twice:
        raise _bad_header(f"names stand more than once in the header: {_listed(twice)}", "rename them in a copy")
    schema = settings.schema
    if schema is None:
        return _Layout(tuple(header), tuple(range(len(header))), ((),) * len(header))
    if not settings.header:
        names = tuple(column.name for column in schema.columns)
        return _Layout(names, tuple(range(len(names))), tuple(column.null_values for column in schema.columns))
    places = {name: place for place, name in enumerate(header)}
    present = [column for column in schema.columns if column.read_from in places]
    missing = [column for column in schema.columns if column.read_from not in places]
    extra = [name for name in header if name not in {column.read_from for column in schema.columns}]
    if missing and (schema.mode != "allow_missing_optional" or not all(column.nullable for column in missing)):
        raise _differs("missing", [column.read_from for column in missing])
    if extra and schema.mode != "allow_extra":
        raise _differs("not declared", extra)
    found = [places[column.read_from] for column in present]
    if schema.mode == "strict" and found != sorted(found):
        raise _differs("in another order", header)
    passed_on = _passed_on(extra, schema)
    return _Layout(
        names=(*(column.name for column in present), *passed_on),
        places=(*found, *(places[name] for name in passed_on)),
        null_values=(*(column.null_values for column in present), *(() for _name in passed_on)),
    )


def _passed_on(extra: list[str], schema: _Schema) -> list[str]:
    """Return the undeclared columns that the host can name; the log tells of the others."""
    declared = {column.name for column in schema.columns}
    usable = [name for name in extra if name not in declared and not name.casefold().startswith(("_cf_", "__cf_"))]
    if len(usable) < len(extra):
        logger.warning("columns that are not declared are left out: %s", _listed([n for n in extra if n not in usable]))
    return usable


def _differs(how: str, names: list[str]) -> PermanentError:
    hint = "make a schema for this file: casparian schema infer FILE; or choose another mode in the schema file"
    return PermanentError(
        f"the header is not the declared one: {how}: {_listed(names)}", kind="header_differs", hint=hint
    )


def _bad_header(why: str, hint: str) -> PermanentError:
    return PermanentError(why, kind="bad_header", hint=hint)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:100]) for name in names[:NAMES_SHOWN_MAX])
    return shown if len(names) <= NAMES_SHOWN_MAX else f"{shown} and {len(names) - NAMES_SHOWN_MAX:,} more"
