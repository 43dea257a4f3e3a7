"""Owns the errors of sinks, and the sentence in which a refusal of the disk is told."""

from __future__ import annotations

import errno
from typing import Final


class SinkUriError(ValueError):
    """A sink's URI does not name a target; the sentence says why and shows one that does."""


class ArtifactNameError(ValueError):
    """A name is not that of an artifact in a sink's folder; nothing was touched."""


class LineageColumnError(ValueError):
    """A batch brings a column whose name is reserved for the host's lineage."""


class StageClosedError(ValueError):
    """A staged artifact was used after it was finished, abandoned or broken by a failed write."""


class StageSchemaError(ValueError):
    """A batch is not of the schema that its staged artifact was opened with."""


_WHAT_NEXT: Final[dict[int, str]] = {
    errno.EACCES: "give this user the right to write there",
    errno.EDQUOT: "free space or raise this user's quota, then try again",
    errno.EEXIST: "something of that name is in the way: look at it before moving it",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose another file system",
    errno.EINVAL: "its file system cannot create files without overwriting: choose a folder on another one",
    errno.EIO: "check the disk and its cables before anything else is written",
    errno.ENOENT: "create the folder or mount its disk again",
    errno.ENOSPC: "free space on that disk, then try again",
    errno.ENOSYS: "its file system cannot create files without overwriting: choose a folder on another one",
    errno.ENOTDIR: "a file is where a folder should be: move it or choose another folder",
    errno.EPERM: "give this user the right to write there, or choose a folder on another file system",
    errno.EROFS: "mount it writable or choose another folder",
}


def disk_sentence(error: OSError, *, doing: str) -> str:
    """Say what was being done, why the disk refused and what to do next."""
    next_step = _WHAT_NEXT.get(error.errno or 0, "look at the target, then try again")
    return f"{doing}: {error.strerror or error}; {next_step}"


def disk_error(error: OSError, *, doing: str) -> OSError:
    """Return the same error (class and errno) with the sentence of `disk_sentence` as its message."""
    return OSError(error.errno or errno.EIO, disk_sentence(error, doing=doing))
