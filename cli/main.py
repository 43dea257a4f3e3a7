"""The command line: verbs, global behaviour, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import itertools
import logging
import os
import re
import signal
import sys
from typing import NoReturn

from casparian import ROOT_LOGGER, __version__, leave
from cli.errors import EXIT_OK, CliError, as_cli_error


def run() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    _prepare_streams()
    if sys.argv[1:] in (["--version"], ["version"]):  # without importing typer: scripts ask for it often
        sys.stdout.write(f"casparian {__version__}\n")
        sys.exit(EXIT_OK)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger(ROOT_LOGGER).setLevel(logging.WARNING)
    code = _outcome(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and told: an interrupt could only spoil the way out
    leave(code)


def _outcome(words: list[str]) -> int:
    """Run the command, tell its error if it has one, return the exit code; the error is let go of before the exit."""
    from cli.render import show_error

    try:
        return _command(words)
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        show_error(_doing(told, words), as_json="--json" in words)
        return told.exit_code


def _doing(told: CliError, words: list[str]) -> CliError:
    """Say what was being done, where the system's own words are all there is to tell."""
    if told.code != "io_error":
        return told
    verb = " ".join(itertools.takewhile(re.compile("[a-z][a-z-]*").fullmatch, words[:2]))
    return CliError(told.code, f"{verb or 'casparian'}: {told}", told.next_step, exit_code=told.exit_code)


def _command(words: list[str]) -> int:
    """Run the verb that the words name, on tape if they say so, and return its exit code."""
    if words[:1] == ["status"] and _told_status(words[1:]):
        return EXIT_OK
    from cli.alone import application

    def run_verb() -> int:
        code = application(words)(words, prog_name="casparian", standalone_mode=False)
        return code if isinstance(code, int) else EXIT_OK

    if not any(word.startswith("--tape") for word in words):
        return run_verb()
    import typer

    from cli import taping
    from cli.app import app

    return taping.recorded(words, typer.main.get_command(app), run_verb, _told)


def _told_status(words: list[str]) -> bool:
    """Tell how things stand, without importing typer: scripts ask for it often. False if the words are not plain."""
    from cli.standing import plain_words, show_status

    read = plain_words(words)
    if read is not None:
        from cli.home import find_home

        show_status(find_home(read[0]), as_json=read[1])
    return read is not None


def _told(error: Exception) -> CliError | None:
    """Return an error in the one shape, None for what is nobody's mistake but ours."""
    from cli.usage import usage_error

    return as_cli_error(error) or usage_error(error)


def _prepare_streams() -> None:
    """Have both streams, whatever was closed before us, and never fail on a character that they cannot show."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123  # open as long as the process lives
        getattr(sys, name).reconfigure(errors="backslashreplace")
