"""Owns what can be set and what a schema declares, as the parser needs it."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from .errors import PermanentError, listed

DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
CODECS: Final = {
    "utf-8": "utf-8",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "latin-1": "iso-8859-1",
    "windows-1252": "cp1252",
}


class Column(NamedTuple):
    name: str
    read_from: str  # the name in the header
    nullable: bool
    null_values: tuple[str, ...]


class Schema(NamedTuple):
    output: str
    mode: str
    columns: tuple[Column, ...]


class Settings(NamedTuple):
    schema: Schema | None
    delimiter: str  # "" for whatever the first line says
    encoding: str
    header: bool
    quotes: bool

    @classmethod
    def read(cls, given: dict[str, str]) -> Settings:
        """Return the settings with their defaults. Raises PermanentError for a value that is none of theirs."""
        delimiter = _one_of(given, "delimiter", {"auto": "", **DELIMITERS})
        encoding = _one_of(given, "encoding", {"auto": "auto", **{name: name for name in CODECS}})
        switches = {"true": "true", "false": ""}
        return cls(
            schema=_schema(given.get("schema", "")),
            delimiter=delimiter,
            encoding=encoding,
            header=bool(_one_of(given, "header", switches)),
            quotes=bool(_one_of(given, "quotes", switches)),
        )


def _one_of(given: dict[str, str], name: str, known: dict[str, str]) -> str:
    text = given.get(name, next(iter(known)))
    if text not in known:
        hint = f"use one of: {', '.join(known)}"
        raise PermanentError(f"the setting {name}={text!r} is not one of the parser's", kind="bad_setting", hint=hint)
    return known[text]


def _schema(text: str) -> Schema | None:
    if not text:
        return None
    declared = json.loads(text)
    nested = [each["name"] for each in declared["columns"] if _is_nested(each["type"])]
    if nested:
        hint = "declare them as string: a field of delimited text has no parts"
        raise PermanentError(f"lists and structs are declared: {listed(nested)}", kind="bad_schema", hint=hint)
    columns = tuple(
        Column(
            name=each["name"],
            read_from=each.get("read_from", each["name"]),
            nullable=each.get("nullable", True),
            null_values=tuple(each.get("null_values", ())),
        )
        for each in declared["columns"]
    )
    return Schema(output=declared.get("output", "csv_rows"), mode=declared.get("mode", "strict"), columns=columns)


def _is_nested(type_: object) -> bool:
    return isinstance(type_, dict) and type_["kind"] in ("list", "struct")
