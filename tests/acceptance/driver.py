"""The `casparian` command with the fixture parser beside the built-in ones: the same code, the same processes.

Run as `python -P -m tests.acceptance.driver run fixture DIR ...`. The parser is a folder like any other
(tests/acceptance/fixture); the first line of each file says what the parser does with it. Beside it is one that hands
its rows over as text (tests/acceptance/typed).
"""

from __future__ import annotations

from pathlib import Path

from cli import main
from eventlog.ids import ParserName
from executors import parser_catalog
from executors.parser_catalog import ParserPackage, builtin_parsers, load_parser

FIXTURE = Path(__file__).with_name("fixture")
TYPED = Path(__file__).with_name("typed")


def with_fixture(folder: Path | None = None) -> dict[ParserName, ParserPackage]:
    """Return what the catalog has, and the parsers of the tests."""
    packages = [load_parser(FIXTURE), load_parser(TYPED)]
    return {**builtin_parsers(folder), **{package.name: package for package in packages}}


if __name__ == "__main__":
    parser_catalog.builtin_parsers = with_fixture  # before cli.sentinel is imported, which the verb `run` does
    main.run()
