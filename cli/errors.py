"""Owns the one error shape of every front door: a code for programs, a sentence, the next step, the exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_REFUSED = 4
EXIT_VERIFICATION = 5
EXIT_POISONED = 70
EXIT_INTERRUPTED = 130


class CliError(Exception):
    """The command cannot do what was asked; told in one sentence, without a stack trace."""

    def __init__(self, code: str, message: str, next_step: str = "", *, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code
