"""Owns the name of a home's sockets: what tells the sockets of one home from those of another, wherever they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import blake3

SOCKET_NAME_DIGITS: Final = 32  # of the home's hash: enough to never meet, short enough for AF_UNIX


def socket_name(home: Path, *, purpose: str) -> str:
    """Return the file name of a home's socket; all spellings of a home have one."""
    digest = blake3.blake3(os.fsencode(os.path.realpath(home))).hexdigest()
    return f"{digest[:SOCKET_NAME_DIGITS]}.{purpose}"
