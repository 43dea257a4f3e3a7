"""Owns the options that verbs share, so that they are spelled and explained once."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from cli.errors import EXIT_USAGE, CliError


def _named(text: str | None) -> str | None:
    if text is not None and not text:
        raise typer.BadParameter("an empty name is no folder")
    return text


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}


def parse_size(text: str) -> int:
    """Read `4GB`, `512MiB`, `100000000`: a number of bytes, in units of 1,000 or, with an i, of 1,024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?i?)b?", text.strip().lower(), re.ASCII)
    units = _UNITS | _BINARY
    if found is None or found[2] not in units or not (bytes_ := int(float(found[1]) * units[found[2]])):
        raise typer.BadParameter(f"{text!r} is no size; write it like 4GB or 512MiB")
    return bytes_


def parse_settings(words: list[str]) -> dict[str, str]:
    """Read NAME=VALUE words; whether the parser has such a setting is the run's decision."""
    settings: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or name in settings:
            why = "it is set twice" if name in settings else "it is not of the form NAME=VALUE"
            raise CliError("usage", f"read --set {word}: {why}", "--set raw_xml=true", exit_code=EXIT_USAGE)
        settings[name] = value
    return settings


def complete_parser(begun: str) -> list[str]:
    """Return the names of parsers that begin so, for the shell; reads their manifests (some 10 ms), runs nothing."""
    from executors.parser_catalog import builtin_parsers

    return [name for name in builtin_parsers() if name.startswith(begun)]


def _reason(text: str) -> str:
    """Take a reason as it can stand in the log: bytes that are not UTF-8 are shown escaped."""
    from cli.messages import REASON_CHARACTERS_MAX

    words = os.fsencode(text).decode("utf-8", "backslashreplace")
    if not 0 < len(words) <= REASON_CHARACTERS_MAX:
        raise typer.BadParameter(f"a reason has 1 to {REASON_CHARACTERS_MAX:,} characters")
    return words


ReasonOption = Annotated[str, typer.Option("--reason", parser=_reason, metavar="TEXT", help="Why, for the log.")]
ReasonIfAny = Annotated[
    str | None, typer.Option("--reason", parser=_reason, metavar="TEXT", help="Why, for the log.", show_default=False)
]
HomeOption = Annotated[
    str | None,
    typer.Option(
        "--home", callback=_named, metavar="FOLDER", help="The home. Default: $CASPARIAN_HOME, else ~/.casparian_flow."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data as JSON on stdout; talk stays on stderr.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
