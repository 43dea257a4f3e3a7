"""Owns what bounds the reading of JSON lines, each with its unit."""

from __future__ import annotations

BLOCK_BYTES = 1024 * 1024
LINE_BYTES_MAX = 4 * 1024 * 1024  # more than a block; a longer line is unreadable
BATCH_ROWS_MAX = 10_000
BATCH_BYTES_MAX = 4 * 1024 * 1024  # of lines
KEYS_MAX = 2_000  # different ones in a look without a schema
NAMES_SHOWN_MAX = 20
SHOWN_CHARS_MAX = 200  # of a value in what is said of a row
REASON_CHARS_MAX = 200
