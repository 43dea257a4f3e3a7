"""Owns the types of values by key: which text is a number, a time or bytes."""

import re
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from .layout import INT64_MAX
from .tables import TIMESTAMP, Column
from .times import moment

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

HEXADECIMAL: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_TYPES: Final = ("string", "int64", "uint64", "hex", "boolean", "float", "timestamp", "binary", "null")
_TYPE_NAMES: Final = pa.array(_TYPES)
_TYPE_CODES: Final = {name: pa.scalar(code, pa.int8()) for code, name in enumerate(_TYPES)}  # 0 is a string
_BINARY_KEYS: Final = frozenset({"Binary", "EventPayload"})  # elements that the schema of events declares xs:hexBinary
_TIME_TEXT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)  # of a FILETIME or SYSTEMTIME
_TIME_TEXT_CHARACTERS: Final = pa.scalar(27, pa.int32())
_FALSE: Final = pa.scalar(False, pa.bool_())


def value_columns(keys: list[str], values: list[Any]) -> tuple[dict[str, Column], list[int]]:
    """Return the columns of key and value, and the positions of the values that their typed column cannot hold.

    The text of a value is looked at once for each different text: event data repeats itself.
    """
    kinds = set(map(type, values))
    only_text = kinds <= {str, type(None)}
    texts: Column = pa.array(values if only_text else [v if type(v) is str else None for v in values], pa.string())
    codes: Column = pa.repeat(_TYPE_CODES["string"], len(values))
    columns: dict[str, Column] = {"key": pa.array(keys, pa.string()), "value_int64": pa.nulls(len(values), pa.int64())}
    unfit: list[int] = []
    if int in kinds:
        columns["value_int64"], unfit = _whole_values(values)
        codes = _coded(columns["value_int64"].is_valid(), "int64", codes)
    columns["value_bool"] = pa.nulls(len(values), pa.bool_())
    if bool in kinds:
        columns["value_bool"] = pa.array([v if type(v) is bool else None for v in values], pa.bool_())
    encoded: Any = texts.dictionary_encode()
    numbers, large = _hexadecimals(encoded.dictionary)
    if numbers is not None:
        whole = numbers.take(encoded.indices)
        codes = _coded(whole.is_valid(), "hex", codes)
        columns["value_int64"] = pc.coalesce(columns["value_int64"], whole)
    if large:
        spots: Column = _pc.fill_null(pc.is_in(encoded.indices, pa.array(large, pa.int32())), _FALSE)
        unfit = sorted({*unfit, *positions(spots)})
        codes = _coded(spots, "hex", codes)
    times = _times(encoded.dictionary)
    columns["value_ts"] = pa.nulls(len(values), TIMESTAMP)
    if times is not None:
        columns["value_ts"] = times.take(encoded.indices)
        codes = _coded(columns["value_ts"].is_valid(), "timestamp", codes)
    columns["value_bytes"], codes = _binaries(keys, texts, codes)
    if kinds != {str}:
        texts, codes = _with_the_rest(values, kinds, texts, codes, columns)
    return {**columns, "value_raw": texts, "value_type": _TYPE_NAMES.take(codes)}, unfit


def _coded(where: Column, name: str, codes: Column) -> Column:
    """Return the codes of types with that of `name` put in at the places marked."""
    coded: Column = _pc.if_else(where, _TYPE_CODES[name], codes)
    return coded


