"""Owns the types of columns: how they are spelled, and the one table of what each is in Arrow, DuckDB and Parquet.

Words and shapes follow behaviour 1.9: a primitive is a plain word, a type with parameters an object with a `kind`. Each
type has one spelling. What an engine here could not keep as it is has none: `UNKEPT` says why.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Final, Literal, assert_never

from msgspec import Meta, Struct

if TYPE_CHECKING:
    import pyarrow as pa

PrimitiveType = Literal["boolean", "int64", "float64", "string", "binary", "timestamp_utc", "date", "time", "timestamp"]
# date: a day; time: of a day, microseconds; timestamp: microseconds, without a zone; timestamp_utc: microseconds, an
# instant, and how timestamp_tz with the zone UTC is spelled.

DECIMAL_DIGITS_MAX: Final = 38  # of decimal128, and of DuckDB's DECIMAL
NESTING_MAX: Final = 8  # lists and structs inside each other


class DecimalType(Struct, frozen=True, kw_only=True, tag_field="kind", tag="decimal"):
    """`precision` digits in all, `scale` of them behind the point."""

    precision: Annotated[int, Meta(ge=1, le=DECIMAL_DIGITS_MAX)]
    scale: Annotated[int, Meta(ge=0, le=DECIMAL_DIGITS_MAX)]


class TimestampTzType(Struct, frozen=True, kw_only=True, tag_field="kind", tag="timestamp_tz"):
    """An instant in microseconds, shown in the zone `tz` of the IANA database."""

    tz: str


class ListType(Struct, frozen=True, kw_only=True, tag_field="kind", tag="list"):
    item: ColumnType


class StructField(Struct, frozen=True, kw_only=True):
    name: str
    type: ColumnType
    nullable: bool = True


class StructType(Struct, frozen=True, kw_only=True, tag_field="kind", tag="struct"):
    fields: tuple[StructField, ...]


ColumnType = PrimitiveType | DecimalType | TimestampTzType | ListType | StructType

# Further words for a type that a declaration may use.
ALIASES: Final[dict[str, PrimitiveType]] = {
    "bool": "boolean",
    "integer": "int64",
    "int": "int64",
    "float": "float64",
    "double": "float64",
    "utf8": "string",
    "text": "string",
    "bytes": "binary",
    "datetime": "timestamp",
}
# Types that a declaration is refused for, because a table would not say any more what they were.
UNKEPT: Final[dict[str, str]] = {
    "duration": "Parquet has no durations, a reader would see a bare number: declare int64 and name the unit",
    "interval": "Parquet has no durations, a reader would see a bare number: declare int64 and name the unit",
    "null": "a column that holds nothing has no type: declare the type that its values would have",
}


def type_words(type_: ColumnType) -> str:
    """Return the type for a person to read: `decimal(38,10)`, `list of string`."""
    match type_:
        case str():
            return type_
        case DecimalType():
            return f"decimal({type_.precision},{type_.scale})"
        case TimestampTzType():
            return f"timestamp_tz({type_.tz})"
        case ListType():
            return f"list of {type_words(type_.item)}"
        case StructType():
            return f"struct({', '.join(f'{field.name} {type_words(field.type)}' for field in type_.fields)})"
        case _:
            assert_never(type_)


def is_nested(type_: ColumnType) -> bool:
    return isinstance(type_, ListType | StructType)


def arrow_type(type_: ColumnType) -> pa.DataType:
    """Return the one Arrow type of a declared type. Parquet keeps each of them, see its logical types."""
    import pyarrow as pa

    match type_:
        case str():
            return _arrow_primitives()[type_]
        case DecimalType():
            return pa.decimal128(type_.precision, type_.scale)
        case TimestampTzType():
            return pa.timestamp("us", tz=type_.tz)
        case ListType():
            return pa.list_(arrow_type(type_.item))
        case StructType():
            fields = [pa.field(each.name, arrow_type(each.type), nullable=each.nullable) for each in type_.fields]
            return pa.struct(fields)
        case _:
            assert_never(type_)


@functools.cache
def _arrow_primitives() -> dict[PrimitiveType, pa.DataType]:
    import pyarrow as pa

    return {
        "boolean": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamp_utc": pa.timestamp("us", tz="UTC"),
    }


_DUCKDB_PRIMITIVES: Final[dict[PrimitiveType, str]] = {
    "boolean": "BOOLEAN",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamp_utc": "TIMESTAMPTZ",
}


def duckdb_type(type_: ColumnType) -> str:
    """Return what DuckDB calls the type."""
    match type_:
        case str():
            return _DUCKDB_PRIMITIVES[type_]
        case DecimalType():
            return f"DECIMAL({type_.precision},{type_.scale})"
        case TimestampTzType():
            return "TIMESTAMPTZ"
        case ListType():
            return f"{duckdb_type(type_.item)}[]"
        case StructType():
            fields = (f"{_quoted(each.name)} {duckdb_type(each.type)}" for each in type_.fields)
            return f"STRUCT({', '.join(fields)})"
        case _:
            assert_never(type_)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def type_fault(type_: ColumnType, *, depth: int = 0) -> str | None:
    """Return why a type cannot be declared, as the end of a sentence; None if it can."""
    match type_:
        case DecimalType() if type_.scale > type_.precision:
            return f"a decimal of {type_.precision} digits cannot have {type_.scale} of them behind the point"
        case TimestampTzType():
            return _zone_fault(type_.tz)
        case ListType() | StructType() if depth >= NESTING_MAX:
            return f"lists and structs are nested more than {NESTING_MAX} deep"
        case ListType():
            return type_fault(type_.item, depth=depth + 1)
        case StructType():
            names = [each.name.casefold() for each in type_.fields]
            if not names or "" in names or len(set(names)) != len(names):
                return "a struct needs fields, each with a name of its own (upper and lower case are equal)"
            return next((fault for each in type_.fields if (fault := type_fault(each.type, depth=depth + 1))), None)
        case _:
            return None


def _zone_fault(tz: str) -> str | None:
    if tz == "UTC":
        return "a timestamp_tz of UTC is spelled timestamp_utc"
    if tz not in zone_names():
        return f"there is no time zone named {tz!r}; write a name of the IANA database, such as Europe/Berlin"
    return None


def zone_release() -> str:
    """Return the release of the pinned database of time zones, as IANA names it."""
    import tzdata

    release: str = tzdata.IANA_VERSION
    return release


def zone_names() -> frozenset[str]:
    """Return the names of the pinned database of time zones, the package tzdata; the system's is not asked."""
    from importlib.resources import files

    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
