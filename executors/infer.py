"""Owns the inference of column types by elimination: what no value speaks against is left, and each loss has evidence.

Pure: values in, findings out. Nothing is voted on and nothing guessed. A column that two readings are left for stays
text, with the question and the ways to answer it; so does one that would lose something, such as the zeros that an
identifier begins with, or the digits of an amount that a float would round.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from eventlog.column_types import DECIMAL_DIGITS_MAX, ColumnType, DecimalType
from eventlog.schema import is_reserved

ROWS_MAX: Final = 100_000  # looked at, of all files together
ROWS_MIN: Final = 100  # before a look may end because nothing is left to eliminate
VALUE_CHARS_MAX: Final = 60  # of a value that is shown as evidence
NULL_TEXTS: Final = ("", "null", "NULL", "NA")  # never read as nulls unless they are declared
BOOLEANS: Final = ("true", "false", "TRUE", "FALSE", "True", "False")

Candidate = Literal[
    "null", "boolean", "integer", "decimal", "float", "date", "datetime", "time", "duration", "string"
]  # fmt: skip
Kind = Literal["text", "string", "number", "boolean", "null", "nested"]  # of a value; text: of what, nobody says

# 14 forms of a day; two digits of a year are read as strptime does.
DATE_FORMATS: Final = (
    "%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%m.%d.%Y",
    "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%y/%m/%d", "%Y%m%d", "%y%m%d",
)  # fmt: skip
TIME_FORMATS: Final = ("%H:%M:%S.%f", "%H:%M")
_DAYS_OF_DATETIMES: Final = (
    "%Y-%m-%dT", "%Y-%m-%d ", "%Y/%m/%d ", "%d/%m/%Y ", "%m/%d/%Y ", "%d.%m.%Y ", "%Y%m%d-", "%Y%m%dT",
)  # fmt: skip
DATETIME_FORMATS: Final = tuple(
    day + time + zone for day in _DAYS_OF_DATETIMES for time in TIME_FORMATS for zone in ("", "%z")
)
_FORMATS: Final[dict[str, tuple[str, ...]]] = {
    "date": DATE_FORMATS,
    "datetime": DATETIME_FORMATS,
    "time": TIME_FORMATS,
}
_NUMBER: Final = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?")
_FLOAT: Final = re.compile(r"-?([0-9]+)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?|nan|-?inf")
_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?"
    r"|\d+ days? \d{1,2}:\d\d:\d\d(?:\.\d+)?"
)


class Eliminated(Struct, frozen=True, kw_only=True):
    """What a value spoke against: a candidate, or one of its formats; `line` is the row's first line in its file."""

    candidate: str
    reason: str
    line: int
    value: str


class ColumnFinding(Struct, frozen=True, kw_only=True):
    """What is left of a column's candidates, with the evidence against all others.

    `question` is not "" where more than one reading is left; the column is a string then, and each of `answers` is a
    declaration that settles it.
    """

    name: str
    read_from: str
    type: ColumnType
    format: str
    null_values: tuple[str, ...]
    left: tuple[str, ...]
    values: int  # that are not null
    nulls: dict[str, int]
    eliminated: tuple[Eliminated, ...]
    notes: tuple[str, ...]
    question: str
    answers: tuple[dict[str, Any], ...]


class _Choice(Struct, frozen=True, kw_only=True):
    type: ColumnType
    format: str = ""
    note: str = ""


