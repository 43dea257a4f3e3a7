"""A parser that hands text to the host, which reads it as the declared types: `number|price|time|buyer` a line.

A line `#columns NAME` makes it give another column of that name; a line that starts with `!` is wrong by its own word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

outputs = {
    "trades": {
        "columns": [
            {"name": "number", "type": "int64", "nullable": False, "format": "text"},
            {"name": "price", "type": {"kind": "decimal", "precision": 10, "scale": 2}},
            {"name": "at", "type": "timestamp_utc", "format": "%Y-%m-%d %H:%M:%S.%f%z"},
            {"name": "buyer", "type": "string", "nullable": False},
        ],
    },
    "buyers": {"columns": [{"name": "buyer", "type": "string", "nullable": False}]},
}


def parse(path: str, settings: dict[str, str]) -> Any:
    lines = Path(path).read_text("utf-8").splitlines()
    rows = [(number, line) for number, line in enumerate(lines, start=1) if not line.startswith("#")]
    fields = [(line.removeprefix("!").split("|") + [""] * 4)[:4] for _number, line in rows]
    columns: dict[str, Any] = {
        name: pa.array([field[place] or None for field in fields], pa.string())
        for place, name in enumerate(("number", "price", "at", "buyer"))
    }
    for line in lines:
        if line.startswith("#columns "):
            columns[line.removeprefix("#columns ")] = columns["buyer"]
    columns["__cf_row_id"] = pa.array([number for number, _line in rows], pa.int64())
    columns["__cf_row_error"] = pa.array([text[1:] if text[0] == "!" else None for _number, text in rows], pa.string())
    yield "trades", pa.record_batch(columns)
    yield "buyers", pa.record_batch({"buyer": pa.array(sorted({field[3] for field in fields if field[3]}))})
    comments = len(lines) - len(rows)
    trades = {"unit": "trades", "output": ["trades"], "found": len(rows)}
    skips = [{"count": comments, "reason": "a comment"}] if comments else []
    counted = {"unit": "lines", "accepted": len(rows), "found": len(lines), "skipped": comments, "skips": skips}
    return [trades, counted]
