"""Owns how text is read as dates, times and instants, by a column's format. Strict: 31 February is no day.

The text becomes ISO text, which Arrow reads; where that fails, or could have been too kind, a pattern that knows the
lengths of months says which texts are times. Seconds go to 59: a leap second has no place in microseconds since 1970.
"""

from __future__ import annotations

import datetime
from functools import partial
from typing import Final

import pyarrow as pa

from eventlog.column_types import ColumnType, arrow_type
from executors.arrays import (
    Array,
    Mask,
    Reading,
    blanked,
    extent,
    faults_of,
    integer,
    kernel,
    length_range,
    matches,
    refused,
    some,
    surely,
    word,
)
from executors.formats import EPOCH_DAY, ISO8601, Kind, TextFormat, compiled, kind_of
from executors.suspects import Look, late_days, odd_characters, odd_lengths, read_in_two
from executors.violations import ViolationCode, is_zoned

_FOURTH_YEAR: Final = (
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00|0000)"  # 0000 falls to the bounds
)
DATE: Final = (
    "(?:[0-9]{4}-(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|[0-9]{4}-(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|[0-9]{4}-02-(?:0[1-9]|1[0-9]|2[0-8])"
    f"|{_FOURTH_YEAR}-02-29)"
)
TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
ZONE: Final = "(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])"

DATE_CHARS: Final = len("2026-01-31")
FRACTION_CHARS: Final = len(".999999")
ZONE_CHARS: Final = len("+01:00")
DAY_AT: Final = len("2026-01-")
SECOND_CHARS: Final = len("2026-01-31T23:59:59")

# The years that Python and most programs know. An instant may leave them by its zone.
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
FIRST_MICROSECOND: Final = (datetime.datetime.min - _EPOCH) // _MICROSECOND
LAST_MICROSECOND: Final = (datetime.datetime.max - _EPOCH) // _MICROSECOND
# What times are written with for the most part; a format with others is read a little slower where it fails.
TIME_CHARACTERS: Final = "0123456789-:.TZ +/"
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LAST_CENTURY: Final = r"\A(?:69|[7-9][0-9])"  # as POSIX has it: 69 to 99 are of 1900


def read_time(text: Array, type_: ColumnType, text_format: str) -> Reading:
    """Read a string array as a type of dates or times."""
    kind = kind_of(type_)
    assert kind is not None
    plan = None if text_format == ISO8601 else compiled(text_format, kind)

    def at_once(text: Array) -> Array | None:
        values = _read_at_once(text, type_, kind, plan)
        return None if values is None or _beyond(values, kind) is not None else values

    def strictly(text: Array) -> Reading:
        return _read_strictly(text, type_, kind, plan)

    if (values := at_once(text)) is not None:
        return Reading(values)
    if plan is not None and plan.edits is None:
        return strictly(text)
    shortest, longest = _lengths(kind, is_zoned(type_)) if plan is None else (plan.chars_min, plan.chars_max)
    looks: list[Look] = [
        partial(odd_lengths, shortest=shortest, longest=longest),
        partial(odd_characters, known=TIME_CHARACTERS),
    ]
    if kind != "time":
        looks.append(partial(late_days, day_at=DAY_AT if plan is None else plan.day_at))
    return read_in_two(text, looks, at_once, strictly)


def _lengths(kind: Kind, zoned: bool) -> tuple[int, int]:
    """Return the bytes of the shortest and of the longest ISO text."""
    if kind == "date":
        return DATE_CHARS, DATE_CHARS
    shortest = SECOND_CHARS - (len(EPOCH_DAY) if kind == "time" else 0)
    return (shortest + 1, shortest + FRACTION_CHARS + ZONE_CHARS) if zoned else (shortest, shortest + FRACTION_CHARS)


def _read_strictly(text: Array, type_: ColumnType, kind: Kind, plan: TextFormat | None) -> Reading:
    zoned = is_zoned(type_)
    iso = _iso(text, kind, plan)
    good = matches(iso, _iso_pattern(kind, zoned=zoned))
    values = _cast(blanked(iso, good), type_)
    bad = refused(text, good)
    zoneless = _zoneless(blanked(text, bad), kind, plan) if zoned else kernel.and_(bad, kernel.invert(bad))
    found: list[tuple[ViolationCode, Mask]] = [
        ("format_invalid", kernel.and_(bad, kernel.invert(zoneless))),
        ("timezone_required", zoneless),
    ]
    if (beyond := _beyond(values, kind)) is not None:
        found.append(("value_does_not_fit", beyond))
    return Reading(values, faults_of(*found))


