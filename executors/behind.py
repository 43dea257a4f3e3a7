"""Owns work that is done in its order by a thread beside the one that brings it, a bounded way behind.

While a large batch is checked and staged the next one is read, so that a guest and its executor work at the same time.
The first bytes are worked on at once: most jobs have no more, and a thread would cost them more than it saves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, Self, TypeVar

Fault = TypeVar("Fault")

AT_ONCE_BYTES: Final = 4 * 1024 * 1024  # of a job, before a thread is started for it
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024  # or one piece of work, which may be larger


class Behind(Generic[Fault]):
    """Does pieces of work, each of which may say why no more is to be done. Use it as a context manager.

    On leaving nothing is being worked on any more; what waits then is not begun.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._waiting_bytes = 0
        self._brought_bytes = 0
        self._stopped = False  # by a fault, an error, or on leaving: no more is begun
        self._fault: Fault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def do(self, work: Callable[[], Fault | None], *, bytes_: int) -> Fault | None:
        """Have work done, now or soon; return the first fault that is known of. Raises what earlier work raised."""
        self._brought_bytes += bytes_
        if self._brought_bytes <= AT_ONCE_BYTES:
            self._do(work)
            return self._fault
        while self._waiting and self._waiting_bytes + bytes_ > WAITING_BYTES_MAX:
            self._wait_for_first()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._waiting.append((self._thread.submit(self._do, work), bytes_))
        self._waiting_bytes += bytes_
        return self._fault

    def finish(self) -> Fault | None:
        """Wait for all work; return the first fault. Raises what work raised."""
        while self._waiting:
            self._wait_for_first()
        return self._fault

    def _wait_for_first(self) -> None:
        done, bytes_ = self._waiting.popleft()
        self._waiting_bytes -= bytes_
        done.result()

    def _do(self, work: Callable[[], Fault | None]) -> None:
        if self._stopped:
            return
        try:
            self._fault = work()
        except BaseException:
            self._stopped = True
            raise
        if self._fault is not None:
            self._stopped = True
