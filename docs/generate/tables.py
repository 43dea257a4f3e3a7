"""Writes TABLES.md: what `casparian sql` can ask, from schema.sql, rows.py and what parsers declare."""

from __future__ import annotations

import ast
import re
import typing
from pathlib import Path

import duckdb

from docs.generate import markdown, source
from eventlog import ids, schema
from eventlog.column_types import duckdb_type
from eventlog.schema import LINEAGE_COLUMNS, OutputSchema
from executors.parser_catalog import ParserPackage, builtin_parsers
from projections import catalog, rows
from projections.sql_blocks import FOLDER

INTRODUCTION = """
What `casparian sql` can ask: the tables that parsers make, and the read model, which is folded from the log and can be
deleted at any time. `casparian sql "describe NAME"` prints the columns of a table.
"""
_CREATED = re.compile(r"((?:^-- .*\n)+)((?:CREATE (?:TABLE|VIEW) (?:.|\n)*?;\n)+)", re.MULTILINE)
_NAME = re.compile(r"CREATE (TABLE|VIEW) (\w+)")


def page() -> str:
    """Return the page."""
    parsers = builtin_parsers()
    outputs = "\n\n".join(_parser(package) for package in parsers.values())
    return markdown.page(
        "The tables",
        INTRODUCTION,
        "## Tables that parsers make",
        _views(),
        outputs,
        _lineage(),
        "## The read model",
        _read_model(),
    )


# --- what parsers make ----------------------------------------------------------------------------------------------


def _views() -> str:
    """Return what catalog.py says of the names of views; its first sentence speaks to programmers."""
    _, _, rest = markdown.prose(catalog.__doc__).partition("\n\n")
    return "Each output of a parser can be asked for by these names, here those of evtx:\n\n" + rest


def _parser(package: ParserPackage) -> str:
    head = f"### Parser {package.name} {package.version}\n\n{package.description} Reads files named "
    head += ", ".join(markdown.code(pattern) for pattern in package.patterns) + "."
    literal, notes = _declared(Path(package.file))
    parts = [head, notes, *(_output(each, literal[each.output]) for each in package.outputs)]
    return "\n\n".join(part for part in parts if part)


def _declared(path: Path) -> tuple[dict[str, typing.Any], str]:
    """Return the literal `outputs` of a parser, with the descriptions that the schema leaves out, and its comment."""
    text = path.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="outputs")], value=value):
                return ast.literal_eval(value), _comment_above(text.split("\n"), node.lineno)
            case ast.AnnAssign(target=ast.Name(id="outputs"), value=ast.expr() as value):
                return ast.literal_eval(value), _comment_above(text.split("\n"), node.lineno)
            case _:
                pass
    raise ValueError(f"read the outputs of {path}: nothing is assigned to `outputs` at the top level")


def _comment_above(lines: list[str], line: int) -> str:
    above: list[str] = []
    for text in reversed(lines[: line - 1]):
        if not text.startswith("#"):
            break
        above.insert(0, text.lstrip("# "))
    return " ".join(above)


def _output(output: OutputSchema, declared: dict[str, typing.Any]) -> str:
    if "columns_from" in declared:
        columns_from = (
            f"Its columns are those that a run declares, in the setting {markdown.code(declared['columns_from'])}."
        )
        return f"#### {output.output}\n\n{declared.get('description', '')}\n\n{columns_from}"
    said = {column["name"]: column.get("description", "") for column in declared["columns"]}
    columns = [
        (markdown.code(each.name), duckdb_type(each.type), "yes" if each.nullable else "", said[each.name])
        for each in output.columns
    ]
    parts = [f"#### {output.output}", declared.get("description", "")]
    parts.append(markdown.table(("column", "type", "may be null", ""), columns))
    return "\n\n".join(part for part in parts if part)


def _lineage() -> str:
    """Return the host's columns; their meaning stands beside them in eventlog/schema.py."""
    (declared,) = [each for each in source.names(schema) if each.name == "LINEAGE_COLUMNS"]
    assert isinstance(declared.value, ast.Tuple)
    meanings = [source.comment(schema, element) for element in declared.value.elts]
    columns = [
        (markdown.code(each.name), duckdb_type(each.type), "yes" if each.nullable else "", meaning)
        for each, meaning in zip(LINEAGE_COLUMNS, meanings, strict=True)
    ]
    text = (
        "### Where a row came from\n\nEvery row of every output ends with these columns. The host adds them; a parser"
    )
    text += " that brings a column of such a name is refused."
    return f"{text}\n\n{markdown.table(('column', 'type', 'may be null', 'meaning'), columns)}"


# --- the read model -------------------------------------------------------------------------------------------------


def _read_model() -> str:
    """Return the tables and views of schema.sql: purposes from its comments, types as DuckDB understands them."""
    text = (FOLDER / "schema.sql").read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        connection.execute(text)
        sections = []
        for comment, statements in _CREATED.findall(text):
            purpose = " ".join(line.removeprefix("-- ") for line in comment.strip().split("\n"))
            for kind, name in _NAME.findall(statements):
                made = _table(connection, name) if kind == "TABLE" else _defined(statements, name)
                sections.append(f"### {name}\n\n{purpose}\n\n{made}")
    return "\n\n".join(sections)


def _defined(statements: str, name: str) -> str:
    (query,) = re.findall(rf"CREATE VIEW {name} AS\s((?:.|\n)*?);", statements)
    return f"```sql\n{query}\n```"


def _table(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    (described,) = [table for table in rows.TABLES if table.name == name]
    fields = {each.name: each for each in source.fields(rows, described.row.__name__)}
    hints = typing.get_type_hints(described.row)
    columns = [
        (markdown.code(column), _short(kind), "yes" if null == "YES" else "", _meaning(fields[column], hints[column]))
        for column, kind, null, *_ in connection.execute(f"DESCRIBE {name}").fetchall()
    ]
    key = ", ".join(markdown.code(column) for column in described.key)
    return f"One row per {key}.\n\n" + markdown.table(("column", "type", "may be null", ""), columns)


def _short(kind: str) -> str:
    """Return the name of a type by which this page calls it: DuckDB has two for this one."""
    return kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")


def _meaning(field: source.Field, hint: object) -> str:
    """Return a column's comment, else that of the id or hash which it holds; and its words where they are a set."""
    said = field.comment or source.identities(ids).get(field.type.removesuffix(" | None"), "")
    options = [hint, *typing.get_args(hint)]
    words = [word for each in options if typing.get_origin(each) is typing.Literal for word in typing.get_args(each)]
    told = f"one of {', '.join(markdown.code(str(word)) for word in words)}" if words else ""
    return "; ".join(part for part in (said, told) if part)