def _with_the_rest(
    values: list[Any], kinds: set[type], texts: Column, codes: Column, columns: dict[str, Column]
) -> tuple[Column, Column]:
    """Return value_raw and the codes with what is no text: numbers that fit through Arrow, the rest one by one."""
    if int in kinds:
        is_whole = _pc.equal(codes, _TYPE_CODES["int64"])
        texts = _pc.coalesce(texts, _pc.if_else(is_whole, columns["value_int64"].cast(pa.string()), None))
    if bool in kinds:
        texts = pc.coalesce(texts, columns["value_bool"].cast(pa.string()))
        codes = _coded(columns["value_bool"].is_valid(), "boolean", codes)
    rest = positions(texts.is_null())
    if not rest:
        return texts, codes
    more: list[str | None] = [None] * len(values)
    kind: list[Any] = [None] * len(values)
    for at in rest:
        value = values[at]
        more[at] = None if value is None else repr(value)
        kind[at] = _TYPES.index("null" if value is None else "float" if isinstance(value, float) else "uint64")
    return pc.coalesce(texts, pa.array(more, pa.string())), pc.coalesce(pa.array(kind, pa.int8()), codes)


def _whole_values(values: list[Any]) -> "tuple[Column, list[int]]":
    numbers = [v if type(v) is int else None for v in values]
    try:
        return pa.array(numbers, pa.int64()), []
    except (OverflowError, pa.ArrowInvalid):
        unfit = [at for at, v in enumerate(numbers) if v is not None and not -INT64_MAX - 1 <= v <= INT64_MAX]
        for at in unfit:
            numbers[at] = None
        return pa.array(numbers, pa.int64()), unfit


def positions(mask: Column) -> list[int]:
    positions: list[int] = _pc.indices_nonzero(mask).to_pylist()
    return positions


def _hexadecimals(texts: Any) -> "tuple[Column | None, list[int]]":
    """Return the numbers that stand as 0x…, and the positions of those that int64 cannot hold."""
    candidates = positions(pc.starts_with(texts, "0x"))
    if not candidates:
        return None, []
    numbers: list[int | None] = [None] * len(texts)
    large: list[int] = []
    for at, text in zip(candidates, texts.take(pa.array(candidates, pa.int32())).to_pylist(), strict=True):
        if HEXADECIMAL.fullmatch(text):
            number = int(text, 16)
            if number <= INT64_MAX:
                numbers[at] = number
            else:
                large.append(at)
    return pa.array(numbers, pa.int64()), large


def _times(texts: Any) -> "Column | None":
    """Return the moments among the texts, or None if there are none."""
    candidates = positions(_pc.equal(_pc.binary_length(texts), _TIME_TEXT_CHARACTERS))
    if not candidates:
        return None
    chosen = dict(zip(candidates, texts.take(pa.array(candidates, pa.int32())).to_pylist(), strict=True))
    matching = {at: text for at, text in chosen.items() if _TIME_TEXT.fullmatch(text)}
    if not matching:
        return None
    try:
        moments: Column = pa.array(list(matching.values()), pa.string()).cast(TIMESTAMP)
    except pa.ArrowInvalid:  # such as a month 13: it is a text that looks like a time
        moments = pa.array([_moment_or_none(text) for text in matching.values()], TIMESTAMP)
    places: list[int | None] = [None] * len(texts)
    for place, at in enumerate(matching):
        places[at] = place
    return moments.take(pa.array(places, pa.int32()))


def _moment_or_none(text: str) -> datetime | None:
    try:
        return moment(text)
    except ValueError:
        return None


def _binaries(keys: list[str], texts: Column, codes: Column) -> tuple[Column, Column]:
    """Return value_bytes and the codes of types with "binary" where a value is one."""
    if _BINARY_KEYS.isdisjoint(keys):
        return pa.nulls(len(texts), pa.binary()), codes
    spots = [at for at, key in enumerate(keys) if key in _BINARY_KEYS]
    blobs: list[bytes | None] = [None] * len(texts)
    for at in spots:
        blobs[at] = _unhexlified(texts[at].as_py())
    column: Column = pa.array(blobs, pa.binary())
    return column, _coded(column.is_valid(), "binary", codes)


_HEX_BYTES: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")


def _unhexlified(text: str | None) -> bytes | None:
    return bytes.fromhex(text) if text and _HEX_BYTES.fullmatch(text) else None
