"""Owns the one error shape of every front door: a code for programs, a sentence, the next step, the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventlog.errors import LogError

EXIT_OK = 0  # all is well
EXIT_ERROR = 1  # something failed, or what was asked for is not there
EXIT_USAGE = 2  # wrong usage
EXIT_PARTIAL = 3  # some records could not be read, or were quarantined
EXIT_REFUSED = 4  # refused by policy
EXIT_VERIFICATION = 5  # verification or accounting failed
EXIT_POISONED = 70  # the log could not be written
EXIT_INTERRUPTED = 130  # interrupted


class CliError(Exception):
    """The command cannot do what was asked; told in one sentence, without a stack trace."""

    def __init__(self, code: str, message: str, next_step: str = "", *, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code


def as_cli_error(error: Exception) -> CliError | None:
    """Return the error of a lower layer in the one shape; None for what is nobody's mistake but ours."""
    from eventlog import errors as log
    from executors.errors import PeerGoneError, RequestTimedOutError, TransportError
    from executors.parser_literals import ParserManifestError
    from projections.errors import ProjectorFailedError, ProjectorRacedError, ReadModelUnavailableError

    match error:
        case CliError():
            return error
        case log.LogError():
            return _log_error(error)
        case RequestTimedOutError():
            return CliError("sentinel_silent", str(error), "casparian status; if it was stopped: kill -CONT")
        case PeerGoneError():
            return CliError("sentinel_gone", str(error), "casparian status; then run the same command again")
        case TransportError():
            return CliError("no_socket", str(error), "set TMPDIR to a folder of your own with a short name")
        case ReadModelUnavailableError() | ProjectorFailedError() | ProjectorRacedError():
            next_step = "make room there and run the same command again, or name another --home"
            return CliError("read_model_unavailable", str(error), next_step)
        case ParserManifestError():
            return CliError("bad_parser", str(error), "install Casparian again")
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            return CliError(
                "io_error", f"{what}{error.strerror or error}", "look at the disk and the rights, then try again"
            )
        case _:
            return None


def _log_error(error: LogError) -> CliError:
    from eventlog import errors as log

    match error:
        case log.LogLockedError():
            return CliError("home_in_use", error.message, error.next_step)
        case log.LogStorageError():
            return CliError("home_unusable", error.message, error.next_step)
        case log.LogCorruptError():
            return CliError("log_corrupt", error.message, error.next_step, exit_code=EXIT_VERIFICATION)
        case log.LogRegressedError():
            return CliError("log_regressed", error.message, error.next_step, exit_code=EXIT_VERIFICATION)
        case log.OtherLogError():
            return CliError("other_log", error.message, error.next_step)
        case log.KeyFileError():
            return CliError("key_file", error.message, error.next_step)
        case log.ForkRefusedError():
            return CliError("fork_refused", error.message, error.next_step, exit_code=EXIT_REFUSED)
        case log.BadSignatureError():
            return CliError("bad_signature", error.message, error.next_step, exit_code=EXIT_VERIFICATION)
        case log.BadNoteError():
            return CliError("bad_note", error.message, error.next_step, exit_code=EXIT_VERIFICATION)
        case _:
            return CliError("log_unusable", error.message, error.next_step, exit_code=EXIT_VERIFICATION)
