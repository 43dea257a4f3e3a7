"""Ways to give a column, with values of each and what the slow judge says of them: any table is made of these."""

from __future__ import annotations

import re
import struct
import typing
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
from hypothesis import strategies as st
from msgspec import Struct

from eventlog.column_types import ColumnType, DecimalType, ListType
from executors.violations import ViolationCode
from tests.executors import row_judge

EPOCH_DAY = date(1970, 1, 1).toordinal()
Raw = typing.Any  # what the slow judge looks at: an int, a str, a Fraction, the bits of a float, a list
Judge = Callable[[Raw], "tuple[ViolationCode | None, Raw]"]


class Carrier(Struct, frozen=True):
    """A declared type, how it is given, values of that, and what the slow judge says to one and makes of it."""

    type: ColumnType
    format: str
    values: st.SearchStrategy[Raw]
    given: Callable[[list[Raw]], pa.Array[typing.Any]]
    judge: Judge


def kept(value: Raw) -> tuple[None, Raw]:
    return None, value


def of_type(arrow: pa.DataType) -> Callable[[list[Raw]], pa.Array[typing.Any]]:
    untyped: typing.Any = pa
    return lambda values: untyped.array(values, arrow)


def counted(arrow: pa.DataType, storage: pa.DataType) -> Callable[[list[Raw]], pa.Array[typing.Any]]:
    """Give integers as the times that they count."""
    return lambda values: of_type(storage)(values).view(arrow)


def integers(arrow: pa.DataType, low: int, high: int) -> tuple[st.SearchStrategy[int], typing.Any]:
    edges = [edge for base in (0, 2**53, 2**63, 10**4) for edge in (base - 1, base, base + 1, -base, -base - 1)]
    near = st.sampled_from([edge for edge in edges if low <= edge <= high])
    return near | st.integers(low, high), of_type(arrow)


WIDTHS = [
    (pa.int8(), -128, 127),
    (pa.int64(), -(2**63), 2**63 - 1),
    (pa.uint32(), 0, 2**32 - 1),
    (pa.uint64(), 0, 2**64 - 1),
]
PRICES = [DecimalType(precision=4, scale=1), DecimalType(precision=38, scale=10), DecimalType(precision=38, scale=38)]
FORMATS: list[tuple[ColumnType, str]] = [
    ("date", "iso8601"),
    ("date", "%Y%m%d"),
    ("date", "%d-%b-%y"),
    ("time", "iso8601"),
    ("time", "%H%M"),
    ("time", "%H:%M:%S.%f"),
    ("timestamp", "iso8601"),
    ("timestamp", "%Y%m%d-%H:%M:%S"),
    ("timestamp", "%S%M%H%d%m%Y"),
    ("timestamp_utc", "iso8601"),
    ("timestamp_utc", "%Y%m%d-%H:%M:%S.%f%z"),
    ("timestamp_utc", "%d/%m/%Y%z%%%H:%M"),
]
ALPHABET = "0123456789"


def digits(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text(alphabet=ALPHABET, min_size=low, max_size=high)


def numerals() -> st.SearchStrategy[str]:
    good = st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "-", "+"]),
        digits(1, 6),
        st.sampled_from(["", ".5", ".00", ".125"]),
        st.sampled_from(["", "e3", "E-400", "e400"]),
    )
    plain = st.builds("{}{}".format, st.sampled_from(["", "-"]), digits(1, 20))
    padded = st.builds(
        "{}{}.{}{}".format, st.sampled_from(["0" * 50, ""]), digits(1, 3), digits(0, 3), st.sampled_from(["0" * 60, ""])
    )
    nasty = st.sampled_from(
        [
            "",
            " 1",
            "1 ",
            "0x1F",
            "1_0",
            ".5",
            "5.",
            "-.5",
            "nan",
            "NaN",
            "-nan",
            "inf",
            "-inf",
            "Infinity",
            "1\0",
            "\u0661",
            "9" * 39,
            "9" * 400,
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "+-1",
            "1,5",
        ]
    )
    return good | plain | padded | nasty | st.text(max_size=4)


