"""Owns which Arrow types a declared column may be given as. Whether each value fits is seen when it is read."""

from __future__ import annotations

import functools
import re
from typing import Any, Final, assert_never

import pyarrow as pa

from eventlog.column_types import (
    ColumnType,
    DecimalType,
    ListType,
    PrimitiveType,
    StructType,
    TimestampTzType,
    zone_names,
)
from eventlog.schema import Column

DECIMAL_INTEGER_DIGITS_MAX: Final = 76  # of decimal256, which a decimal with a negative scale is laid out in
_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")


def accepts(column: Column, actual: pa.DataType) -> bool:
    """Say whether a type may hold a column's values: the declared one, a carrier of it, or text where that is read."""
    value_type = _value_type(actual)
    if value_type is not None and is_text(value_type) and column.format:
        return True
    return _accepts(column.type, actual)


def is_text(type_: pa.DataType) -> bool:
    types = pa.types
    return types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)


def has_no_parts(type_: pa.DataType) -> bool:
    """Say whether a column of the type is its values and nothing else: no views, no dictionary, no nested arrays."""
    types = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return False
    plain = types.is_primitive(type_) or types.is_null(type_) or types.is_decimal(type_)
    texts = types.is_string(type_) or types.is_large_string(type_)
    return plain or texts or types.is_binary(type_) or types.is_large_binary(type_)


def is_list(type_: pa.DataType) -> bool:
    types = pa.types
    return (
        types.is_list(type_)
        or types.is_large_list(type_)
        or types.is_fixed_size_list(type_)
        or types.is_list_view(type_)
        or types.is_large_list_view(type_)
    )


def _value_type(actual: pa.DataType) -> pa.DataType | None:
    """Return what a dictionary holds, or the type itself.

    None for a dictionary of lists, structs or dictionaries: its size could not be foreseen before it is unpacked.
    """
    if not isinstance(actual, pa.DictionaryType):
        return actual
    held = actual.value_type
    return None if pa.types.is_nested(held) or pa.types.is_dictionary(held) else held


def _accepts(type_: ColumnType, given: pa.DataType) -> bool:
    actual = _value_type(given)
    if actual is None:
        return False
    if pa.types.is_null(actual):
        return True
    match type_:
        case str():
            return _accepts_primitive(type_, actual)
        case DecimalType():
            return pa.types.is_integer(actual) or is_text(actual) or _is_decimal(actual)
        case TimestampTzType():
            return _is_timestamp(actual)
        case ListType():
            return _accepts_list(type_, actual)
        case StructType():
            return (
                isinstance(actual, pa.StructType)
                and [field.name for field in actual] == [field.name for field in type_.fields]
                and all(_accepts(wanted.type, found.type) for wanted, found in zip(type_.fields, actual, strict=True))
            )
        case _:
            assert_never(type_)


def _accepts_list(type_: ListType, actual: Any) -> bool:
    return is_list(actual) and _accepts(type_.item, actual.value_type)


def _accepts_primitive(type_: PrimitiveType, actual: pa.DataType) -> bool:
    types = pa.types
    match type_:
        case "boolean":
            return types.is_boolean(actual)
        case "int64":
            return types.is_integer(actual)
        case "float64":
            return types.is_integer(actual) or types.is_floating(actual)
        case "string":
            return is_text(actual)
        case "binary":
            return (
                types.is_binary(actual)
                or types.is_large_binary(actual)
                or types.is_binary_view(actual)
                or types.is_fixed_size_binary(actual)
            )
        case "date":
            return types.is_date(actual)
        case "time":
            return types.is_time(actual)
        case "timestamp":
            return isinstance(actual, pa.TimestampType) and actual.tz is None
        case "timestamp_utc":
            return _is_timestamp(actual)
        case _:
            assert_never(type_)


def _is_decimal(actual: Any) -> bool:
    if not pa.types.is_decimal(actual):
        return False
    whole_digits: int = actual.precision - actual.scale
    return whole_digits <= DECIMAL_INTEGER_DIGITS_MAX


def _is_timestamp(actual: pa.DataType) -> bool:
    """Say whether it is a timestamp, without a zone (its rows are told to need one) or with one that there is."""
    return isinstance(actual, pa.TimestampType) and (actual.tz is None or is_zone(actual.tz))


@functools.lru_cache(maxsize=256)
def is_zone(zone: str) -> bool:
    return _OFFSET.fullmatch(zone) is not None or zone in zone_names()
