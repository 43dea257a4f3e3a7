"""Owns how verbs take words as they are: text that needs no conversion does without the library that converts.

typer converts every value by pydantic, whose import costs 0.1 s, the larger part of a short command. A verb whose words
are plain text, switches and whole numbers in their bounds never gets there; choices and wrong usage do, with the same
messages as ever.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.models import ParameterInfo

from cli.errors import EXIT_INTERRUPTED

_DIGITS: Final = re.compile(r"[0-9]{1,18}")


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

    def invoke(self, ctx: Any) -> Any:
        """Carry out the verb; say that it was interrupted where it was, with which typer would leave without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            raise typer.Exit(EXIT_INTERRUPTED) from None


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
    wanted = param.type_descriptor.annotation
    if wanted == list[str]:
        return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    if wanted is int:
        return _is_plain_number(param.type_descriptor.parameter_info, value)
    return wanted is str and isinstance(value, str)


def _is_plain_number(told: ParameterInfo, value: Any) -> bool:
    """Say whether it is a whole number within its bounds, in digits alone where it is text."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is not int or told.clamp:
        return False
    return (told.min is None or told.min <= value) and (told.max is None or value <= told.max)


def _taken(param: TyperOption | TyperArgument, ctx: Any, value: Any) -> Any:
    if isinstance(value, tuple):
        value = list(value)
    elif isinstance(value, str) and param.type_descriptor.annotation is int:
        value = int(value)
    return param.callback(ctx, param, value) if param.callback is not None else value
