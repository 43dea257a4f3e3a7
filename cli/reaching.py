"""Owns who may be asked in the name of a home: the sentinel that holds it, and never that of a home it was copied from.

The address lies in the home, so a copy of a home brings the other one's along. What is asked of the copy must not be
done in the original: the name of the socket says whose it is.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePath

from cli.client import ControlClient, connect
from cli.home import Home
from executors.socket_names import socket_name

PURPOSE = "control"


def reach(home: Home) -> ControlClient | None:
    """Return a client of the sentinel of this home, None if nobody listens. Raises TransportError."""
    return connect(home.control) if _is_ours(home) else None


def _is_ours(home: Home) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        address = home.control.read_text(encoding="utf-8", errors="surrogateescape").strip()
        return PurePath(address).name == socket_name(home.root, purpose=PURPOSE)
    return False
