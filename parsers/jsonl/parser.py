"""Owns the reading of JSON lines: one object a line becomes one row, its values as the text that stands in the file.

Guest code: it knows nothing of the host and needs only the standard library and pyarrow. A number is handed over in its
own digits, so that a decimal is exact; a nested value as its own JSON text, or as what it is declared to be. A line
that is no JSON object is unreadable and has its place named; an object that breaks the declaration is a row that is
wrong, see docs/TABULAR.md.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import pyarrow as pa

outputs = {
    "jsonl_rows": {
        "columns_from": "schema",
        "description": "One row per line. The schema may give the table another name; see TABULAR.md.",
    }
}

BLOCK_BYTES: Final = 1024 * 1024
LINE_BYTES_MAX: Final = 4 * 1024 * 1024  # more than a block; a longer line is unreadable
BATCH_ROWS_MAX: Final = 10_000
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024  # of lines
KEYS_MAX: Final = 2_000  # different ones in a look without a schema
NAMES_SHOWN_MAX: Final = 20
SHOWN_CHARS_MAX: Final = 200  # of a value in what is said of a row
REASON_CHARS_MAX: Final = 200
ROW_ID: Final = "__cf_row_id"
ROW_ERROR: Final = "__cf_row_error"
UTF8_MARK: Final = b"\xef\xbb\xbf"
LEAVES: Final = {"string": str, "int64": int, "boolean": bool, "float64": float}  # what a nested value can be made of

Batch: TypeAlias = tuple[str, pa.RecordBatch]
Statement: TypeAlias = dict[str, Any]
Members: TypeAlias = dict[str, str]  # of an object: key and the JSON text of its value

logger = logging.getLogger("parser.jsonl")


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


def parse(path: str, settings: dict[str, str]) -> Generator[Batch, None, Statement]:
    """Yield the rows in file order and return the statement of units.

    The unit is the line: found = rows + blank lines (skipped) + lines that are no object (unreadable, with their
    place). Without a schema every key comes as a column of JSON text behind the two helper columns, for a look.
    Raises PermanentError for a schema that cannot be used, OSError if the file cannot be read.
    """
    schema = _schema(settings.get("schema", ""))
    with Path(path).open("rb") as stream:
        reading = _Reading(stream, schema)
        for batch in reading.batches():
            yield reading.output, batch
    return reading.statement()


# --- columns ---------------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    name: str
    read_from: str  # the key
    type: Any  # as declared: a word, or an object with a `kind`
    null_values: frozenset[str]


class _Schema(NamedTuple):
    output: str
    mode: str
    columns: tuple[_Column, ...]


def _schema(text: str) -> _Schema | None:
    if not text:
        return None
    declared = json.loads(text)
    columns = tuple(
        _Column(
            name=each["name"],
            read_from=each.get("read_from", each["name"]),
            type=each["type"],
            null_values=frozenset(each.get("null_values", ())),
        )
        for each in declared["columns"]
    )
    for column in columns:
        if _is_nested(column.type):
            _arrow(column.type)
    return _Schema(output=declared.get("output", "jsonl_rows"), mode=declared.get("mode", "strict"), columns=columns)


def _is_nested(type_: Any) -> bool:
    return isinstance(type_, dict) and type_["kind"] in ("list", "struct")


def _arrow(type_: Any) -> pa.DataType:
    """Return the Arrow type of a nested column or a part of it. Raises PermanentError for a part that is not read."""
    match type_:
        case "string":
            return pa.string()
        case "int64":
            return pa.int64()
        case "boolean":
            return pa.bool_()
        case "float64":
            return pa.float64()
        case {"kind": "decimal", "precision": precision, "scale": scale}:
            return pa.decimal128(precision, scale)
        case {"kind": "list", "item": item}:
            return pa.list_(_arrow(item))
        case {"kind": "struct", "fields": fields}:
            return pa.struct(
                [pa.field(each["name"], _arrow(each["type"]), each.get("nullable", True)) for each in fields]
            )
    raise PermanentError(
        f"lists and structs cannot be made of {type_!r}",
        kind="bad_schema",
        hint=f"inside them declare {', '.join(LEAVES)} or decimal; a day or a time is a string there",
    )


# --- lines -----------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    number: int
    offset: int
    length: int  # with its end
    content: bytes | None  # None if it is too long to be held


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    """Yield the lines of a file without their ends. Holds at most LINE_BYTES_MAX and a block."""
    offset = len(UTF8_MARK) if stream.read(len(UTF8_MARK)) == UTF8_MARK else 0
    stream.seek(offset)
    number = 0
    while head := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        length = len(head)
        whole = head.endswith(b"\n") or length <= LINE_BYTES_MAX
        while not whole:
            piece = stream.readline(BLOCK_BYTES)
            length += len(piece)
            whole = piece.endswith(b"\n") or not piece
        kept = head if length == len(head) and len(head) <= LINE_BYTES_MAX else None
        yield _Line(number, offset, length, None if kept is None else kept.rstrip(b"\n").removesuffix(b"\r"))
        offset += length


# --- objects ---------------------------------------------------------------------------------------------------------


class _NotAnObjectError(ValueError):
    """The line is no JSON object; the sentence continues "the line ..."."""


class _Repeated(NamedTuple):
    """A key that an object has more than once, with the text of each of its values; nested ones without."""

    key: str
    values: tuple[str, ...]


_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


class _Decoder:
    """Takes an object apart: the text of each value, and keys that stand in an object twice."""

    def __init__(self) -> None:
        self._repeated: list[_Repeated] = []
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

    def members(self, text: str) -> tuple[Members, list[_Repeated]]:
        """Return key and text of each value, the first one of a key that is repeated. Raises _NotAnObjectError."""
        self._repeated = []
        try:
            return self._members(text)
        except RecursionError as error:
            raise _NotAnObjectError("is nested too deep to be read") from error
        except ValueError as error:
            if isinstance(error, _NotAnObjectError):
                raise
            raise _NotAnObjectError(f"is no JSON: {error}") from error

    def _members(self, text: str) -> tuple[Members, list[_Repeated]]:
        place = _skip(text, 0)
        if text[place : place + 1] != "{":
            _, end = self._value(text, place)
            raise _NotAnObjectError("is JSON, but no object" if _skip(text, end) == len(text) else "is no JSON")
        pairs: list[tuple[str, str]] = []
        place = _skip(text, place + 1)
        while text[place : place + 1] != "}":  # each turn takes a member, or raises
            place = _member(text, place, self._value, pairs)
        if _skip(text, place + 1) != len(text):
            raise _NotAnObjectError("is no JSON: something follows the object")
        return _unique(pairs, self._repeated)

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self._repeated.extend(_Repeated(key, ()) for key, number in counts.items() if number > 1)
        return found


def _member(text: str, place: int, value: Callable[[str, int], tuple[Any, int]], pairs: list[tuple[str, str]]) -> int:
    """Take one member and what follows it; return where the next one begins, or the closing brace stands."""
    if text[place : place + 1] != '"':
        raise _NotAnObjectError(f"is no JSON: a key is expected at character {place}")
    key, place = value(text, place)
    place = _skip(text, place)
    if text[place : place + 1] != ":":
        raise _NotAnObjectError(f"is no JSON: a colon is expected at character {place}")
    start = _skip(text, place + 1)
    _, end = value(text, start)
    pairs.append((key, text[start:end]))
    place = _skip(text, end)
    if text[place : place + 1] == ",":
        place = _skip(text, place + 1)
        if text[place : place + 1] == "}":
            raise _NotAnObjectError(f"is no JSON: a key is expected at character {place}")
        return place
    if text[place : place + 1] != "}":
        raise _NotAnObjectError(f"is no JSON: a comma is expected at character {place}")
    return place


def _skip(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _unique(pairs: list[tuple[str, str]], nested: list[_Repeated]) -> tuple[Members, list[_Repeated]]:
    members: Members = dict(reversed(pairs))  # the first one of each key
    if len(members) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = [key for key, number in counts.items() if number > 1]
        nested = [*nested, *(_Repeated(key, tuple(text for each, text in pairs if each == key)) for key in twice)]
    return {key: members[key] for key in dict.fromkeys(key for key, _ in pairs)}, nested


# --- rows ------------------------------------------------------------------------------------------------------------


class _Reading:
    """One file being read. `statement` is whole when `batches` has ended."""

    def __init__(self, stream: BinaryIO, schema: _Schema | None) -> None:
        self._lines = _lines(stream)
        self._schema = schema
        self._decoder = _Decoder()
        self._all_plain = schema is not None and not any(_is_nested(column.type) for column in schema.columns)
        self._rows = 0
        self._blank = 0
        self._ranges: list[dict[str, Any]] = []
        self._left_out: Counter[str] = Counter()
        self.output = schema.output if schema else "jsonl_rows"

    def batches(self) -> Iterator[pa.RecordBatch]:
        rows = _Rows(self._schema, self._left_out)
        for line in self._lines:
            taken = self._object(line)
            if taken is None:
                continue
            if isinstance(taken, dict):
                rows.add_plain(taken, line)
            else:
                rows.add(*taken, line)
            if rows.full:
                self._rows += len(rows.lines)
                yield rows.batch()
                rows = _Rows(self._schema, self._left_out)
        if rows.lines:
            self._rows += len(rows.lines)
            yield rows.batch()
        for key, number in self._left_out.most_common(NAMES_SHOWN_MAX):
            logger.info("the key %r of %d rows is not declared and left out", key[:SHOWN_CHARS_MAX], number)

    def statement(self) -> Statement:
        """Return what was found: see `parse`."""
        return {
            "unit": "lines",
            "output": self.output,
            "found": self._rows + self._blank + len(self._ranges),
            "skipped": self._blank,
            "skips": [{"count": self._blank, "reason": "blank line"}] if self._blank else [],
            "unreadable": len(self._ranges),
            "ranges": self._ranges,
        }

    def _object(self, line: _Line) -> dict[str, Any] | tuple[Members, list[_Repeated]] | None:
        """Return a line's object, its plain values or its members; None for a line without, which is accounted for."""
        if line.content is None:
            self._unreadable(line, f"has more than {LINE_BYTES_MAX:,} bytes")
            return None
        if not line.content.strip(b" \t\r"):
            self._blank += 1
            return None
        try:
            text = line.content.decode()
            plain = self._decoder.plain(text) if self._all_plain else None
            return self._decoder.members(text) if plain is None else plain
        except UnicodeDecodeError as error:
            self._unreadable(line, f"is not UTF-8 from byte {error.start} on")
        except _NotAnObjectError as error:
            self._unreadable(line, str(error))
        return None

    def _unreadable(self, line: _Line, why: str) -> None:
        reason = f"line {line.number} {why}"[:REASON_CHARS_MAX]
        self._ranges.append({"offset": line.offset, "length": line.length, "reason": reason})


