"""Reads text files, one row per line. A beginning: docs/PARSERS.md says what a parser may and must do.

Try it out: casparian run --dev ./my_parser.py FILE
"""

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa

# What Casparian reads without running this file; so these are written out, without calls and other names.
name = "my_parser"
version = "0.1.0"
description = "Lines of text, with the amount and the day that stand in them"
patterns = ["*"]  # which files of a folder it reads: globs of their names
settings = {"encoding": "utf-8"}  # what `--set encoding=cp1252` may change, with the default
outputs = {
    "my_parser_lines": {
        "columns": [
            {"name": "line", "type": "int64", "nullable": False},
            {"name": "text", "type": "string", "nullable": False},
            # Handed over as text, and read as their type by the host: what does not fit is a quarantined row.
            {"name": "amount", "type": {"kind": "decimal", "precision": 18, "scale": 6}},
            {"name": "day", "type": "date", "format": "%Y-%m-%d"},
        ],
    },
}

ROWS_PER_BATCH = 10_000
COLUMNS = ("line", "text", "amount", "day", "__cf_row_id")
TYPES = (pa.int64(), pa.string(), pa.string(), pa.string(), pa.int64())
AMOUNT = re.compile(r"[+-]?[0-9]{1,12}\.[0-9]{2,6}(?![0-9.])")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class PermanentError(Exception):
    """This file can never be read. `kind` is a word for programs, `hint` what a person can do."""

    kind = "not_text"
    hint = "name the encoding of the file: --set encoding=cp1252"


def parse(path: str, settings: dict[str, str]) -> Generator[tuple[str, pa.RecordBatch], None, dict[str, Any]]:
    """Yield batches of rows; return how many lines there were and what became of those that are no row."""
    found, blank, rows = 0, 0, list[tuple[Any, ...]]()
    try:
        with Path(path).open(encoding=settings["encoding"]) as source:
            for found, line in enumerate(source, 1):
                text = line.rstrip("\n")
                blank += not text.strip()
                rows += [(found, text, _first(AMOUNT, text), _first(DAY, text), found)] if text.strip() else []
                if len(rows) >= ROWS_PER_BATCH:
                    yield "my_parser_lines", _batch(rows)
                    rows.clear()
    except UnicodeDecodeError as error:
        raise PermanentError(f"read {path}: line {found + 1} is not {settings['encoding']}") from error
    yield "my_parser_lines", _batch(rows)
    skips = [{"count": blank, "reason": "a blank line"}] if blank else []
    return {"unit": "lines", "output": "my_parser_lines", "found": found, "skipped": blank, "skips": skips}


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    return match[0] if (match := pattern.search(text)) else None


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    """Return rows as columns. `__cf_row_id` names each row where it is quarantined; it is stored nowhere else."""
    columns = [pa.array([row[number] for row in rows], type_) for number, type_ in enumerate(TYPES)]
    return pa.record_batch(columns, names=list(COLUMNS))
