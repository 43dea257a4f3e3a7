"""Owns the reading of our own source: the comments beside fields, and annotations as they are written there.

A comment belongs to the statement that ends on its line; comment lines of their own belong to the statement below them.
"""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from msgspec import Struct


class Field(Struct, frozen=True, kw_only=True):
    """One annotated field of a class: its type as it is written, its default ("" where it has none), its comment."""

    name: str
    type: str
    default: str
    comment: str


class Name(Struct, frozen=True, kw_only=True):
    """One name that a module binds at its top level, with the text of its value and its comment."""

    name: str
    value: ast.expr
    comment: str


@cache
def _read(module: ModuleType) -> tuple[ast.Module, dict[int, str], dict[int, str]]:
    """Return the syntax tree, and the comments by line: those beside code, and those that fill their line."""
    text = inspect.getsource(module)
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            full = token.line[: token.start[1]].strip() == ""
            (alone if full else beside)[token.start[0]] = token.string.lstrip("#").strip()
    return ast.parse(text), beside, alone


def fields(module: ModuleType, class_name: str) -> list[Field]:
    """Return the fields that a class of the module declares itself, in order."""
    tree, _, _ = _read(module)
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    return [
        Field(
            name=node.target.id,
            type=ast.unparse(node.annotation),
            default=ast.unparse(node.value) if node.value is not None else "",
            comment=comment(module, node),
        )
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def names(module: ModuleType) -> Iterator[Name]:
    """Yield what the top level of a module assigns to a single name, in order."""
    for node in _read(module)[0].body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield Name(name=name, value=value, comment=comment(module, node))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield Name(name=name, value=value, comment=comment(module, node))
            case _:
                pass


def comment(module: ModuleType, node: ast.stmt | ast.expr) -> str:
    """Return the comment of a statement or an element: the lines right above it, then the one beside its end."""
    _, beside, alone = _read(module)
    above: list[str] = []
    line = node.lineno - 1
    while line in alone and not alone[line].startswith("---"):
        above.insert(0, alone[line])
        line -= 1
    last = node.end_lineno or node.lineno
    return " ".join([*above, *([beside[last]] if last in beside else [])])


def identities(module: ModuleType) -> dict[str, str]:
    """Return the types that a module makes with NewType, with their comments."""
    return {
        each.name: each.comment
        for each in names(module)
        if isinstance(each.value, ast.Call) and getattr(each.value.func, "id", "") == "NewType"
    }


def alternatives(node: ast.expr) -> list[str]:
    """Return the names of a union as it is written: `A | B | C`."""
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*alternatives(left), *alternatives(right)]
        case ast.Name(id=name):
            return [name]
        case _:
            return []