class _Rows:
    """Rows that are not yet a batch. With a schema its columns, without one a column of JSON text for each key."""

    def __init__(self, schema: _Schema | None, left_out: Counter[str]) -> None:
        self._schema = schema
        self._left_out = left_out
        self._declared = {column.read_from for column in schema.columns} if schema else set()
        self._columns: dict[str, list[Any]] = {column.name: [] for column in schema.columns} if schema else {}
        self._bytes = 0
        self._errors: list[str | None] = []
        self.lines: list[int] = []

    @property
    def full(self) -> bool:
        return len(self.lines) >= BATCH_ROWS_MAX or self._bytes >= BATCH_BYTES_MAX

    def add(self, members: Members, repeated: list[_Repeated], line: _Line) -> None:
        faults = [_said(each) for each in repeated]
        if self._schema is None:
            self._look_at(members)
        else:
            faults += self._undeclared(members)
            again = {each.key: "\n".join(each.values) for each in repeated if each.values}
            for column in self._schema.columns:
                value, fault = _value(column, members.get(column.read_from), again.get(column.read_from))
                self._columns[column.name].append(value)
                faults += [fault] if fault else []
        self._errors.append("; ".join(faults) or None)
        self.lines.append(line.number)
        self._bytes += line.length

    def add_plain(self, values: dict[str, Any], line: _Line) -> None:
        """Add the same as `add` does for an object without nested values and repeated keys."""
        assert self._schema is not None
        faults = self._undeclared(values) if values.keys() - self._declared else []
        for column in self._schema.columns:
            value = values.get(column.read_from)
            if type(value) is bool:
                value = "true" if value else "false"
            if value is not None and not value.isascii():
                value, fault = _readable(column, value)
                faults += [fault] if fault else []
            self._columns[column.name].append(None if value in column.null_values else value)
        self._errors.append("; ".join(faults) or None)
        self.lines.append(line.number)
        self._bytes += line.length

    def batch(self) -> pa.RecordBatch:
        errors: pa.Array[Any] = pa.array(self._errors, pa.string())
        names, arrays = [ROW_ID, ROW_ERROR], [pa.array(self.lines, pa.int64()), errors]
        types = {column.name: column.type for column in self._schema.columns} if self._schema else {}
        for name, values in self._columns.items():
            nested = _is_nested(types.get(name, "string"))
            names.append(name)
            arrays.append(pa.array(values, _arrow(types[name]) if nested else pa.string()))
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        return batch if self._schema else batch.replace_schema_metadata({"values": "json"})

    def _look_at(self, members: Members) -> None:
        for key in members:
            if _visible(key) not in self._columns:
                self._columns[_visible(key)] = [None] * len(self.lines)
        if len(self._columns) > KEYS_MAX:
            hint = "declare the keys that are wanted in a schema file with mode allow_extra"
            raise PermanentError(f"the objects have more than {KEYS_MAX:,} different keys", kind="many_keys", hint=hint)
        shown = {_visible(key): text for key, text in members.items()}
        for name, values in self._columns.items():
            values.append(shown.get(name))

    def _undeclared(self, members: dict[str, Any]) -> list[str]:
        """Return what is to be said of keys that are not declared; in the mode allow_extra they are counted only."""
        assert self._schema is not None
        extra = [key for key in members if key not in self._declared]
        if self._schema.mode == "allow_extra":
            self._left_out.update(extra)
            return []
        return [f"the key {_short(key)} is not declared, its value is {_shown_value(members[key])}" for key in extra]