def written_time(text_format: str) -> st.SearchStrategy[str]:
    """Return texts that are of the format, or nearly."""
    wanted = {"iso8601": "%Y-%m-%dT%H:%M:%S.%f%z"}.get(text_format, text_format)
    parts: dict[str, st.SearchStrategy[str]] = {
        "%Y": st.sampled_from(["2024", "2023", "1900", "2000", "0000", "0001", "9999"]),
        "%y": digits(2, 2),
        "%m": st.sampled_from([*(f"{month:02}" for month in range(14)), "1"]),
        "%b": st.sampled_from(["Jan", "FEB", "mar", "Dec", "Foo"]),
        "%d": st.sampled_from(["01", "28", "29", "30", "31", "32", "00"]),
        "%H": st.sampled_from(["00", "10", "23", "24"]),
        "%M": st.sampled_from(["00", "59", "60"]),
        "%S": st.sampled_from(["00", "59", "60"]),
        ".%f": st.sampled_from(["", ".5", ".123456", ".1234567", "."]),
        "%z": st.sampled_from(["Z", "+01:00", "-0330", "+01", "", "+24:00", "z"]),
    }
    tokens = re.findall(r"\.%f|%.|.", wanted)
    pieces = [parts.get(token, st.just("%" if token == "%%" else token)) for token in tokens]
    written = st.tuples(*pieces).map("".join)
    if text_format == "iso8601":
        written = st.one_of(
            written,
            written.map(lambda text: text[:10]),
            written.map(lambda text: text[11:]),
            written.map(lambda text: text.replace("T", " ").rstrip("Z")),
        )
    return written


def times_of(type_: ColumnType, text_format: str) -> Carrier:
    values = (
        written_time(text_format)
        | st.sampled_from(["", "N/A", "2024-01-01", "20240101", "10:00"])
        | st.text(max_size=3)
    )
    return Carrier(
        type_, text_format, values, of_type(pa.string()), lambda value: row_judge.text(value, type_, text_format)
    )


def float_bits() -> st.SearchStrategy[int]:
    special = [0x7FF8000000000001, 0xFFF8DEADBEEF0000, 0x7FF0000000000001, 1 << 63, 0x7FF0000000000000, 1]
    return st.sampled_from(special) | st.floats(allow_nan=False).map(bits_of)


