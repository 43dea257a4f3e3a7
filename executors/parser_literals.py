"""Owns what the top level of a Python file assigns as literals, read from the syntax tree: no line of it runs."""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn


class ParserManifestError(ValueError):
    """A parser's folder or file does not describe a parser that can be run here."""


def fail(doing: str, why: str, cause: Exception | None = None) -> NoReturn:
    raise ParserManifestError(f"{doing}: {why}") from cause


def literal_named(name: str, path: Path, source: bytes) -> object:
    """Return the literal that the top level assigns to `name`, exactly once. Raises ParserManifestError."""
    doing = _reading(name, path)
    found = [value for assigned, value in _assignments(path, source, doing=doing) if assigned == name]
    if len(found) != 1:
        fail(doing, f"assigned {len(found)} times at the top level; write {name} = {{...}} exactly once")
    return _literal(found[0], doing=doing)


def literals_named(names: Iterable[str], path: Path, source: bytes) -> dict[str, object]:
    """Return the literals that the top level assigns to some of `names`, each at most once."""
    wanted, found = set(names), dict[str, object]()
    for name, value in _assignments(path, source, doing=f"read {path}"):
        if name in found:
            fail(f"read {path}", f"{name} is assigned again in line {value.lineno}; keep one of them")
        if name in wanted:
            found[name] = _literal(value, doing=_reading(name, path))
    return found


def _reading(name: str, path: Path) -> str:
    return f"read the {name} of {path}"


def _assignments(path: Path, source: bytes, *, doing: str) -> Iterator[tuple[str, ast.expr]]:
    try:
        tree = ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        fail(doing, f"not Python {sys.version_info.major}.{sys.version_info.minor}: {error}", error)
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass  # what is no plain assignment declares nothing


def _literal(expression: ast.expr, *, doing: str) -> object:
    try:
        _refuse_repeated_keys(expression, doing=doing)
        value: object = ast.literal_eval(expression)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        if isinstance(error, ParserManifestError):
            raise
        fail(doing, "not a literal; write out dicts, lists, texts and True or False, without names and calls", error)
    return value


def _refuse_repeated_keys(expression: ast.expr, *, doing: str) -> None:
    """Python lets the last of two equal keys win; an output or a rule would be lost without a word."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Dict):
            keys = Counter(key.value for key in node.keys if isinstance(key, ast.Constant))
            repeated = sorted(str(key) for key, times in keys.items() if times > 1)
            if repeated:
                fail(doing, f"{repeated[0]!r} is declared twice in line {node.lineno}; keep one of them")
