"""Knows which of the expected jobs are still open, as the log tells it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from cli.setbacks import Setbacks
from eventlog.events import JobAborted, JobCompleted, JobFailed
from eventlog.frames import Frame
from eventlog.ids import JobId


class JobWatch:
    """Knows which jobs have ended, as told by the log."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[JobId] = set()
        self._is_leaving = False
        self.setbacks = Setbacks()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        self.setbacks.observe(frames)
        ended = [
            record.data.job
            for frame in frames
            for record in frame.events
            if isinstance(record.data, JobCompleted | JobFailed | JobAborted)
        ]
        if ended:
            with self._changed:
                self._open.difference_update(ended)
                if not self._open:  # whoever waits is woken once, not for each job
                    self._changed.notify_all()

    def expect(self, jobs: Iterable[JobId]) -> None:
        """Wait for these as well; those that have ended by now must be taken out again with `settle`."""
        with self._changed:
            self._open.update(jobs)

    def settle(self, still_open: set[JobId]) -> None:
        """Forget the expected jobs that are not open any more."""
        with self._changed:
            self._open &= still_open

    def leave(self) -> None:
        """Wait for nothing more: its run is being stopped."""
        with self._changed:
            self._is_leaving = True

    def waited_for(self) -> set[JobId]:
        """Return the expected jobs that are open, none once the run is being stopped."""
        with self._changed:
            return set() if self._is_leaving else set(self._open)

    def wait(self, seconds: float) -> set[JobId]:
        """Return the expected jobs that are open, after `seconds` or as soon as there are none."""
        with self._changed:
            if self._open:
                self._changed.wait(seconds)
            return set(self._open)


class Watches:
    """Tells every run that goes on what became durable; runs come and go while the log goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: tuple[JobWatch, ...] = ()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Hand on what became durable."""
        for watch in self._watches:
            watch.observe(frames)

    def waited_for(self) -> set[JobId]:
        """Return the open jobs that some run waits for which is not being stopped."""
        return {job for watch in self._watches for job in watch.waited_for()}

    @contextmanager
    def watching(self) -> Iterator[JobWatch]:
        """Give a watch that is told of everything while the block runs."""
        watch = JobWatch()
        with self._lock:
            self._watches = (*self._watches, watch)
        try:
            yield watch
        finally:
            with self._lock:
                self._watches = tuple(each for each in self._watches if each is not watch)