def bits_of(number: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", number))[0])


def number_texts(type_: ColumnType, text_format: str) -> Carrier:
    def judge(value: str) -> tuple[ViolationCode | None, Raw]:
        code, said = row_judge.text(value, type_, text_format)
        return code, bits_of(said) if isinstance(said, float) else said

    return Carrier(type_, text_format, numerals(), of_type(pa.string()), judge)


def carriers() -> list[Carrier]:
    return [*_of_integers(), *_of_decimals(), *_of_text(), *_as_they_are(), *_of_times(), _of_lists()]


def _of_integers() -> typing.Iterator[Carrier]:
    for arrow, low, high in WIDTHS:
        values, build = integers(arrow, low, high)
        yield Carrier("int64", "", values, build, lambda value: (row_judge.int_in_int64(value), value))
        yield Carrier("float64", "", values, build, _integer_as_float)
        for price in PRICES:
            yield Carrier(price, "", values, build, _as_decimal(price))


def _integer_as_float(value: int) -> tuple[ViolationCode | None, Raw]:
    return row_judge.int_in_float64(value), bits_of(float(value))


def _as_decimal(price: DecimalType, scale: int = 0) -> Judge:
    """Judge a number by its digits without the point."""

    def judge(digits: int) -> tuple[ViolationCode | None, Raw]:
        number = Fraction(digits, 10**scale)
        return row_judge.number_in_decimal(number, price), number

    return judge


def _of_decimals() -> typing.Iterator[Carrier]:
    given: list[typing.Any] = [pa.decimal128(10, 4), pa.decimal256(50, 20), pa.decimal128(38, 0), pa.decimal32(6, 3)]
    for price in PRICES:
        for arrow in given:
            yield decimals(price, arrow)


def _of_text() -> typing.Iterator[Carrier]:
    for price in PRICES:
        yield number_texts(price, "")
    for type_ in typing.cast(list[ColumnType], ["int64", "float64", "boolean"]):
        yield number_texts(type_, "text")
    for type_, text_format in FORMATS:
        yield times_of(type_, text_format)
    words = st.sampled_from(["true", "TRUE", "True", "false", "fALSE", "1", "0", ""])
    yield Carrier(
        "boolean", "text", words, of_type(pa.string()), lambda value: row_judge.text(value, "boolean", "text")
    )


def _as_they_are() -> typing.Iterator[Carrier]:
    texts: list[pa.DataType] = [pa.string(), pa.large_string(), pa.string_view()]
    for arrow in texts:
        yield Carrier("string", "", st.text(max_size=5), of_type(arrow), kept)
    yield Carrier(
        "string", "", st.text(max_size=2), lambda values: of_type(pa.string())(values).dictionary_encode(), kept
    )
    yield Carrier("binary", "", st.binary(max_size=5), of_type(pa.binary_view()), kept)
    yield Carrier("float64", "", float_bits(), counted(pa.float64(), pa.uint64()), kept)
    yield Carrier("date", "", st.integers(-(2**31), 2**31 - 1), counted(pa.date32(), pa.int32()), _of_known_years)


def _of_times() -> typing.Iterator[Carrier]:
    for unit in ("s", "ms", "us", "ns"):
        for zone in ("UTC", "Asia/Tokyo", "+05:30", None):
            yield instants(unit, zone)
    of_day = st.integers(0, 86_400 * 10**9 - 1) | st.integers(0, 86_400 * 10**6 - 1).map(lambda value: value * 1000)
    yield Carrier("time", "", of_day, counted(pa.time64("ns"), pa.int64()), _nanoseconds)


def _of_known_years(value: Raw) -> tuple[ViolationCode | None, Raw]:
    """Judge a day by its number: 0001-01-01 is -719162, 9999-12-31 is 2932896."""
    known = isinstance(value, int) and date.min.toordinal() - EPOCH_DAY <= value <= date.max.toordinal() - EPOCH_DAY
    return (None, value) if known else ("value_does_not_fit", None)


def _nanoseconds(value: int) -> tuple[ViolationCode | None, Raw]:
    return row_judge.count_of_unit(value, "ns"), value // 1000


def _of_lists() -> Carrier:
    unsigned = st.lists(st.none() | st.sampled_from([0, 2**63, 2**63 - 1]), max_size=3)

    def judge(value: list[int | None]) -> tuple[ViolationCode | None, Raw]:
        return "value_does_not_fit" if 2**63 in value else None, value

    return Carrier(ListType(item="int64"), "", unsigned, of_type(pa.list_(pa.uint64())), judge)


def decimals(price: DecimalType, arrow: typing.Any) -> Carrier:
    limit = 10 ** min(arrow.precision, 38) - 1
    edges = [0, 1, -1, limit, -limit, 10**3, 9999 * 10**arrow.scale % limit]

    def build(values: list[Raw]) -> pa.Array[typing.Any]:
        return of_type(arrow)([None if value is None else Decimal(f"{value}E-{arrow.scale}") for value in values])

    return Carrier(
        price, "", st.sampled_from(edges) | st.integers(-limit, limit), build, _as_decimal(price, arrow.scale)
    )


def instants(unit: typing.Any, zone: str | None) -> Carrier:
    def judge(value: int) -> tuple[ViolationCode | None, Raw]:
        if zone is None:
            return "timezone_required", None
        day = value * row_judge.UNITS[unit] // (86_400 * 10**6)
        code, _ = _of_known_years(int(day))
        return row_judge.count_of_unit(value, unit) or code, int(value * row_judge.UNITS[unit])

    counts = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6).map(lambda value: value * 1000)
    return Carrier("timestamp_utc", "", counts, counted(pa.timestamp(unit, tz=zone), pa.int64()), judge)


CARRIERS = carriers()


def raw(array: pa.Array[typing.Any], type_: ColumnType) -> list[Raw]:
    """Return accepted values as the slow judge sees them."""
    if type_ == "float64":
        return array.view(pa.uint64()).to_pylist()
    if type_ == "date":
        return array.cast(pa.int32()).to_pylist()
    if isinstance(type_, str) and type_ in {"time", "timestamp", "timestamp_utc"}:
        return array.cast(pa.int64()).to_pylist()
    if isinstance(type_, DecimalType):
        return [None if value is None else Fraction(value) for value in array.to_pylist()]
    return array.to_pylist()
