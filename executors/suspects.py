"""Owns the reading of a column in two parts: what a quick look finds nothing odd about, and the few texts that it does.

A pattern costs several times as much as the cast that it guards. So where a column fails, the texts with a character or
a length that no good text has are set apart; if all the others can be read at once, patterns see only those few. Which
text is odd decides about the cost only: what is set apart is judged strictly, and so is the column where that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import pyarrow as pa

from executors.arrays import Array, Fault, Mask, Reading, faults_of, integer, kernel, nulls, some, surely, total, word

NOTHING: Final = word("")
POINT: Final = word(".")
IN_ANY_VALUE: Final = "[0-9n]"  # what is a number or a time has a digit, or is `nan` or `inf`

Look: TypeAlias = "Callable[[Array], Mask]"
Quick: TypeAlias = "Callable[[Array], Array | None]"
Strict: TypeAlias = "Callable[[Array], Reading]"


def read_in_two(text: Array, looks: Sequence[Look], quick: Quick, strict: Strict) -> Reading:
    """Read the texts that are not odd by `quick`, the odd ones by `strict`; all by `strict` if `quick` returns None.

    One look after the other is taken, until `quick` can read what none of them found odd: most of what is wrong in a
    column is words where numbers belong, and those the first look finds.
    """
    odd: Mask | None = None
    for look in looks:
        found = look(text)
        if (count := total(found)) == 0:
            continue
        odd, count = (found, count) if odd is None else _either(odd, found)
        if count * 2 > len(text):
            break
        # Filtered, not blanked: bytes that hide under nulls would make the whole column suspicious.
        even = kernel.invert(odd)
        if (values := quick(text.filter(even))) is not None:
            whole = kernel.replace_with_mask(nulls(len(text), values.type), even, values)
            return _with_odd(whole, odd, _read_odd(text.filter(odd), strict, values.type))
    return strict(text)


def _either(one: Mask, other: Mask) -> tuple[Mask, int]:
    """Return where one of two is true, and how often that is."""
    either = kernel.or_(one, other)
    return either, total(either)


def _read_odd(odd: Array, strict: Strict, type_: pa.DataType) -> Reading:
    """Read by `strict`, unless there is nothing in it to read: most of what is odd says that there is no value."""
    if some(kernel.match_substring_regex(odd, IN_ANY_VALUE)):
        return strict(odd)
    return Reading(nulls(len(odd), type_), faults_of(("format_invalid", odd.is_valid())))


def _with_odd(values: Array, odd: Mask, apart: Reading) -> Reading:
    """Return the column with what became of its odd texts, whose places are null."""
    if apart.values.null_count < len(apart.values):
        values = kernel.replace_with_mask(values, odd, apart.values)
    faults = (Fault(each.code, kernel.replace_with_mask(odd, odd, each.rows)) for each in apart.faults)
    return Reading(values, tuple(faults))


def odd_characters(text: Array, known: str) -> Mask:
    """Return where a text has a character that is not known, other than one point in its midst."""
    rest = kernel.ascii_trim(text, characters=known)
    return surely(kernel.and_(kernel.not_equal(rest, NOTHING), kernel.not_equal(rest, POINT)))


def odd_points(text: Array, *, whole_max: int, fraction_max: int) -> Mask:
    """Return where more digits stand before or behind the point than can be, or none beside it. A sign is a digit."""
    point = kernel.find_substring(text, ".").cast(pa.int64())
    lengths = kernel.binary_length(text).cast(pa.int64())
    pointed = kernel.greater_equal(point, integer(0))
    whole = kernel.if_else(pointed, point, lengths)
    fraction = kernel.if_else(pointed, kernel.subtract(kernel.subtract(lengths, point), integer(1)), integer(1))
    odd = kernel.or_(
        kernel.or_(kernel.greater(whole, integer(whole_max)), kernel.greater(fraction, integer(fraction_max))),
        kernel.or_(kernel.equal(whole, integer(0)), kernel.equal(fraction, integer(0))),
    )
    return surely(odd)


def late_days(text: Array, day_at: int) -> Mask:
    """Return where the day of the month, at a fixed place, is one that not every month has."""
    days = kernel.binary_slice(text.cast(pa.binary()), day_at, day_at + 2)
    return surely(kernel.greater(days, pa.scalar(b"28", pa.binary())))


def odd_lengths(text: Array, shortest: int, longest: int) -> Mask:
    """Return where a text has fewer or more bytes than a good one."""
    lengths = kernel.binary_length(text).cast(pa.int64())
    outside = kernel.or_(kernel.less(lengths, integer(shortest)), kernel.greater(lengths, integer(longest)))
    return surely(outside)
