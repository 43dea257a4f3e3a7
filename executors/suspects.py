"""Owns the reading of a column in two parts: what a quick look finds nothing odd about, and the few texts that it does.

A pattern costs several times as much as the cast that it guards. So where a column fails, the texts with a character or
a length that no good text has are set apart; if all the others can be read at once, patterns see only those few. Which
text is odd decides about the cost only: what is set apart is judged strictly, and so is the column where that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa

from executors.arrays import Array, Fault, Mask, Reading, integer, kernel, nulls, some, total, word

Quick: TypeAlias = "Callable[[Array], Array | None]"
Strict: TypeAlias = "Callable[[Array], Reading]"


def read_in_two(text: Array, odd: Mask, quick: Quick, strict: Strict) -> Reading:
    """Read the texts that are not odd by `quick`, the odd ones by `strict`; all by `strict` if `quick` returns None."""
    if total(odd) * 2 > len(text) or not some(odd):
        return strict(text)
    # Filtered, not blanked: bytes that hide under nulls would make the whole column suspicious.
    even = kernel.invert(odd)
    values = quick(text.filter(even))
    if values is None:
        return strict(text)
    apart = strict(text.filter(odd))
    whole = kernel.replace_with_mask(nulls(len(text), values.type), even, values)
    nobody = nulls(len(text), pa.bool_()).fill_null(False)
    faults = (Fault(each.code, kernel.replace_with_mask(nobody, odd, each.rows)) for each in apart.faults)
    return Reading(kernel.replace_with_mask(whole, odd, apart.values), tuple(faults))


def odd_characters(text: Array, known: str) -> Mask:
    """Return where a text has a character that is not known, other than one point in its midst."""
    rest = kernel.ascii_trim(text, characters=known)
    return kernel.fill_null(kernel.and_(kernel.not_equal(rest, word("")), kernel.not_equal(rest, word("."))), False)


def odd_lengths(text: Array, shortest: int, longest: int) -> Mask:
    """Return where a text has fewer or more bytes than a good one."""
    lengths = kernel.binary_length(text).cast(pa.int64())
    outside = kernel.or_(kernel.less(lengths, integer(shortest)), kernel.greater(lengths, integer(longest)))
    return kernel.fill_null(outside, False)
