"""Owns the errors of read models and of the `sql` verb. A message says what was done, to what, why, and what next."""

from __future__ import annotations


class ProjectorRacedError(RuntimeError):
    """Somebody else advanced the checkpoint of this read model: stop, and open it again."""


class ProjectorGapError(ValueError):
    """The frames do not continue the checkpoint: something between them was left out, or given twice."""


class ProjectorFailedError(RuntimeError):
    """The read model could not take the rows; it is as it was before, and the log is not touched."""


class UnknownSubjectError(LookupError):
    """An event speaks of a job, run or executor that no earlier event introduced."""


class UnhandledEventError(LookupError):
    """A record's type is neither handled nor ignored by the read model."""


class ReadModelUnavailableError(OSError):
    """The read model's file could not be created or opened, even from nothing."""


class SqlError(ValueError):
    """A query could not be answered."""


class SqlRefusedError(SqlError):
    """The statement is not one that `sql` runs: exactly one SELECT, over recorded files and read-model tables only."""


class UnknownTableError(SqlError):
    """The query names a table that does not exist here; the message lists those that do."""


class AmbiguousNameError(SqlError):
    """The query names an output by a name that several outputs claim; the message lists their full names."""


class MissingFileError(SqlError):
    """A recorded file is not where the log says that it was published."""


class UnreachableFileError(SqlError):
    """A recorded file has a name or a target that cannot be opened here."""


class ReadModelDoubtError(RuntimeError):
    """There is no read model here that could be compared with the log; the message says what is there instead."""
