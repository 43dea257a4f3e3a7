"""Owns small questions to Arrow arrays that its library has no single call for. Pure; nothing per row in Python."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute
from msgspec import Struct

from executors.violations import ViolationCode

Array: TypeAlias = "pa.Array[Any]"  # words, because pyarrow's classes cannot be subscripted
Mask: TypeAlias = Array  # of booleans

UNPACKED_BYTES_MAX: Final = 512 * 1024 * 1024  # of one column; a frame has 64 MiB
UNPACKED_VALUES_MAX: Final = 64 * 1024 * 1024  # inside the lists of one column
FIXED_BYTES_MAX: Final = 32  # of one value of a type of fixed width: a decimal256
BY_BUFFERS_ROWS_MIN: Final = 8_000  # of fewer texts, kernels cost less than the several calls of a look at buffers
OFFSET: Final = struct.Struct("=i")
ASCII_MAX: Final = 127
VIEW_INTEGERS: Final = 4  # a view is 16 bytes, the first four are its length


class _Kernels:
    """Arrow's kernels of arrays. The stubs type them for kinds of values that are known beforehand, here none is."""

    def __getattr__(self, name: str) -> Callable[..., Array]:
        found: Callable[..., Array] = getattr(pyarrow.compute, name)
        return found


kernel: Final = _Kernels()
_untyped: Final[Any] = pa  # for what the stubs type for kinds of values that are known beforehand


class UnpackedTooLargeError(ValueError):
    """A column says a little, often: laid out as values it would be far larger than what was sent."""


class Fault(Struct, frozen=True):
    """The rows of a column that break one rule; the mask has no nulls."""

    code: ViolationCode
    rows: Mask


class Reading(Struct, frozen=True):
    """A column as its declared type. Where a fault is, the value is of no meaning."""

    values: Array
    faults: tuple[Fault, ...] = ()


def blanked(array: Array, keep: Mask) -> Array:
    """Return the array with nulls where `keep` is not true."""
    blank: Array = kernel.if_else(keep, array, pa.scalar(None, array.type))
    return blank


def refused(array: Array, keep: Mask) -> Mask:
    """Return where there is a value and `keep` is not true. Nulls are nobody's fault here."""
    return kernel.and_(array.is_valid(), kernel.invert(surely(keep)))


def surely(mask: Mask) -> Mask:
    """Return the mask with false for null. Most have none, and Arrow takes its time to find that out."""
    return kernel.fill_null(mask, False) if mask.null_count else mask


def matches(text: Array, pattern: str) -> Mask:
    """Return where the whole text matches; null where there is none."""
    return kernel.match_substring_regex(text, rf"\A(?:{pattern})\z")


def word(text: str | None) -> pa.Scalar[Any]:
    """Return a text for a kernel. With its type, because Arrow guesses one by looking for pandas, for 0.1 ms."""
    found: pa.Scalar[Any] = pa.scalar(text, pa.string())
    return found


def integer(value: int) -> pa.Scalar[Any]:
    """Return a number for a kernel, see `word`."""
    found: pa.Scalar[Any] = pa.scalar(value, pa.int64())
    return found


def some(mask: Mask) -> bool:
    """Say whether the mask is true anywhere."""
    found: bool | None = _scalar("any", mask)
    return found is True


def total(numbers: Array) -> int:
    """Return the sum, 0 of none; of a mask how often it is true."""
    found: int | None = _scalar("sum", numbers)
    return found or 0


def extent(array: Array) -> tuple[int, int] | None:
    """Return the least and the greatest integer; None if there is none."""
    found: Any = kernel.min_max(array)  # a scalar of two, which are taken one by one: as a dict they cost as much again
    least: int | None = found[0].as_py()
    return None if least is None else (least, found[1].as_py())


def places(first: int, count: int) -> Array:
    """Return `count` integers from `first` on."""
    found: Array = pa.arange(first, first + count)  # type: ignore[attr-defined]  # missing from the stubs only
    return found


def nulls(count: int, type_: pa.DataType) -> Array:
    """Return an array of nothing but nulls."""
    found: Array = _untyped.nulls(count, type_)
    return found


def list_items(array: Array) -> Array:
    """Return what stands in all lists of a list array of any kind. Raises UnpackedTooLargeError."""
    count = total(_list_lengths(array))
    if count > UNPACKED_VALUES_MAX:
        raise UnpackedTooLargeError(f"its lists hold {count:,} values, at most {UNPACKED_VALUES_MAX:,} are taken")
    flat: Any = array
    return plain(flat.flatten())


def with_items(array: Array, items: Array, type_: pa.DataType) -> Array:
    """Return a list array of the same lengths and nulls as `array`, whose `list_items` are `items`."""
    ends = kernel.cumulative_sum(_list_lengths(array))
    offsets = pa.concat_arrays([places(0, 1), ends]).cast(pa.int32())
    found: Array = _untyped.ListArray.from_arrays(offsets, items, type=type_, mask=array.is_null())
    return found


def _list_lengths(array: Array) -> Array:
    return kernel.fill_null(kernel.list_value_length(array).cast(pa.int64()), 0)


