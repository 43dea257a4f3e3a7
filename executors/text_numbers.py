"""Owns how text is read as numbers and truth values: strictly, without blanks, and nothing is rounded to a decimal.

Arrow's own reading is quick and too kind: it takes "0x1F" as an integer, "1e3" and ".5" as a decimal, "1" as true, and
a decimal of very many zeros becomes another number without a word. So each column is first asked what bytes it has and
how long its texts are, then read by Arrow at once; only where that fails are its texts held against a pattern.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Final

import pyarrow as pa

from eventlog.column_types import DecimalType
from executors.arrays import (
    BY_BUFFERS_ROWS_MIN,
    Array,
    Mask,
    Reading,
    begin_and_end_with_digits,
    blanked,
    byte_range,
    faults_of,
    kernel,
    length_range,
    matches,
    refused,
    some,
    surely,
)
from executors.suspects import odd_characters, odd_lengths, odd_points, read_in_two

TRUE_WORDS: Final = ("true", "TRUE", "True")
FALSE_WORDS: Final = ("false", "FALSE", "False")

# Texts of at most so many characters cannot overflow the 128 bits in which Arrow gathers digits.
DECIMAL_CHARS_MAX: Final = 38
PLAIN_CHARACTERS: Final = "-0123456789"
INTEGER_DIGITS_SURE: Final = 18  # an int64 holds any number of so many
FLOAT_DIGITS_SURE: Final = 300  # and a float64 of so many, to the nearest
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

DECIMAL_FORM: Final = r"[+-]?[0-9]+(?:\.[0-9]+)?"
INTEGER_FORM: Final = r"[+-]?[0-9]+"
INTEGER_SURELY: Final = r"[+-]?0*[0-9]{1,18}"  # in the range of an int64, whatever its digits
FLOAT_FORM: Final = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|nan|-?inf"


def read_boolean(text: Array) -> Reading:
    known = kernel.is_in(text, value_set=pa.array([*TRUE_WORDS, *FALSE_WORDS], pa.string()))
    values = blanked(kernel.is_in(text, value_set=pa.array(TRUE_WORDS, pa.string())), text.is_valid())
    return Reading(values, faults_of(("format_invalid", refused(text, known))))


def read_int64(text: Array) -> Reading:
    values = _int64_at_once(text)
    if values is not None:
        return Reading(values)
    return read_in_two(text, (_odd_characters, _odd_digits), _int64_at_once, _int64_strictly)


def _odd_characters(text: Array) -> Mask:
    return odd_characters(text, PLAIN_CHARACTERS)


def _odd_digits(text: Array) -> Mask:
    return odd_lengths(text, 1, INTEGER_DIGITS_SURE)


def _int64_at_once(text: Array) -> Array | None:
    smallest, greatest = byte_range(text)
    return _cast(text, pa.int64()) if smallest >= ord("-") and greatest <= ord("9") else None


def _int64_strictly(text: Array) -> Reading:
    fits = surely(matches(text, INTEGER_SURELY))
    unsure = refused(text, fits)
    well_formed = surely(matches(blanked(text, unsure), INTEGER_FORM))
    long = blanked(text, well_formed)
    if long.null_count < len(long):
        numbers = read_decimal(long, DecimalType(precision=DECIMAL_CHARS_MAX, scale=0)).values
        # What has more than 38 digits is null here, and so does not fit.
        fits = kernel.or_(fits, surely(_is_int64(numbers)))
    values = kernel.ascii_ltrim(blanked(text, fits), characters="+").cast(pa.int64())
    malformed = kernel.and_(unsure, kernel.invert(well_formed))
    too_large = kernel.and_(well_formed, kernel.invert(fits))
    return Reading(values, faults_of(("format_invalid", malformed), ("value_does_not_fit", too_large)))


def read_float64(text: Array) -> Reading:
    """Read as the nearest float. A number too large for any, which would become infinite, does not fit."""
    values = _float64_at_once(text)
    if values is not None:
        return Reading(values)
    points = partial(odd_points, whole_max=FLOAT_DIGITS_SURE, fraction_max=FLOAT_DIGITS_SURE)
    return read_in_two(text, (_odd_characters, points), _float64_at_once, _float64_strictly)


def _float64_at_once(text: Array) -> Array | None:
    values = _cast(text, pa.float64()) if _is_plain(text) else None
    return None if values is None or some(kernel.is_inf(values)) else values


def _float64_strictly(text: Array) -> Reading:
    well_formed = matches(text, FLOAT_FORM)
    values = blanked(text, well_formed).cast(pa.float64())
    named = kernel.is_in(text, value_set=pa.array(["inf", "-inf"], pa.string()))
    too_large = surely(kernel.and_(kernel.is_inf(values), kernel.invert(named)))
    return Reading(values, faults_of(("format_invalid", refused(text, well_formed)), ("value_does_not_fit", too_large)))


def read_decimal(text: Array, type_: DecimalType) -> Reading:
    """Read exactly. Zeros before the number, and behind the declared scale, change nothing and are allowed."""

    def at_once(text: Array) -> Array | None:
        return _decimal_at_once(text, type_)

    def strictly(text: Array) -> Reading:
        return _decimal_strictly(text, type_)

    if (values := at_once(text)) is not None:
        return Reading(values)
    points = partial(odd_points, whole_max=type_.precision - type_.scale + 1, fraction_max=max(type_.scale, 1))
    return read_in_two(text, (_odd_characters, points), at_once, strictly)


def _decimal_at_once(text: Array, type_: DecimalType) -> Array | None:
    # Arrow multiplies by the scale without looking whether 128 bits hold the product: "7" as decimal(38,38) would pass.
    if not (_is_short(text, DECIMAL_CHARS_MAX - type_.scale) and _is_plain(text)):
        return None
    return _cast(text, pa.decimal128(type_.precision, type_.scale))


def _decimal_strictly(text: Array, type_: DecimalType) -> Reading:
    fits = matches(text, _decimal_pattern(type_))
    good = blanked(text, fits)
    digits = good if _is_short(good, DECIMAL_CHARS_MAX) else _without_zeros(good, type_.scale)
    values = digits.cast(pa.decimal128(type_.precision, type_.scale))
    bad = refused(text, fits)
    well_formed = surely(matches(blanked(text, bad), DECIMAL_FORM))
    malformed = kernel.and_(bad, kernel.invert(well_formed))
    return Reading(values, faults_of(("format_invalid", malformed), ("precision_exceeded", well_formed)))


def _is_short(text: Array, chars_max: int) -> bool:
    lengths = length_range(text)
    return lengths is None or lengths[1] <= chars_max


def _decimal_pattern(type_: DecimalType) -> str:
    digits = type_.precision - type_.scale
    whole = f"0*[0-9]{{1,{digits}}}" if digits else "0+"
    fraction = f"[0-9]{{1,{type_.scale}}}0*" if type_.scale else "0+"
    return rf"[+-]?{whole}(?:\.{fraction})?"


def _without_zeros(text: Array, scale: int) -> Array:
    """Cut the zeros that `_decimal_pattern` allows beyond the digits of the type."""
    led = kernel.replace_substring_regex(text, pattern=r"\A([+-]?)0+([0-9])", replacement=r"\1\2")
    behind = rf"(\.[0-9]{{{scale}}})0+\z" if scale else r"(\.)0+\z"
    cut = kernel.replace_substring_regex(led, pattern=behind, replacement=r"\1")
    return cut if scale else kernel.replace_substring_regex(cut, pattern=r"\.\z", replacement="")


def _is_plain(text: Array) -> bool:
    """Say whether no text has other characters than `+`, `,`, `-`, `.`, `/` and digits, or a point at either end."""
    smallest, greatest = byte_range(text)
    if smallest < ord("+") or greatest > ord("9"):
        return False
    signed = smallest < ord(".")
    if not signed and len(text) >= BY_BUFFERS_ROWS_MIN and begin_and_end_with_digits(text):
        return True
    starts = (".", "-.", "+.") if signed else (".",)
    ends = kernel.ends_with(text, ".")
    return not any(some(found) for found in (ends, *(kernel.starts_with(text, start) for start in starts)))


def _cast(text: Array, wanted: pa.DataType) -> Array | None:
    try:
        return text.cast(wanted)
    except pa.ArrowInvalid:
        return None


def _is_int64(numbers: Array) -> Mask:
    low, high = (pa.scalar(Decimal(bound), numbers.type) for bound in (INT64_MIN, INT64_MAX))
    return kernel.and_(kernel.greater_equal(numbers, low), kernel.less_equal(numbers, high))
