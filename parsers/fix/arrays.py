"""Owns the steps that are taken with whole columns of Arrow: what its library lacks, or says in too many words."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = Any  # an array of Arrow, of which the stubs lack most
Rows: TypeAlias = Any  # a record batch, likewise
_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
INT32: Final = pa.int32()
ZERO: Final[Any] = pa.array([0], INT32)

_UINT64: Final = pa.uint64()
_EVERY_OTHER: Final = pa.scalar(0x00FF00FF00FF00FF, _UINT64)
_FOUR_TOGETHER: Final = pa.scalar(0x0001000100010001, _UINT64)  # times it, four numbers of 16 bits meet in the highest
_FIRST_BYTES: Final[Any] = pa.array([2 ** (8 * count) - 1 for count in range(8)], _UINT64)


def bytes_of(data: bytes) -> Column:
    return _pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])


def strings(offsets: Column, data: bytes | pa.Buffer) -> Column:
    """Return pieces of text that follow each other, by where the first begins and where each ends."""
    return _pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, offsets.buffers()[1], pa.py_buffer(data)])


def count_up(count: int) -> Column:
    return _pa.arange(0, count).cast(INT32)


def scalar(number: int, type_: pa.DataType = INT32) -> Any:
    """Return a number for Arrow to reckon with. It would guess the type of a plain one, which takes 0.1 ms."""
    return pa.scalar(number, type_)


def plus(places: Column, number: int) -> Column:
    return _pc.add(places, scalar(number))


def sums_between(data: bytes, begins: Column, stops: Column) -> Column:
    """Return the sums of the bytes from one place up to another, each below 2**31; faster than a running sum of bytes.

    Eight bytes are summed as one number, whose first byte is its lowest. A place amid them takes those before it.
    """
    padded = pa.py_buffer(data + bytes(8))  # or the last place would be behind the last whole eight
    words = _pa.Array.from_buffers(_UINT64, len(data) // 8 + 1, [None, padded])
    sums = _byte_sums(words)
    before = _pc.subtract(_pc.cumulative_sum(sums), sums)

    def up_to(places: Column) -> Column:
        word = _pc.shift_right(places, scalar(3))
        within = _pc.bit_wise_and(words.take(word), _FIRST_BYTES.take(_pc.bit_wise_and(places, scalar(7))))
        return _pc.add(before.take(word), _byte_sums(within))

    return _pc.subtract(up_to(stops), up_to(begins)).cast(INT32)


def _byte_sums(words: Column) -> Column:
    """Return the sum of the eight bytes of each number."""
    odd = _pc.bit_wise_and(_pc.shift_right(words, scalar(8, _UINT64)), _EVERY_OTHER)
    pairs = _pc.add(_pc.bit_wise_and(words, _EVERY_OTHER), odd)
    return _pc.shift_right(_pc.multiply(pairs, _FOUR_TOGETHER), scalar(48, _UINT64))


def with_zero(ends: Column) -> Column:
    return _pa.concat_arrays([ZERO, ends])


def all_of(masks: Sequence[Column]) -> Column:
    return reduce(_pc.and_, masks)


def looked_up(values: Iterable[Any], type_: pa.DataType, codes: Column) -> Column:
    return _pa.array(values, type_).take(codes)


def by_value(column: Column, told: Callable[[Any], Any], type_: pa.DataType) -> Column:
    """Return what is told of each value, asking once for each different one."""
    encoded = column.dictionary_encode()
    return looked_up(map(told, encoded.dictionary.to_pylist()), type_, encoded.indices)


def together(columns: Sequence[Column]) -> tuple[Column, list[int]]:
    """Number the different rows of some columns; return the number of each row, and where each number is first met."""
    codes = columns[0].dictionary_encode(null_encoding="encode").indices
    for column in columns[1:]:
        encoded = column.dictionary_encode(null_encoding="encode")
        room = scalar(len(encoded.dictionary), pa.int64())
        both = _pc.add(_pc.multiply(codes.cast(pa.int64()), room), encoded.indices.cast(pa.int64()))
        codes = both.dictionary_encode().indices  # or they would grow with each column
    different = _pc.max(codes).as_py() + 1 if len(codes) else 0
    return codes, _pc.index_in(count_up(different), value_set=codes).to_pylist()


def cuts_of(data: bytes | pa.Buffer, *bounds: Column) -> list[Column]:
    """Return the texts between the first and the second bounds, between the second and the third, and so on.

    The bounds of a row are in order, and not before those of the row before.
    """
    rows, width = len(bounds[0]), len(bounds)
    offsets = array("i", bytes(4 * rows * width))
    for at, column in enumerate(bounds):
        begin = 4 * column.offset
        offsets[at::width] = array("i", memoryview(column.buffers()[1])[begin : begin + 4 * rows].tobytes())
    texts = strings(_pa.Array.from_buffers(INT32, len(offsets), [None, pa.py_buffer(offsets)]), data)
    return [texts.take(_pa.arange(at, rows * width - width + 1 + at, width)) for at in range(width - 1)]


def spread(codes: Column, lists: Sequence[Sequence[Any]]) -> tuple[Column, Column]:
    """Give each row the list of its code; return for each item of these its row and its number among all items."""
    bounds = _pa.array(accumulate(map(len, lists), initial=0), INT32)
    items = _pa.ListArray.from_arrays(bounds, count_up(bounds[-1].as_py())).take(codes)
    return _pc.list_parent_indices(items), items.flatten()
