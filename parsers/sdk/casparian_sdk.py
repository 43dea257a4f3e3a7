"""Helps a parser to read safely: everything as text first, with the line that it stood in, then explicit conversions.

A file to lie beside a parser's own (`casparian parser new NAME --with-sdk` puts it there), so that nothing has to be
installed where the parser runs and the parser's hash covers it. It needs the standard library, pyarrow and tzdata,
which come with Casparian. Nobody needs it: a parser that yields a name and a RecordBatch is complete.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Final, Literal, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa

ROWS_PER_BATCH: Final = 10_000  # enough for Arrow to be quick, and little memory
FIELD_CHARACTERS_MAX: Final = 16 * 1024 * 1024  # of one CSV field: an open quote must not swallow a whole file
ISO8601: Final = "iso8601"

Encoding = Literal["utf-8", "utf-16", "latin-1", "cp1252", "ascii"]
Ambiguous = Literal["raise", "earlier", "later"]


class Output(NamedTuple):
    """What a parser yields: `yield Output("rows", batch)`."""

    name: str
    data: pa.RecordBatch | pa.Table


class PermanentError(Exception):
    """This file can never be parsed; the job fails at once. Set `kind` to a word for programs, `hint` to what to do."""

    def __init__(self, reason: str, *, kind: str = "parser_error", hint: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


class TransientError(Exception):
    """This file may be parsed at another try; the job is tried again a few times."""


class BadValueError(ValueError):
    """A text is not what it has to be; the message says why. A row's matter: put it into `__cf_row_error`."""


class NonexistentTimeError(BadValueError):
    """The clocks of the zone were put forward over this time, so that it never was."""


class AmbiguousTimeError(BadValueError):
    """The clocks of the zone were put back, so that this time was twice."""


class UnknownZoneError(BadValueError):
    """There is no time zone of this name. Rather the matter of a setting than of a row."""


# --- reading ----------------------------------------------------------------------------------------------------------


class TextRow(NamedTuple):
    """One record of a file as text. `line` is the line that it begins in, from 1."""

    line: int
    fields: list[str]


def read_csv_text(
    path: str, *, delimiter: str = ",", quote: str = '"', encoding: Encoding = "utf-8"
) -> Iterator[TextRow]:
    """Yield every record of a CSV file, the headings and blank lines (no fields) too: whoever leaves one out, says so.

    Nothing is guessed and nothing converted: `007`, `1e5` and `NULL` stay what they are. Raises PermanentError, with
    the line, for bytes that are not of the encoding, and for quotes that do not fit.
    """
    csv.field_size_limit(FIELD_CHARACTERS_MAX)
    with open(path, encoding=_with_mark(encoding), newline="") as source:  # noqa: PTH123 - a path given by the host
        records = csv.reader(source, delimiter=delimiter, quotechar=quote, strict=True)
        while True:
            line = records.line_num + 1
            try:
                fields = next(records)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                _not_of_the_encoding(error, encoding, line)
            except csv.Error as error:
                raise PermanentError(
                    f"read the record that begins in line {line}: {error}",
                    kind="bad_csv",
                    hint="check delimiter and quote; a quote that is not closed takes all that follows",
                ) from error
            yield TextRow(line, fields)


