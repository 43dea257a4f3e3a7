"""Owns the formats of text: which a column may have, and what each compiles to. Pure.

A format of a time names its parts by directives (%Y %m %d %H %M %S %y %b %z %% and `.%f`), or is the word iso8601. It
compiles to a pattern and to the way from its text to ISO text, which Arrow reads. Where the parts stand in the order of
ISO already, that way is a few edits at fixed places, which cost a fraction of a pattern.
"""

from __future__ import annotations

import functools
import re
from typing import Final, Literal

from msgspec import Struct

from eventlog.column_types import ColumnType
from eventlog.schema import Column
from executors.violations import is_zoned

TEXT: Final = "text"
ISO8601: Final = "iso8601"
TEXT_TYPES: Final = ("int64", "float64", "boolean")
FORMAT_CHARS_MAX: Final = 200

Kind = Literal["date", "time", "timestamp"]

DIRECTIVES: Final[dict[str, str]] = {
    "%Y": "([0-9]{4})",
    "%y": "([0-9]{2})",
    "%m": "([0-9]{2})",
    "%b": "((?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))",
    "%d": "([0-9]{2})",
    "%H": "([0-9]{2})",
    "%M": "([0-9]{2})",
    "%S": "([0-9]{2})",
    ".%f": r"(\.[0-9]{1,6})?",
    "%z": "(Z|[+-][0-9]{2}:?[0-9]{2})",
}
WIDTHS: Final = dict.fromkeys(DIRECTIVES, (2, 2)) | {"%Y": (4, 4), "%b": (3, 3), ".%f": (0, 7), "%z": (1, 6)}
DATE_PARTS: Final = (("%Y", "%y"), ("%m", "%b"), ("%d",))
TIME_PARTS: Final = (("%H",), ("%M",))
NEEDS: Final = {"%S": "%M", ".%f": "%S"}
_TOKEN: Final = re.compile(r"\.%f|%.|.", re.DOTALL)

# What stands before each part in ISO text, and how many characters the part has there.
ISO_ORDER: Final = (("%Y", "", 4), ("%m", "-", 2), ("%d", "-", 2), ("%H", "T", 2), ("%M", ":", 2), ("%S", ":", 2))
# A time of day is read as one of the first day that there is to count from.
EPOCH_DAY: Final = "1970-01-01T"


class Edit(Struct, frozen=True, kw_only=True):
    """Put `replacement` in the place of text[start:stop], which is `literal` in a text of the format."""

    start: int
    stop: int
    literal: str
    replacement: str


class TextFormat(Struct, frozen=True, kw_only=True):
    """A compiled format. `rewritten` is the ISO text in terms of the pattern's groups, `edits` a shorter way to it.

    `zoneless` is the format without its zone.
    """

    pattern: str
    zoneless: str
    rewritten: str
    edits: tuple[Edit, ...] | None
    fraction: bool
    zoned: bool
    month_name: bool
    short_year: bool
    chars_min: int
    chars_max: int
    day_at: int


def format_fault(column: Column) -> str | None:
    """Return why a column cannot have its format, as the end of a sentence; None if it can."""
    if not column.format:
        return None
    if column.type in TEXT_TYPES:
        return None if column.format == TEXT else f'a format of {column.type} is "{TEXT}" or nothing'
    kind = kind_of(column.type)
    if kind is None:
        return "its type has no format: text is read as numbers, truth values, dates and times only"
    if column.format == ISO8601:
        return None
    if len(column.format) > FORMAT_CHARS_MAX:
        return f"its format has more than {FORMAT_CHARS_MAX} characters"
    return _directive_fault(tokens(column.format), kind, zoned=is_zoned(column.type))


def kind_of(type_: ColumnType) -> Kind | None:
    """Return what a type of dates and times is of; None for another type."""
    match type_:
        case "date" | "time" | "timestamp":
            return type_
        case _:
            return "timestamp" if is_zoned(type_) else None


def tokens(text_format: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text_format))


