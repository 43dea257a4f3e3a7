"""Owns what the first line says: which delimiter, and which column of the file goes where."""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

from .errors import PermanentError, bad_header, listed
from .settings import DELIMITERS, Schema, Settings

logger = logging.getLogger("parser.csv")


def sniffed(first: str, *, quotes: bool) -> str:
    """Return the delimiter that stands most often in the first line, outside quotes. Refuses a tie."""
    outside = "".join(first.split('"')[::2]) if quotes else first
    counts = {name: outside.count(char) for name, char in DELIMITERS.items() if char in outside}
    if not counts:
        logger.info("no delimiter stands in the first line: one column")
        return ","
    most = max(counts.values())
    best = [name for name, number in counts.items() if number == most]
    if len(best) > 1:
        why = f"{' and '.join(best)} stand equally often in the first line ({most:,})"
        raise PermanentError(why, kind="delimiter_ambiguous", hint=f"say which it is: --set delimiter={best[0]}")
    logger.info("delimiter %s: it stands most often in the first line (%s)", best[0], counts)
    return DELIMITERS[best[0]]


class Layout(NamedTuple):
    """Which columns of the file go where: names as handed over, places in the file, texts that are nulls."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    null_values: tuple[tuple[str, ...], ...] = ()


def layout_of(header: list[str], settings: Settings) -> Layout:
    """Match the header with the declared columns. Raises PermanentError where they differ more than the mode allows."""
    twice = [name for name, number in Counter(header).items() if number > 1]
    if twice:
        raise bad_header(f"names stand more than once in the header: {listed(twice)}", "rename them in a copy")
    schema = settings.schema
    if schema is None:
        return Layout(tuple(header), tuple(range(len(header))), ((),) * len(header))
    if not settings.header:
        names = tuple(column.name for column in schema.columns)
        return Layout(names, tuple(range(len(names))), tuple(column.null_values for column in schema.columns))
    places = {name: place for place, name in enumerate(header)}
    present = [column for column in schema.columns if column.read_from in places]
    missing = [column for column in schema.columns if column.read_from not in places]
    extra = [name for name in header if name not in {column.read_from for column in schema.columns}]
    if missing and (schema.mode != "allow_missing_optional" or not all(column.nullable for column in missing)):
        raise _differs("missing", [column.read_from for column in missing])
    if extra and schema.mode != "allow_extra":
        raise _differs("not declared", extra)
    found = [places[column.read_from] for column in present]
    if schema.mode == "strict" and found != sorted(found):
        raise _differs("in another order", header)
    passed_on = _passed_on(extra, schema)
    return Layout(
        names=(*(column.name for column in present), *passed_on),
        places=(*found, *(places[name] for name in passed_on)),
        null_values=(*(column.null_values for column in present), *(() for _name in passed_on)),
    )


def _passed_on(extra: list[str], schema: Schema) -> list[str]:
    """Return the undeclared columns that the host can name; the log tells of the others."""
    declared = {column.name for column in schema.columns}
    usable = [name for name in extra if name not in declared and not name.casefold().startswith(("_cf_", "__cf_"))]
    if len(usable) < len(extra):
        logger.warning("columns that are not declared are left out: %s", listed([n for n in extra if n not in usable]))
    return usable


def _differs(how: str, names: list[str]) -> PermanentError:
    hint = "make a schema for this file: casparian schema infer FILE; or choose another mode in the schema file"
    return PermanentError(
        f"the header is not the declared one: {how}: {listed(names)}", kind="header_differs", hint=hint
    )
