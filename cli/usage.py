"""Says in our words what is wrong with the words of a command line; the library's own are those of its parts.

What is needed of an error is what the library declares of the parameter: its type, its bounds, its choices.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import typer

from cli.errors import EXIT_USAGE, CliError

USAGE_ERROR = typer.BadParameter.__mro__[2]  # the base of the library's errors is not public
VERBS_OPTIONS = ("--home", "--json")  # of nearly every verb, and of none before it


def usage_error(error: Exception) -> CliError | None:
    """Return what is wrong with the words in the one error shape; None for an error of another kind."""
    if not isinstance(error, USAGE_ERROR):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "casparian"
    return CliError("usage", _sentence(error, command), f"{command} --help", exit_code=EXIT_USAGE)


def _sentence(error: Any, command: str) -> str:
    param, context = getattr(error, "param", None), getattr(error, "ctx", None)
    match type(error).__name__:
        case "MissingParameter" if param is not None:
            return f"{command}: {_name(param)} is missing{_order(error, param)}" + (
                f": {param.help}" if param.help else ""
            )
        case "NoArgsIsHelpError" if context is not None:  # the library's own message is the whole help
            return f"{command}: say what, one of {', '.join(context.command.list_commands(context))}"
        case "NoSuchOption" if context is not None and context.parent is None and error.option_name in VERBS_OPTIONS:
            return f"{command}: {error.option_name} stands behind the verb: casparian VERB {error.option_name} ..."
        case "NoSuchOption":
            return f"{command}: it has no option {error.option_name}" + _instead(error.possibilities)
        case "BadParameter" if param is not None:
            return _unfit(error, param)
        case _:
            return str(error.format_message())


def _order(error: Any, param: Any) -> str:
    """Return the order of several words: the one that is missing is the last, which may be the one that was given."""
    words = [each for each in error.ctx.command.params if each.param_type_name == "argument"] if error.ctx else []
    several = len(words) > 1 and param is words[-1]
    return f" ({' '.join(_name(each) for each in words)} belong together)" if several else ""


def _unfit(error: Any, param: Any) -> str:
    """Return why a value does not fit: a reason of ours stands in the error, one of the library's is said anew."""
    refused = error.__cause__
    if refused is None or not hasattr(refused, "errors"):
        return f"take {_name(param)}: {error.message}"
    value = refused.errors()[0]["input"]
    return f"take {value!r} as {_name(param)}: it is not {_expected(param)}"


def _expected(param: Any) -> str:
    """Return what a parameter takes, from its declaration."""
    kind, info = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(each.value) for each in kind)
    what = {int: "a whole number", float: "a number"}.get(kind, "what it takes")
    match info.min, info.max:
        case None, None:
            return what
        case low, None:
            return f"{what} of {_number(low)} or more"
        case None, high:
            return f"{what} of {_number(high)} or less"
        case low, high:
            return f"{what} from {_number(low)} to {_number(high)}"


def _number(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:,}"


def _name(param: Any) -> str:
    """Return a parameter as it is typed: --workers, or the word that stands for an argument in the help."""
    longest = max(param.opts, key=len)
    return str(longest) if longest.startswith("-") else str(param.metavar or longest).upper().strip("[]")


def _instead(possibilities: Any) -> str:
    return f"; did you mean {' or '.join(possibilities)}?" if possibilities else ""
