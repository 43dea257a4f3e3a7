"""Owns the open artifacts of one attempt or lease: made when their first rows come, finished or removed together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from eventlog.ids import OutputName
from sinks.sink import ArtifactIdentity, Sink, StagedArtifact, StageWriter

logger = logging.getLogger("casparian.executor")

# Kept from job to job: Arrow gives each thread memory of its own, and a new one takes fresh pages from the system.
FINISHERS_MAX: Final = 4
_FINISHERS: Final = ThreadPoolExecutor(FINISHERS_MAX, thread_name_prefix="finish")


class StageWriters:
    """Belongs to one thread; `abandon` may be called at any time after it."""

    def __init__(self, sink: Sink, *, whose: str) -> None:
        self._sink = sink
        self._whose = whose
        self._open: dict[OutputName, StageWriter] = {}
        self._finished: dict[OutputName, StagedArtifact] = {}

    def of(self, output: OutputName) -> StageWriter | None:
        """Return the writer of an output, None before its first rows."""
        return self._open.get(output)

    def open(self, identity: ArtifactIdentity, columns: pa.Schema) -> StageWriter:
        """Return a new writer for an output that has none. Raises OSError."""
        writer = self._open[identity.output] = self._sink.open_stage(identity, columns)
        return writer

    def finish(self) -> None:
        """Make every artifact durable.

        All at once: each waits for the disk, and the disk makes several files durable in the time of one. Raises
        OSError; call `abandon` then.
        """
        finishing = {name: _FINISHERS.submit(writer.finish) for name, writer in self._open.items()}
        for name, each in finishing.items():
            if each.exception() is None:  # waits for it; what has begun is seen to its end
                self._finished[name] = each.result()
        for each in finishing.values():
            each.result()  # raises what went wrong first

    def finished(self, names: Iterator[OutputName]) -> Iterator[StagedArtifact]:
        """Yield the artifacts of those of the names that have one; call after `finish`."""
        return (self._finished[name] for name in names if name in self._finished)

    def abandon(self) -> None:
        """Remove everything, finished or not. Idempotent.

        What cannot be removed is told to the log only: it is hidden, and sweeping takes it when the lease is dead.
        """
        for output, writer in self._open.items():
            try:
                if output in self._finished:
                    self._sink.discard(self._finished[output].staged)
                else:
                    writer.abandon()
            except OSError as error:
                logger.warning("discard output %s of %s: %s; left for sweeping", output, self._whose, error)
        self._open.clear()
