"""The command line: verbs, global behaviour, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import logging
import signal
import sys
from typing import NoReturn

from casparian import ROOT_LOGGER, __version__
from cli.errors import EXIT_INTERRUPTED, EXIT_OK, as_cli_error


def run() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    if sys.argv[1:] in (["--version"], ["version"]):  # without importing typer: scripts ask for it often
        sys.stdout.write(f"casparian {__version__}\n")
        sys.exit(EXIT_OK)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger(ROOT_LOGGER).setLevel(logging.WARNING)
    from cli.app import app
    from cli.render import show_error

    try:
        app(prog_name="casparian")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left (`| head`): that is their right, and no error.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        sys.stderr.close()
        sys.exit(EXIT_OK)
    except Exception as error:
        told = as_cli_error(error)
        if told is None:
            raise
        show_error(told, as_json="--json" in sys.argv)
        sys.exit(told.exit_code)
    sys.exit(EXIT_OK)
