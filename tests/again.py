"""Runs tests, and asks those that failed again, alone: `make test-long RUNNER=tests.again`.

A whole run kills, stops and starves some thousand processes at random moments, three at a time on two cores. What fails
there once and passes alone, ROUNDS times, is rare: it must not keep a change from landing that has nothing to do with
it. It is named all the same, with what it said above, because about every second one was a fault of the product. What
fails more often than that, or with more company than FAILED_MAX, is no accident.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FAILED_MAX: Final = 3
ROUNDS: Final = 3
_LAST_FAILED: Final = Path(".pytest_cache", "v", "cache", "lastfailed")


def failed_tests(root: Path) -> list[str]:
    """Return the ids of the tests that failed in the last run in this folder, [] if it did not come so far."""
    try:
        return sorted(json.loads((root / _LAST_FAILED).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []


def passes_alone(root: Path, test: str) -> bool:
    """Return whether a test passes each time; stops at the first time that it does not."""
    # No cache: the list of who failed stays that of the whole run.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    return all(subprocess.run(command, cwd=root, check=False).returncode == 0 for _ in range(ROUNDS))


def asked_again(root: Path) -> int:
    """Return 0 if a few tests failed in the last run and each passes alone."""
    failed = failed_tests(root)
    if not 1 <= len(failed) <= FAILED_MAX:
        print(f"not asked again: {len(failed)} tests failed; 1 to {FAILED_MAX} are")
        return 1
    still = [test for test in failed if not passes_alone(root, test)]
    for test in failed:
        print(f"FAILED AGAIN {test}" if test in still else f"FAILED ONCE, then passed {ROUNDS} times alone: {test}")
    return 1 if still else 0


def main(root: Path, words: list[str]) -> int:
    """Run the tests that the words name; return the exit code of pytest, 0 if only a few failed and pass alone.

    A run that was stopped or broke off is none of whose other tests it is known that they pass.
    """
    code = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=root, check=False).returncode
    return asked_again(root) if code == pytest.ExitCode.TESTS_FAILED else code


if __name__ == "__main__":
    sys.exit(main(Path.cwd(), sys.argv[1:]))
