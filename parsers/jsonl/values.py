"""Owns what a member becomes in its column, and how a person is shown what cannot be one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from . import limits
from .objects import Repeated
from .schema import Column, is_nested


def value_of(column: Column, text: str | None, again: str | None) -> tuple[Any, str]:
    """Return a column's value of one object and what is wrong with it. `again` has all texts of a key that is repeated.

    A text that is declared in null_values is a null; so is null, and a key that the object has not.
    """
    if is_nested(column.type):
        return _nested_value(column, text, again)
    if again is not None:
        return visible(again), ""
    if text is None or text == "null":
        return None, ""
    if text[0] != '"':
        return (None if text in column.null_values else text), ""
    value = json.loads(text)
    return (None, "") if value in column.null_values else readable(column, value)


def readable(column: Column, value: str) -> tuple[str, str]:
    """Return a text that a table can hold, and what is wrong with the one that was given."""
    shown = visible(value)
    return shown, "" if shown == value else f"{column.name} has half a surrogate pair, shown with backslashes"


def _nested_value(column: Column, text: str | None, again: str | None) -> tuple[Any, str]:
    if text is None or again is not None:
        return None, ""
    try:
        value = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        return _shaped(value, column.type), ""
    except (TypeError, ValueError, ArithmeticError) as error:
        return None, f"{column.name} is not what it is declared as: {error}: {short(text)}"


def _shaped(value: Any, type_: Any) -> Any:
    """Return a nested value as declared; nothing is converted that would change. Raises TypeError and ValueError."""
    if value is None:
        return None
    match type_:
        case {"kind": "list", "item": item} if isinstance(value, list):
            return [_shaped(each, item) for each in value]
        case {"kind": "struct", "fields": fields} if isinstance(value, dict):
            return _shaped_struct(value, fields)
        case {"kind": "decimal", "precision": precision, "scale": scale} if isinstance(value, Decimal):
            return _shaped_decimal(value, precision, scale)
        case "string" if isinstance(value, str):
            value.encode()  # raises for half a surrogate pair
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "int64" if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < 2**63:
            return int(value)
        case "float64" if isinstance(value, Decimal) and Decimal(repr(float(value))) == value:
            return float(value)
    raise TypeError(f"a value is not {type_ if isinstance(type_, str) else type_['kind']}")


def _shaped_struct(value: dict[str, Any], fields: list[dict[str, Any]]) -> dict[str, Any]:
    extra = [key for key in value if key not in {each["name"] for each in fields}]
    if extra:
        raise ValueError(f"it has the key {short(extra[0])}")
    missing = [each["name"] for each in fields if not each.get("nullable", True) and value.get(each["name"]) is None]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    return {each["name"]: _shaped(value.get(each["name"]), each["type"]) for each in fields}


def _shaped_decimal(value: Decimal, precision: int, scale: int) -> Decimal:
    _sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # JSON has no infinities
    if -exponent > scale or len(digits) + exponent > precision - scale:
        raise ValueError(f"a number does not fit decimal({precision},{scale})")
    return value


def said(repeated: Repeated) -> str:
    values = f": {', '.join(short(text) for text in repeated.values)}" if repeated.values else ""
    return f"the key {short(repeated.key)} stands more than once in an object{values}"


def shown_value(value: Any) -> str:
    return short(value) if isinstance(value, str) else json.dumps(value)


def short(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= limits.SHOWN_CHARS_MAX else f"{shown[: limits.SHOWN_CHARS_MAX - 1]}…"


def visible(text: str) -> str:
    """Return a text with lone surrogates, which JSON can spell and no table can hold, shown with backslashes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
