"""Owns how a column's values become the declared type: every value stays what it is, or its row is at fault.

Pure. A column is cast at once; only where that fails is it looked at which values are the reason.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from eventlog.column_types import DECIMAL_DIGITS_MAX, ColumnType, DecimalType, ListType, StructType, arrow_type
from executors import text_numbers
from executors.accepted_types import is_text
from executors.arrays import (
    Array,
    Fault,
    Mask,
    Reading,
    blanked,
    extent,
    faults_of,
    kernel,
    list_items,
    nulls,
    places,
    plain,
    refused,
    with_items,
)
from executors.text_times import read_time
from executors.violations import ViolationCode, is_zoned

INT64_DIGITS_MAX: Final = 20  # of any integer of at most 64 bits
FLOAT_ABOVE_INT64: Final = float(2**63)
FLOAT_ABOVE_UINT64: Final = float(2**64)
DAYS_KNOWN: Final = (-719_162, 2_932_896)  # 0001-01-01 and 9999-12-31, from 1970-01-01
DAY_US: Final = 86_400_000_000
WIDE_INTEGER: Final = pa.decimal256(76, 0)


def read(array: Array, type_: ColumnType, text_format: str = "") -> Reading:
    """Read an array that `plain` has laid out and whose type `accepts` has accepted. Raises UnpackedTooLargeError."""
    reading = _read(array, type_, text_format)
    return _of_known_years(reading) if type_ == "date" or _is_moment(type_) else reading


def _is_moment(type_: ColumnType) -> bool:
    return type_ == "timestamp" or is_zoned(type_)


def is_day_or_moment(type_: pa.DataType) -> bool:
    return pa.types.is_date(type_) or pa.types.is_timestamp(type_)


def is_of_known_years(values: Array) -> bool:
    """Say whether all days or moments lie in the years 1 to 9999."""
    if values.null_count == len(values):
        return True
    numbers, first, last = _in_known_units(values)
    found = extent(numbers)
    return found is None or (first <= found[0] and found[1] <= last)


def _in_known_units(values: Array) -> tuple[Array, int, int]:
    """Return days or microseconds from 1970 on, and the first and the last that are of known years."""
    if pa.types.is_date(values.type):
        return values.view(pa.int32()), *DAYS_KNOWN
    return values.view(pa.int64()), DAYS_KNOWN[0] * DAY_US, (DAYS_KNOWN[1] + 1) * DAY_US - 1


def _of_known_years(reading: Reading) -> Reading:
    """Refuse days and moments outside the years 1 to 9999: no text says them, and what reads tables fails on them."""
    if is_of_known_years(reading.values):
        return reading
    numbers, first, last = _in_known_units(reading.values)
    low, high = pa.scalar(first, numbers.type), pa.scalar(last, numbers.type)
    fits = kernel.and_(kernel.greater_equal(numbers, low), kernel.less_equal(numbers, high))
    outside = refused(reading.values, fits)
    known = [(fault.code, fault.rows) for fault in reading.faults if fault.code != "value_does_not_fit"]
    before = [fault.rows for fault in reading.faults if fault.code == "value_does_not_fit"]
    rows = kernel.or_(before[0], outside) if before else outside
    return Reading(blanked(reading.values, fits), faults_of(*known, ("value_does_not_fit", rows)))


def _read(array: Array, type_: ColumnType, text_format: str) -> Reading:
    wanted = arrow_type(type_)
    if pa.types.is_null(array.type):
        return Reading(nulls(len(array), wanted))
    if isinstance(type_, ListType):
        return _read_list(array, type_, wanted)
    if isinstance(type_, StructType):
        return _read_struct(array, type_, wanted)
    if array.type == wanted:
        return Reading(array)
    if is_text(array.type):
        return _read_text(array, type_, text_format)
    if is_zoned(type_) and pa.types.is_timestamp(array.type) and _zone(array.type) is None:
        return Reading(nulls(len(array), wanted), faults_of(("timezone_required", array.is_valid())))
    if isinstance(type_, DecimalType) and _may_overflow(array.type, type_):
        return _read_what_fits(array, type_, wanted)
    try:
        return Reading(_widened(array).cast(wanted))
    except pa.ArrowInvalid:
        return _read_what_fits(array, type_, wanted)


def _read_text(text: Array, type_: ColumnType, text_format: str) -> Reading:
    match type_:
        case DecimalType():
            return text_numbers.read_decimal(text, type_)
        case "int64":
            return text_numbers.read_int64(text)
        case "float64":
            return text_numbers.read_float64(text)
        case "boolean":
            return text_numbers.read_boolean(text)
        case _:
            return read_time(text, type_, text_format)


def _read_what_fits(array: Array, type_: ColumnType, wanted: pa.DataType) -> Reading:
    code: ViolationCode = "value_does_not_fit"
    if isinstance(type_, DecimalType):
        fits = _fits_decimal(_widened(array), type_)
        code = "precision_exceeded"
    elif type_ == "int64":
        fits = kernel.less_equal(array, pa.scalar(2**63 - 1, array.type))
    elif type_ == "float64":
        fits = _is_exact_float(array)
    else:
        # Too coarse a unit overflows, too fine a one leaves a remainder: both are another value on the way back.
        fits = kernel.equal(array.cast(wanted, safe=False).cast(array.type, safe=False), array)
    # Not safely: Arrow refuses integers above 2**53 as floats, also those that are exact.
    good = _widened(blanked(array, fits))
    if isinstance(type_, DecimalType) and pa.types.is_integer(array.type):
        good = good.cast(WIDE_INTEGER)  # else Arrow asks for room for every integer of that width
    values = good.cast(wanted, safe=type_ != "float64")
    return Reading(values, faults_of((code, refused(array, fits))))


def _zone(type_: Any) -> str | None:
    zone: str | None = type_.tz
    return zone


def _widened(array: Array) -> Array:
    """Return numbers on their way to decimals in a type that all of Arrow's decimal kernels take."""
    type_: Any = array.type
    if not pa.types.is_decimal(type_):
        return array
    if type_.scale < 0:
        return array.cast(WIDE_INTEGER)
    return array if type_.bit_width >= 128 else array.cast(pa.decimal128(type_.precision, type_.scale))


