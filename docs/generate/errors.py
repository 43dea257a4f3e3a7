"""Writes what can go wrong: exit codes, the errors of the command line, the refusals of decisions.

They are found where they are made: each call of CliError and of Refused, with its sentence, `…` for what is put in.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

import commands
from cli import errors
from docs.generate import markdown, source

EXIT_PREFIX = "EXIT_"
EXIT_DEFAULT = "EXIT_ERROR"
ERRORS = """
With `--json`, `error.code` is one of these, or that of a [refusal](EVENTS.md#refusals); `error.message` says what was
being done, to what, and why it failed; `error.next_step` says what to type next. Some sentences:
"""
REFUSALS = """
A command that may not do what it asks changes nothing. The code of its refusal is for programs; it stands in the
answer, and in CommandRefused or CommitRefused where the refusal is part of the record.
"""


class Made(Struct, frozen=True, kw_only=True):
    """One place that makes an error or a refusal. `said` is "" for a sentence that comes from elsewhere."""

    code: str
    said: str
    exit_name: str


def section() -> str:
    """Return the part of COMMANDS.md on exit codes and errors."""
    exits = [(str(code), meaning) for code, meaning in _exit_codes().values()]
    exit_of = {name: str(code) for name, (code, _) in _exit_codes().items()}
    rows = [
        (markdown.code(code), ", ".join(sorted({exit_of[each.exit_name] for each in made})), _sentences(made))
        for code, made in _by_code(Path(errors.__file__).parent, "CliError")
    ]
    return "\n\n".join(
        [
            "## Exit codes",
            markdown.table(("exit code", "meaning"), exits),
            "## Errors",
            ERRORS.strip(),
            markdown.table(("code", "exit code", "says"), rows),
        ]
    )


def refusals() -> str:
    """Return the part of EVENTS.md on refusals."""
    folder = Path(commands.__file__ or "").parent
    rows = [(markdown.code(code), _sentences(made)) for code, made in _by_code(folder, "Refused")]
    return "\n\n".join(["## Refusals", REFUSALS.strip(), markdown.table(("code", "says"), rows)])


def _exit_codes() -> dict[str, tuple[int, str]]:
    """Return the exit codes by name, with the comments beside them."""
    return {
        each.name: (getattr(errors, each.name), each.comment)
        for each in source.names(errors)
        if each.name.startswith(EXIT_PREFIX)
    }


def _by_code(folder: Path, maker: str) -> list[tuple[str, list[Made]]]:
    """Return what a package makes, by code: a code stands for the same mistake wherever it is made."""
    found: dict[str, list[Made]] = {}
    for path in sorted(folder.glob("*.py")):
        for each in _made(ast.parse(path.read_text(encoding="utf-8")), maker):
            found.setdefault(each.code, []).append(each)
    return sorted(found.items())


def _made(tree: ast.AST, maker: str) -> Iterator[Made]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(code)), said, *_]) if name == maker:
                yield Made(code=code, said=_sentence(said), exit_name=_exit_name(node))
            case _:
                pass


def _sentences(made: list[Made]) -> str:
    return "; ".join(dict.fromkeys(each.said for each in made if each.said))


def _sentence(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            pieces = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts]
            return "".join(pieces) if any(piece.strip("…: ") for piece in pieces) else ""
        case _:
            return ""


def _exit_name(call: ast.Call) -> str:
    """Return the name of the constant that a place names as its exit code."""
    named = [each.value for each in call.keywords if each.arg == "exit_code"]
    return named[0].id if named and isinstance(named[0], ast.Name) else EXIT_DEFAULT
