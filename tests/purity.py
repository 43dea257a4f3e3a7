"""Owns the rule of the core: what a fold or decision may not touch, because two machines would differ in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

IMPURE_MODULES = {
    "asyncio", "datetime", "decimal", "duckdb", "getpass", "io", "locale", "logging", "math", "os", "pathlib",
    "platform", "pyarrow", "pynng", "queue", "random", "secrets", "shutil", "socket", "statistics", "subprocess", "sys",
    "tempfile", "threading", "time", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "hash", "id", "globals", "float"}
ORDERED_FROM = {"list", "tuple", "iter", "enumerate", "zip", "map", "dict"}  # what takes the order of its argument
CHANGES = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault",
    "sort", "update",
}  # fmt: skip
GIVEN = {"event", "command", "record"}  # what is passed in belongs to the log


def impurities(source: str) -> list[str]:
    """Return what in a module's source breaks the rule, each with its line, in the order of the rules."""
    tree = ast.parse(source)
    found = [(1, f"imports {name}") for name in imports(tree) if name.split(".")[0] in IMPURE_MODULES]
    for node in ast.walk(tree):
        found += [(node.lineno, what) for what in _of(node)] if isinstance(node, ast.stmt | ast.expr) else []
        if isinstance(node, ast.comprehension) and _is_set(node.iter):
            found.append((node.iter.lineno, "goes through a set, which has no order"))
    return [f"line {line}: {what}" for line, what in found]


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the names of the modules that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _of(node: ast.stmt | ast.expr) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id=name), args=arguments):
            if name in IMPURE_CALLS:
                yield f"calls {name}"
            if name in ORDERED_FROM and any(map(_is_set, arguments)):
                yield "goes through a set, which has no order"
        case ast.Call(func=ast.Attribute(value=ast.Attribute() as value, attr=name)) if name in CHANGES:
            if _root(value) in GIVEN:
                yield f"changes {_root(value)}, which is the log's"
        case ast.For(iter=iterated) if _is_set(iterated):
            yield "goes through a set, which has no order"
        case ast.Constant(value=float()) | ast.BinOp(op=ast.Div()):
            yield "reckons with floats, whose sums depend on their order"
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            if _root(node) in GIVEN:
                yield f"changes {_root(node)}, which is the log's"
        case _:
            return


def _is_set(node: ast.expr) -> bool:
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(left=left, op=ast.Sub() | ast.BitAnd() | ast.BitOr() | ast.BitXor(), right=right):
            return _is_set(left) or _is_set(right)
        case _:
            return False


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):  # goes towards the name that the chain begins with
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
