"""Owns what a schema declares, as the parser needs it, and the Arrow types of nested columns."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import pyarrow as pa

from .errors import PermanentError

LEAVES: Final = {"string": str, "int64": int, "boolean": bool, "float64": float}  # what a nested value can be made of


class Column(NamedTuple):
    name: str
    read_from: str  # the key
    type: Any  # as declared: a word, or an object with a `kind`
    null_values: frozenset[str]


class Schema(NamedTuple):
    output: str
    mode: str
    columns: tuple[Column, ...]


def schema_of(text: str) -> Schema | None:
    if not text:
        return None
    declared = json.loads(text)
    columns = tuple(
        Column(
            name=each["name"],
            read_from=each.get("read_from", each["name"]),
            type=each["type"],
            null_values=frozenset(each.get("null_values", ())),
        )
        for each in declared["columns"]
    )
    for column in columns:
        if is_nested(column.type):
            arrow_type(column.type)
    return Schema(output=declared.get("output", "jsonl_rows"), mode=declared.get("mode", "strict"), columns=columns)


def is_nested(type_: Any) -> bool:
    return isinstance(type_, dict) and type_["kind"] in ("list", "struct")


def arrow_type(type_: Any) -> pa.DataType:
    """Return the Arrow type of a nested column or a part of it. Raises PermanentError for a part that is not read."""
    match type_:
        case "string":
            return pa.string()
        case "int64":
            return pa.int64()
        case "boolean":
            return pa.bool_()
        case "float64":
            return pa.float64()
        case {"kind": "decimal", "precision": precision, "scale": scale}:
            return pa.decimal128(precision, scale)
        case {"kind": "list", "item": item}:
            return pa.list_(arrow_type(item))
        case {"kind": "struct", "fields": fields}:
            return pa.struct(
                [pa.field(each["name"], arrow_type(each["type"]), each.get("nullable", True)) for each in fields]
            )
    raise PermanentError(
        f"lists and structs cannot be made of {type_!r}",
        kind="bad_schema",
        hint=f"inside them declare {', '.join(LEAVES)} or decimal; a day or a time is a string there",
    )