class ColumnInference:
    """The candidates of one column. Values are taken in the order of the file."""

    def __init__(self) -> None:
        self.values = 0
        self.nulls: dict[str, int] = {}
        self._left: list[str] = [
            "null", "boolean", "integer", "decimal", "float", "date", "datetime", "time", "duration"
        ]  # fmt: skip  # string is always left
        self._formats = {name: list(formats) for name, formats in _FORMATS.items()}
        self._whole_digits = 0
        self._scale = 0
        self._eliminated: list[Eliminated] = []

    @property
    def settled(self) -> bool:
        """Say whether no further value can change anything."""
        return not self._left

    def take(self, value: str | None, *, line: int, kind: Kind = "text") -> None:
        """Let a value speak against what it cannot be. None and what may stand for no value speak against nothing."""
        if value is None or kind == "null" or (kind == "text" and value in NULL_TEXTS):
            spelled = "(absent)" if value is None else value
            self.nulls[spelled] = self.nulls.get(spelled, 0) + 1
            return
        self.values += 1
        for candidate in list(self._left):
            reason = self._reason(candidate, value, kind, line)
            if reason:
                self._left.remove(candidate)
                self._keep_evidence(candidate, reason, line, value)

    def finding(self, *, name: str, read_from: str, whole: bool) -> ColumnFinding:
        """Return what is left. `whole` says that every row was looked at."""
        choices, question = self._choices(whole=whole)
        chosen = choices[0] if len(choices) == 1 else _Choice(type="string")
        spelled = tuple(sorted(text for text in self.nulls if text in NULL_TEXTS))
        notes = [chosen.note] if chosen.note else []
        if chosen.type == "string" and spelled and self.values:
            notes.append(f"{_counted(self.nulls)} kept as text; declare null_values to have nulls")
        return ColumnFinding(
            name=name,
            read_from=read_from,
            type=chosen.type,
            format=chosen.format,
            null_values=() if chosen.type == "string" else spelled,
            left=(*self._left, "string"),
            values=self.values,
            nulls=self.nulls,
            eliminated=tuple(self._eliminated),
            notes=tuple(notes),
            question=question,
            answers=tuple(_declaration(name, read_from, each, spelled) for each in choices) if question else (),
        )

    # --- taking ---

    def _reason(self, candidate: str, value: str, kind: Kind, line: int) -> str:
        """Return why the value cannot be of a candidate, "" if it can."""
        if candidate == "null":
            return "a value"
        if kind != "text" and candidate not in _OF_KIND[kind]:
            return f"a JSON {kind}" if kind != "nested" else "a JSON object or list"
        match candidate:
            case "boolean":
                return "" if value in BOOLEANS else "neither true nor false"
            case "integer" | "decimal" | "float":
                return self._number_reason(candidate, value)
            case "duration":
                return "" if _DURATION.fullmatch(value) else "no duration"
            case _:
                return self._format_reason(candidate, value, line)

    def _number_reason(self, candidate: str, value: str) -> str:
        plain = _NUMBER.fullmatch(value)
        if plain is not None and plain[1][0] == "0" and len(plain[1]) > 1:
            return "a leading zero: an identifier"
        if candidate == "float":
            return _float_reason(value)
        if plain is None:
            return "not a plain number"
        if candidate == "integer":
            if plain[2] is not None:
                return "digits behind a point"
            return "" if -(2**63) <= int(value[:40]) < 2**63 else "more than int64 holds"
        self._whole_digits = max(self._whole_digits, len(plain[1].lstrip("0")))
        self._scale = max(self._scale, len(plain[2] or ""))
        if self._whole_digits + self._scale > DECIMAL_DIGITS_MAX:
            return f"more than {DECIMAL_DIGITS_MAX} digits"
        return ""

    def _format_reason(self, candidate: str, value: str, line: int) -> str:
        before = self._formats[candidate]
        after = [format_ for format_ in before if fits(value, format_)]
        if not after:
            few = len(before) < len(_FORMATS[candidate])
            return f"not {' or '.join(before)}" if few and len(before) < 4 else f"no form of a {candidate}"
        if self.values > 1:
            for format_ in before:
                if format_ not in after:
                    self._keep_evidence(f"{candidate} as {format_}", "does not fit", line, value)
        self._formats[candidate] = after
        return ""

    def _keep_evidence(self, candidate: str, reason: str, line: int, value: str) -> None:
        shown = value if len(value) <= VALUE_CHARS_MAX else f"{value[: VALUE_CHARS_MAX - 1]}…"
        self._eliminated.append(Eliminated(candidate=candidate, reason=reason, line=line, value=shown))

    # --- telling ---

    def _choices(self, *, whole: bool) -> tuple[list[_Choice], str]:
        """Return the readings that are left, and the question if there are several; one is the answer."""
        if not self.values:
            why = "it has no values" if self.nulls else "there are no rows"
            return [_Choice(type="string", note=f"{why}: nothing speaks for a type")], ""
        plain = [choice for candidate in self._left if (choice := self._choice(candidate, whole=whole))]
        # Of numbers the narrowest is meant: what it holds, the wider ones hold as well.
        choices = [*plain[:1], *self._format_choices()]
        if len(choices) > 1:
            said = " or ".join(_words(each) for each in choices)
            return choices, f"every value can be read as {said}; which is it?"
        return choices or [_Choice(type="string")], ""

    def _choice(self, candidate: str, *, whole: bool) -> _Choice | None:
        match candidate:
            case "boolean":
                return _Choice(type="boolean", format="text")
            case "integer":
                return _Choice(type="int64", format="text")
            case "decimal":
                return self._decimal(whole=whole)
            case "float":
                return _Choice(type="float64", format="text")
            case "duration":
                return _Choice(type="string", note="durations, which a table cannot keep as such: they stay text")
            case _:
                return None

    def _decimal(self, *, whole: bool) -> _Choice:
        precision = max(self._whole_digits + self._scale, 1)
        note = f"exact decimals, as many digits as were seen ({precision}, {self._scale} of them behind the point)"
        if not whole:
            note += "; declare a greater precision if longer ones may come: they would be quarantined"
        return _Choice(type=DecimalType(precision=precision, scale=self._scale), note=note)

    def _format_choices(self) -> list[_Choice]:
        """Return the readings as days, instants or times that are left."""
        choices: list[_Choice] = []
        for candidate in ("date", "datetime", "time"):
            if candidate in self._left:
                choices.extend(_of_format(candidate, format_) for format_ in self._formats[candidate])
        return choices


