"""Owns how a sentinel tells whoever listens what has become durable: a PUB socket, and a thread that speaks on it.

Nobody is waited for. Who reads too slowly misses frames, sees that by their numbers, and finds them in the log. The
deciding thread only hands on, and not even that while nobody listens.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pynng

from cli.told import FRAME_BYTES_MAX, told
from executors.errors import TransportError

if TYPE_CHECKING:
    from eventlog.frames import Frame

BATCHES_WAITING_MAX: Final = 256  # of frames that became durable together, before more are left out
FRAMES_UNREAD_MAX: Final = 128  # that are kept for one listener
LEFT_REMEMBERED_MAX: Final = 1024  # of those that were heard to leave and not to come
HEARD_BYTES_MAX: Final = 64  # a listener says nothing; what it says all the same must not become memory of ours

logger = logging.getLogger("casparian.telling")


class Present:
    """Who listens, by nng's numbers. Of one that hardly stays nng may say that it left before it says that it came, or
    only that. For nng's own threads, where only a word may be left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: set[int] = set()
        self._left: deque[int] = deque(maxlen=LEFT_REMEMBERED_MAX)

    def __len__(self) -> int:
        return len(self._there)

    def came(self, number: int) -> None:
        with self._lock:
            if number in self._left:
                self._left.remove(number)
            else:
                self._there.add(number)

    def left(self, number: int) -> None:
        with self._lock:
            if number in self._there:
                self._there.remove(number)
            else:
                self._left.append(number)


class Teller:
    """Tells durable frames to those who listen at an ipc address."""

    def __init__(self, address: str) -> None:
        """Take where to speak; nothing is touched."""
        self.address = address
        self._batches: queue.Queue[Sequence[Frame] | None] = queue.Queue(BATCHES_WAITING_MAX)
        self._thread = threading.Thread(target=self._speak, name="teller", daemon=True)
        self._listeners = Present()

    def start(self) -> None:
        """Let listeners come. Raises TransportError."""
        self._socket = pynng.Pub0(send_buffer_size=FRAMES_UNREAD_MAX, recv_max_size=HEARD_BYTES_MAX)
        self._socket.add_post_pipe_connect_cb(lambda pipe: self._listeners.came(pipe.id))
        self._socket.add_post_pipe_remove_cb(lambda pipe: self._listeners.left(pipe.id))
        try:
            self._socket.listen(self.address)
        except pynng.NNGException as error:
            self._socket.close()
            raise TransportError(f"listen on {self.address}: {error}; check the folder") from error
        self._thread.start()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def observe(self, frames: Sequence[Frame]) -> None:
        """Hand on what became durable; called on the deciding thread."""
        if self._listeners:
            try:
                self._batches.put_nowait(frames)
            except queue.Full:
                logger.debug("%d frames are not told: whoever listens finds them in the log", len(frames))

    def close(self) -> None:
        """Tell what waits, then hang up."""
        self._batches.put(None)
        self._thread.join()

    def _speak(self) -> None:
        with self._socket:  # closed by the thread that uses it: nng ends a process that does otherwise
            while (frames := self._batches.get()) is not None:
                for frame in frames:
                    self._tell(frame)

    def _tell(self, frame: Frame) -> None:
        if not frame.records:
            return
        message = told(frame)
        if len(message) <= FRAME_BYTES_MAX:
            self._socket.send(message)
