"""Owns where the sockets of a home lie: in a folder that only this user can enter, under names that fit AF_UNIX."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from executors.errors import TransportError
from executors.socket_names import socket_name

SOCKET_PATH_BYTES_MAX: Final = 107  # AF_UNIX: sun_path has 108, one of them the closing zero


def socket_address(home: Path, *, purpose: str = "executors") -> str:
    """Return the ipc address that belongs to a home, in a folder that only this user can enter.

    The folder is created if needed, under $XDG_RUNTIME_DIR or else the temporary folder: nng asks no peer for
    credentials, so the folder's mode is what keeps others out, and AF_UNIX allows too few bytes for a name inside the
    home. All spellings of a home have one address. Raises TransportError if the folder cannot be trusted.
    """
    name = socket_name(home, purpose=purpose)
    for folder in _socket_folders():
        path = folder / name
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            _make_private(folder)
            return f"ipc://{path}"
    raise TransportError(f"choose a socket for {home}: every path is longer than {SOCKET_PATH_BYTES_MAX} bytes")


def remove_socket(address: str) -> None:
    """Remove the socket file of an ipc address; one that is not there is removed. Call only as the home's owner.

    Raises TransportError if the name belongs to something that is not a socket.
    """
    path = socket_path(address)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise TransportError(f"remove the socket {path}: it is not a socket; look at it, then remove it yourself")
        path.unlink()
    except FileNotFoundError:
        return


def _socket_folders() -> list[Path]:
    folders = [Path(tempfile.gettempdir()).absolute() / f"casparian-{os.geteuid()}"]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # Under sudo the variable may still name another user's folder; a socket there would be found by nobody.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.geteuid():
        folders.insert(0, runtime / "casparian")
    # A job's TMPDIR may be too long for AF_UNIX; the system's own temporary folder never is.
    folders.append(Path("/tmp") / f"casparian-{os.geteuid()}")
    return folders


def _make_private(folder: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        facts = folder.lstat()
    except OSError as error:
        raise TransportError(f"make the socket folder {folder}: {error.strerror}; set TMPDIR to another") from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise TransportError(f"use the socket folder {folder}: it belongs to somebody else; remove it or set TMPDIR")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        raise TransportError(f"use the socket folder {folder}: others may enter it; run `chmod 700 {folder}`")


def socket_path(address: str) -> Path:
    """Return the file behind an ipc address. Raises TransportError if it cannot be one."""
    path = address.removeprefix("ipc://")
    if path == address or not path.startswith("/") or "\0" in path:
        raise TransportError(f"use the address {address!r}: it is not of the form ipc:///absolute/path")
    # nng takes UTF-8 only, and cuts a longer name off without a word: two servers could meet at the same stump.
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise TransportError(f"use the address {address!r}: it is not UTF-8; set TMPDIR to a plain path") from error
    if size > SOCKET_PATH_BYTES_MAX:
        raise TransportError(f"use the address {address}: {size} bytes of path, at most {SOCKET_PATH_BYTES_MAX}")
    return Path(path)
