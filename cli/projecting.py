"""Keeps the read model up with the log: one thread owns the writer of the DuckDB file, and answers questions on it.

Frames wait in a bounded queue and are gathered for a moment: a transaction costs 15 ms whatever it holds, most of it
with the interpreter's lock that the deciding thread needs too. A question or the end is never kept waiting for that.
Questions are answered by the same thread, between two batches: DuckDB has one owner.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import duckdb

from eventlog.frames import FRAME_EVENTS_MAX, Frame
from projections.errors import ProjectorFailedError
from projections.projector import BATCH_EVENTS_MAX
from projections.readmodel import Writer

FRAMES_WAITING_MAX = 50_000
GATHER_SECONDS = 1.0  # how far the read model may stay behind while nobody asks it
TOLD_EVENTS_MIN = 10_000  # to catch up with fewer is too quick to be spoken of

T = TypeVar("T")
logger = logging.getLogger("casparian.projection")


class ProjectionThread:
    """Applies durable frames in order. `at` is the last seq that the read model has, `head` the log's as it began."""

    def __init__(self, writer: Writer, *, head: int) -> None:
        self._writer = writer
        self._queue: queue.Queue[Frame | Callable[[], None] | None] = queue.Queue(FRAMES_WAITING_MAX)
        self._thread = threading.Thread(target=self._loop, name="projector", daemon=True)
        self._fault: BaseException | None = None
        self.at: int = writer.projector.checkpoint.seq
        self._behind = head - self.at
        self._began = time.monotonic()

    def start(self) -> None:
        """Begin to apply."""
        self._thread.start()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        for frame in frames:
            self.feed(frame)

    def feed(self, frame: Frame) -> None:
        """Take in one frame; those that the read model has already are passed over."""
        if frame.records and frame.last > self.at and self._fault is None:
            self._queue.put(frame)

    def caught_up(self) -> str:
        """Return a sentence about a read model that had to be made anew or was far behind, after that is done."""
        doubt = self._writer.doubt
        if not doubt and self._behind < TOLD_EVENTS_MIN:
            return ""
        self.ask(lambda _: None)
        what = f"rebuilt from the log ({doubt})" if doubt else "caught up with the log"
        return f"read model: {what}, {self._behind:,} events in {time.monotonic() - self._began:.1f} s"

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Return the answer to a question that sees everything told before it."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                if self._fault is not None:
                    raise self._fault
                answer.set_result(question(self._writer.projector.connection))
            except duckdb.Error as error:
                answer.set_exception(ProjectorFailedError(f"ask the read model: {error}; the log is not affected"))
            except BaseException as error:  # noqa: BLE001  # whatever it is, the asker must be told and not hang
                answer.set_exception(error)

        self._queue.put(run)
        if self._fault is not None and not answer.done():  # set between two looks: nobody takes from the queue any more
            self._refuse_waiting()
        return answer.result()

    def stop(self) -> None:
        """Apply what waits, then close the read model."""
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        try:
            while self._turn():
                pass
            self._writer.close()
            self._fault = ProjectorFailedError("ask the read model: it is closed; the log is not affected")
            self._refuse_waiting()
        except BaseException as error:  # noqa: BLE001
            # The read model is disposable and the log is not: the fault is told to whoever asks next, and the next
            # start looks at the file without trusting it. Waiting questions are answered, so that nobody hangs.
            self._fault = error
            self._writer.abandon()
            logger.warning("the read model is behind the log: %s; the next start mends it", error)
            self._refuse_waiting()

    def _turn(self) -> bool:
        """Apply what comes in a moment, then answer the question that cut it short; False when told to stop."""
        frames, item = self._gather()
        try:
            if frames:
                self._writer.projector.apply(frames)
                self.at = frames[-1].last
        except BaseException as error:
            self._fault = error
            raise
        finally:  # also after a fault: the question is out of the queue, and nobody else would answer it
            if item is not None and not isinstance(item, Frame):
                item()
        return item is not None

    def _gather(self) -> tuple[list[Frame], Frame | Callable[[], None] | None]:
        """Return frames of at most BATCH_EVENTS_MAX events, and what ended the gathering: the last of them, if time."""
        frames: list[Frame] = []
        events = 0
        item = self._queue.get()
        give_up = time.monotonic() + GATHER_SECONDS
        while isinstance(item, Frame):
            frames.append(item)
            events += len(item.records)
            if events + FRAME_EVENTS_MAX > BATCH_EVENTS_MAX:
                break
            try:
                item = self._queue.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                break
        return frames, item

    def _refuse_waiting(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None and not isinstance(item, Frame):
                item()