def _of_format(candidate: str, format_: str) -> _Choice:
    if candidate != "datetime":
        return _Choice(type="date" if candidate == "date" else "time", format=format_)
    if "%z" in format_:
        return _Choice(type="timestamp_utc", format=format_, note="each instant is kept in UTC, not the zone it was in")
    return _Choice(type="timestamp", format=format_, note="no zone is written: kept as local times of an unknown zone")


def _words(choice: _Choice) -> str:
    from eventlog.column_types import type_words

    return f"{type_words(choice.type)} {choice.format}" if choice.format != "text" else type_words(choice.type)


def _counted(nulls: dict[str, int]) -> str:
    return ", ".join(f"{number:,} x {text!r}" for text, number in sorted(nulls.items()))


_OF_KIND: Final[dict[str, tuple[str, ...]]] = {
    "string": ("date", "datetime", "time", "duration"),
    "number": ("integer", "decimal", "float"),
    "boolean": ("boolean",),
    "nested": (),
}


def _float_reason(value: str) -> str:
    written = _FLOAT.fullmatch(value)
    if written is None:
        return "not a number"
    if written[1] is None:
        return ""  # nan and the infinities
    if len(written[1]) > 1 and written[1][0] == "0":
        return "a leading zero: an identifier"
    kept = len(value) <= 15 or Decimal(repr(float(value))) == Decimal(value)  # 15 digits always come back
    return "" if kept and float(value) not in (float("inf"), float("-inf")) else "a float would round it"


# --- forms of days and times -----------------------------------------------------------------------------------------

_DIRECTIVES: Final = {
    "%Y": r"(?P<Y>[0-9]{4})", "%y": r"(?P<y>[0-9]{2})", "%m": r"(?P<m>[0-9]{2})", "%d": r"(?P<d>[0-9]{2})",
    "%H": r"(?P<H>[0-9]{2})", "%M": r"(?P<M>[0-9]{2})", "%S": r"(?P<S>[0-9]{2})",
    ".%f": r"(?:\.[0-9]{1,6})?", "%z": r"(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])",
}  # fmt: skip


