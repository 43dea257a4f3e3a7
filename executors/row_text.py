"""Owns the text of rejected values: every type as text that says all of the value, for a person and for a program.

Text stays as it is. Numbers are written in full, floats as the shortest text that reads back as the same float,
instants in UTC with a Z, bytes as 0x and lowercase hex, lists and structs as JSON. What JSON has no kind of value for
(decimals, times, bytes, floats that are no numbers) is a JSON string. Pure; nothing per row in Python.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pyarrow as pa

from executors.accepted_types import is_list, is_text
from executors.arrays import Array, blanked, integer, kernel, list_items, plain, some, with_items, word

_SECONDS: Final = (-62135596800, 253402300799)  # of the years 1 to 9999
_WRITTEN: Final = {
    "d": (_SECONDS[0] // 86400, _SECONDS[1] // 86400),
    **{
        unit: (_SECONDS[0] * part, _SECONDS[1] * part + part - 1)
        for unit, part in (("s", 1), ("ms", 10**3), ("us", 10**6))
    },
    "ns": (-(2**63), 2**63 - 1),
}


def text_of(array: Array) -> Array:
    """Return the values as a string array, with the nulls where they are. Raises UnpackedTooLargeError."""
    array = plain(array)
    type_ = array.type
    if pa.types.is_null(type_):
        return pa.nulls(len(array), pa.string())
    if is_text(type_):
        return array
    if pa.types.is_binary(type_):
        return _hexadecimal(array)
    if pa.types.is_nested(type_):
        return kernel.if_else(array.is_valid(), _json(array), word(None))
    if pa.types.is_decimal(type_):
        return _decimal_text(array)
    if pa.types.is_temporal(type_):
        return _time_text(array)
    return array.cast(pa.string())


def _hexadecimal(array: Array) -> Array:
    """Write all bytes as hex at once; a text begins where its bytes began, twice as far."""
    wide = array.cast(pa.large_binary())
    _, offsets, data = wide.buffers()
    ends = pa.Array.from_buffers(pa.int64(), len(wide) + 1, [None, offsets], offset=wide.offset)
    first, end = ends[0].as_py(), ends[-1].as_py()
    digits = pa.py_buffer(memoryview(data)[first:end].hex().encode() if data is not None else b"")
    doubled = kernel.multiply(kernel.subtract(ends, first), 2)
    text = pa.Array.from_buffers(pa.large_string(), len(wide), [None, doubled.buffers()[1], digits])
    prefixed = kernel.binary_join_element_wise(word("0x"), text.cast(pa.string()), word(""))
    return kernel.if_else(array.is_valid(), prefixed, word(None))


def _decimal_text(array: Array) -> Array:
    """Write all digits, without the exponent that Arrow would write for small values."""
    type_: Any = array.type
    scale: int = type_.scale
    if scale <= 0:
        return (array if scale == 0 else array.cast(pa.decimal256(76, 0))).cast(pa.string())
    wide = array.cast(pa.decimal256(76, scale))
    digits = pa.Array.from_buffers(pa.decimal256(76, 0), len(wide), wide.buffers(), offset=wide.offset).cast(
        pa.string()
    )
    sign = kernel.if_else(kernel.starts_with(digits, "-"), word("-"), word(""))
    padded = kernel.utf8_lpad(kernel.ascii_ltrim(digits, characters="-"), scale + 1, "0")
    whole, fraction = kernel.utf8_slice_codeunits(padded, 0, -scale), kernel.utf8_slice_codeunits(padded, -scale)
    return kernel.binary_join_element_wise(sign, whole, word("."), fraction, word(""))


def _time_text(array: Array) -> Array:
    """Write times as Arrow does; one of no year from 1 to 9999 as a count of its unit, because Arrow garbles some."""
    type_: Any = array.type
    if isinstance(type_, pa.TimestampType) and type_.tz is not None:
        array = array.cast(pa.timestamp(type_.unit, tz="UTC"))
    unit = "d" if pa.types.is_date32(type_) else "ms" if pa.types.is_date64(type_) else type_.unit
    counts = array.cast(pa.int32() if type_.bit_width == 32 else pa.int64())
    first, last = _WRITTEN[unit]
    written = kernel.and_(kernel.greater_equal(counts, integer(first)), kernel.less_equal(counts, integer(last)))
    text = blanked(array, written).cast(pa.string())
    counted = kernel.binary_join_element_wise(counts.cast(pa.string()), word(unit), word(" "))
    return kernel.if_else(written, text, counted)


def _json(array: Array) -> Array:
    """Return each value as JSON, null as `null`."""
    array = plain(array)
    type_ = array.type
    if is_list(type_):
        written = _json_list(array)
    elif isinstance(array, pa.StructArray):
        written = _json_struct(array)
    elif pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        written = array.cast(pa.string())
    elif pa.types.is_floating(type_):
        text = array.cast(pa.string())
        written = kernel.if_else(kernel.is_finite(array), text, _quoted(text))
    else:
        written = _quoted(text_of(array))
    return kernel.fill_null(written, word("null"))


def _json_list(array: Array) -> Array:
    written = with_items(array, _json(list_items(array)), pa.list_(pa.string()))
    return kernel.binary_join_element_wise(word("["), kernel.binary_join(written, ","), word("]"), word(""))


def _json_struct(array: pa.StructArray) -> Array:
    parts: list[Array | pa.Scalar[pa.DataType]] = []
    for place, (field, values) in enumerate(zip(array.type, array.flatten(), strict=True)):
        parts += [word(f"{',' if place else '{'}{json.dumps(field.name)}:"), _json(values)]
    closed = kernel.binary_join_element_wise(*parts, word("}"), word(""))
    return kernel.if_else(array.is_valid(), closed, word(None))


def _quoted(text: Array) -> Array:
    for character, escaped in (("\\", "\\\\"), ('"', '\\"')):
        text = kernel.replace_substring(text, pattern=character, replacement=escaped)
    for code in range(0x20):
        if some(kernel.match_substring(text, chr(code))):
            text = kernel.replace_substring(text, pattern=chr(code), replacement=f"\\u{code:04x}")
    return kernel.binary_join_element_wise(word('"'), text, word('"'), word(""))
