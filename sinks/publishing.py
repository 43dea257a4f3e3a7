"""Owns how a staged file gets its final name: by a link, never over another file, whole and durable.

All names are relative to an open folder, so that one that is moved meanwhile cannot split the steps.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
from contextlib import suppress
from typing import Final

import blake3

from eventlog.ids import Digest
from sinks.folder import CREATE, MODE, READ, exists, remove
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, PromoteResult, StagedArtifact
from sinks.uri import final_name_refusal, staged_name_refusal

READ_BYTES: Final = 1024 * 1024
PROBE_TRIES_MAX: Final = 10
_CANNOT_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_PROBE: Final = re.compile(r"\.probe-[0-9a-f]{16}\.(stage|done)", re.ASCII)
_RENAME_NOREPLACE: Final = 1  # linux/fs.h


def promote(folder: int, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
    if exists(folder, artifact.final):
        return _settle(folder, artifact)
    if not exists(folder, artifact.staged):
        return Missing(f"neither {artifact.staged} nor {artifact.final} exists")
    difference = _difference(folder, artifact.staged, artifact, read=verify_staged)
    if difference is not None:
        return Conflict(f"{artifact.staged} {difference}")
    try:
        publish(folder, artifact.staged, artifact.final)
    except FileExistsError:
        return _settle(folder, artifact)
    return Promoted()


def _settle(folder: int, artifact: StagedArtifact) -> AlreadyPromoted | Conflict:
    """Answer for a final name that exists; finish what a crash between link and unlink left."""
    difference = _difference(folder, artifact.final, artifact, read=True)
    if difference is not None:
        return Conflict(f"{artifact.final} {difference}")
    remove(folder, artifact.staged)
    os.fsync(folder)  # also when nothing was removed: the crash may have come before the link was durable
    return AlreadyPromoted()


def withdraw(folder: int, artifact: StagedArtifact) -> None:
    final, staged = artifact.final, artifact.staged
    reachable = final_name_refusal(final) is None and exists(folder, final)
    if reachable and _difference(folder, final, artifact, read=True) is None:
        remove(folder, final)
    if staged_name_refusal(staged) is None:
        remove(folder, staged)
    os.fsync(folder)  # also when nothing was removed: an earlier call may have ended before this line


def publish(folder: int, staged: str, final: str) -> None:
    """Move a file to a name that is free, durably. Raises FileExistsError if it is not, OSError."""
    try:
        os.link(staged, final, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        _rename_no_replace(folder, staged, final)
    os.fsync(folder)
    remove(folder, staged)
    os.fsync(folder)


def _rename_no_replace(folder: int, staged: str, final: str) -> None:
    """Call renameat2, which the standard library lacks. Raises OSError: ENOSYS or EINVAL where it is not known."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if renameat2(folder, os.fsencode(staged), folder, os.fsencode(final), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _difference(folder: int, name: str, artifact: StagedArtifact, *, read: bool) -> str | None:
    """Return how a file differs from what was reported, None if it does not; its bytes are looked at if `read`."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_size != artifact.bytes:
        return f"has {status.st_size} bytes, {artifact.bytes} were reported"
    if not read:
        return None
    found = _digest(folder, name, size=status.st_size)
    return None if found == artifact.digest else f"has the digest {found}, {artifact.digest} was reported"


def _digest(folder: int, name: str, *, size: int) -> Digest:
    """Return the BLAKE3 of the first `size` bytes."""
    hasher = blake3.blake3()
    left = size
    with open(os.open(name, READ, dir_fd=folder), "rb", buffering=0) as file:  # noqa: PTH123  relative to a folder
        while left > 0 and (chunk := file.read(min(left, READ_BYTES))):
            hasher.update(chunk)
            left -= len(chunk)
    return Digest(hasher.hexdigest())


# --- the probe --------------------------------------------------------------------------------------------------------


def probe(folder: int) -> None:
    """Prove that files can be written, synced and published here, and leave nothing behind. Raises OSError.

    The names are hidden, and never those of a staged artifact. A probe is locked as long as its process lives, so that
    what a killed process left is known by its free lock, and removed.
    """
    _sweep_probes(folder)
    for _ in range(PROBE_TRIES_MAX):
        if _probed(folder, secrets.token_hex(8)):
            return
    raise OSError(errno.EBUSY, f"{PROBE_TRIES_MAX} probes were removed by somebody else before they were locked")


def _probed(folder: int, token: str) -> bool:
    """Probe once; False if another process swept the probe in the moment between its creation and its lock."""
    staged, final = f".probe-{token}.stage", f".probe-{token}.done"
    try:
        with open(os.open(staged, CREATE, MODE, dir_fd=folder), "wb", buffering=0) as file:  # noqa: PTH123
            with suppress(OSError):  # where nothing can be locked, nothing is swept either
                fcntl.flock(file, fcntl.LOCK_EX)
            if not exists(folder, staged):
                return False
            file.write(b"probe")
            os.fsync(file.fileno())
            publish(folder, staged, final)
    finally:
        remove(folder, staged)
        remove(folder, final)
    return True


def _sweep_probes(folder: int) -> None:
    """Remove the probes of processes that were killed; those that cannot be are hidden and in nobody's way.

    Whatever is free is removed, empty or not: its process may have been killed before it locked it. One that lives and
    was just about to lock it finds that its name is gone, and makes another.
    """
    for name in filter(_PROBE.fullmatch, os.listdir(folder)):
        with suppress(OSError), open(os.open(name, READ, dir_fd=folder), "rb", buffering=0) as file:  # noqa: PTH123
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(folder, name)
