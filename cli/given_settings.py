"""Owns the check of what `--set` gives a parser, before anything is begun: a wrong value is a mistake in typing."""

from __future__ import annotations

from cli.errors import EXIT_USAGE, CliError
from executors.parser_catalog import ParserPackage


def refuse_wrong(package: ParserPackage, given: dict[str, str]) -> None:
    """Raise CliError for a setting that the parser does not have, or a value that it does not take.

    What a parser takes it declares (`setting_values`); a setting whose default is true or false takes these two.
    """
    from commands.outcome import Refused
    from commands.run import settings_of

    for name, value in given.items():
        taken = package.setting_values.get(name, ())
        if taken and value not in taken:
            raise CliError(
                "bad_setting",
                f"set {name} of {package.name} to {value!r}: it takes {', '.join(taken)}",
                f"--set {name}={package.settings[name]}",
                exit_code=EXIT_USAGE,
            )
    settings = settings_of(given, package.settings)
    if isinstance(settings, Refused):
        raise CliError(settings.code, settings.why, settings.next_step, exit_code=EXIT_USAGE)
