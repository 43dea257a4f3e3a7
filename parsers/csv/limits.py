"""Owns what bounds the reading of delimited text."""

from __future__ import annotations

BLOCK_BYTES = 1024 * 1024
RECORD_CHARS_MAX = 4 * 1024 * 1024  # more than a block; a longer record is unreadable
COLUMNS_MAX = 10_000