def _scalar(name: str, array: Array) -> Any:
    return getattr(pyarrow.compute, name)(array).as_py()


def faults_of(*faults: tuple[ViolationCode, Mask]) -> tuple[Fault, ...]:
    """Return the faults that any row has."""
    return tuple(Fault(code, rows) for code, rows in faults if some(rows))


def byte_range(text: Array) -> tuple[int, int]:
    """Return the smallest and the greatest byte of all texts of a string array; (255, 0) if there is none.

    A thousand times faster than a pattern, because it looks at one buffer and not at rows. Bytes that hide under nulls
    count, which makes the answer wider and never narrower. `blanked` leaves them there.
    """
    _, offsets, data = text.buffers()
    if len(text) == 0 or offsets is None or data is None:
        return 255, 0
    first, end = (OFFSET.unpack_from(offsets, OFFSET.size * at)[0] for at in (text.offset, text.offset + len(text)))
    return extent(pa.Array.from_buffers(pa.uint8(), end - first, [None, data], offset=first)) or (255, 0)


def begin_and_end_with_digits(text: Array) -> bool:
    """Say whether each text of a string array does; no if one is null or empty. A third of what `starts_with` costs."""
    _, offsets, data = text.buffers()
    if text.null_count or offsets is None or data is None:
        return False
    starts = pa.Array.from_buffers(pa.int32(), len(text), [None, offsets], offset=text.offset)
    ends = pa.Array.from_buffers(pa.int32(), len(text), [None, offsets], offset=text.offset + 1)
    lengths = extent(kernel.subtract(ends, starts))
    if lengths is None or lengths[0] == 0:
        return False
    characters = pa.Array.from_buffers(pa.uint8(), data.size, [None, data])
    lasts = kernel.subtract(ends, pa.scalar(1, pa.int32()))
    return all(_are_digits(kernel.take(characters, places, boundscheck=False)) for places in (starts, lasts))


def _are_digits(characters: Array) -> bool:
    found = extent(characters)
    return found is not None and ord("0") <= found[0] and found[1] <= ord("9")


def length_range(text: Array) -> tuple[int, int] | None:
    """Return the bytes of the shortest and of the longest text; None if there is none."""
    return extent(kernel.binary_length(text))


def plain(array: Array) -> Array:
    """Return the array without dictionary, views and wide offsets. Raises UnpackedTooLargeError."""
    types = pa.types
    if isinstance(array, pa.DictionaryArray):
        _bound_bytes(_dictionary_bytes(array))
        array = array.dictionary_decode()
    if types.is_string_view(array.type) or types.is_binary_view(array.type):
        _bound_bytes(_view_bytes(array))
        return array.cast(pa.string() if types.is_string_view(array.type) else pa.binary())
    if types.is_large_string(array.type) or types.is_large_binary(array.type):
        _bound_bytes(total(kernel.binary_length(array)))
        return array.cast(pa.string() if types.is_large_string(array.type) else pa.binary())
    if types.is_fixed_size_binary(array.type):
        return array.cast(pa.binary())
    return array


def bound_views(array: Array) -> None:
    """Look for views that say far more than was sent, at any depth. Raises UnpackedTooLargeError."""
    parts: Any = array
    if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
        _bound_bytes(_view_bytes(array))
    elif isinstance(array, pa.DictionaryArray):
        bound_views(parts.dictionary)
    elif isinstance(array, pa.ExtensionArray):
        bound_views(parts.storage)
    elif isinstance(array, pa.StructArray | pa.UnionArray):
        for place in range(parts.type.num_fields):
            bound_views(parts.field(place))
    elif hasattr(parts, "values"):  # lists of every kind, and runs
        bound_views(parts.values)


def _bound_bytes(size: int) -> None:
    if size > UNPACKED_BYTES_MAX:
        raise UnpackedTooLargeError(f"it unpacks to {size:,} bytes, at most {UNPACKED_BYTES_MAX:,} are taken")


def _dictionary_bytes(array: Any) -> int:
    values: Array = array.dictionary
    if pa.types.is_string_view(values.type) or pa.types.is_binary_view(values.type):
        lengths = _view_lengths(values)
    elif _has_lengths(values.type):
        lengths = kernel.binary_length(values)
    else:
        return len(array) * FIXED_BYTES_MAX
    return total(kernel.take(lengths, array.indices))


def _has_lengths(type_: pa.DataType) -> bool:
    types = pa.types
    texts = types.is_string(type_) or types.is_large_string(type_)
    return texts or types.is_binary(type_) or types.is_large_binary(type_) or types.is_fixed_size_binary(type_)


def _view_bytes(array: Array) -> int:
    return total(_view_lengths(array))


def _view_lengths(array: Array) -> Array:
    """Return the bytes of each text of a view; 0 for a null."""
    views = array.buffers()[1]
    integers = pa.Array.from_buffers(pa.int32(), VIEW_INTEGERS * (array.offset + len(array)), [None, views])
    lengths = kernel.list_element(pa.FixedSizeListArray.from_arrays(integers, VIEW_INTEGERS), 0).slice(array.offset)
    return kernel.if_else(array.is_valid(), lengths.cast(pa.int64()), 0)
