"""Remembers which stamped requests the log holds, so that one that is sent again is answered and not decided again.

A sender that got no answer cannot know whether its request was carried out: it sends it again under the same stamp.
The log keeps the stamp with what the request brought about, so the answer is the same after any number of restarts, for
the newest RECEIPTS_MAX requests; what is older was answered long ago, and there the state answers (a job that has ended
is ended once). A request that brought nothing about has no receipt: deciding it again changes nothing either.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from eventlog.frames import Frame, Stamp

RECEIPTS_MAX: Final = 10_000


class Receipt(Struct, frozen=True):
    """Where in the log stands what a request brought about: the position of its last record."""

    digest: str
    last: int


RequestKey = tuple[str, int, int]  # producer, epoch, sequence


class Receipts:
    """The newest receipts, in the order of the log."""

    def __init__(self) -> None:
        self._known: OrderedDict[RequestKey, Receipt] = OrderedDict()
        self._epochs: OrderedDict[str, int] = OrderedDict()  # the newest of each producer

    def find(self, stamp: Stamp) -> Receipt | None:
        """Return the receipt of the request with this stamp's number; its content may have been another."""
        return self._known.get((stamp.producer, stamp.epoch, stamp.sequence))

    def epoch_of(self, producer: str) -> int:
        """Return the newest epoch that a producer was seen in, 0 if it was not seen."""
        return self._epochs.get(producer, 0)

    def all(self) -> tuple[tuple[RequestKey, Receipt], ...]:
        """Return what is remembered, the oldest first."""
        return tuple(self._known.items())

    def keep(self, stamp: Stamp, *, last: int) -> None:
        """Remember that the frame that ends at `last` answers the request with this stamp."""
        self.put((stamp.producer, stamp.epoch, stamp.sequence), Receipt(stamp.digest, last))

    def put(self, key: RequestKey, receipt: Receipt) -> None:
        """Remember a receipt as the newest."""
        producer, epoch, _ = key
        self._known[key] = receipt
        self._epochs[producer] = epoch
        self._epochs.move_to_end(producer)
        while len(self._known) > RECEIPTS_MAX:
            self._known.popitem(last=False)
        while len(self._epochs) > RECEIPTS_MAX:
            self._epochs.popitem(last=False)

    def fold(self, frame: Frame) -> None:
        """Remember what a frame of the log says."""
        if frame.stamp is not None:
            self.keep(frame.stamp, last=frame.last)
