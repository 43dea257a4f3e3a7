"""Owns what can go wrong with a log: each error says what was being done and why it failed, `next_step` what to do."""

from __future__ import annotations


class LogError(Exception):
    """Base of all errors of this package."""

    def __init__(self, message: str, *, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"


class LogMissingError(LogError, FileNotFoundError):
    """There is no log in this folder yet."""


class LogLockedError(LogError, BlockingIOError):
    """Another writer holds the log."""


class LogCorruptError(LogError, ValueError):
    """Bytes of the log that had been durable are damaged: it is refused as it is."""


class LogRegressedError(LogError, ValueError):
    """The log ends before a position that is known to have been durable: it is refused as it is."""


class LogFormatError(LogError, ValueError):
    """The log was made by a version that uses a format this one does not know."""


class OtherLogError(LogError, ValueError):
    """A folder holds another log than the one that it must hold, another history of it, or something else."""


class LogStorageError(LogError, OSError):
    """The file system refused something before the log was in use; nothing was acknowledged."""


class LogFullError(LogStorageError):
    """The disk has less room than the log keeps in reserve: the frame was refused before it got a position."""


class ForkRefusedError(LogError, ValueError):
    """A fork was asked for from where none can begin, or without a reason; nothing was changed."""


class UnknownEventError(LogError, LookupError):
    """A record is undamaged, but this version cannot read it. `seq` and `tag` name it."""

    def __init__(self, message: str, *, next_step: str, seq: int, tag: str) -> None:
        super().__init__(message, next_step=next_step)
        self.seq = seq
        self.tag = tag


class BadNoteError(LogError, ValueError):
    """A signed note, a checkpoint or a key is not in the one form that it can have."""


class BadSignatureError(LogError, ValueError):
    """A note is well formed, but not signed by the key that it must be signed by."""


class BadManifestError(LogError, ValueError):
    """The manifest of a sealed segment is not in the one form that it can have, or contradicts itself or the log."""


class KeyFileError(LogError, OSError):
    """A key file is there where none may be, or cannot be read."""


class InvalidRecordError(LogError, ValueError):
    """A draft was refused before it got a position: it would not read back as it was written."""


class FrameTooLargeError(LogError, ValueError):
    """A draft was refused before it got a position: it is over a bound of the format."""


class LogClosedError(LogError, RuntimeError):
    """The log was closed, or ended by a storage error, and takes no more frames."""


class ForkedLogError(LogError, RuntimeError):
    """A forked child tried to write to the log of its parent."""
