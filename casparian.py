"""Owns the version, the name of the root logger, `python -m casparian` and how our processes end.

Knows nothing of the product.
"""

from __future__ import annotations

import atexit
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # nothing is loaded before an interrupt is heeded that need not be
    from typing import NoReturn

__version__ = "0.1.0"

ROOT_LOGGER = "casparian"


def leave(code: int) -> NoReturn:
    """End the process with an exit code when its exit handlers have run and its output is written.

    Modules and their objects are not taken apart one by one: with Arrow and DuckDB loaded that is a fifth of what a
    short command costs, and the kernel takes the memory back as well. Threads that still run end here.
    """
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads it: Python's own end says so
        sys.exit(code)
    os._exit(code)


def main() -> None:
    """Run the command line."""
    try:
        from cli.main import run

        run()
    except KeyboardInterrupt:  # wherever it comes, be it while modules are loaded
        from cli.errors import EXIT_INTERRUPTED

        sys.stderr.write("interrupted\n")
        leave(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
