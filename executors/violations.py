"""Owns what can be wrong with a row or a batch: the closed list of codes, their coarse words and their sentences."""

from __future__ import annotations

import typing
from typing import Final, Literal

from msgspec import Struct

from eventlog.column_types import TimestampTzType, type_words
from eventlog.schema import Column
from executors.guest.guest_log import plain_text

ViolationCode = Literal[
    "null_not_allowed",  # a null in a column that is declared without
    "format_invalid",  # text that is not written as the column's format, or its type, says
    "precision_exceeded",  # a decimal with more digits than declared; nothing is rounded
    "timezone_required",  # a time without a zone in a column of instants
    "value_does_not_fit",  # a value that the declared type could not hold unchanged
    "parser",  # the parser says so itself, in ROW_ERROR_COLUMN
]
"""What can be wrong with a row: it is rejected, the others of its batch are not."""

ShapeCode = Literal[
    "column_missing", "column_extra", "order_mismatch", "type_mismatch", "reserved_column", "corrupt_batch"
]
"""What can be wrong with a whole batch: the parser is not what it declares."""

CoarseWord = Literal["schema", "null_not_allowed", "parser", "unknown"]
"""The word for display. unknown: the parser rejects a row and says nothing."""

ROW_CODES: Final[tuple[ViolationCode, ...]] = typing.get_args(ViolationCode)
SHAPE_CODES: Final[tuple[ShapeCode, ...]] = typing.get_args(ShapeCode)

ROW_ID_COLUMN: Final = "__cf_row_id"  # int64 or uint64: the row's place in the source
ROW_ERROR_COLUMN: Final = "__cf_row_error"  # text: why the parser rejects the row; null for nothing
HELPER_COLUMNS: Final = (ROW_ID_COLUMN, ROW_ERROR_COLUMN)

NAME_CHARS_MAX: Final = 100
NO_REASON: Final = "the parser gave no reason"


class Rule(Struct, frozen=True, kw_only=True):
    """One thing that a row must keep. `column` is ROW_ERROR_COLUMN for what the parser says itself."""

    column: str
    code: ViolationCode

    @property
    def rule_id(self) -> str:
        """The rule's name: its column and code, `parser` for the parser's own word."""
        return self.code if self.column == ROW_ERROR_COLUMN else f"{self.column}.{self.code}"


def coarse_word(code: ViolationCode | ShapeCode) -> CoarseWord:
    """Return the word for display; a parser that gives no reason is `unknown`, see `Rejected.violation_type`."""
    if code in {"null_not_allowed", "parser"}:
        return typing.cast(CoarseWord, code)
    return "schema"


def row_sentence(column: Column, code: ViolationCode) -> str:
    """Say what is wrong with a row, without its value: that stands beside it."""
    name = plain_text(column.name, chars_max=NAME_CHARS_MAX)
    match code:
        case "null_not_allowed":
            return f"schema: null not allowed in {name}"
        case "format_invalid":
            return f"schema: does not match {_expected(column)} for {name}"
        case "precision_exceeded":
            return f"schema: does not match {type_words(column.type)} for {name}: it has more digits"
        case "timezone_required":
            return f"schema: no time zone in {name}, which is a {type_words(column.type)}"
        case "value_does_not_fit":
            return f"schema: does not fit {type_words(column.type)} in {name}"
        case "parser":
            return NO_REASON


def _expected(column: Column) -> str:
    if column.format and (column.format != "text"):
        return f"format {plain_text(column.format, chars_max=NAME_CHARS_MAX)}"
    return type_words(column.type)


def is_zoned(type_: object) -> bool:
    return type_ == "timestamp_utc" or isinstance(type_, TimestampTzType)
