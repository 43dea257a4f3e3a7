"""Owns the reading of JSON lines: one object a line becomes one row, its values as the text that stands in the file.

Guest code: it knows nothing of the host and needs only the standard library and pyarrow. A number is handed over in its
own digits, so that a decimal is exact; a nested value as its own JSON text, or as what it is declared to be. A line
that is no JSON object is unreadable and has its place named; an object that breaks the declaration is a row that is
wrong, see docs/TABULAR.md.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa

from . import limits
from .lines import Line, lines_of
from .objects import Decoder, Members, NotAnObjectError, Repeated
from .rows import Rows
from .schema import Schema, is_nested, schema_of

outputs = {
    "jsonl_rows": {
        "columns_from": "schema",
        "description": "One row per line. The schema may give the table another name; see TABULAR.md.",
    }
}

Batch: TypeAlias = tuple[str, pa.RecordBatch]
Statement: TypeAlias = dict[str, Any]

logger = logging.getLogger("parser.jsonl")


def parse(path: str, settings: dict[str, str]) -> Generator[Batch, None, Statement]:
    """Yield the rows in file order and return the statement of units.

    The unit is the line: found = rows + blank lines (skipped) + lines that are no object (unreadable, with their
    place). Without a schema every key comes as a column of JSON text behind the two helper columns, for a look.
    Raises PermanentError for a schema that cannot be used, OSError if the file cannot be read.
    """
    schema = schema_of(settings.get("schema", ""))
    with Path(path).open("rb") as stream:
        reading = _Reading(stream, schema)
        for batch in reading.batches():
            yield reading.output, batch
    return reading.statement()


class _Reading:
    """One file being read. `statement` is whole when `batches` has ended."""

    def __init__(self, stream: BinaryIO, schema: Schema | None) -> None:
        self._lines = lines_of(stream)
        self._schema = schema
        self._decoder = Decoder()
        self._all_plain = schema is not None and not any(is_nested(column.type) for column in schema.columns)
        self._rows = 0
        self._blank = 0
        self._ranges: list[dict[str, Any]] = []
        self._left_out: Counter[str] = Counter()
        self.output = schema.output if schema else "jsonl_rows"

    def batches(self) -> Iterator[pa.RecordBatch]:
        rows = Rows(self._schema, self._left_out)
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
                rows = Rows(self._schema, self._left_out)
        if rows.lines:
            self._rows += len(rows.lines)
            yield rows.batch()
        for key, number in self._left_out.most_common(limits.NAMES_SHOWN_MAX):
            logger.info("the key %r of %d rows is not declared and left out", key[: limits.SHOWN_CHARS_MAX], number)

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

    def _object(self, line: Line) -> dict[str, Any] | tuple[Members, list[Repeated]] | None:
        """Return a line's object, its plain values or its members; None for a line without, which is accounted for."""
        if line.content is None:
            self._unreadable(line, f"has more than {limits.LINE_BYTES_MAX:,} bytes")
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
        except NotAnObjectError as error:
            self._unreadable(line, str(error))
        return None

    def _unreadable(self, line: Line, why: str) -> None:
        reason = f"line {line.number} {why}"[: limits.REASON_CHARS_MAX]
        self._ranges.append({"offset": line.offset, "length": line.length, "reason": reason})
