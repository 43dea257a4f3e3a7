"""Owns the columns that a person declares for an output: the text of a schema file, and what it makes of a parser.

A parser may leave an output's columns to a setting, because each of its files has its own. The setting holds the one
canonical text of the declaration: being a setting, it is part of every key, and the same declaration is the same text.
"""

from __future__ import annotations

import functools
from typing import Final, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from eventlog.column_types import DecimalType, ListType, StructType, type_words
from eventlog.schema import Column, OutputSchema, ShapeMode
from executors.parser_catalog import ParserPackage, declared_output
from executors.parser_literals import ParserManifestError

SCHEMA_BYTES_MAX: Final = 64 * 1024  # it stands in the log once for each job
NULL_VALUES_MAX: Final = 100  # of one column


class SchemaTextError(ValueError):
    """A declaration of columns cannot be used; the sentence says why and what to write."""


class DeclaredColumn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column as a schema file has it. `read_from` is its name in the source, where that is another one.

    `null_values` are the texts that stand for no value in this column; without them each text is a value.
    """

    name: str
    type: str | dict[str, object]
    nullable: bool = True
    format: str = ""
    null_values: tuple[str, ...] = ()
    read_from: str | UnsetType = UNSET
    description: str = ""  # for people


class DeclaredSchema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A schema file. `output` is the table's name, "" for the parser's own."""

    columns: tuple[DeclaredColumn, ...]
    output: str = ""
    mode: str = "strict"
    description: str = ""


def canonical_text(text: str | bytes, *, doing: str) -> str:
    """Return the one text of a declaration: what is for people left out, types in their one spelling, keys in order.

    Raises SchemaTextError, one sentence that begins with `doing`.
    """
    declared = _decoded(text, doing=doing)
    schema = _output_schema(declared, declared.output or "rows", doing=doing)
    columns = [
        msgspec.structs.replace(
            given,
            type=msgspec.to_builtins(column.type),
            format=column.format,
            description="",
            read_from=_elsewhere(given),
        )
        for given, column in zip(declared.columns, schema.columns, strict=True)
    ]
    # A default is left out by its identity, not by its value: what was decoded is exchanged for our own word.
    mode = next(word for word in get_args(ShapeMode) if word == schema.mode)
    kept = msgspec.structs.replace(declared, columns=tuple(columns), description="", mode=mode)
    canonical = msgspec.json.encode(kept, order="deterministic")
    if len(canonical) > SCHEMA_BYTES_MAX:
        raise SchemaTextError(f"{doing}: {len(canonical):,} bytes of columns, at most {SCHEMA_BYTES_MAX:,}")
    return canonical.decode()


def resolve_outputs(package: ParserPackage, settings: dict[str, str]) -> ParserPackage:
    """Return the parser with the outputs that it has under these settings; as it is, if it declares all of them itself.

    Raises SchemaTextError where a setting that columns come from holds none.
    """
    if not package.columns_from:
        return package
    outputs = tuple(_resolved(package, output, settings) for output in package.outputs)
    return msgspec.structs.replace(package, outputs=outputs)


def _resolved(package: ParserPackage, output: OutputSchema, settings: dict[str, str]) -> OutputSchema:
    setting = package.columns_from.get(output.output)
    if setting is None:
        return output
    text = settings.get(setting, package.settings[setting])
    if not text:
        raise SchemaTextError(
            f"read files with {package.name}: their columns are not declared (setting {setting}); make a schema file "
            "with `casparian schema infer` and name it with --schema"
        )
    return _from_text(text, output.output, package.name)


@functools.lru_cache(maxsize=16)
def _from_text(text: str, own_name: str, parser: str) -> OutputSchema:
    """Return the output of a declaration. Kept, because every job of a run has the same."""
    doing = f"read the columns for {parser}"
    declared = _decoded(text, doing=doing)
    return _output_schema(declared, declared.output or own_name, doing=doing)


def _decoded(text: str | bytes, *, doing: str) -> DeclaredSchema:
    try:
        declared = msgspec.json.decode(text, type=DeclaredSchema)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaTextError(f"{doing}: {error}; correct it, or make it anew with `casparian schema infer`") from error
    if declared.mode not in get_args(ShapeMode):
        raise SchemaTextError(f"{doing}: mode is {declared.mode!r}; write one of {', '.join(get_args(ShapeMode))}")
    for column in declared.columns:
        if len(column.null_values) > NULL_VALUES_MAX:
            raise SchemaTextError(f"{doing}: column {column.name!r} has more than {NULL_VALUES_MAX} null_values")
    return declared


def _output_schema(declared: DeclaredSchema, name: str, *, doing: str) -> OutputSchema:
    columns = [
        {"name": each.name, "type": each.type, "nullable": each.nullable, "format": each.format}
        for each in declared.columns
    ]
    try:
        output = declared_output(name, {"columns": columns, "mode": declared.mode}, doing=doing)
    except ParserManifestError as error:
        raise SchemaTextError(str(error)) from error
    _refuse_sources_twice(declared, doing=doing)
    readable = tuple(_as_text(column, doing=doing) for column in output.columns)
    return msgspec.structs.replace(output, columns=readable)


def _refuse_sources_twice(declared: DeclaredSchema, *, doing: str) -> None:
    sources = [each.name if isinstance(each.read_from, UnsetType) else each.read_from for each in declared.columns]
    twice = sorted({name for name in sources if sources.count(name) > 1})
    if twice:
        raise SchemaTextError(f"{doing}: two columns are read from {twice[0]!r}; correct read_from in one of them")


def _as_text(column: Column, *, doing: str) -> Column:
    """Return the column as it has to be declared for values that come as text. Refuses a type that has no such form."""
    match column.type:
        case "string" | DecimalType() | ListType() | StructType():
            return column
        case "int64" | "float64" | "boolean":
            return msgspec.structs.replace(column, format="text")  # there is only one way to read them
        case "binary":
            why = f"column {column.name!r}: binary cannot be read from text; declare string"
        case _ if column.format:
            return column
        case _:
            example = {"date": "%d/%m/%Y", "time": "%H:%M:%S"}.get(str(column.type), "iso8601")
            why = f'column {column.name!r}: {type_words(column.type)} needs a format, such as "format": "{example}"'
    raise SchemaTextError(f"{doing}: {why}")


def _elsewhere(column: DeclaredColumn) -> str | UnsetType:
    return UNSET if column.read_from == column.name else column.read_from
