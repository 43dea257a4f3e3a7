"""Owns how verbs take words as they are: text that needs no conversion does without the library that converts.

typer converts every value by pydantic, whose import costs 0.1 s, the larger part of a short command. A verb whose words
are plain text and switches never gets there; numbers, choices and wrong usage do, with the same messages as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class _PlainOption(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _taken(self, ctx, value) if _is_plain(self, value) else super().process_value(ctx, value)


class _PlainArgument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _taken(self, ctx, value) if _is_plain(self, value) else super().process_value(ctx, value)


class PlainCommand(TyperCommand):
    """A verb of ours: `app.command(cls=PlainCommand)`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _taken_plainly(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A group of verbs: `Typer(cls=PlainGroup)`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _taken_plainly(super().get_params(ctx))


def _taken_plainly(params: Sequence[object]) -> list[Any]:
    """Give parameters the class that takes plain text: typer makes them itself, and there is no way to tell it."""
    plain: dict[type, type] = {TyperOption: _PlainOption, TyperArgument: _PlainArgument}
    for param in params:
        param.__class__ = plain.get(type(param), type(param))
    return list(params)


def _is_plain(param: TyperOption | TyperArgument, value: Any) -> bool:
    """Say whether typer would hand this value on as it is: text for text, or nothing where that will do."""
    if param.value_is_missing(value):
        return not param.required and param.nargs == 1
    if param.type_descriptor.annotation == list[str]:
        return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    return param.type_descriptor.annotation is str and isinstance(value, str)


def _taken(param: TyperOption | TyperArgument, ctx: Any, value: Any) -> Any:
    value = list(value) if isinstance(value, tuple) else value
    return param.callback(ctx, param, value) if param.callback is not None else value
