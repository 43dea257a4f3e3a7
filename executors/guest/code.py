"""Owns the hand-over of a parser's code: its files are read once, compared, and given to the guest parent as bytes.

A guest compiles what was compared and opens none of these files again, so that what runs is what was trusted whatever
becomes of them meanwhile. The bytes lie in memory that is sealed: no process can change it, ours neither.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Final

import blake3
from msgspec import Struct

from eventlog.ids import canonical_hash
from executors.guest.errors import ParserChangedError

SOURCE_BYTES_MAX: Final = 4 * 1024 * 1024  # of one Python file of a parser
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class ParserCode(Struct, frozen=True, kw_only=True):
    """The Python files that a guest may load: the entrypoint, and what can be imported from beside it.

    `digests` has the BLAKE3 of each, as it stands in the artifact hash, by its path from the entrypoint's folder.
    """

    file: str
    digests: dict[str, str]

    def identity(self) -> str:
        """Return what tells two codes of one file apart."""
        return canonical_hash(self.digests)


def sealed_code(code: ParserCode) -> int:
    """Return a descriptor of the files' bytes: a line of JSON with names and sizes, then one after another.

    Raises ParserChangedError where a file is not what its digest says, OSError where memory cannot be had.
    """
    contents = {name: _read(Path(code.file).parent / name, digest) for name, digest in code.digests.items()}
    if Path(code.file).name not in contents:
        raise _changed(code.file, "is no file of the parser that was trusted")
    head = json.dumps([[name, len(content)] for name, content in contents.items()], ensure_ascii=False)
    descriptor = os.memfd_create("parser", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(head.encode() + b"\n")
            memory.writelines(contents.values())
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(path: Path, digest: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(SOURCE_BYTES_MAX + 1)  # of a longer one the beginning is another digest
    except OSError as error:
        raise _changed(str(path), f"cannot be read any more: {error.strerror}") from error
    if blake3.blake3(content).hexdigest() != digest:
        raise _changed(str(path), "has other bytes than what was trusted")
    return content


def _changed(path: str, what: str) -> ParserChangedError:
    return ParserChangedError(errno.ESTALE, f"load the parser: its file {path} {what}")
