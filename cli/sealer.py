"""Seals full segments while the log is written to: a thread that wakes when a segment is full."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cli.home import Home
from eventlog.errors import LogError
from eventlog.frames import Frame
from eventlog.log import Log

if TYPE_CHECKING:  # signatures take longer to load than the log of a small case takes to write
    from eventlog.note import SigningKey

logger = logging.getLogger("casparian.sealer")


class Sealer:
    """Owns the thread. What cannot be sealed stays as it is, is told once, and is tried again by the next start."""

    def __init__(self, log: Log, home: Home) -> None:
        self._log = log
        self._home = home
        self._seen = 0  # full segments that the thread was woken for
        self._wake = threading.Event()
        self._leaving = False
        self._thread = threading.Thread(target=self._loop, name="sealer", daemon=True)

    def start(self) -> None:
        """Begin, with what earlier processes left unsealed."""
        self.observe(())
        self._thread.start()

    def observe(self, _frames: Sequence[Frame]) -> None:
        """Look whether a segment has become full; called after each commit, on the committing thread."""
        full = self._log.full_segments
        if full != self._seen:
            self._seen = full
            self._wake.set()

    def stop(self) -> None:
        """Finish the segment that is being sealed, then end."""
        self._leaving = True
        self._wake.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._leaving:  # each round waits for a full segment or for the end
            self._wake.wait()
            self._wake.clear()
            try:
                seal_full(self._log, home_key(self._home), leave=lambda: self._leaving)
            except (LogError, OSError) as error:
                logger.error("seal the full segments of %s: %s; nothing of them was removed", self._log.folder, error)
                return


def home_key(home: Home) -> SigningKey | None:
    """Return the case's private key if the home holds it; one that lies elsewhere signs on a person's word only."""
    from eventlog.keyfiles import read_signing_key

    return read_signing_key(home.private_key) if home.private_key.exists() else None


def seal_full(log: Log, key: SigningKey | None, *, leave: Callable[[], bool]) -> int:
    """Seal the full segments of a log that this process writes; return how many.

    Raises LogError, OSError; what was not sealed is as it was.
    """
    from eventlog.sealing import seal_full_segments  # zstd takes longer to load than a small case takes to write

    return seal_full_segments(log.folder, lineage=log.lineage, key=key, leave=leave)