def read_fixed_width_text(path: str, widths: Sequence[int], *, encoding: Encoding = "utf-8") -> Iterator[TextRow]:
    """Yield every line of a file cut into fields of these widths in characters, blanks around them taken off.

    What is longer than the widths is one more field, what is shorter has fewer: a count that differs is a row's error.
    """
    starts = [sum(widths[:number]) for number in range(len(widths) + 1)]
    with open(path, encoding=_with_mark(encoding), newline="\n") as source:  # noqa: PTH123 - a path given by the host
        line = 0
        try:
            for line, text in enumerate(source, 1):
                whole = text.rstrip("\r\n")
                cuts = [whole[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
                there = [cut.strip(" ") for start, cut in zip(starts, cuts, strict=True) if start < len(whole)]
                yield TextRow(line, there)
        except UnicodeDecodeError as error:
            _not_of_the_encoding(error, encoding, line + 1)


def _with_mark(encoding: Encoding) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding  # a byte order mark is no part of the first field


def _not_of_the_encoding(error: UnicodeDecodeError, encoding: str, line: int) -> NoReturn:
    raise PermanentError(
        f"read the text from line {line} on: it is not {encoding}: {error.reason}",
        kind="bad_encoding",
        hint="name the encoding that the file has, such as cp1252 or utf-16",
    ) from error


# --- giving -----------------------------------------------------------------------------------------------------------


def text_batch(
    names: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    *,
    lines: Sequence[int],
    errors: Sequence[str | None] | None = None,
) -> pa.RecordBatch:
    """Return rows of text as a batch, with the line of each and, where a text says so, what is wrong with it.

    The host reads the texts as the types that the columns declare. A row that does not fit, or has an error, is
    quarantined with its line; none is lost.
    """
    columns = [pa.array([row[number] for row in rows], pa.string()) for number in range(len(names))]
    ids = pa.array(lines, pa.int64())
    wrong = pa.array(errors if errors is not None else [None] * len(rows), pa.string())
    return pa.record_batch([*columns, ids, wrong], names=[*names, "__cf_row_id", "__cf_row_error"])


# --- converting -------------------------------------------------------------------------------------------------------


def to_decimal(text: str, *, precision: int, scale: int) -> Decimal:
    """Return the number exactly. Raises BadValueError for what is not [+-]digits[.digits], or had to be rounded."""
    found = re.fullmatch(r"[+-]?([0-9]+)(?:\.([0-9]+))?", text)
    if found is None:
        raise BadValueError(f"{text!r} is no plain decimal number")
    whole, fraction = found[1].lstrip("0"), found[2] or ""
    if len(fraction) > scale or len(whole) > precision - scale:
        raise BadValueError(f"{text!r} does not fit decimal({precision},{scale}) without being rounded")
    return Decimal(text)


def to_instant(text: str, format: str, zone: str | None = None, *, ambiguous: Ambiguous = "raise") -> datetime:  # noqa: A002
    """Return the instant in UTC that a text says, in strptime's format or "iso8601".

    A text with an offset in it says all, and `zone` must be None; one without is local time of `zone`, a name of the
    IANA database as Casparian pins it. Raises BadValueError for what does not fit, NonexistentTimeError and
    AmbiguousTimeError where the clocks were changed; `ambiguous` takes the earlier or later of two.
    """
    try:
        return _instant(_parsed(text, format), zone, ambiguous)
    except OverflowError as error:
        raise BadValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from error


def _instant(said: datetime, zone: str | None, ambiguous: Ambiguous) -> datetime:
    if said.tzinfo is not None:
        if zone is not None:
            raise BadValueError(f"{said.isoformat()} says its offset itself, and is to be of the zone {zone} as well")
        return said.astimezone(UTC)
    if zone is None:
        raise BadValueError(f"{said.isoformat()} says no offset, and no zone is named: when it was is not known")
    return _local(said, zone_named(zone), ambiguous)


@functools.lru_cache(maxsize=64)
def zone_named(name: str) -> ZoneInfo:
    """Return a zone of the pinned database; this machine's own is not asked, so that every machine says the same."""
    if name not in files("tzdata").joinpath("zones").read_text("utf-8").split():
        raise UnknownZoneError(f"there is no time zone named {name!r}; write one such as Europe/Berlin")
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _parsed(text: str, format: str) -> datetime:  # noqa: A002
    try:
        if format != ISO8601:
            return datetime.strptime(text, format)
        if not re.match(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[T ]", text):
            raise BadValueError(f"{text!r} is not a day with a time in ISO 8601")
        return datetime.fromisoformat(text)
    except ValueError as error:
        if isinstance(error, BadValueError):
            raise
        raise BadValueError(f"{text!r} does not fit {format}: {error}") from error


def _local(said: datetime, zone: ZoneInfo, ambiguous: Ambiguous) -> datetime:
    first, second = (said.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    shown = said.isoformat(sep=" ")
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != said:
        raise NonexistentTimeError(f"{shown} never was in {zone.key}: the clocks were put forward over it")
    if ambiguous == "raise":
        raise AmbiguousTimeError(f"{shown} was twice in {zone.key}: the clocks were put back")
    return (first if ambiguous == "earlier" else second).astimezone(UTC)
