"""Reads CSV files whose first line names their columns. A beginning: docs/PARSERS.md says what a parser is.

Try it out: casparian run --dev ./my_parser table.csv
"""

from collections.abc import Generator
from typing import Any

from casparian_sdk import ROWS_PER_BATCH, BadValueError, Output, PermanentError, read_csv_text, text_batch, to_instant

# What Casparian reads without running this file; so it is written out, without calls and other names.
outputs = {
    "my_parser_rows": {
        "columns": [
            {"name": "account", "type": "string", "nullable": False},
            # Handed over as text, and read as their type by the host: what does not fit is a quarantined row.
            {"name": "amount", "type": {"kind": "decimal", "precision": 18, "scale": 6}, "nullable": False},
            {"name": "booked_at", "type": "timestamp_utc", "format": "iso8601"},
        ],
    },
}

COLUMNS = ("account", "amount", "booked_at")


def parse(path: str, settings: dict[str, str]) -> Generator[Output, None, dict[str, Any]]:
    """Yield batches of rows; return how many records there were."""
    records = read_csv_text(path, delimiter=settings["delimiter"])
    if tuple(next(records, (0, []))[1]) != COLUMNS:
        raise PermanentError(f"the first line does not name the columns {', '.join(COLUMNS)}", kind="other_columns")
    found = 0
    lines, rows, errors = list[int](), list[list[str | None]](), list[str | None]()
    for record in records:
        found += 1
        row, error = _row(record.fields, settings["zone"])
        lines.append(record.line)
        rows.append(row)
        errors.append(error)
        if len(rows) == ROWS_PER_BATCH:
            yield Output("my_parser_rows", text_batch(COLUMNS, rows, lines=lines, errors=errors))
            lines, rows, errors = [], [], []
    yield Output("my_parser_rows", text_batch(COLUMNS, rows, lines=lines, errors=errors))
    return {"unit": "records", "output": "my_parser_rows", "found": found}


def _row(fields: list[str], zone: str) -> tuple[list[str | None], str | None]:
    """Return the columns of one record, and what is wrong with it, if anything is."""
    if len(fields) != len(COLUMNS):
        return [*fields, *[None] * len(COLUMNS)][: len(COLUMNS)], f"{len(fields)} fields where {len(COLUMNS)} are named"
    account, amount, booked = fields
    try:
        return [account, amount, to_instant(booked, "%Y-%m-%d %H:%M:%S", zone).isoformat()], None
    except BadValueError as error:  # a time that never was, or was twice, is a matter of its row
        return [account, amount, None], str(error)