def _said(repeated: _Repeated) -> str:
    values = f": {', '.join(_short(text) for text in repeated.values)}" if repeated.values else ""
    return f"the key {_short(repeated.key)} stands more than once in an object{values}"


def _shown_value(value: Any) -> str:
    return _short(value) if isinstance(value, str) else json.dumps(value)


def _short(text: str) -> str:
    visible = _visible(text)
    return visible if len(visible) <= SHOWN_CHARS_MAX else f"{visible[: SHOWN_CHARS_MAX - 1]}…"


def _visible(text: str) -> str:
    """Return a text with lone surrogates, which JSON can spell and no table can hold, shown with backslashes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _value(column: _Column, text: str | None, again: str | None) -> tuple[Any, str]:
    """Return a column's value of one object and what is wrong with it. `again` has all texts of a key that is repeated.

    A text that is declared in null_values is a null; so is null, and a key that the object has not.
    """
    if _is_nested(column.type):
        return _nested_value(column, text, again)
    if again is not None:
        return _visible(again), ""
    if text is None or text == "null":
        return None, ""
    if text[0] != '"':
        return (None if text in column.null_values else text), ""
    value = json.loads(text)
    return (None, "") if value in column.null_values else _readable(column, value)


def _readable(column: _Column, value: str) -> tuple[str, str]:
    """Return a text that a table can hold, and what is wrong with the one that was given."""
    visible = _visible(value)
    return visible, "" if visible == value else f"{column.name} has half a surrogate pair, shown with backslashes"


def _nested_value(column: _Column, text: str | None, again: str | None) -> tuple[Any, str]:
    if text is None or again is not None:
        return None, ""
    try:
        value = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        return _shaped(value, column.type), ""
    except (TypeError, ValueError, ArithmeticError) as error:
        return None, f"{column.name} is not what it is declared as: {error}: {_short(text)}"


def _shaped(value: Any, type_: Any) -> Any:
    """Return a nested value as declared; nothing is converted that would change. Raises TypeError and ValueError."""
    if value is None:
        return None
    match type_:
        case {"kind": "list", "item": item} if isinstance(value, list):
            return [_shaped(each, item) for each in value]
        case {"kind": "struct", "fields": fields} if isinstance(value, dict):
            return _shaped_struct(value, fields)
        case {"kind": "decimal", "precision": precision, "scale": scale} if isinstance(value, Decimal):
            return _shaped_decimal(value, precision, scale)
        case "string" if isinstance(value, str):
            value.encode()  # raises for half a surrogate pair
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "int64" if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < 2**63:
            return int(value)
        case "float64" if isinstance(value, Decimal) and Decimal(repr(float(value))) == value:
            return float(value)
    raise TypeError(f"a value is not {type_ if isinstance(type_, str) else type_['kind']}")


def _shaped_struct(value: dict[str, Any], fields: list[dict[str, Any]]) -> dict[str, Any]:
    extra = [key for key in value if key not in {each["name"] for each in fields}]
    if extra:
        raise ValueError(f"it has the key {_short(extra[0])}")
    missing = [each["name"] for each in fields if not each.get("nullable", True) and value.get(each["name"]) is None]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    return {each["name"]: _shaped(value.get(each["name"]), each["type"]) for each in fields}


def _shaped_decimal(value: Decimal, precision: int, scale: int) -> Decimal:
    _sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # JSON has no infinities
    if -exponent > scale or len(digits) + exponent > precision - scale:
        raise ValueError(f"a number does not fit decimal({precision},{scale})")
    return value