def _directive_fault(parts: tuple[str, ...], kind: Kind, *, zoned: bool) -> str | None:
    used = [part for part in parts if "%" in part and part != "%%"]
    if unknown := [part for part in used if part not in DIRECTIVES]:
        return f"its format has {unknown[0]!r}; there are {' '.join(DIRECTIVES)} %%, and the word {ISO8601}"
    groups = [next((group for group in (*DATE_PARTS, *TIME_PARTS) if part in group), (part,)) for part in used]
    if repeated := [group for group in groups if groups.count(group) > 1]:
        return f"its format names {' and '.join(repeated[0])} more than once"
    if zoned != ("%z" in used):
        return "instants need %z in their format" if zoned else "its format has %z, its type has no zone"
    required = {"date": DATE_PARTS, "time": TIME_PARTS, "timestamp": DATE_PARTS + TIME_PARTS}[kind]
    if missing := [group for group in required if group not in groups]:
        return f"its format lacks {' or '.join(missing[0])}"
    allowed = {part for group in required for part in group} | ({"%z"} if zoned else set())
    allowed |= set() if kind == "date" else set(NEEDS)
    if foreign := [part for part in used if part not in allowed]:
        return f"its format has {foreign[0]}, of which a {kind} keeps nothing"
    if lone := [part for part in used if part in NEEDS and NEEDS[part] not in used]:
        return f"its format has {lone[0]} without {NEEDS[lone[0]]}"
    return None


@functools.lru_cache(maxsize=1024)
def compiled(text_format: str, kind: Kind) -> TextFormat:
    """Compile a format that `format_fault` has nothing against."""
    parts = tokens(text_format)
    used = [part for part in parts if part in DIRECTIVES]
    return TextFormat(
        pattern=_pattern(parts),
        zoneless="".join(_without_zone(parts)),
        rewritten=_rewritten(used, kind),
        edits=_edits(parts, used, kind),
        fraction=".%f" in used,
        zoned="%z" in used,
        month_name="%b" in used,
        short_year="%y" in used,
        chars_min=_chars(parts, 0),
        chars_max=_chars(parts, 1),
        day_at=_chars(parts[: parts.index("%d")], 0) if "%d" in parts else 0,
    )


def _chars(parts: tuple[str, ...], which: int) -> int:
    """Return how many characters a text has at least (0) or at most (1)."""
    return sum(WIDTHS[part][which] if part in WIDTHS else 1 for part in parts)


def _pattern(parts: tuple[str, ...]) -> str:
    return "".join(DIRECTIVES.get(part) or re.escape("%" if part == "%%" else part) for part in parts)


def _without_zone(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts without the zone and the blank before it."""
    if "%z" not in parts:
        return parts
    at = parts.index("%z")
    before = at - 1 if at and parts[at - 1] == " " else at
    return parts[:before] + parts[at + 1 :]


def _rewritten(used: list[str], kind: Kind) -> str:
    def group(*parts: str) -> str:
        return next((rf"\{used.index(part) + 1}" for part in parts if part in used), "")

    date = f"{group('%Y', '%y')}-{group('%m', '%b')}-{group('%d')}"
    time = f"{group('%H')}:{group('%M')}:{group('%S') or '00'}{group('.%f')}{group('%z')}"
    if kind == "date":
        return date
    return f"{EPOCH_DAY}{time}" if kind == "time" else f"{date}T{time}"


def _edits(parts: tuple[str, ...], used: list[str], kind: Kind) -> tuple[Edit, ...] | None:
    """Return the edits that make ISO text; None where parts are in another order, or more stands between them."""
    order = {"date": ISO_ORDER[:3], "time": ISO_ORDER[3:], "timestamp": ISO_ORDER}[kind]
    tail = [part for part in (".%f", "%z") if part in used]
    if used != [part for part, _, _ in order] + tail or parts[len(parts) - len(tail) :] != tuple(tail):
        return None
    edits: list[Edit] = []
    place = 0  # in the ISO text
    literals = _literals_before(parts)
    if literals[0] or any(literals[len(order) :]) or any(len(each) > 1 or not each.isascii() for each in literals):
        return None
    for (_, before, width), literal in zip(order, literals, strict=False):
        if place and (literal != before or before == "T"):
            edits.append(Edit(start=place, stop=place + len(literal), literal=literal, replacement=before))
        place += width + (len(before) if place else 0)
    if kind == "time":
        edits.append(Edit(start=0, stop=0, literal="", replacement=EPOCH_DAY))
    return tuple(edits)


def _literals_before(parts: tuple[str, ...]) -> list[str]:
    """Return what stands before each directive, and at last what stands behind them all."""
    literals = [""]
    for part in parts:
        if part in DIRECTIVES:
            literals.append("")
        else:
            literals[-1] += "%" if part == "%%" else part
    return literals
