"""A second judgement of values, one at a time and without Arrow: what the fast one is held to."""

from __future__ import annotations

import datetime
import math
import re
from fractions import Fraction

from eventlog.column_types import ColumnType, DecimalType
from executors.violations import ViolationCode

EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)
UNITS = {"s": Fraction(1_000_000), "ms": Fraction(1000), "us": Fraction(1), "ns": Fraction(1, 1000)}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
INT64 = range(-(2**63), 2**63)

Verdict = ViolationCode | None


def int_in_int64(value: int) -> Verdict:
    return None if value in INT64 else "value_does_not_fit"


def int_in_float64(value: int) -> Verdict:
    return None if int(float(value)) == value else "value_does_not_fit"


def number_in_decimal(value: Fraction, type_: DecimalType) -> Verdict:
    scaled = value * 10**type_.scale
    return None if scaled.denominator == 1 and abs(scaled) < 10**type_.precision else "precision_exceeded"


def count_of_unit(value: int, unit: str) -> Verdict:
    microseconds = value * UNITS[unit]
    return None if microseconds.denominator == 1 and microseconds.numerator in INT64 else "value_does_not_fit"


def text(value: str, type_: ColumnType, text_format: str) -> tuple[Verdict, object]:
    """Return what is wrong with a text, and what it says if nothing is."""
    match type_:
        case "int64":
            return _integer(value)
        case "float64":
            return _float(value)
        case "boolean":
            known = {"true": True, "false": False}.get(value.lower())
            return (None, known) if value in {"true", "True", "TRUE", "false", "False", "FALSE"} else _malformed()
        case DecimalType():
            if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value):
                return _malformed()
            return number_in_decimal(Fraction(value), type_), Fraction(value)
        case _:
            return _time(value, str(type_), text_format)


def _malformed() -> tuple[Verdict, object]:
    return "format_invalid", None


def _integer(value: str) -> tuple[Verdict, object]:
    digits = value[1:] if value[:1] in {"+", "-"} else value
    if not digits or set(digits) - set("0123456789"):
        return _malformed()
    return int_in_int64(int(value)), int(value)


def _float(value: str) -> tuple[Verdict, object]:
    if value in {"nan", "inf", "-inf"}:
        return None, float(value)
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
        return _malformed()
    number = float(value)
    return ("value_does_not_fit", None) if math.isinf(number) else (None, number)


def _time(value: str, type_: str, text_format: str) -> tuple[Verdict, object]:
    zoned = type_ == "timestamp_utc"
    for wanted in _formats(type_, text_format):
        if (found := _parsed(value, wanted)) is not None:
            return _placed(found, type_)
    if zoned and any(_parsed(value, wanted.replace("%z", "")) is not None for wanted in _formats(type_, text_format)):
        return "timezone_required", None
    return _malformed()


def _formats(type_: str, text_format: str) -> tuple[str, ...]:
    if text_format != "iso8601":
        return (text_format,)
    zone = "%z" if type_ == "timestamp_utc" else ""
    return {
        "date": ("%Y-%m-%d",),
        "time": ("%H:%M:%S.%f",),
    }.get(type_, (f"%Y-%m-%dT%H:%M:%S.%f{zone}", f"%Y-%m-%d %H:%M:%S.%f{zone}"))


def _placed(found: tuple[datetime.datetime | None, datetime.timedelta], type_: str) -> tuple[Verdict, object]:
    """Return microseconds or days since 1970, or microseconds of the day."""
    moment, offset = found
    if moment is None:
        return "value_does_not_fit", None  # of the year 0
    try:
        instant = moment - offset
    except OverflowError:
        return "value_does_not_fit", None
    counted = (instant - EPOCH) // MICROSECOND
    return None, counted // (86_400 * 10**6) if type_ == "date" else counted


def _parsed(value: str, text_format: str) -> tuple[datetime.datetime | None, datetime.timedelta] | None:
    """Walk over format and text side by side; None if they differ or the parts are no time."""
    parts = {"Y": 1970, "m": 1, "d": 1, "H": 0, "M": 0, "S": 0, "f": 0}
    offset = datetime.timedelta()
    while text_format:
        if text_format.startswith(".%f"):
            taken = re.match(r"\.([0-9]{1,6})(?![0-9])", value, re.ASCII)
            parts["f"] = int(taken[1].ljust(6, "0")) if taken else 0
            value, text_format = value[len(taken[0]) if taken else 0 :], text_format[3:]
        elif text_format.startswith("%z"):
            taken = re.match(r"Z|([+-])([0-9]{2}):?([0-9]{2})", value, re.ASCII)
            if not taken or (taken[1] and (int(taken[2]) > 23 or int(taken[3]) > 59)):
                return None
            if taken[1]:
                offset = datetime.timedelta(hours=int(taken[2]), minutes=int(taken[3])) * int(f"{taken[1]}1")
            value, text_format = value[len(taken[0]) :], text_format[2:]
        elif text_format.startswith("%"):
            taken_part = _part(value, text_format[1])
            if taken_part is None:
                return None
            width, name, number = taken_part
            parts[name] = number
            value, text_format = value[width:], text_format[2:]
        elif value[:1] == text_format[0]:
            value, text_format = value[1:], text_format[1:]
        else:
            return None
    return None if value else _moment(parts, offset)


def _moment(
    parts: dict[str, int], offset: datetime.timedelta
) -> tuple[datetime.datetime | None, datetime.timedelta] | None:
    year_zero = parts["Y"] == 0
    year = 2000 if year_zero else parts["Y"]  # both are leap years
    try:
        moment = datetime.datetime(year, *(parts[name] for name in "mdHMSf"))  # type: ignore[arg-type]  # six numbers
    except ValueError:
        return None
    return (None if year_zero else moment), offset


def _part(value: str, directive: str) -> tuple[int, str, int] | None:
    """Return the width, the name and the number of one part at the beginning of the text."""
    if directive == "%":
        return (1, "%", 0) if value[:1] == "%" else None
    if directive == "b":
        return (3, "m", MONTHS.index(value[:3].lower()) + 1) if value[:3].lower() in MONTHS else None
    width = 4 if directive == "Y" else 2
    if not re.fullmatch(f"[0-9]{{{width}}}", value[:width]):
        return None
    number = int(value[:width])
    if directive == "y":
        return width, "Y", number + (1900 if number >= 69 else 2000)
    return width, directive, number
