"""Owns payloads that are too large for the log: content-addressed, written once, named by the BLAKE3 of their bytes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Protocol

import blake3

from eventlog.ids import Digest


class BlobMissingError(FileNotFoundError):
    """A blob that an event names is not in the store, or its bytes are not what its name says."""


class BlobStore(Protocol):
    """Keeps bytes under their own digest."""

    def put(self, content: bytes) -> Digest:
        """Store the bytes durably and return their name; storing them again changes nothing."""
        ...

    def get(self, digest: Digest) -> bytes:
        """Return the bytes, checked against their name. Raises BlobMissingError."""
        ...


class FolderBlobStore:
    """Blobs as files: `<folder>/<first two hex digits>/<digest>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> Digest:
        digest = Digest(blake3.blake3(content).hexdigest())
        path = self._path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{digest}.{os.getpid()}.{threading.get_ident()}.tmp")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
        _sync_folder(self._folder)
        return digest

    def get(self, digest: Digest) -> bytes:
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissingError(f"read blob {digest}: it is not in {self._folder}") from error
        if blake3.blake3(content).hexdigest() != digest:
            raise BlobMissingError(f"read blob {digest}: the bytes in {self._folder} are not the ones it names")
        return content

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest[:2] / digest


class MemoryBlobStore:
    """The double: keeps blobs in a dictionary that tests may read."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def put(self, content: bytes) -> Digest:
        digest = Digest(blake3.blake3(content).hexdigest())
        self.blobs[digest] = content
        return digest

    def get(self, digest: Digest) -> bytes:
        try:
            return self.blobs[digest]
        except KeyError as error:
            raise BlobMissingError(f"read blob {digest}: it is not stored") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
