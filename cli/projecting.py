"""Keeps the read model up with the log: one thread owns the projector and its DuckDB file, and answers questions on it.

Frames wait in a bounded queue; a batch is what waits, so that a busy log is written in large transactions and a quiet
one at once. Questions are answered by the same thread, between two batches: DuckDB has one owner.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TypeVar

import duckdb

from eventlog.frames import Frame
from projections.errors import ProjectorFailedError
from projections.projector import Projector

FRAMES_WAITING_MAX = 50_000
BATCH_EVENTS_MAX = 10_000

T = TypeVar("T")


class ProjectionThread:
    """Applies durable frames in order. `at` is the last seq that the read model has."""

    def __init__(self, projector: Projector, *, at: int) -> None:
        self._projector = projector
        self._queue: queue.Queue[Frame | Callable[[], None] | None] = queue.Queue(FRAMES_WAITING_MAX)
        self._thread = threading.Thread(target=self._loop, name="projector", daemon=True)
        self._fault: BaseException | None = None
        self.at = at

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

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Return the answer to a question that sees everything told before it."""
        answer: Future[T] = Future()

        def run() -> None:
            if self._fault is not None:
                with suppress(InvalidStateError):  # its asker may have seen the fault by itself
                    answer.set_exception(self._fault)
                return
            try:
                answer.set_result(question(self._projector.connection))
            except duckdb.Error as error:
                answer.set_exception(ProjectorFailedError(f"ask the read model: {error}; the log is not affected"))
            except BaseException as error:  # noqa: BLE001  # whatever it is, the asker must be told and not hang
                answer.set_exception(error)

        self._queue.put(run)
        if self._fault is not None:  # set between two looks: nobody takes from the queue any more
            with suppress(InvalidStateError):
                answer.set_exception(self._fault)
        return answer.result()

    def stop(self) -> None:
        """Apply what waits, then close the read model."""
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001
            # The read model is disposable and the log is not: the fault is told to whoever asks next, and the next
            # start rebuilds. Waiting questions are answered with it, so that nobody hangs.
            self._fault = error
            self._refuse_waiting()
        finally:
            self._projector.connection.close()

    def _turn(self) -> bool:
        frames: list[Frame] = []
        events = 0
        item = self._queue.get()
        while isinstance(item, Frame):
            frames.append(item)
            events += len(item.records)
            if events >= BATCH_EVENTS_MAX:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        if frames:
            self._apply(frames, behind=item)
        if item is None:
            return False
        if not isinstance(item, Frame):
            item()
        return True

    def _apply(self, frames: list[Frame], *, behind: Frame | Callable[[], None] | None) -> None:
        """Write the frames; a question that was taken out behind them is answered even if that fails."""
        try:
            self._projector.apply(frames)
        except BaseException as error:
            self._fault = error
            if behind is not None and not isinstance(behind, Frame):
                behind()
            raise
        self.at = frames[-1].last

    def _refuse_waiting(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None and not isinstance(item, Frame):
                item()