def _iso(text: Array, kind: Kind, plan: TextFormat | None) -> Array:
    """Return texts of the format as ISO text; null for others, which a format in ISO text does not tell yet."""
    if plan is not None:
        return _rewritten(blanked(text, matches(text, plan.pattern)), plan)
    return kernel.binary_replace_slice(text, 0, 0, EPOCH_DAY) if kind == "time" else text


def _zoneless(text: Array, kind: Kind, plan: TextFormat | None) -> Mask:
    """Return which texts lack nothing but their zone."""
    iso = _iso(text, kind, None if plan is None else compiled(plan.zoneless, kind))
    return surely(matches(iso, _iso_pattern(kind, zoned=False)))


def _read_at_once(text: Array, type_: ColumnType, kind: Kind, plan: TextFormat | None) -> Array | None:
    """Read the whole column by edits of fixed places and a cast; None if that cannot be, or cannot be trusted."""
    iso = text
    if plan is not None:
        edited = _edited(text, plan)
        if edited is None:
            return None
        iso = edited
    elif kind == "time":
        iso = kernel.binary_replace_slice(text, 0, 0, EPOCH_DAY)
    if not _has_trusted_lengths(iso, kind, plan, zoned=is_zoned(type_)):
        return None
    try:
        return _cast(iso, type_)
    except pa.ArrowInvalid:
        return None


def _edited(text: Array, plan: TextFormat) -> Array | None:
    if plan.edits is None:
        return None
    for edit in plan.edits:
        if edit.literal:
            found = kernel.binary_slice(text.cast(pa.binary()), edit.start, edit.stop)
            if some(kernel.not_equal(found, pa.scalar(edit.literal.encode(), pa.binary()))):
                return None
        text = kernel.binary_replace_slice(text, edit.start, edit.stop, edit.replacement)
    return text


def _has_trusted_lengths(iso: Array, kind: Kind, plan: TextFormat | None, *, zoned: bool) -> bool:
    """Say whether a cast that succeeds has read what the format says: Arrow also takes "2026-01-31T10" or "+01"."""
    lengths = length_range(iso)
    if lengths is None:
        return True
    least = DATE_CHARS if kind == "date" else SECOND_CHARS
    if zoned and some(kernel.invert(kernel.ends_with(iso, "Z"))):
        return False
    least += 1 if zoned else 0
    exact = kind == "date" or (plan is not None and not plan.fraction)
    return lengths[0] >= least and (not exact or lengths[1] == least)


def _rewritten(text: Array, plan: TextFormat) -> Array:
    """Return the ISO text of texts that match the pattern."""
    iso = kernel.replace_substring_regex(text, pattern=rf"\A{plan.pattern}\z", replacement=plan.rewritten)
    if plan.month_name:
        for number, name in enumerate(_MONTHS, start=1):
            iso = kernel.replace_substring_regex(
                iso, pattern=f"(?i)-{name}-", replacement=f"-{number:02}-", max_replacements=1
            )
    if plan.short_year:
        century = kernel.if_else(kernel.match_substring_regex(iso, _LAST_CENTURY), word("19"), word("20"))
        iso = kernel.binary_join_element_wise(century, iso, word(""))
    return iso


def _iso_pattern(kind: Kind, *, zoned: bool) -> str:
    if kind == "date":
        return DATE
    return f"{DATE}[T ]{TIME}{ZONE if zoned else ''}"


def _cast(iso: Array, type_: ColumnType) -> Array:
    if type_ == "time":
        return iso.cast(pa.timestamp("us")).cast(pa.time64("us"))
    return iso.cast(arrow_type(type_))


def _beyond(values: Array, kind: Kind) -> Mask | None:
    """Return where a time is of no year from 1 to 9999; None if none is."""
    if kind == "time":
        return None
    counted = values.cast(pa.timestamp("us") if kind == "date" else values.type).cast(pa.int64())
    found = extent(counted)
    if found is None or (found[0] >= FIRST_MICROSECOND and found[1] <= LAST_MICROSECOND):
        return None
    beyond = kernel.or_(
        kernel.less(counted, integer(FIRST_MICROSECOND)), kernel.greater(counted, integer(LAST_MICROSECOND))
    )
    return surely(beyond)