def fits(value: str, format_: str) -> bool:
    """Say whether a text is a day, an instant or a time in this form."""
    matched = _pattern(format_).fullmatch(value)
    if matched is None:
        return False
    parts = {name: int(text) for name, text in matched.groupdict().items()}
    if parts.get("H", 0) > 23 or parts.get("M", 0) > 59 or parts.get("S", 0) > 59:
        return False
    if "m" not in parts:
        return True
    short = parts.get("y", 0)
    year = parts.get("Y", short + (2000 if short < 69 else 1900))
    return year > 0 and 1 <= parts["m"] <= 12 and 1 <= parts["d"] <= monthrange(year, parts["m"])[1]


@cache
def _pattern(format_: str) -> re.Pattern[str]:
    pieces = re.split(r"(\.%f|%[a-zA-Z])", format_)
    return re.compile("".join(_DIRECTIVES.get(piece, re.escape(piece)) for piece in pieces))


# --- tables ----------------------------------------------------------------------------------------------------------


class TableInference:
    """The columns of files that have the same ones. `full` says that no further row is wanted."""

    def __init__(self, *, rows_max: int = ROWS_MAX) -> None:
        self.rows = 0
        self._rows_max = rows_max
        self._columns: dict[str, ColumnInference] = {}

    @property
    def full(self) -> bool:
        """Say whether enough was seen: as many rows as may be, or nothing is left that a value could speak against."""
        settled = self.rows >= ROWS_MIN and all(column.settled for column in self._columns.values())
        return self.rows >= self._rows_max or settled

    @property
    def rows_wanted(self) -> int:
        return self._rows_max - self.rows

    def take(
        self,
        names: Sequence[str],
        lines: Sequence[int],
        columns: Sequence[Sequence[str | None]],
        *,
        value_of: Callable[[str], tuple[str, Kind]] | None = None,
    ) -> None:
        """Take rows, column by column. `value_of` tells what the text of a value is, where the source says so."""
        for name in names:
            self._columns.setdefault(name, ColumnInference())
        self.rows += len(lines)
        for name, values in zip(names, columns, strict=True):
            column = self._columns[name]
            for line, text in zip(lines, values, strict=True):
                if text is None or value_of is None:
                    column.take(text, line=line)
                else:
                    value, kind = value_of(text)
                    column.take(value, line=line, kind=kind)

    def findings(self, *, whole: bool) -> tuple[ColumnFinding, ...]:
        """Return what was found of each column, in the order in which they were met."""
        names = column_names(list(self._columns))
        return tuple(
            column.finding(name=name, read_from=source, whole=whole)
            for name, (source, column) in zip(names, self._columns.items(), strict=True)
        )


def column_names(sources: Sequence[str]) -> list[str]:
    """Return names that a table can have: those of the source, or `column_N` for what cannot be one."""
    taken: set[str] = set()
    names = []
    for number, source in enumerate(sources, 1):
        name = source.strip()
        usable = name and name.isprintable() and not is_reserved(name)
        if not usable or name.casefold() in taken:
            name = f"column_{number}"
            while name.casefold() in taken or any(name.casefold() == other.strip().casefold() for other in sources):
                name = f"{name}_"  # bounded by the number of sources
        taken.add(name.casefold())
        names.append(name)
    return names


def schema_file(findings: Sequence[ColumnFinding], *, output: str = "") -> dict[str, Any]:
    """Return the declaration that the findings amount to, as a schema file has it."""
    columns = [
        _declaration(each.name, each.read_from, _Choice(type=each.type, format=each.format), each.null_values)
        for each in findings
    ]
    return {**({"output": output} if output else {}), "mode": "strict", "columns": columns}


def _declaration(name: str, read_from: str, choice: _Choice, null_values: tuple[str, ...]) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": name, "type": msgspec.to_builtins(choice.type), "nullable": True}
    if choice.format:
        declared["format"] = choice.format
    if null_values and choice.type != "string":
        declared["null_values"] = list(null_values)
    if read_from != name:
        declared["read_from"] = read_from
    return declared