def _may_overflow(given: Any, type_: DecimalType) -> bool:
    """Say whether Arrow could run over 128 bits on the way: it does not look, 7 would become 0.194... of (38,38)."""
    if pa.types.is_integer(given):
        return INT64_DIGITS_MAX + type_.scale > DECIMAL_DIGITS_MAX
    whole_digits: int = given.precision - given.scale
    return whole_digits + type_.scale > DECIMAL_DIGITS_MAX


def _is_exact_float(array: Array) -> Mask:
    floats = array.cast(pa.float64(), safe=False)
    above = FLOAT_ABOVE_UINT64 if pa.types.is_unsigned_integer(array.type) else FLOAT_ABOVE_INT64
    within = kernel.less(floats, above)
    back = kernel.if_else(within, floats, 0.0).cast(array.type, safe=False)
    return kernel.and_(within, kernel.equal(back, array))


def _fits_decimal(numbers: Array, type_: DecimalType) -> Mask:
    if pa.types.is_integer(numbers.type):
        numbers = numbers.cast(WIDE_INTEGER)
    given: Any = numbers.type
    fits: Mask = numbers.is_valid()
    if given.scale > type_.scale:
        cut = kernel.round(numbers, ndigits=type_.scale, round_mode="towards_zero")
        fits = kernel.equal(cut.cast(given), numbers)
    digits = type_.precision - type_.scale
    if given.precision - given.scale > digits:
        high, low = pa.scalar(Decimal(10) ** digits, given), pa.scalar(-(Decimal(10) ** digits), given)
        fits = kernel.and_(fits, kernel.and_(kernel.less(numbers, high), kernel.greater(numbers, low)))
    return fits


def _read_list(array: Array, type_: ListType, wanted: pa.DataType) -> Reading:
    """Read what stands in the lists as one column; a list with a value at fault is at fault."""
    inner = read(list_items(array), type_.item)
    values = with_items(array, inner.values, wanted)
    # Of the lists made anew: views may stand in any order, and a null may stand for a list that has items.
    parents = kernel.list_parent_indices(values)
    faults = [(fault.code, _rows_among(len(array), parents.filter(fault.rows))) for fault in inner.faults]
    return Reading(values, faults_of(*faults))


def _rows_among(rows: int, chosen: Array) -> Mask:
    return kernel.is_in(places(0, rows), value_set=chosen.cast(pa.int64()))


def _read_struct(array: Array, type_: StructType, wanted: pa.DataType) -> Reading:
    assert isinstance(array, pa.StructArray)
    faults: list[Fault] = []
    values: list[Array] = []
    for field, given in zip(type_.fields, array.flatten(), strict=True):
        child = plain(given)
        inner = read(child, field.type)
        values.append(inner.values)
        faults += inner.faults
        if not field.nullable and child.null_count:
            faults.append(Fault("null_not_allowed", kernel.and_(array.is_valid(), child.is_null())))
    merged: dict[ViolationCode, Mask] = {}
    for fault in faults:
        merged[fault.code] = kernel.or_(merged[fault.code], fault.rows) if fault.code in merged else fault.rows
    fields: Any = wanted
    structs = pa.StructArray.from_arrays(values, fields=list(fields), mask=array.is_null())
    return Reading(structs, faults_of(*merged.items()))
