"""Writes EVENTS.md from eventlog/events.py: each record that can stand in the log, its fields, and who folds it."""

from __future__ import annotations

import re
import typing
from types import ModuleType

from msgspec import Struct

from docs.generate import errors, markdown, source
from eventlog import events, ids, schema
from reducers import fold

INTRODUCTION = """
What stands in the log, in the order in which it happened. An *event* is a fact (past tense); a *command* is what a
person asked for (imperative), and the events behind it in the same frame are what came of it. `casparian log show`
prints them. A type's name is its tag in the log; a released shape never changes.
"""


OWNERS = (events, schema)  # the modules whose structures stand in the log
WORDS = "Ids, hashes and words"


def page() -> str:
    """Return the page."""
    groups = _groups()
    overview = markdown.table(
        ("noun", "events"),
        [(noun, ", ".join(markdown.link(name) for name in members)) for noun, members in groups.items()]
        + [("commands", ", ".join(markdown.link(name) for name in _commands()))],
    )
    parts = [
        f"## Events of the noun {noun}\n\n" + "\n\n".join(_record(name) for name in members)
        for noun, members in groups.items()
    ]
    commands = "## Commands\n\n" + "\n\n".join(_record(name) for name in _commands())
    values = "## Values inside events\n\n" + "\n\n".join(_record(name) for name in _values())
    return markdown.page(
        "The records of the log", INTRODUCTION, overview, *parts, commands, errors.refusals(), values, _words()
    )


def _union(name: str) -> list[str]:
    (found,) = [each for each in source.names(events) if each.name == name]
    return source.alternatives(found.value)


def _groups() -> dict[str, list[str]]:
    """Return the events by noun, as the union `Event` gathers them: `JobEvent` is the noun job."""
    return {name.removesuffix("Event").lower(): _members(name) for name in _union("Event")}


def _members(name: str) -> list[str]:
    """Return the classes of a union's alias; an alias of one class is that class."""
    found = getattr(events, name)
    return [each.__name__ for each in typing.get_args(found) or (found,)]


def _commands() -> list[str]:
    return _members("LoggedCommand")


def _values() -> list[str]:
    """Return the structures that are no record of their own, in the order of the source."""
    return [
        name
        for module in OWNERS
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, Struct) and each.__module__ == module.__name__
        if not issubclass(each, events.Record)
    ]


def _module(name: str) -> ModuleType:
    (module,) = [each for each in OWNERS if getattr(vars(each).get(name), "__module__", "") == each.__name__]
    return module


def _record(name: str) -> str:
    module = _module(name)
    shape = getattr(module, name)
    parts = [f"### {name}"]
    text = shape.__dict__.get("__doc__") or ""
    if text and not text.startswith(f"{name}("):
        parts.append(markdown.prose(text))
    if issubclass(shape, events.Record):
        parts.append(_folded(shape))
    rows = [(markdown.code(each.name), _type(each.type), each.comment) for each in source.fields(module, name)]
    parts.append(markdown.table(("field", "type", ""), rows))
    return "\n\n".join(parts)


def _folded(shape: type[events.Record]) -> str:
    nouns = fold.TABLE.get(shape, ())
    if nouns:
        return "Folded by: " + ", ".join(markdown.code(f"reducers/{noun}.py") for noun in nouns)
    return "Folded by: no reducer; it changes no noun."


def _type(annotation: str) -> str:
    """Return an annotation as it is written, with links to what it names on this page."""
    headings = {name: name for name in _values()} | dict.fromkeys([*source.identities(ids), *_literals()], WORDS)
    pieces = re.split(r"(\w+)", annotation)
    shown = "".join(markdown.link(piece, headings[piece]) if piece in headings else piece for piece in pieces)
    return shown if shown != annotation else markdown.code(annotation)


def _literals() -> dict[str, tuple[str, ...]]:
    """Return the sets of words that fields draw from."""
    found = [(each.name, getattr(module, each.name)) for module in OWNERS for each in source.names(module)]
    return {name: typing.get_args(value) for name, value in found if typing.get_origin(value) is typing.Literal}


def _words() -> str:
    """Return the section on ids, hashes and fixed sets of words."""
    rows = [
        (markdown.code(name), markdown.code(getattr(ids, name).__supertype__.__name__), comment)
        for name, comment in source.identities(ids).items()
    ]
    rows += [
        (markdown.code(name), "", "one of " + ", ".join(markdown.code(word) for word in words))
        for name, words in _literals().items()
    ]
    return f"## {WORDS}\n\n{markdown.table(('type', 'written as', 'meaning'), rows)}"
