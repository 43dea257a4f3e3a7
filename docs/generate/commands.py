"""Writes COMMANDS.md from the command line itself: every verb with its options, example and exit codes."""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Iterator
from typing import Any

import typer
from msgspec import Struct

from docs.generate import errors, markdown

INTRODUCTION = """
Data goes to stdout, talk and errors go to stderr. With `--json` stdout is JSON, an error too: what a script may rely on
is in [CLI-JSON.md](CLI-JSON.md). A verb that only reads needs no lock and writes nothing; it answers while a run is
going on.
"""
Row = tuple[str, str, str]  # of the table of options
_EXAMPLE = re.compile(r"Example: `(.+?)`", re.DOTALL)
_EXIT_CODES = re.compile(r"Exit codes: (.+?)\.?(?=\n\n|\s*$)", re.DOTALL)
_WORDS = {bool: "", int: "number", str: "text", float: "number"}


class Verb(Struct, frozen=True, kw_only=True):
    """One verb as it is typed. `command` is what typer made of it; its class is not public, so neither is its type."""

    words: str
    command: Any
    aliases: tuple[str, ...]


def page() -> str:
    """Return the page."""
    root = typer.main.get_command(_app())
    verbs = list(_verbs(root, "casparian"))
    overview = markdown.table(
        ("verb", "what it does"), [(markdown.link(verb.words), _summary(verb.command)) for verb in verbs]
    )
    shared = _shared([verb.command for verb in verbs])
    return markdown.page(
        "The commands",
        INTRODUCTION,
        overview,
        "## casparian\n\n" + "\n\n".join([_text(root), _options(root, but=[])]),
        "## Options of every verb\n\n" + _option_table(shared) if shared else "",
        *(_verb(verb, but=shared) for verb in verbs),
        errors.section(),
    )


def _shared(commands: list[Any]) -> list[Row]:
    """Return the options that all verbs have: said once, they do not hide what is each verb's own."""
    first, *rest = [_option_rows(command) for command in commands]
    return [row for row in first if all(row in others for others in rest)]


def _app() -> typer.Typer:
    from cli.app import app

    return app


def _verbs(group: Any, words: str) -> Iterator[Verb]:
    """Yield the visible verbs in the order in which they were named; a hidden group of the same verbs is an alias."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        others = [f"{words} {other}" for other, each in group.commands.items() if each.hidden and _same(command, each)]
        if hasattr(command, "commands"):
            for verb in _verbs(command, f"{words} {name}"):
                tail = verb.words.removeprefix(f"{words} {name}")
                yield Verb(words=verb.words, command=verb.command, aliases=tuple(f"{other}{tail}" for other in others))
        else:
            yield Verb(words=f"{words} {name}", command=command, aliases=tuple(others))


def _same(command: Any, other: Any) -> bool:
    return _signature(command) == _signature(other)


def _signature(command: Any) -> object:
    """Return what a verb says of itself; typer wraps functions anew each time, so they cannot be compared."""
    parts = getattr(command, "commands", {})
    return command.help, {name: _signature(part) for name, part in parts.items()}


def _verb(verb: Verb, *, but: list[Row]) -> str:
    parts = [f"## {verb.words}", _text(verb.command)]
    if verb.aliases:
        parts.append("Also: " + ", ".join(markdown.code(alias) for alias in verb.aliases))
    parts += ["```\n" + _usage(verb) + "\n```", _arguments(verb.command), _options(verb.command, but=but)]
    if example := _EXAMPLE.search(verb.command.help):
        parts.append("Example:\n\n```\n" + _flow(example[1]) + "\n```")
    parts.append(_exit_codes(verb.command))
    return "\n\n".join(part for part in parts if part)


def _text(command: Any) -> str:
    """Return the help without its example and its exit codes, which have places of their own."""
    text = _EXIT_CODES.sub("", _EXAMPLE.sub("", command.help or ""))
    return "\n\n".join(_flow(part) for part in text.split("\n\n") if part.strip())


def _summary(command: Any) -> str:
    return _text(command).split("\n\n")[0]


def _flow(text: str) -> str:
    return " ".join(text.split())


def _usage(verb: Verb) -> str:
    words = [verb.words]
    for argument in _of_kind(verb.command, "argument"):
        name = f"{_name(argument)}{'...' if argument.nargs == -1 else ''}"
        words.append(name if argument.required else f"[{name}]")
    return " ".join([*words, "[OPTIONS]"])


def _of_kind(command: Any, kind: str) -> list[Any]:
    return [each for each in command.params if each.param_type_name == kind and not each.hidden]


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _arguments(command: Any) -> str:
    rows = [(markdown.code(_name(each)), each.help or "") for each in _of_kind(command, "argument")]
    return markdown.table(("argument", "what it is"), rows) if rows else ""


def _options(command: Any, *, but: list[Row]) -> str:
    rows = [row for row in _option_rows(command) if row not in but]
    return _option_table(rows) if rows else ""


def _option_table(rows: list[Row]) -> str:
    return markdown.table(("option", "what it does", "default"), rows)


def _option_rows(command: Any) -> list[Row]:
    return [
        (markdown.code(f"{_spelling(each)} {_value(each)}".strip()), each.help or "", _default(each))
        for each in _of_kind(command, "option")
    ]


def _spelling(option: Any) -> str:
    return ", ".join([*option.opts, *option.secondary_opts])


def _value(option: Any) -> str:
    """Return what stands behind an option: its metavar, its choices, or the kind of value."""
    if option.metavar:
        return str(option.metavar)
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(each.value) for each in kind)
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(str(each) for each in typing.get_args(kind))
    word = _WORDS.get(kind, getattr(kind, "__name__", "value").lower()).upper()
    return word + _bounds(option)


def _bounds(option: Any) -> str:
    match option.min, option.max:
        case None, None:
            return ""
        case low, None:
            return f" (from {low})"
        case None, high:
            return f" (to {high})"
        case low, high:
            return f" ({low} to {high})"


def _default(option: Any) -> str:
    """Return the default where one is set; where there is none, or it is a flag, the help says what happens."""
    value = option.default
    if value is None or value is False or callable(value) or value in ((), [], ""):
        return ""
    return markdown.code(str(getattr(value, "value", value)))


def _exit_codes(command: Any) -> str:
    told = _EXIT_CODES.search(command.help or "")
    if not told:
        return ""
    codes = re.split(r", (?=\d+ )", _flow(told[1]))
    return markdown.table(("exit code", "meaning"), [tuple(code.split(" ", 1)) for code in codes])
