"""The `casparian` command with the fixture parser beside the built-in ones: the same code, the same processes.

Run as `python -P -m tests.acceptance.driver run fixture DIR ...`. The parser is a folder like any other
(tests/acceptance/fixture); the first line of each file says what the parser does with it. Beside it is one that hands
its rows over as text (tests/acceptance/typed).

With SHORT_WAITS in the environment a lease is over and a retry is due in seconds; while the file exists that HOLD
names, nothing is published, as if the disk of the target were slow.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from casparian import main
from eventlog.ids import ParserName
from executors import parser_catalog
from executors.parser_catalog import ParserPackage, builtin_parsers, load_parser

FIXTURE = Path(__file__).with_name("fixture")
TYPED = Path(__file__).with_name("typed")
COMMAND = (sys.executable, "-P", "-m", "tests.acceptance.driver")
SHORT_WAITS = "CASPARIAN_TEST_SHORT_WAITS"
HOLD = "CASPARIAN_TEST_HOLD"
POLL_SECONDS = 0.5
LEASE_SECONDS = 5.0
RETRY_BASE_SECONDS = 1  # to any power
HOLD_SECONDS_MAX = 30.0
HOLD_TICK_SECONDS = 0.01


def with_fixture(folder: Path | None = None) -> dict[ParserName, ParserPackage]:
    """Return what the catalog has, and the parsers of the tests."""
    packages = [load_parser(FIXTURE), load_parser(TYPED)]
    return {**builtin_parsers(folder), **{package.name: package for package in packages}}


def shorten_waits() -> None:
    """Have a lease end and a retry begin while a test can wait for it."""
    from cli import dispatching, fleet
    from commands import attempt
    from executors import protocol

    for module in (dispatching, fleet):
        setattr(module, "LEASE_SECONDS", LEASE_SECONDS)  # noqa: B010  # final for everybody else, as all of them
    setattr(protocol, "POLL_SECONDS", POLL_SECONDS)  # noqa: B010
    setattr(attempt, "RETRY_BASE_SECONDS", RETRY_BASE_SECONDS)  # noqa: B010


def hold_promotions(file: Path) -> None:
    """Have the promoter wait before each promotion while the file exists, HOLD_SECONDS_MAX at most."""
    from cli.promoter import Promoter
    from reducers.shares import Bundle
    from sinks.sink import PromoteResult

    attempt = Promoter._attempt

    def held(self: Promoter, bundle: Bundle) -> PromoteResult:
        deadline = time.monotonic() + HOLD_SECONDS_MAX
        while file.exists() and time.monotonic() < deadline:
            time.sleep(HOLD_TICK_SECONDS)
        return attempt(self, bundle)

    Promoter._attempt = held  # type: ignore[method-assign]  # the point of it


def main_of_tests(verb: str) -> None:
    """Run the command line with what its verb needs of the above: none starts slower than it has to."""
    parser_catalog.builtin_parsers = with_fixture  # before cli.sentinel is imported, which the verb `run` does
    if verb == "start":
        from cli import service

        service.COMMAND = COMMAND
    elif verb not in ("stop", "status"):  # the others may become a sentinel
        if SHORT_WAITS in os.environ:
            shorten_waits()
        if HOLD in os.environ:
            hold_promotions(Path(os.environ[HOLD]))
    main()


if __name__ == "__main__":
    main_of_tests(sys.argv[1] if sys.argv[1:] else "")
